// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"

	"github.com/sightglass/sightglass/rsakex"
)

// resume is called when the server goes on without a certificate: the handshake is an abbreviated
// one, by session ID (RFC 5246, Section 7.3) or by ticket (RFC 5077, Section 3.4).
func (s *Session) resume(n *negotiation) {
	s.flow.Resumed = n.wayOfResuming()
	session := s.resumable(n)
	if session == nil {
		s.judge(SessionUnknown, "the session was begun out of sight")
		return
	}
	n.resumed, n.secret = session, session.Secret
	n.key, n.hasKey = session.Key, true
	s.flow.ServerChain = nil
	s.flow.ClientChain, s.flow.ClientProven = session.ClientChain, session.ClientProven
	s.judge(CauseNone, "")
}

func (n *negotiation) wayOfResuming() Resumption {
	if len(n.hello.SessionTicket) > 0 {
		return ResumedTicket
	}
	return ResumedID
}

// resumable finds the session in the store. A client that offers a ticket may add a session ID of
// its own making, so the ticket comes first (RFC 5077, Section 3.4).
func (s *Session) resumable(n *negotiation) *rsakex.Session {
	if s.cfg.Store == nil {
		return nil
	}
	if s.cfg.BeforeResume != nil {
		s.cfg.BeforeResume()
	}
	if t := n.hello.SessionTicket; len(t) > 0 {
		if session, ok := s.cfg.Store.Get(rsakex.ByTicket, t); ok && fits(session, n) {
			return session
		}
	}
	id := n.server.SessionID
	if len(id) > 0 && bytes.Equal(id, n.hello.SessionID) {
		if session, ok := s.cfg.Store.Get(rsakex.ByID, id); ok && fits(session, n) {
			return session
		}
	}
	return nil
}

// fits reports whether a session can be what this handshake resumes: version and suite are the
// session's (RFC 5246, Section 7.4.1.2), and so is its kind of master secret (RFC 7627, 5.3).
func fits(session *rsakex.Session, n *negotiation) bool {
	return session.Version == n.server.SelectedVersion() && session.Suite == n.server.CipherSuite &&
		session.EMS == n.server.ExtendedMasterSecret
}

// remember puts a session into the store under the names by which it can be resumed. It is called
// as each name becomes known: a client that holds one may come back before this handshake is over
// and the private key has done its work, so the store holds the secret as a promise.
func (s *Session) remember(n *negotiation) {
	session := n.session()
	if s.cfg.Store == nil || session == nil {
		return
	}
	session.ClientChain, session.ClientProven = s.flow.ClientChain, s.flow.ClientProven
	if id := n.server.SessionID; len(id) > 0 && n.full {
		s.cfg.Store.Put(rsakex.ByID, id, session)
	}
	if len(n.ticket) > 0 {
		s.cfg.Store.Put(rsakex.ByTicket, n.ticket, session)
	}
}

// session is what the handshake establishes or resumes; nil if it cannot be opened by our key.
func (n *negotiation) session() *rsakex.Session {
	if n.resumed != nil || n.secret == nil {
		return n.resumed
	}
	return &rsakex.Session{
		Secret: n.secret, Key: n.key, Version: n.server.SelectedVersion(),
		Suite: n.server.CipherSuite, EMS: n.server.ExtendedMasterSecret,
	}
}

// forget takes back what remember promised: the secret was not the peers'.
func (s *Session) forget(n *negotiation) {
	if s.cfg.Store == nil || n.server == nil || n.verified {
		return
	}
	if len(n.server.SessionID) > 0 && n.full {
		s.cfg.Store.Remove(rsakex.ByID, n.server.SessionID)
	}
	if len(n.ticket) > 0 {
		s.cfg.Store.Remove(rsakex.ByTicket, n.ticket)
	}
}
