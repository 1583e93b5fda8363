// SPDX-License-Identifier: Apache-2.0

package tproxy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/relay/tproxy"
)

// BenchmarkConnections makes connections that carry one small request and answer: through a box that
// relays them, with each way to steer, and through one that only forwards. Client and server run in this
// process, the box in one of its own. What the kernel does for the box with a packet it does where the
// packet was sent, so "cpu-µs/conn" is the time of all three; "box-µs/conn" is that of the box's process.
//
// scripts/steer-bench compares the ways.
func BenchmarkConnections(b *testing.B) {
	for _, way := range []struct {
		name  string
		steer *steering
		rules tproxy.Rules
	}{
		{"forwarded", nil, tproxy.Rules{}},
		{"nftables", &byNftables, tproxy.Rules{}},
		{"ebpf", &byTCX, tproxy.Rules{}},
		{"nftables-1000-networks", &byNftables, manyNetworks(1000)},
		{"ebpf-1000-networks", &byTCX, manyNetworks(1000)},
	} {
		b.Run(way.name, func(b *testing.B) {
			top := nettest.Hosts(b)
			pid := 0
			if way.steer != nil {
				p, err := startProcess(b, top.Box, *way.steer, tproxy.Config{Rules: way.rules}, nil)
				supported(b, err)
				pid = p.Pid()
				defer p.stop(b)
			}
			targets := answerers(b, top.Server)
			connect, wait := connectors(b, top.Client, targets)
			for range 64 {
				connect()
			}
			before, boxBefore := cpuTime(b, 0), cpuTime(b, pid)
			for b.Loop() {
				connect()
			}
			wait()
			box := cpuTime(b, pid) - boxBefore
			all := cpuTime(b, 0) - before
			if pid == 0 {
				box = 0
			} else {
				all += box
			}
			perConnection := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
			b.ReportMetric(perConnection(all), "cpu-µs/conn")
			b.ReportMetric(perConnection(box), "box-µs/conn")
		})
	}
}

// manyNetworks are rules with so many networks to exclude, none of which is the server's.
func manyNetworks(n int) (r tproxy.Rules) {
	for i := range n {
		r.Exclude = append(r.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	return r
}

// answerers serve on several ports, so that there are enough pairs of ports for all connections.
func answerers(b *testing.B, host *nettest.Namespace) (targets []string) {
	for port := range uint16(16) {
		ln, err := host.Listen("tcp", at(nettest.Server4, 4430+port).String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ln.Close() })
		targets = append(targets, ln.Addr().String())
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go answer(c)
			}
		}()
	}
	return targets
}

const requestSize = 64

func answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	var buf [requestSize]byte
	if _, err := io.ReadFull(c, buf[:]); err == nil {
		_, _ = c.Write(buf[:])
	}
}

// connectors make connections, some at a time: one for each call of connect, which returns when it has
// begun. Wait returns when all have ended.
func connectors(b *testing.B, host *nettest.Namespace, targets []string) (connect, wait func()) {
	const atOnce = 8
	begin := make(chan string)
	var running sync.WaitGroup
	for range atOnce {
		running.Go(func() {
			err := host.Do(func() error {
				for target := range begin {
					if err := ask(target); err != nil {
						b.Errorf("%s: %v", target, err)
					}
				}
				return nil
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	n := 0
	connect = func() {
		n++
		begin <- targets[n%len(targets)]
	}
	return connect, func() {
		close(begin)
		running.Wait()
	}
}

func ask(target string) error {
	c, err := net.Dial("tcp", target)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	setDeadline(c)
	var buf [requestSize]byte
	if _, err := c.Write(buf[:]); err != nil {
		return err
	}
	if got, err := io.ReadAll(c); err != nil || len(got) != requestSize {
		return fmt.Errorf("got %d bytes, %v", len(got), err)
	}
	return nil
}

// cpuTime is the processor's time that a process has used; of this one if pid is 0.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const cpuClockSched = 2 // of posix-timers.h, as clock_getcpuclockid(3) makes it
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
