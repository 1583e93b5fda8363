// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nft is steering by nftables and TPROXY.
type nft struct {
	cfg      Config
	lock     *lock
	conn     *nftables.Conn
	nl       *netlink.Handle
	table    *nftables.Table
	routing  routing
	warnings []string
	closed   bool
}

// Setup steers what cfg names to its listeners by nftables. It leaves nothing behind when it fails.
func Setup(cfg Config) (Steering, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n := &nft{cfg: cfg}
	if err := n.open(); err != nil {
		n.release()
		return nil, err
	}
	if err := n.setUp(); err != nil {
		n.cfg.WhenDown = Forward // what is half done must not drop anything
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// open takes the lock and the connections to the kernel, which stay in this network namespace.
func (n *nft) open() (err error) {
	n.lock, err = takeLock(n.cfg.Instance)
	if err != nil {
		if errors.Is(err, errLocked) {
			return fmt.Errorf("another process steers as instance %s: end it, or name another instance and port", n.cfg.Instance)
		}
		return fmt.Errorf("locking instance %s: %w", n.cfg.Instance, err)
	}
	if n.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return explain("opening netlink", err)
	}
	if n.conn, err = nftables.New(nftables.AsLasting()); err != nil {
		return explain("opening nftables", err)
	}
	return n.checkInterfaces()
}

func (n *nft) checkInterfaces() error {
	for _, name := range n.cfg.Interfaces {
		if _, err := n.nl.LinkByName(name); err != nil {
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return fmt.Errorf("there is no interface %s: name the one that clients' packets come in by", name)
			}
			return fmt.Errorf("looking for interface %s: %w", name, err)
		}
	}
	return nil
}

func (n *nft) setUp() error {
	port, err := n.cfg.port()
	if err != nil {
		return err
	}
	n.table = &nftables.Table{Name: tablePrefix + n.cfg.Instance, Family: nftables.TableFamilyINet}
	if err := n.clearLeftovers(); err != nil {
		return err
	}
	n.routing = routing{nl: n.nl, table: tableBase | int(port), mark: n.cfg.Mark, mask: n.cfg.MarkMask}
	if err := n.routing.setUp(); err != nil {
		return err
	}
	r := ruleset{cfg: &n.cfg, conn: n.conn, table: n.table, port: port}
	if err := r.add(); err != nil {
		return err
	}
	if err := n.conn.Flush(); err != nil {
		return explain("setting up nftables", err)
	}
	n.warnings = append(n.warnings, warnings()...)
	return nil
}

// Close implements Steering.
func (n *nft) Close() error {
	if n.closed {
		return nil
	}
	n.closed = true
	defer n.release()
	if n.table == nil || n.cfg.WhenDown == Drop {
		return nil // the rules drop by themselves when their listener is gone
	}
	err := deleteTable(n.conn, n.table.Name)
	if n.routing.nl != nil {
		err = errors.Join(err, removeRouting(n.nl, n.routing.table))
	}
	return err
}

func (n *nft) release() {
	if n.conn != nil {
		_ = n.conn.CloseLasting()
	}
	if n.nl != nil {
		n.nl.Close()
	}
	n.lock.release()
}

// Warnings implements Steering.
func (n *nft) Warnings() []string { return n.warnings }

// Kind implements Steering.
func (n *nft) Kind() string { return "nftables" }

// Stats implements Steering.
func (n *nft) Stats() (Stats, error) {
	var st Stats
	for chain, count := range map[string]func(dropped bool, packets uint64){
		chainSockets: func(_ bool, packets uint64) { st.Established += packets },
		chainCatch: func(dropped bool, packets uint64) {
			if dropped {
				st.Dropped += packets
			} else {
				st.Caught += packets
			}
		},
	} {
		rules, err := n.conn.GetRules(n.table, &nftables.Chain{Name: chain, Table: n.table})
		if err != nil {
			return Stats{}, fmt.Errorf("reading the counters of %s: %w", n.table.Name, err)
		}
		for _, rule := range rules {
			packets, dropped := counted(rule)
			count(dropped, packets)
		}
	}
	return st, nil
}

// counted returns what a rule has counted, and whether it drops.
func counted(rule *nftables.Rule) (packets uint64, dropped bool) {
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Counter:
			packets = e.Packets
		case *expr.Verdict:
			dropped = e.Kind == expr.VerdictDrop
		}
	}
	return packets, dropped
}

// deleteTable deletes a table if it is there.
func deleteTable(conn *nftables.Conn, name string) error {
	t := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	conn.DelTable(t)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("removing the nftables table %s: %w", name, err)
	}
	return nil
}

// ruleset is the nftables table of one instance, as package doc says what its rules are for.
type ruleset struct {
	cfg   *Config
	conn  *nftables.Conn
	table *nftables.Table
	port  uint16
}

