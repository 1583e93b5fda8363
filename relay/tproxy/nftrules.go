// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// ruleset is the nftables table of one instance. Package doc says what its rules are for. All but the
// chain of the current rules, and what that leads to, stays as it was created.
//
// A batch of nftables is one step, but not for the look-up in a set: what a batch adds to one is found
// only a moment after its rules are in force. So rules come in a batch after that of the sets that they
// ask, and a table beside an earlier one of the instance, which goes then.
type ruleset struct {
	cfg   *Config
	conn  *nftables.Conn
	table *nftables.Table
	port  uint16

	current  generation
	made     int             // numbers that were given so far, of generations and of rules
	oldSets  []*nftables.Set // not in use any more, to be deleted
	oldRules []string        // counters and chains that only those know
}

// generation is what is replaced when the rules change. Its sets have names of their own, so that a
// packet that is judged while that happens is judged by one generation only.
type generation struct {
	rules   []Rule
	names   map[string]string // of each rule's counter and chain, by the rule's text
	ports   *nftables.Set
	servers [2]*nftables.Set // IPv4, IPv6
}

// The names of an instance's table, and of what is in it.
const (
	tablePrefix   = "sightglass-"
	tableSuffix   = ".2" // of a table that another one was there before
	chainSteer    = "steer"
	chainSockets  = "sockets"
	chainRules    = "rules"
	setInterfaces = "interfaces"
	setPorts      = "ports"

	countCaught      = "caught"
	countEstablished = "established"
	countDropped     = "dropped"
)

// elementsAtOnce is how many elements of a set fit a message: its length has 16 bits.
const elementsAtOnce = 256

func newRuleset(b *base) ruleset {
	name, own := tablePrefix+b.cfg.Instance, b.own()
	if slices.Contains(own.tables, name) {
		name += tableSuffix
	}
	// If two processes were killed as they began there are both; this one is replaced at once.
	own.tables = slices.DeleteFunc(own.tables, func(t string) bool { return t == name })
	return ruleset{
		cfg:   &b.cfg,
		conn:  b.tables,
		table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet},
		port:  b.port,
	}
}

// create makes the table.
func (r *ruleset) create(rules []Rule) error {
	r.conn.AddTable(r.table)
	r.conn.DelTable(r.table)
	r.conn.AddTable(r.table)
	for _, name := range []string{countCaught, countEstablished, countDropped} {
		r.addCounter(name)
	}
	accept := nftables.ChainPolicyAccept
	steer := r.conn.AddChain(&nftables.Chain{
		Name: chainSteer, Table: r.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle, Policy: &accept,
	})
	r.addSockets(r.chain(chainSockets))
	for _, v6 := range []bool{false, true} {
		r.addCatch(r.chain(chainCatch(v6)), v6)
	}
	r.chain(chainRules)
	interfaces, err := r.addInterfaces()
	if err != nil {
		return err
	}
	r.rule(steer, r.owner())
	r.rule(steer, nil, protocolIs(unix.IPPROTO_ICMP), gotoChain(chainSockets))
	r.rule(steer, nil, protocolIs(unix.IPPROTO_ICMPV6), gotoChain(chainSockets))
	r.rule(steer, nil, protocolIsNot(unix.IPPROTO_TCP), verdict(expr.VerdictAccept))
	r.rule(steer, nil, addressedHere(), verdict(expr.VerdictAccept))
	// A SYN is no part of a connection that is there, though a socket may wait in TIME_WAIT.
	r.rule(steer, nil, syn(expr.CmpOpNeq), jumpChain(chainSockets))
	r.rule(steer, nil, inSet(interface_, interfaces), gotoChain(chainRules))
	return r.replace(rules)
}

func chainCatch(v6 bool) string {
	if v6 {
		return "catch6"
	}
	return "catch4"
}

