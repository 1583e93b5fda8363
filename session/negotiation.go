// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
)

// negotiation is one handshake in progress: the first, or one inside the connection.
type negotiation struct {
	number      uint32
	hello       *handshake.ClientHello // nil until it came
	server      *handshake.ServerHello // nil until it came
	suite       *handshake.Suite
	transcript  *rsakex.Transcript
	size        int  // bytes of messages, both sides
	broken      bool // messages were lost: no hash over the transcript can be known
	full        bool // the server sent its certificate
	abbreviated bool // the server went on without one
	judged      bool // the two conditions were checked, or need not be

	// unread says why this handshake's keys cannot be had from the private key; a key log still may.
	unread       Cause
	unreadDetail string

	key      rsakex.KeyID
	hasKey   bool
	request  *rsakex.Request // what the ClientKeyExchange asks of the private key; nil before
	secret   *rsakex.Secret  // of the full handshake, or of the session that is resumed
	trials   []trial         // one for each key, when no certificate says which
	resumed  *rsakex.Session
	late     *rsakex.Secret  // when it has settled, a session that was not known is looked up again
	ticket   []byte          // that the server just gave
	promised *rsakex.Session // what was put into the store last

	// clientChain is the client's certificate in this handshake, or in the session that it resumes.
	clientChain  [][]byte
	clientProven bool

	proof    *rsakex.SSL3Proof // of the client, until there are keys to check it with
	keys     *keys             // derived; nil before
	changed  [2]bool           // the side's ChangeCipherSpec put them in force
	finished [2]bool
	verified bool // a record opened, or a Finished agreed
}

func (s *Session) newNegotiation() *negotiation {
	s.begun++
	return &negotiation{
		number:     s.begun,
		transcript: &rsakex.Transcript{Limit: s.cfg.maxHandshake()},
	}
}

// message takes one handshake message.
func (s *Session) message(d *direction, m handshake.Message) {
	if m.Type == handshake.TypeHelloRequest {
		return // in no transcript (RFC 5246, Section 7.4.1.1)
	}
	if m.Type == handshake.TypeClientHello && d.side == handshake.Client {
		s.clientHello(m)
		return
	}
	n := s.neg
	if n == nil && s.tls13 != nil {
		s.message13(d, m)
		return
	}
	if n == nil || n.hello == nil {
		s.strayMessage(d, m)
		return
	}
	n.size += len(m.Raw)
	if n.size > s.cfg.maxHandshake() {
		s.fail(HandshakeTooLarge, fmt.Sprintf("the handshake is larger than %d bytes", s.cfg.maxHandshake()))
		return
	}
	if s.tls13 != nil && n.server != nil {
		s.message13(d, m)
		return
	}
	if d.side == handshake.Client {
		s.clientMessage(n, m)
	} else {
		s.serverMessage(n, m)
	}
}

// strayMessage is a handshake message outside any handshake.
func (s *Session) strayMessage(d *direction, m handshake.Message) {
	ticket := m.Type == handshake.TypeNewSessionTicket && d.side == handshake.Server
	// A handshake of which messages were lost is over with the first data, and then its Finished comes.
	if s.established && (ticket || m.Type == handshake.TypeFinished && s.missing()) {
		return
	}
	s.fail(Malformed, fmt.Sprintf("a %v of the %v outside a handshake", m.Type, d.side))
}

func (s *Session) malformed(m handshake.Message, err error) {
	s.fail(Malformed, fmt.Sprintf("%v: %v", m.Type, err))
}

