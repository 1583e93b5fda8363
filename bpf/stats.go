// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// A Count is of packets and the bytes in them, link-layer headers included. What segment offload has
// merged is one packet.
type Count struct{ Packets, Bytes uint64 }

func (c *Count) add(d Count) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
}

// SteerStats are the counts since NewSteer. Only TCP packets are counted, and ICMP errors.
type SteerStats struct {
	// Handed over: of connections that the box has, SYNs to a listener, answers to a listener's SYN
	// cookie, ICMP errors about the box's connections, and, with DropWithoutListener only, packets of
	// connections that the box does not have, which the listener resets.
	Established, New, Cookies, ICMP, Reset Count
	// Fragments of such packets, for the kernel to put together.
	Reassembled Count
	// Passed: to the box itself or to where it does not forward, SYNs that a rule leaves out, SYNs
	// that no rule takes, packets of connections that the box does not have, fragments of any of
	// these or whose first one was not seen, packets cut short or malformed.
	Own, Excluded, Unmatched, Midstream, Fragments, Malformed Count
	// What the rules take while no listener was there: SYNs passed or, with DropWithoutListener, all
	// packets dropped.
	NoListener Count
	// Packets for a socket that the kernel did not let be assigned: passed, or, with
	// DropWithoutListener, dropped if they were for a listener.
	Failed Count
	// Rules are those in force, servers' before clients', in their order in Rules.
	Rules []RuleStats
}

// RuleStats is the count of one rule.
type RuleStats struct {
	Rule Rule
	Side Side
	// Connections that began (SYNs, those that found no listener included) and were taken or left
	// out by the rule, since it came into force.
	Connections uint64
}

// Stats reads the counters. They run on meanwhile: the numbers are not of one moment.
func (s *Steer) Stats() (SteerStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return SteerStats{}, errClosed
	}
	var st SteerStats
	// In the order of steer.c.
	for i, total := range []*Count{
		&st.Established, &st.New, &st.Cookies, &st.ICMP, &st.Own, &st.Excluded, &st.Unmatched,
		&st.Midstream, &st.NoListener, &st.Fragments, &st.Malformed, &st.Failed, &st.Reset,
		&st.Reassembled,
	} {
		if err := readCount(s.objects.Totals, uint32(i), total); err != nil {
			return SteerStats{}, err
		}
	}
	for side, rules := range [][]Rule{ServerSide: s.rules.Servers, ClientSide: s.rules.Clients} {
		for _, r := range rules {
			n, err := s.ruleCount(s.numbers.used[r.id(Side(side))])
			if err != nil {
				return SteerStats{}, err
			}
			st.Rules = append(st.Rules, RuleStats{Rule: r, Side: Side(side), Connections: n})
		}
	}
	return st, nil
}

// readCount adds up what the processors counted each for itself.
func readCount(m *ebpf.Map, index uint32, total *Count) error {
	var each []Count
	if err := m.Lookup(index, &each); err != nil {
		return fmt.Errorf("reading counters: %w", err)
	}
	for _, c := range each {
		total.add(c)
	}
	return nil
}

func (s *Steer) ruleCount(number uint32) (sum uint64, err error) {
	var each []uint64
	if err := s.objects.RuleCounts.Lookup(number, &each); err != nil {
		return 0, fmt.Errorf("reading a rule's counter: %w", err)
	}
	for _, n := range each {
		sum += n
	}
	return sum, nil
}

// clear sets a rule's counter to zero.
func (s *Steer) clear(number uint32) error {
	zero := make([]uint64, ebpf.MustPossibleCPU())
	if err := s.objects.RuleCounts.Put(number, zero); err != nil {
		return fmt.Errorf("clearing a rule's counter: %w", err)
	}
	return nil
}