// The names of an instance's table, chains and sets.
const (
	tablePrefix   = "sightglass-"
	chainSteer    = "steer"
	chainSockets  = "sockets"
	chainCatch    = "catch"
	setInterfaces = "interfaces"
	setPorts      = "ports"
)

// add replaces the instance's table, in the batch that the next Flush sends.
func (r *ruleset) add() error {
	r.conn.AddTable(r.table)
	r.conn.DelTable(r.table)
	r.conn.AddTable(r.table)
	accept := nftables.ChainPolicyAccept
	steer := r.conn.AddChain(&nftables.Chain{
		Name: chainSteer, Table: r.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle, Policy: &accept,
	})
	sockets := r.conn.AddChain(&nftables.Chain{Name: chainSockets, Table: r.table})
	catch := r.conn.AddChain(&nftables.Chain{Name: chainCatch, Table: r.table})
	interfaces, err := r.addInterfaces()
	if err != nil {
		return err
	}
	ports, err := r.addPorts()
	if err != nil {
		return err
	}
	r.rule(steer, r.owner().comment())
	r.rule(steer, nil, protocolIs(unix.IPPROTO_ICMP), gotoChain(chainSockets))
	r.rule(steer, nil, protocolIs(unix.IPPROTO_ICMPV6), gotoChain(chainSockets))
	r.rule(steer, nil, protocolIsNot(unix.IPPROTO_TCP), verdict(expr.VerdictAccept))
	r.rule(steer, nil, addressedHere(), verdict(expr.VerdictAccept))
	// A SYN is no part of a connection that is there, though a socket may wait in TIME_WAIT.
	r.rule(steer, nil, syn(expr.CmpOpNeq), jumpChain(chainSockets))
	r.rule(steer, nil, inSet(interface_, interfaces), inSet(destinationPort, ports), gotoChain(chainCatch))
	r.addSockets(sockets)
	return r.addCatch(catch)
}

// addSockets adds the rules that keep what belongs to a transparent socket here, but not to a listener
// for all addresses: that would match whatever goes to its port on any host. Of a connection that
// is half open or in TIME_WAIT the kernel does not say whether it is such a listener, and ends the rule.
func (r *ruleset) addSockets(sockets *nftables.Chain) {
	r.rule(sockets, nil, socketIs(expr.SocketKeyTransparent, 1), socketIs(expr.SocketKeyWildcard, 0),
		r.mark(), counter(), verdict(expr.VerdictAccept))
	r.rule(sockets, nil, socketIs(expr.SocketKeyWildcard, 1), verdict(expr.VerdictReturn))
	r.rule(sockets, nil, socketIs(expr.SocketKeyTransparent, 1), r.mark(), counter(), verdict(expr.VerdictAccept))
}

// addCatch adds the rules that give a packet to the listener, or drop it where there is none.
func (r *ruleset) addCatch(catch *nftables.Chain) error {
	for _, v6 := range []bool{false, true} {
		servers, err := r.addServers(v6)
		if err != nil {
			return err
		}
		if servers == nil {
			continue
		}
		match := []expr.Any(inFamily(v6))
		match = append(match, inSet(destination(v6), servers)...)
		take := match
		if r.cfg.WhenDown == Forward {
			// Only a SYN: connections that have begun without us stay as they are.
			take = append(take[:len(take):len(take)], syn(expr.CmpOpEq)...)
		}
		// tproxy ends the rule, and no mark is set, where no listener is there.
		r.rule(catch, nil, take, r.toListener(v6), r.mark(), counter(), verdict(expr.VerdictAccept))
		if r.cfg.WhenDown == Drop {
			r.rule(catch, nil, match, counter(), verdict(expr.VerdictDrop))
		}
	}
	return nil
}

func (r *ruleset) rule(c *nftables.Chain, comment []byte, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: all, UserData: comment})
}

// owner is written into the table, for the next process to read.
type owner struct {
	pid      int
	table    int // of the routing
	whenDown WhenDown
}

func (o owner) comment() []byte {
	return userdata.AppendString(nil, userdata.TypeComment,
		fmt.Sprintf("sightglass pid %d table %d when-down %v", o.pid, o.table, o.whenDown))
}

func parseOwner(data []byte) (o owner, ok bool) {
	s, ok := userdata.GetString(data, userdata.TypeComment)
	if !ok {
		return owner{}, false
	}
	var down string
	if _, err := fmt.Sscanf(s, "sightglass pid %d table %d when-down %s", &o.pid, &o.table, &down); err != nil {
		return owner{}, false
	}
	if down == Drop.String() {
		o.whenDown = Drop
	}
	return o, true
}

// listenAddress returns the listeners' address where they have one of a family.
func listenAddress(ln net.Listener, v6 bool) net.IP {
	a, ok := ln.Addr().(*net.TCPAddr)
	if !ok || a.IP.IsUnspecified() {
		return nil
	}
	if ip := a.IP.To4(); ip != nil {
		if v6 {
			return nil
		}
		return ip
	}
	if !v6 {
		return nil
	}
	return a.IP.To16()
}
