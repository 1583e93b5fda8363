// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/handshake"
)

// client is the client's process: it takes jobs from standard input, one after the other.
type client struct {
	server, own *identity
	addresses   []netip.Addr // of this host, taken in turn
	turn        atomic.Uint64
	in          *bufio.Reader
	out         *json.Encoder
}

func runClient(dir string, addresses []netip.Addr) error {
	ids, err := loadIdentities(dir)
	if err != nil {
		return err
	}
	c := &client{addresses: addresses, in: bufio.NewReader(os.Stdin), out: json.NewEncoder(os.Stdout)}
	for _, i := range []struct {
		from savedIdentity
		to   **identity
	}{{ids.Server, &c.server}, {ids.Client, &c.own}} {
		if *i.to, err = i.from.identity(); err != nil {
			return err
		}
	}
	for {
		line, err := c.in.ReadBytes('\n')
		if err != nil {
			return nil // the harness is done
		}
		var j job
		if err := json.Unmarshal(line, &j); err != nil {
			return err
		}
		a, err := c.do(&j)
		if err != nil {
			a = &answer{Error: err.Error()}
		}
		if err := c.out.Encode(a); err != nil {
			return err
		}
	}
}

func (c *client) do(j *job) (*answer, error) {
	switch j.Kind {
	case "bulk":
		return c.bulk(j)
	case "shake":
		return c.shake(j)
	case "latency":
		return c.latency(j)
	case "idle":
		return c.idle(j)
	case "replay":
		return c.replay(j)
	}
	return nil, fmt.Errorf("no such job: %q", j.Kind)
}

// ready tells the harness that all is prepared, and waits for its word.
func (c *client) ready() error {
	if err := c.out.Encode(&answer{Ready: true}); err != nil {
		return err
	}
	_, err := c.in.ReadBytes('\n')
	return err
}

// dialTimeout bounds a connection, and ioTimeout all that is done on it.
const (
	dialTimeout = 10 * time.Second
	ioTimeout   = 120 * time.Second
)

func (c *client) dial(target string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Control: lateBind}
	if n := uint64(len(c.addresses)); n > 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.addresses[c.turn.Add(1)%n], 0))
	}
	conn, err := d.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(ioTimeout))
	return conn.(*net.TCPConn), nil
}

// lateBind lets the kernel choose the port when it knows the server, so that ports do not run out.
func lateBind(_, _ string, raw syscall.RawConn) error {
	var inner error
	err := raw.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, inner)
}

// connect dials and makes a handshake.
func (c *client) connect(target string, suite uint16, resume *session) (*tlsConn, error) {
	conn, err := c.dial(target)
	if err != nil {
		return nil, err
	}
	t := newConn(conn, handshake.Client)
	if err := t.client(suite, c.server, c.own, resume); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("handshake with %s: %w", target, err)
	}
	return t, nil
}

// each runs f for every flow at once, and returns the first error.
func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}
