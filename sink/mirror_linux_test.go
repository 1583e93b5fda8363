// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// inNamespace runs do on a thread in a network namespace of its own, whose loopback is up.
func inNamespace(t *testing.T, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			if err = loopbackUp(); err == nil {
				do()
			}
		}
		done <- err
	}()
	if err := <-done; errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
		t.Skipf("network namespace: %v", err)
	} else if err != nil {
		t.Fatalf("network namespace: %v", err)
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func TestMirror(t *testing.T) {
	var frames [][]byte
	var failed error
	inNamespace(t, func() {
		m, err := NewMirror("lo", MirrorOptions{})
		if err != nil {
			failed = err
			return
		}
		proto := uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
		if err != nil {
			failed = err
			return
		}
		defer unix.Close(fd)
		play(m, testFlow(1)).data(client, "mirrored").data(server, pattern(3000)).fin(client).fin(server).end()
		if failed = m.Close(); failed != nil || m.Dropped() != 0 {
			return
		}
		tv := unix.NsecToTimeval(int64(5 * time.Second))
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		for len(frames) < 13 {
			buf := make([]byte, 2000)
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				failed = err
				return
			}
			// Loopback shows each packet twice; and the kernel answers some of them.
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && bytes.HasPrefix(buf, []byte{2, 0, 0, 0, 0}) {
				frames = append(frames, buf[:n])
			}
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	var up, down string
	for _, f := range frames {
		tcp := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp.SrcPort == 443 {
			down += string(tcp.Payload)
		} else {
			up += string(tcp.Payload)
		}
	}
	if up != "mirrored" || down != pattern(3000) {
		t.Errorf("mirrored %q and %d bytes", up, len(down))
	}
}

func TestMirrorNoInterface(t *testing.T) {
	if _, err := NewMirror("no-such-if", MirrorOptions{}); err == nil {
		t.Error("no error")
	}
}

func TestMirrorCountsWhatFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	c := &mirrorConsumer{fd: int(w.Fd())}
	if err := c.record(record{data: []byte("x")}); err != nil || c.dropped.Load() != 1 {
		t.Errorf("%v, %d dropped", err, c.dropped.Load())
	}
}
