// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stayConfig is what the process that is killed and the test agree on, by the environment.
func stayConfig(way Attachment, drop bool, pins string) SteerConfig {
	return SteerConfig{
		Mark:                testMark,
		Rules:               Rules{Servers: AllServers(PortSet(serverPort))},
		Attachment:          way,
		DropWithoutListener: drop,
		PinPath:             pins,
	}
}

// steerUntilKilled steers in the namespace it was started in, answers every connection with "box", and
// says when it is ready.
func steerUntilKilled() error {
	way := AttachTCX
	if os.Getenv("WAY") == "clsact" {
		way = AttachClsact
	}
	s, err := NewSteer(stayConfig(way, os.Getenv("DROP") != "", os.Getenv("PINS")))
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: transparent()}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf("[::]:%d", proxyPort))
	if err != nil {
		return err
	}
	if err := s.SetListeners(l.(*net.TCPListener)); err != nil {
		return err
	}
	if err := attachBoth(s); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(c, "box")
	}
}

func attachBoth(s *Steer) error {
	if err := s.Attach(nettest.BoxClientLink, TowardsClients); err != nil {
		return err
	}
	return s.Attach(nettest.BoxServerLink, TowardsServers)
}

// startKilled starts steerUntilKilled in the box.
func startKilled(t *testing.T, box *nettest.Namespace, env ...string) *nettest.Process {
	t.Helper()
	r, w, err := os.Pipe()
	ok(t, err)
	defer func() { _ = r.Close() }()
	cmd := inRole("steer", env...)
	cmd.SysProcAttr = nil // the thread that starts it may end before it
	cmd.Stdout, cmd.Stderr = w, w
	p, err := box.Start(cmd)
	ok(t, w.Close())
	ok(t, err)
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process that is to be killed: %s %v", line, err)
	}
	return p
}

// answer is the first line that a client gets from the server's address.
func answer(t *testing.T, n *nettest.Namespace, limit time.Duration) (string, error) {
	t.Helper()
	c, err := dialWithin(n, "", netip.AddrPortFrom(nettest.Server4, serverPort).String(), limit)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	ok(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	line, err := bufio.NewReader(c).ReadString('\n')
	if line == c.LocalAddr().String()+"\n" {
		line = "server\n"
	}
	return line, err
}

func wantAnswer(t *testing.T, n *nettest.Namespace, want string) {
	t.Helper()
	if got, err := answer(t, n, 10*time.Second); err != nil || got != want+"\n" {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

// wantNoAnswer checks that a connection does not come about, and that nothing of it reaches the server.
func wantNoAnswer(t *testing.T, hosts *nettest.Topology) {
	t.Helper()
	capture, err := hosts.Server.Capture(nettest.ServerLink)
	ok(t, err)
	if got, err := answer(t, hosts.Client, 200*time.Millisecond); err == nil {
		t.Errorf("got %q, want no connection", got)
	}
	frames, err := capture.Stop()
	ok(t, err)
	streams, err := nettest.Streams(frames)
	ok(t, err)
	if len(streams) > 0 {
		t.Errorf("the server saw %v", streams)
	}
}

func stayHosts(t *testing.T) *nettest.Topology {
	hosts := nettest.Hosts(t)
	routeMark(t, hosts.Box)
	accept(t, listen(t, hosts.Server, "tcp", fmt.Sprintf("[::]:%d", serverPort), nil), echo)
	wantAnswer(t, hosts.Client, "server")
	return hosts
}

// TestKilledForwards kills the process; its links go with it.
func TestKilledForwards(t *testing.T) {
	supportedHere(t)
	hosts := stayHosts(t)
	p := startKilled(t, hosts.Box, "WAY=tcx")
	wantAnswer(t, hosts.Client, "box")
	p.Kill()
	wantAnswer(t, hosts.Client, "server")
}

// TestKilledDrops kills the process; its program stays, until another takes over, and is removed.
func TestKilledDrops(t *testing.T) {
	supportedHere(t)
	t.Run("tcx", func(t *testing.T) {
		pins := bpfFS(t)
		testKilledDrops(t, AttachTCX, pins, "WAY=tcx", "DROP=1", "PINS="+pins)
	})
	t.Run("clsact", func(t *testing.T) {
		testKilledDrops(t, AttachClsact, "", "WAY=clsact", "DROP=1")
	})
}

func testKilledDrops(t *testing.T, way Attachment, pins string, env ...string) {
	hosts := stayHosts(t)
	p := startKilled(t, hosts.Box, env...)
	wantAnswer(t, hosts.Client, "box")
	before := linkIDs(t, pins)
	p.Kill()
	wantNoAnswer(t, hosts)

	var s *Steer
	ok(t, hosts.Box.Do(func() (err error) {
		s, err = NewSteer(stayConfig(way, true, pins))
		return err
	}))
	t.Cleanup(func() { ok(t, s.Close()) })
	l := listen(t, hosts.Box, "tcp", fmt.Sprintf("[::]:%d", proxyPort), transparent())
	accept(t, l, func(c *net.TCPConn) { _, _ = fmt.Fprintln(c, "successor") })
	ok(t, s.SetListeners(l))
	ok(t, attachBoth(s))
	wantAnswer(t, hosts.Client, "successor")
	if after := linkIDs(t, pins); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("links %v, before %v: they were made anew", after, before)
	}
	ok(t, s.Close())
	ok(t, l.Close())
	wantNoAnswer(t, hosts)
	for range 2 {
		ok(t, hosts.Box.Do(func() error {
			if err := RemoveSteering(nettest.BoxClientLink, pins); err != nil {
				return err
			}
			return RemoveSteering(nettest.BoxServerLink, pins)
		}))
	}
	wantAnswer(t, hosts.Client, "server")
	noFilters(t, hosts.Box)
}

// bpfFS mounts a BPF file system until the test ends.
func bpfFS(t *testing.T) string {
	dir := t.TempDir()
	ok(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return filepath.Join(dir, "pins")
}

func linkIDs(t *testing.T, pins string) (ids []link.ID) {
	t.Helper()
	if pins == "" {
		return nil
	}
	for _, name := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
		l, err := link.LoadPinnedLink(pinFile(pins, name), nil)
		ok(t, err)
		info, err := l.Info()
		ok(t, err)
		ids = append(ids, info.ID)
		ok(t, l.Close())
	}
	return ids
}

func noFilters(t *testing.T, box *nettest.Namespace) {
	t.Helper()
	ok(t, box.Do(func() error {
		for _, name := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
			if len(filters) > 0 {
				t.Errorf("%s still has %v", name, filters)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// supportedHere asks without loading anything.
func supportedHere(t *testing.T) {
	t.Helper()
	nettest.Require(t)
	if os.Geteuid() != 0 {
		supported(t, ErrPrivilege)
	}
}
