// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/session"
)

// selection is which flows a person wants: those that fit one value of every kind that is given.
type selection struct {
	flows     []uint64
	addresses []netip.Prefix
	ports     []uint16
	names     []string // patterns of server names
	subjects  []string // parts of the client certificate's subject
}

func (s *selection) addFlags(flags *pflag.FlagSet) {
	each := func(name, kind, usage string, take func(string) error) {
		flags.Var(&setting{kind: kind, set: func(text string, _ bool) error {
			for item := range strings.SplitSeq(text, ",") {
				if err := take(item); err != nil {
					return err
				}
			}
			return nil
		}}, name, usage)
	}
	inGroup(flags, "Which flows (repeatable; all that is given must fit)", func() {
		each("flow", "N", "the flow with this number, as --list shows it", func(text string) error {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return fmt.Errorf("not a number")
			}
			s.flows = append(s.flows, n)
			return nil
		})
		each("address", "ADDR|NET", "client or server has this address, or one in this network", s.takeAddress)
		each("port", "N", "client or server has this port", func(text string) error {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return fmt.Errorf("not a port")
			}
			s.ports = append(s.ports, uint16(n))
			return nil
		})
		each("server-name", "NAME", "the client asked for this name; * stands for any part of it", func(text string) error {
			s.names = append(s.names, strings.ToLower(text))
			_, err := path.Match(text, "")
			return err
		})
		each("client-subject", "TEXT", "the client certificate's subject contains this", func(text string) error {
			s.subjects = append(s.subjects, strings.ToLower(text))
			return nil
		})
	})
}

func (s *selection) takeAddress(text string) error {
	if a, err := netip.ParseAddr(text); err == nil {
		s.addresses = append(s.addresses, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("neither an address nor a network")
	}
	s.addresses = append(s.addresses, p.Masked())
	return nil
}

// all says that nothing was left out.
func (s *selection) all() bool {
	return len(s.flows)+len(s.addresses)+len(s.ports)+len(s.names)+len(s.subjects) == 0
}

// byAddress says whether the flow may fit, from what is known when it opens.
func (s *selection) byAddress(f *session.Flow) bool {
	if len(s.flows) > 0 && !slices.Contains(s.flows, f.ID) {
		return false
	}
	ends := []netip.AddrPort{f.Client, f.Server}
	if len(s.ports) > 0 && !slices.ContainsFunc(ends, func(e netip.AddrPort) bool { return slices.Contains(s.ports, e.Port()) }) {
		return false
	}
	return len(s.addresses) == 0 || slices.ContainsFunc(ends, func(e netip.AddrPort) bool {
		return slices.ContainsFunc(s.addresses, func(p netip.Prefix) bool { return p.Contains(e.Addr()) })
	})
}

// byNames says whether the flow fits, from what is known by now.
func (s *selection) byNames(f *session.Flow) bool {
	if len(s.names) > 0 && !slices.ContainsFunc(s.names, func(pattern string) bool {
		ok, _ := path.Match(pattern, strings.ToLower(f.ServerName))
		return ok
	}) {
		return false
	}
	if len(s.subjects) == 0 {
		return true
	}
	if len(f.ClientChain) == 0 {
		return false
	}
	c, err := x509.ParseCertificate(f.ClientChain[0])
	if err != nil {
		return false
	}
	subject := strings.ToLower(c.Subject.String())
	return slices.ContainsFunc(s.subjects, func(part string) bool { return strings.Contains(subject, part) })
}

// fits is the whole question, for a flow that has ended.
func (s *selection) fits(f *session.Flow) bool { return s.byAddress(f) && s.byNames(f) }

// maxWaiting bounds what one flow may keep until it is known whether it fits, in bytes.
const maxWaiting = 1 << 20

// chosen hands on the events of the flows that fit. Names and subjects are known only once the
// handshake has shown them; what comes before waits.
type chosen struct {
	selection
	next session.Handler

	mu    sync.Mutex
	flows map[uint64]*waiting
}

type waiting struct {
	passes bool
	out    bool // does not fit by address
	events []session.Event
	size   int
}

func (s selection) handler(next session.Handler) session.Handler {
	if s.all() {
		return next
	}
	return &chosen{selection: s, next: next, flows: map[uint64]*waiting{}}
}

// Event takes one event of any flow.
func (c *chosen) Event(e *session.Event) {
	w := c.waiting(e)
	if !w.passes && !w.out && c.byNames(e.Flow) {
		w.passes = true
		for i := range w.events {
			c.next.Event(&w.events[i])
		}
		w.events = nil
	}
	switch {
	case w.passes:
		c.next.Event(e)
	case !w.out && w.size < maxWaiting:
		kept := *e
		kept.Data = bytes.Clone(e.Data)
		w.events = append(w.events, kept)
		w.size += len(e.Data) + 128
	}
}

// waiting finds the state of the event's flow, and forgets it with its last event.
func (c *chosen) waiting(e *session.Event) *waiting {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.flows[e.Flow.ID]
	if w == nil {
		w = &waiting{out: !c.byAddress(e.Flow)}
		c.flows[e.Flow.ID] = w
	}
	if e.Kind == session.KindEnd {
		delete(c.flows, e.Flow.ID)
	}
	return w
}
