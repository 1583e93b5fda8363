// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// report prints the matrix, a table for each server, and fails the test for what was not read.
func report(t *testing.T, cells []*cell) {
	t.Helper()
	var b strings.Builder
	counts := map[state]int{}
	for _, c := range cells {
		counts[c.state]++
	}
	for _, s := range peers {
		if s.serve != nil {
			writeTable(&b, s, cells)
		}
	}
	fmt.Fprintf(&b, "\nF full, I session ID, T ticket; f, i, t without a client certificate; - the peers cannot, with or without the box;\n"+
		"! not read; . not in this size of the matrix; an empty field: one of the peers does not have it\n"+
		"%d cells read, %d that their peers cannot negotiate, %d not read\n", counts[passed], counts[cannot], counts[failed]+counts[notRun])
	fmt.Fprint(os.Stdout, b.String())
	logCannot(t, cells)
	for _, c := range cells {
		switch c.state {
		case failed:
			t.Errorf("%v: %s", c, c.problem)
		case notRun:
			t.Errorf("%v: not run", c)
		}
	}
}

// logCannot sums up what the peers cannot do, and why.
func logCannot(t *testing.T, cells []*cell) {
	t.Helper()
	type group struct {
		peers, problem string
		known          bool
	}
	first := map[group]*cell{}
	counts := map[group]int{}
	var order []group
	for _, c := range cells {
		if c.state != cannot {
			continue
		}
		g := group{c.client.name + " to " + c.server.name, c.problem, c.hopeless()}
		if counts[g]++; first[g] == nil {
			first[g] = c
			order = append(order, g)
		}
	}
	for _, g := range order {
		t.Logf("%s: the peers cannot in %d cells, such as %v: %s (known: %t)", g.peers, counts[g], first[g], g.problem, g.known)
	}
}

// writeTable prints a server's cells: a row for each version and suite, a column for each client.
func writeTable(b *strings.Builder, s *peer, cells []*cell) {
	type place struct {
		version handshake.Version
		suite   uint16
		client  *peer
	}
	at := map[place][]*cell{}
	for _, c := range cells {
		if c.server == s {
			p := place{c.version, c.suite, c.client}
			at[p] = append(at[p], c)
		}
	}
	fmt.Fprintf(b, "\n%-46s", s.name)
	for _, c := range peers {
		if c.visit != nil {
			fmt.Fprintf(b, " %-8s", c.name)
		}
	}
	for _, v := range s.versions {
		for _, suite := range s.suites {
			row, empty := "", true
			for _, c := range peers {
				if c.visit == nil {
					continue
				}
				field := writeField(at[place{v, suite, c}])
				empty = empty && field == ""
				row += fmt.Sprintf(" %-8s", field)
			}
			if !empty {
				fmt.Fprintf(b, "\n%v %-38s%s", v, strings.TrimPrefix(handshake.SuiteName(suite), "TLS_"), row)
			}
		}
	}
	b.WriteByte('\n')
}

// writeField sums up the cells of one place: a letter for each way, if all its variants were read.
func writeField(cells []*cell) string {
	if len(cells) == 0 {
		return ""
	}
	var field []byte
	for i, letter := range "FITfit" {
		resume, mutual := resumption(i%3), i < 3
		mark := byte('.')
		for _, c := range cells {
			if c.resume != resume || c.mutual != mutual {
				continue
			}
			switch {
			case c.state == failed || c.state == notRun:
				mark = '!'
			case c.state == cannot && mark == '.':
				mark = '-'
			case c.state == passed && mark != '!':
				mark = byte(letter)
			}
		}
		field = append(field, mark)
	}
	return string(field)
}
