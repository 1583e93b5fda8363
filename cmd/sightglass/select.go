// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/capture"
	"github.com/sightglass/sightglass/session"
)

// selection is which flows a person wants, as the flags say it.
type selection struct {
	capture.Selection
	flows    []uint64
	subjects []string
	last     atomic.Uint64 // the highest number of a flow that there was
}

// errFlowWithSecrets: the packets of one flow's number are known only when it is over.
var errFlowWithSecrets = usagef("--with-secrets takes --address, --port, --server-name and --client-subject, not --flow")

func (s *selection) addFlags(flags *pflag.FlagSet) {
	one := func(name, kind, usage string, take func(string) error) {
		flags.Var(&setting{kind: kind, set: func(text string, _ bool) error { return take(text) }}, name, usage)
	}
	each := func(name, kind, usage string, take func(string) error) {
		one(name, kind, usage, func(text string) error {
			for item := range strings.SplitSeq(text, ",") {
				if err := take(item); err != nil {
					return err
				}
			}
			return nil
		})
	}
	inGroup(flags, "Which flows (repeatable; all that is given must fit)", func() {
		each("address", "ADDR|NET", "client or server has this address, or one in this network", s.takeAddress)
		each("port", "N", "client or server has this port", func(text string) error {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return fmt.Errorf("not a port")
			}
			s.Ports = append(s.Ports, uint16(n))
			return nil
		})
		each("server-name", "NAME", "the client asked for this name; * stands for any part of it", func(text string) error {
			s.ServerNames = append(s.ServerNames, text)
			_, err := path.Match(text, "")
			return err
		})
		one("client-subject", "TEXT", "the client certificate's subject contains this text, commas and all", func(text string) error {
			s.subjects = append(s.subjects, strings.ToLower(text))
			s.ClientSubject = s.subject
			return nil
		})
		each("flow", "N", "the flow with this number among those that fit the rest, as --list shows it", func(text string) error {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return fmt.Errorf("not a number")
			}
			s.flows = append(s.flows, n)
			return nil
		})
	})
}

// among names what is selected from.
func (s *selection) among() string {
	if len(s.Nets)+len(s.Ports)+len(s.ServerNames)+len(s.subjects) > 0 {
		return "the selected part of the capture"
	}
	return "the capture"
}

func (s *selection) takeAddress(text string) error {
	if a, err := netip.ParseAddr(text); err == nil {
		s.Nets = append(s.Nets, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("neither an address nor a network")
	}
	s.Nets = append(s.Nets, p.Masked())
	return nil
}

// subject says whether the certificate's subject has one of the texts in it, whatever their case.
func (s *selection) subject(leaf []byte) bool {
	c, err := x509.ParseCertificate(leaf)
	if err != nil {
		return false
	}
	name := strings.ToLower(c.Subject.String())
	return slices.ContainsFunc(s.subjects, func(part string) bool { return strings.Contains(name, part) })
}

// handler keeps the flows with other numbers from next.
func (s *selection) handler(next session.Handler) session.Handler {
	if len(s.flows) == 0 {
		return next
	}
	return numbered{s, next}
}

type numbered struct {
	*selection
	next session.Handler
}

// Event implements session.Handler, for flows of several goroutines.
func (n numbered) Event(e *session.Event) {
	for last := n.last.Load(); e.Flow.ID > last && !n.last.CompareAndSwap(last, e.Flow.ID); {
		last = n.last.Load()
	}
	if slices.Contains(n.flows, e.Flow.ID) {
		n.next.Event(e)
	}
}

// reportMissing names the numbers that no flow had.
func (s *selection) reportMissing(e *env) {
	last := s.last.Load()
	for _, n := range s.flows {
		if n == 0 || n > last {
			e.warn("there is no flow %d: %s has %d", n, s.among(), last)
		}
	}
}