// addSockets adds the rules that keep what belongs to a transparent socket here, but not to a listener
// for all addresses: that would match whatever goes to its port on any host. Of a connection that
// is half open or in TIME_WAIT the kernel does not say whether it is such a listener, and ends the rule.
func (r *ruleset) addSockets(sockets *nftables.Chain) {
	r.rule(sockets, nil, socketIs(expr.SocketKeyTransparent, 1), socketIs(expr.SocketKeyWildcard, 0),
		r.mark(), count(countEstablished), verdict(expr.VerdictAccept))
	r.rule(sockets, nil, socketIs(expr.SocketKeyWildcard, 1), verdict(expr.VerdictReturn))
	r.rule(sockets, nil, socketIs(expr.SocketKeyTransparent, 1), r.mark(), count(countEstablished), verdict(expr.VerdictAccept))
}

// addCatch adds the rules that give a packet to the listener, or drop it where there is none.
func (r *ruleset) addCatch(catch *nftables.Chain, v6 bool) {
	var which []expr.Any
	if r.cfg.WhenDown == Forward {
		// Only a SYN: connections that have begun without us stay as they are.
		which = syn(expr.CmpOpEq)
	}
	// tproxy ends the rule, and no mark is set, where no listener is there.
	r.rule(catch, nil, which, r.toListener(v6), r.mark(), count(countCaught), verdict(expr.VerdictAccept))
	if r.cfg.WhenDown == Drop {
		r.rule(catch, nil, count(countDropped), verdict(expr.VerdictDrop))
	}
}

// replace makes rules the ones in force.
func (r *ruleset) replace(rules []Rule) error {
	next := r.next(rules)
	if err := r.addGeneration(next); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		return err
	}
	r.dispatch(next)
	if err := r.conn.Flush(); err != nil {
		r.discard(next, r.current)
		return err
	}
	r.discard(r.current, next)
	r.current = next
	return nil
}

// next is the generation after the current one. Rules that stay have the names they had.
func (r *ruleset) next(rules []Rule) generation {
	g := generation{rules: rules, names: make(map[string]string)}
	for _, rule := range rules {
		text := rule.String()
		name, stays := r.current.names[text]
		if !stays {
			r.made++
			name = fmt.Sprintf("rule-%d", r.made)
		}
		g.names[text] = name
	}
	r.made++
	g.ports = &nftables.Set{
		Table: r.table, Name: fmt.Sprintf("%s-%d", setPorts, r.made), KeyType: nftables.TypeInetService, Interval: true,
	}
	for i, keyType := range []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr} {
		g.servers[i] = &nftables.Set{
			Table: r.table, Name: fmt.Sprintf("servers%s-%d", [...]string{"4", "6"}[i], r.made), KeyType: keyType, Interval: true,
			IsMap: true, DataType: nftables.TypeVerdict,
		}
	}
	return g
}

// addGeneration adds what a generation has and the current one has not.
func (r *ruleset) addGeneration(g generation) error {
	for _, rule := range g.rules {
		text := rule.String()
		if _, stays := r.current.names[text]; !stays {
			r.addRule(g.names[text], rule)
		}
	}
	if err := r.addSet(g.ports, portElements(g.rules[0].Ports)); err != nil {
		return err
	}
	for i, servers := range g.servers {
		if err := r.addSet(servers, g.serverElements(i == 1)); err != nil {
			return err
		}
	}
	return nil
}

// addRule adds the chain that a new connection comes to for which the rule decides.
func (r *ruleset) addRule(name string, rule Rule) {
	r.addCounter(name)
	chain := r.chain(name)
	r.rule(chain, nil, syn(expr.CmpOpEq), count(name))
	if !rule.Exclude {
		r.rule(chain, nil, gotoChain(chainCatch(rule.Network.Addr().Is6())))
	}
}