func (s *Session) clientHello(m handshake.Message) {
	if n := s.neg; n != nil && n.server == nil && s.tls13 != nil && s.tls13.retried {
		s.secondHello(n, m)
		return
	}
	m.Raw = bytes.Clone(m.Raw)
	hello, err := handshake.ParseClientHello(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	s.startHandshake(hello)
}

// startHandshake begins a handshake with the client's hello, the first one or another.
func (s *Session) startHandshake(hello *handshake.ClientHello) {
	n := s.neg
	if n == nil || n.hello != nil || n.broken {
		n = s.newNegotiation()
	}
	n.hello = hello
	n.transcript.Write(hello.Raw)
	n.size = len(hello.Raw)
	s.neg = n
	f := &s.flow
	f.ClientHelloVersion = hello.Version
	if hello.ServerName != "" {
		f.ServerName = hello.ServerName
	}
	if f.JA3 == "" {
		f.JA3, f.JA4 = hello.JA3(), hello.JA4()
	}
}

func (s *Session) serverMessage(n *negotiation, m handshake.Message) {
	if n.server == nil && m.Type != handshake.TypeServerHello {
		s.fail(Malformed, fmt.Sprintf("a %v of the server before its ServerHello", m.Type))
		return
	}
	switch m.Type {
	case handshake.TypeServerHello:
		s.serverHello(n, m)
		return
	case handshake.TypeCertificate:
		s.serverCertificate(n, m)
	case handshake.TypeFinished:
		s.finishedMessage(n, handshake.Server, m)
		return
	case handshake.TypeNewSessionTicket:
		s.newSessionTicket(n, m)
	}
	if s.neg != n {
		return
	}
	n.transcript.Write(m.Raw)
	s.serverRest(n, m.Type)
}

func (s *Session) clientMessage(n *negotiation, m handshake.Message) {
	if n.server == nil && !n.broken && s.tls13 == nil {
		s.fail(Malformed, fmt.Sprintf("a %v of the client before the ServerHello", m.Type))
		return
	}
	switch m.Type {
	case handshake.TypeFinished:
		s.finishedMessage(n, handshake.Client, m)
		return
	case handshake.TypeCertificate:
		s.clientCertificate(n, m)
	case handshake.TypeClientKeyExchange:
		n.transcript.Write(m.Raw)
		s.clientKeyExchange(n, m)
		return
	case handshake.TypeCertificateVerify:
		s.certificateVerify(n, m)
	case handshake.TypeNextProtocol:
		if p, err := handshake.ParseNextProtocol(m); err == nil {
			s.flow.ALPN = p.Protocol
		}
	}
	n.transcript.Write(m.Raw)
}

func (s *Session) clientCertificate(n *negotiation, m handshake.Message) {
	s.showClient(n, nil, false)
	if n.server != nil && n.server.ClientCertificateType != 0 {
		return // no X.509 certificate (RFC 7250)
	}
	c, err := handshake.ParseCertificate(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	s.showClient(n, cloneChain(c.Chain), false)
}

func cloneChain(chain [][]byte) [][]byte {
	if len(chain) == 0 {
		return nil
	}
	all := make([][]byte, len(chain))
	for i, c := range chain {
		all[i] = bytes.Clone(c)
	}
	return all
}

// cloneServerChain is cloneChain, but that of a configured leaf there is a copy already, for all flows.
func (s *Session) cloneServerChain(chain [][]byte) [][]byte {
	if len(chain) > 0 {
		if leaf := s.cfg.Ring.Certificate(chain[0]); leaf != nil {
			return append([][]byte{leaf}, cloneChain(chain[1:])...)
		}
	}
	return cloneChain(chain)
}

// newSessionTicket comes after the client's Finished, or in an abbreviated handshake before the
// server's (RFC 5077, Section 3.3).
func (s *Session) newSessionTicket(n *negotiation, m handshake.Message) {
	t, err := handshake.ParseNewSessionTicket(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	if !n.full && !n.abbreviated && !n.judged && s.cfg.LateSessions == nil { // or it is resumed with the ChangeCipherSpec
		s.resume(n)
	}
	n.ticket = bytes.Clone(t.Ticket)
	s.remember(n)
}

// finishedMessage checks a Finished against the transcript (RFC 5246, Section 7.4.9).
func (s *Session) finishedMessage(n *negotiation, side handshake.Side, m handshake.Message) {
	if !n.changed[side] || n.finished[side] {
		s.fail(Malformed, fmt.Sprintf("a Finished of the %v out of place", side))
		return
	}
	if !n.broken && !n.transcript.CheckFinished(n.keys.master, side, m.Body()) {
		s.forget(n)
		s.fail(FinishedMismatch, fmt.Sprintf("the %v's Finished does not fit the handshake", side))
		return
	}
	n.transcript.Write(m.Raw)
	n.finished[side] = true
	s.confirmed(n)
	if n.finished[side.Opposite()] {
		s.complete(n)
	}
}

// confirmed is called when the keys have proved right; the first time, they are shown.
func (s *Session) confirmed(n *negotiation) {
	if n.verified {
		return
	}
	n.verified = true
	n.keys.trials = nil
	if n.keys.master != nil {
		s.secretsEvent(n)
	}
	if n.hasKey && s.cfg.Ring != nil {
		s.flow.KeySource = s.cfg.Ring.Source(n.key)
	}
}

// complete ends a handshake: both Finished messages agreed.
func (s *Session) complete(n *negotiation) {
	s.flow.Handshakes++
	s.acceptClient(n)
	s.established = true
	s.remember(n)
	s.emit(KindEstablished, handshake.Server)
	n.transcript.Release()
	s.neg = nil
}
