// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/nettest"
)

var (
	readableAt   = netip.AddrPortFrom(nettest.Server4, 443)
	unreadableAt = netip.AddrPortFrom(nettest.Server4, 8443)
)

// sniffedHosts are a client and a server of both kinds of traffic, with the certificates in the current
// directory.
func sniffedHosts(t testing.TB) *nettest.Topology {
	t.Helper()
	top := nettest.Hosts(t)
	if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("programs in the kernel need root")
	}
	if err := makeCerts(nil); err != nil {
		t.Fatal(err)
	}
	tlsServer(t, top.Server, readableAt, readableTLS)
	tlsServer(t, top.Server, unreadableAt, unreadableTLS)
	return top
}

// TestSniffShunt listens to traffic of which the kernel drops what cannot be read, and reads the rest.
func TestSniffShunt(t *testing.T) {
	t.Chdir(t.TempDir())
	top := sniffedHosts(t)
	tap := startIn(t, top.Box, nil, "sniff", "-i", nettest.BoxClientLink, "--filter", "tcp", "--shunt", "--key", "server.key", "--eve", "-")
	tap.wait(&tap.stderr, `listening on (\S+)`, 1)
	block := strings.Repeat("not for us ", 50_000)
	for i := range 2 {
		if err := tlsAsk(top.Client, unreadableAt, unreadableTLS, block, 4); err != nil {
			t.Fatal(err)
		}
		if err := tlsAsk(top.Client, readableAt, readableTLS, "GET /for-us HTTP/1.1\r\nHost: a\r\n\r\n", 1); err != nil {
			t.Fatal(err)
		}
		tap.wait(&tap.stdout, `"event_type":"flow".*"cause":"(tls13)"`, i+1)
		tap.wait(&tap.stdout, `"url":"(/for-us)"`, i+1)
	}
	tap.finish()
	if said := tap.stderr.String(); !strings.Contains(said, "shunted: 2 flows") {
		t.Errorf("says at the end:\n%s", said)
	}
}

// BenchmarkShunt is what a capture costs of which little can be read: each operation is one connection
// of 64 MiB that cannot be read and one small one that can. "tap-ms/op" is the processor's time of the
// sniffer's process, "cpu-ms/op" that of all: the kernel judges a packet where it is sent. Packets are as
// small as on a wire.
func BenchmarkShunt(b *testing.B) {
	for _, way := range []struct {
		name string
		args []string
	}{
		{"none", nil},
		{"sniff", []string{}},
		{"sniff --shunt", []string{"--shunt"}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.Chdir(b.TempDir())
			top := sniffedHosts(b)
			for host, link := range map[*nettest.Namespace]string{top.Client: nettest.ClientLink, top.Server: nettest.ServerLink} {
				if err := host.SetSegments(link, 1); err != nil {
					b.Fatal(err)
				}
			}
			tapTime := func() time.Duration { return 0 }
			if way.args != nil {
				tap := startIn(b, top.Box, nil, append([]string{"sniff", "-i", nettest.BoxClientLink, "--key", "server.key", "--eve", "eve.json"}, way.args...)...)
				tap.wait(&tap.stderr, `listening on (\S+)`, 1)
				defer tap.finish()
				tapTime = func() time.Duration { return processTime(b, tap.process.Pid()) }
			}
			block := strings.Repeat("mostly unreadable ", 1<<12)
			before, tapBefore := processTime(b, 0), tapTime()
			for b.Loop() {
				if err := tlsAsk(top.Client, unreadableAt, unreadableTLS, block, 32<<20/len(block)); err != nil {
					b.Fatal(err)
				}
				if err := tlsAsk(top.Client, readableAt, readableTLS, "what can be read", 1); err != nil {
					b.Fatal(err)
				}
			}
			tap := tapTime() - tapBefore
			perOp := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
			b.ReportMetric(perOp(tap), "tap-ms/op")
			b.ReportMetric(perOp(processTime(b, 0)-before+tap), "cpu-ms/op")
		})
	}
}

// processTime is the processor's time that a process has used; of this one if pid is 0.
func processTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const cpuClockSched = 2 // of posix-timers.h, as clock_getcpuclockid(3) makes it
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