// dispatch has the chain of the current rules ask a generation's sets.
func (r *ruleset) dispatch(g generation) {
	chain := &nftables.Chain{Name: chainRules, Table: r.table}
	r.conn.FlushChain(chain)
	for i, servers := range g.servers {
		v6 := i == 1
		r.rule(chain, nil, inFamily(v6), inSet(destinationPort, g.ports), verdictOf(destination(v6), servers))
	}
}

// discard deletes what only one of two generations has.
func (r *ruleset) discard(g, other generation) {
	if g.ports == nil {
		return
	}
	r.oldSets = append(r.oldSets, g.ports, g.servers[0], g.servers[1])
	for text, name := range g.names {
		if other.names[text] != name {
			r.oldRules = append(r.oldRules, name)
		}
	}
	r.clean()
}

// clean deletes what is not in use, in the order in which it can go. What the kernel still holds stays
// for the next time.
func (r *ruleset) clean() {
	for _, s := range r.oldSets {
		r.conn.DelSet(s)
	}
	if r.conn.Flush() != nil {
		return
	}
	r.oldSets = nil
	for _, name := range r.oldRules {
		r.conn.DelChain(&nftables.Chain{Name: name, Table: r.table})
		r.conn.DeleteObject(&nftables.CounterObj{Name: name, Table: r.table})
	}
	if r.conn.Flush() == nil {
		r.oldRules = nil
	}
}

func (r *ruleset) chain(name string) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Name: name, Table: r.table})
}

func (r *ruleset) addCounter(name string) {
	r.conn.AddObj(&nftables.CounterObj{Name: name, Table: r.table})
}

func (r *ruleset) rule(c *nftables.Chain, comment []byte, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: all, UserData: comment})
}

func (r *ruleset) addInterfaces() (*nftables.Set, error) {
	set := &nftables.Set{Table: r.table, Name: setInterfaces, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	var elements []nftables.SetElement
	for _, name := range r.cfg.Interfaces {
		elements = append(elements, nftables.SetElement{Key: append([]byte(name), make([]byte, ifNameBytes-len(name))...)})
	}
	return set, r.addSet(set, elements)
}

func portElements(ports []PortRange) (elements []nftables.SetElement) {
	for _, p := range explicit(ports) {
		elements = append(elements, nftables.SetElement{Key: portBytes(p.First)})
		if p.Last < 65535 { // an interval that nothing ends goes to the last value
			elements = append(elements, nftables.SetElement{Key: portBytes(p.Last + 1), IntervalEnd: true})
		}
	}
	return elements
}

// serverElements map a family's addresses to the chains of their rules.
func (g *generation) serverElements(v6 bool) (elements []nftables.SetElement) {
	for _, a := range decided(g.rules, v6) {
		chain := g.names[g.rules[a.rule].String()]
		elements = append(elements, nftables.SetElement{
			Key: a.first.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain},
		})
		if next := a.last.Next(); next.IsValid() {
			elements = append(elements, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return elements
}

func (r *ruleset) addSet(set *nftables.Set, elements []nftables.SetElement) error {
	if err := r.conn.AddSet(set, nil); err != nil {
		return err
	}
	for len(elements) > 0 {
		n := min(len(elements), elementsAtOnce)
		if err := r.conn.SetAddElements(set, elements[:n]); err != nil {
			return err
		}
		elements = elements[n:]
	}
	return nil
}

// owner is written into the table, for the next process to read.
func (r *ruleset) owner() []byte {
	return userdata.AppendString(nil, userdata.TypeComment,
		fmt.Sprintf("sightglass pid %d when-down %v", os.Getpid(), r.cfg.WhenDown))
}

func parseOwner(data []byte) (pid int, drop bool) {
	s, ok := userdata.GetString(data, userdata.TypeComment)
	if !ok {
		return 0, false
	}
	var down string
	if _, err := fmt.Sscanf(s, "sightglass pid %d when-down %s", &pid, &down); err != nil {
		return 0, false
	}
	return pid, down == Drop.String()
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
