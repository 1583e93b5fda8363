// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The ports of the lab.
const (
	proxyPort  = 15443 // the box's listeners
	serverPort = 443   // a service that echoes
	greetPort  = 8443  // a service that says hello and closes
	testTable  = 5347  // the routing table for what is marked
)

// routeMark is what a caller of the package sees to: marked packets are for the local host.
func routeMark(t *testing.T, box *nettest.Namespace) {
	t.Helper()
	ok(t, box.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for family, all := range map[int]net.IPNet{
			netlink.FAMILY_V4: {IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			netlink.FAMILY_V6: {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		} {
			rule := netlink.NewRule()
			rule.Family, rule.Mark, rule.Table = family, testMark, testTable
			if err := netlink.RuleAdd(rule); err != nil {
				return fmt.Errorf("rule: %w", err)
			}
			err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &all, Table: testTable,
				Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST})
			if err != nil {
				return fmt.Errorf("route: %w", err)
			}
		}
		return nil
	}))
}

type controlFunc = func(network, address string, c syscall.RawConn) error

// transparent sets what sockets that stand in for others need, and further options of the socket level.
func transparent(options ...int) controlFunc {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
			for _, o := range options {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, o, 1))
			}
		})
		return errors.Join(cerr, err)
	}
}

// listen listens in a namespace until the test ends.
func listen(t *testing.T, n *nettest.Namespace, network, address string, control controlFunc) *net.TCPListener {
	t.Helper()
	var l net.Listener
	ok(t, n.Do(func() (err error) {
		lc := net.ListenConfig{Control: control}
		lc.SetMultipathTCP(false)
		l, err = lc.Listen(t.Context(), network, address)
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// accept serves each of a listener's connections until the test ends.
func accept(t *testing.T, l *net.TCPListener, serve func(*net.TCPConn)) {
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []*net.TCPConn
	running.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.SetDeadline(time.Now())
		}
		mu.Unlock()
		running.Wait()
	})
}

// echo tells a client its address as it is seen here, and then what it says.
func echo(c *net.TCPConn) {
	_, _ = fmt.Fprintln(c, c.RemoteAddr())
	_, _ = io.Copy(c, c)
}

// greet closes first.
func greet(c *net.TCPConn) { _, _ = fmt.Fprintln(c, c.RemoteAddr()) }

// A relay forwards what its listeners accept to where it was going, from where it came.
type relay struct {
	box   *nettest.Namespace
	mu    sync.Mutex
	taken map[*net.TCPListener]int
	last  *net.TCPConn // the newest connection to a server
}

func startRelay(t *testing.T, box *nettest.Namespace, listeners ...*net.TCPListener) *relay {
	r := &relay{box: box, taken: make(map[*net.TCPListener]int)}
	for _, l := range listeners {
		accept(t, l, func(c *net.TCPConn) {
			if err := r.forward(l, c); err != nil {
				t.Logf("relaying: %v", err)
			}
		})
	}
	return r
}

// count is how many connections came by each listener.
func (r *relay) count(listeners ...*net.TCPListener) (n []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range listeners {
		n = append(n, r.taken[l])
	}
	return n
}

func (r *relay) forward(l *net.TCPListener, client *net.TCPConn) error {
	server, err := dial(r.box, client.RemoteAddr().String(), client.LocalAddr().String())
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	r.mu.Lock()
	r.taken[l]++
	r.last = server
	r.mu.Unlock()
	_ = server.SetDeadline(time.Now().Add(20 * time.Second))
	var both sync.WaitGroup
	for to, from := range map[*net.TCPConn]*net.TCPConn{client: server, server: client} {
		both.Go(func() {
			_, _ = io.Copy(to, from)
			_ = to.CloseWrite()
		})
	}
	both.Wait()
	return nil
}

// dial connects from an address, which need not be the host's; if it is empty, from any.
func dial(n *nettest.Namespace, from, to string) (c *net.TCPConn, err error) {
	return dialWithin(n, from, to, 10*time.Second)
}

func dialWithin(n *nettest.Namespace, from, to string, limit time.Duration) (c *net.TCPConn, err error) {
	err = n.Do(func() error {
		d := net.Dialer{Timeout: limit}
		d.SetMultipathTCP(false)
		if from != "" {
			d.Control = transparent(unix.SO_REUSEADDR)
			local := netip.MustParseAddrPort(from)
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local.Addr().Unmap(), local.Port()))
		}
		conn, err := d.DialContext(context.Background(), "tcp", to)
		if err == nil {
			c = conn.(*net.TCPConn)
		}
		return err
	})
	return c, err
}

// A conversation is a connection to the echo service whose greeting has been read.
type conversation struct{ *net.TCPConn }

// converse dials, and checks that the service sees the client's own address.
func converse(t *testing.T, n *nettest.Namespace, to netip.AddrPort) conversation {
	t.Helper()
	c, err := dial(n, "", to.String())
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ok(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	want := c.LocalAddr().String() + "\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("the service sees %q (%v), the client is %q", got, err, want)
	}
	return conversation{c}
}

// say sends bytes and wants them back.
func (c conversation) say(t *testing.T, n int) {
	t.Helper()
	message := bytes.Repeat([]byte{'a' + byte(n%26)}, n)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(message)
		sent <- err
	}()
	got := make([]byte, n)
	_, err := io.ReadFull(c, got)
	ok(t, errors.Join(err, <-sent))
	if !bytes.Equal(got, message) {
		t.Fatal("other bytes came back")
	}
}

// end closes in order, and waits for the other end to do so.
func (c conversation) end(t *testing.T) {
	t.Helper()
	ok(t, c.CloseWrite())
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Fatalf("after the end came %d bytes, %v", len(rest), err)
	}
	ok(t, c.Close())
}
