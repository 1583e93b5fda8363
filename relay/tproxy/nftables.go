// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
)

// nft is steering by nftables and TPROXY.
type nft struct {
	*base
	rules ruleset
}

func newNft(b *base) *nft { return &nft{base: b} }

func (n *nft) setUp() error {
	if err := n.route(); err != nil {
		return err
	}
	n.rules = newRuleset(n.base)
	if err := n.rules.create(n.cfg.Rules.list()); err != nil {
		return explain("setting up nftables", err)
	}
	return n.settle()
}

// undo takes back what setUp has done: what is half done must not drop anything.
func (n *nft) undo() error { return n.close(n.takeDown) }

// Close implements Steering.
func (n *nft) Close() error {
	return n.close(func() error {
		if n.cfg.WhenDown == Drop {
			return nil // the rules drop by themselves when their listener is gone
		}
		return n.takeDown()
	})
}

func (n *nft) takeDown() error {
	var err error
	if n.rules.table != nil {
		err = deleteTable(n.tables, n.rules.table.Name)
	}
	return errors.Join(err, n.unroute())
}

// Kind implements Steering.
func (n *nft) Kind() string { return "nftables" }

// SetRules implements Steering.
func (n *nft) SetRules(rules Rules) error {
	if err := rules.check(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if err := n.checkOthers(&rules); err != nil {
		return err
	}
	if err := n.rules.replace(rules.list()); err != nil {
		return explain("replacing the rules of nftables", err)
	}
	n.cfg.Rules = rules
	n.lock.tell(n.claim(&rules))
	return nil
}

// Stats implements Steering.
func (n *nft) Stats() (Stats, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return Stats{}, errClosed
	}
	count, err := counters(n.tables, n.rules.table)
	if err != nil {
		return Stats{}, fmt.Errorf("reading the counters of nftables: %w", err)
	}
	st := Stats{Caught: count[countCaught], Established: count[countEstablished], Dropped: count[countDropped]}
	for _, r := range n.rules.current.rules {
		st.Rules = append(st.Rules, RuleStats{Rule: r, Connections: count[n.rules.current.names[r.String()]]})
	}
	return st, nil
}

// counters returns the packets that a table's counters have seen, by name.
func counters(conn *nftables.Conn, table *nftables.Table) (map[string]uint64, error) {
	objects, err := conn.GetObjects(table)
	if err != nil {
		return nil, err
	}
	count := make(map[string]uint64)
	for _, o := range objects {
		if c, ok := o.(*nftables.CounterObj); ok {
			count[c.Name] = c.Packets
		}
	}
	return count, nil
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
