// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// peer is a TLS implementation: a server, a client, or both.
type peer struct {
	name     string
	programs []string // that it needs
	// serve starts a server that answers HTTP.
	serve func(context.Context, *lab, serving) (*server, error)
	// visit sends a request and reads the answer to its end.
	visit func(context.Context, *lab, visiting) visited

	versions []handshake.Version
	suites   []uint16 // those that it has a name for
	// has says whether this build of it has what it has a name for; nil: it has.
	has func(handshake.Version, uint16) bool
	// extensions says which it knows, serverTurns and clientTurns which can be turned off.
	extensions, serverTurns, clientTurns switches
	noIDs, noTickets                     bool // it resumes in one way only
}

// switches are the extensions that peers use by themselves, and that some can be told not to use:
// the extended master secret and encrypt-then-MAC.
type switches struct{ ems, etm bool }

var (
	emsOnly = switches{ems: true}
	emsEtM  = switches{ems: true, etm: true}
)

// and returns what is set in both.
func (s switches) and(o switches) switches { return switches{s.ems && o.ems, s.etm && o.etm} }

// without returns what is set in s only.
func (s switches) without(o switches) switches { return switches{s.ems && !o.ems, s.etm && !o.etm} }

// or returns what is set in one of them.
func (s switches) or(o switches) switches { return switches{s.ems || o.ems, s.etm || o.etm} }

// clientAuth says when a server asks for the client's certificate.
type clientAuth int

const (
	notAsked clientAuth = iota
	required
	late // in a renegotiation, once the request is known
)

// serving is how a server is to be.
type serving struct {
	port      uint16
	auth      clientAuth
	identity  *identity // nil: the lab's
	chainFile string    // what it presents; "": its certificate alone
	off       switches
	noTickets bool
	// ephemeral servers offer (EC)DHE only; tls13 is on with TLS 1.3 and nothing else.
	ephemeral, tls13 bool
	// lateSuite is what a renegotiation is to choose (late only); 0: any.
	lateSuite uint16
	extra     []string // arguments of s_server
}

func (s *serving) id(l *lab) *identity {
	if s.identity != nil {
		return s.identity
	}
	return l.pki.server
}

// resumption is how the last of a client's connections resumes the first.
type resumption int

const (
	full resumption = iota
	byID
	byTicket
)

// String returns the word for it in EVE.
func (r resumption) String() string { return [...]string{"no", "id", "ticket"}[r] }

// visiting is how a client is to be.
type visiting struct {
	from    *nettest.Namespace // nil: the client host
	to      netip.AddrPort
	path    string // of the request
	version handshake.Version
	suite   uint16 // 0: what the client prefers, with RSA key exchange
	// certificate is presented, if one is asked for.
	certificate bool
	resume      resumption
	off         switches
	// ephemeral clients offer (EC)DHE as well, and TLS 1.3 if the version is that.
	ephemeral bool
}

func (v *visiting) host(l *lab) *nettest.Namespace {
	if v.from != nil {
		return v.from
	}
	return l.Client
}

// request is what clients send that send what they are told.
func (v *visiting) request() string {
	return fmt.Sprintf("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", v.path, serverName)
}

// visited is how a visit went.
type visited struct {
	path    string // of the request, where the client chose it
	answer  []byte // to the last request, as the client saw it; nil: it shows none
	resumed bool   // the last connection, as far as the client says
	log     string // what the client said
	err     error
}

// peers is the table of all.
var peers = []*peer{opensslPeer, gnutlsPeer, nssPeer, javaPeer, goPeer, nginxPeer, apachePeer, curlPeer}

// speaks reports whether a peer has a suite in a version, as far as it knows itself.
func (p *peer) speaks(v handshake.Version, suite uint16) bool {
	return slices.Contains(p.versions, v) && slices.Contains(p.suites, suite) && (p.has == nil || p.has(v, suite))
}

// resumes reports whether a peer knows a way of resuming.
func (p *peer) resumes(r resumption) bool {
	return !(r == byID && p.noIDs || r == byTicket && p.noTickets)
}

// programsOf lists what some peers need.
func programsOf(all ...*peer) []string {
	var names []string
	for _, p := range all {
		names = append(names, p.programs...)
	}
	return names
}

// onlyTLS12 reports whether a suite's MAC or cipher came with TLS 1.2.
func onlyTLS12(id uint16) bool {
	s, ok := handshake.SuiteByID(id)
	return ok && (s.Cipher.Params().Kind == handshake.KindAEAD || s.MAC == handshake.MACSHA256 || s.MAC == handshake.MACSHA384)
}
