// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/google/nftables"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// base is what both ways to steer have in common: the locks, the routing of what is marked, and what
// others left. Its connections to the kernel stay in the network namespace it was opened in.
type base struct {
	cfg      Config
	port     uint16
	lock     *lock // of the instance
	portLock *lock
	nl       *netlink.Handle
	tables   *nftables.Conn
	routing  routing
	left     []leftover // to be removed when this steering is in force
	warnings []string

	mu     sync.Mutex
	closed bool
}

// open takes the locks and looks at what is there. It changes nothing.
func (b *base) open() (err error) {
	if b.port, err = b.cfg.port(); err != nil {
		return err
	}
	if b.lock, err = lockInstance(b.cfg.Instance); err != nil {
		return b.locked(err, "as instance "+b.cfg.Instance)
	}
	b.lock.tell(b.claim(&b.cfg.Rules))
	if b.portLock, err = lockPort(b.port); err != nil {
		return b.locked(err, fmt.Sprintf("to a listener on port %d", b.port))
	}
	if b.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return explain("opening netlink", err)
	}
	if b.tables, err = openTables(nftables.AsLasting()); err != nil {
		return explain("opening nftables", err)
	}
	if err := b.checkInterfaces(); err != nil {
		return err
	}
	if err := b.checkOthers(&b.cfg.Rules); err != nil {
		return err
	}
	return b.findLeftovers()
}

func (b *base) locked(err error, how string) error {
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another process steers %s: end it, or listen on another port", how)
	}
	return err
}

// tableBuffer is for the largest set of rules that Config allows, which goes in one message, and for
// what the kernel answers to each part of it.
const tableBuffer = 64 << 20

// openTables opens nftables with buffers for many rules.
func openTables(options ...nftables.ConnOption) (*nftables.Conn, error) {
	return nftables.New(append(options, nftables.WithSockOptions(
		func(c *mdlayher.Conn) error { return c.SetWriteBuffer(tableBuffer) },
		func(c *mdlayher.Conn) error { return c.SetReadBuffer(tableBuffer) },
	))...)
}

func (b *base) checkInterfaces() error {
	for _, name := range b.cfg.Interfaces {
		if _, err := b.nl.LinkByName(name); err != nil {
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return fmt.Errorf("there is no interface %s: name the one that clients' packets come in by", name)
			}
			return fmt.Errorf("looking for interface %s: %w", name, err)
		}
	}
	return nil
}

// claim is what this instance catches with these rules.
func (b *base) claim(rules *Rules) claim {
	return claim{
		Instance:   b.cfg.Instance,
		PID:        os.Getpid(),
		Drop:       b.cfg.WhenDown == Drop,
		Interfaces: b.cfg.Interfaces,
		Ports:      rules.ranges(),
	}
}

// checkOthers refuses rules that would catch what a live instance catches.
func (b *base) checkOthers(rules *Rules) error {
	own := b.claim(rules)
	others, err := claims()
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Instance != own.Instance && other.overlaps(own) {
			return fmt.Errorf("instance %s, which runs as process %d, catches %s already", other.Instance, other.PID, other.describe())
		}
	}
	return nil
}

// route sets up the routing of what is marked, in the place of what dead processes left.
func (b *base) route() error {
	if err := removeStaleRouting(b.nl, b.port); err != nil {
		return err
	}
	b.routing = routing{nl: b.nl, table: tableOf(b.port), mark: b.cfg.Mark, mask: b.cfg.MarkMask}
	return b.routing.setUp()
}

// settle is the end of setting up: what others left is not needed any more.
func (b *base) settle() error {
	b.warnings = append(b.warnings, warnings()...)
	return b.removeLeftovers()
}

// unroute removes the routing, if there is any.
func (b *base) unroute() error {
	if b.routing.nl == nil {
		return nil
	}
	return removeRouting(b.nl, b.routing.table)
}

// release gives back what open took.
func (b *base) release() {
	if b.tables != nil {
		_ = b.tables.CloseLasting()
	}
	if b.nl != nil {
		b.nl.Close()
	}
	b.portLock.release()
	b.lock.release()
}

// close runs down once, and gives everything back.
func (b *base) close(down func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	defer b.release()
	return down()
}

var errClosed = errors.New("the steering was closed")

// Warnings implements Steering.
func (b *base) Warnings() []string { return b.warnings }
