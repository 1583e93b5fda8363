// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
)

// resume is called when the server goes on without a certificate: the handshake is an abbreviated
// one, by session ID (RFC 5246, Section 7.3) or by ticket (RFC 5077, Section 3.4).
func (s *Session) resume(n *negotiation) {
	session, way := s.resumable(n)
	s.resumeAs(n, session, way)
}

// resumeAs is resume with what resumable found.
func (s *Session) resumeAs(n *negotiation, session *rsakex.Session, way Resumption) {
	n.abbreviated = true
	s.flow.Resumed = way
	if session == nil {
		s.judge(SessionUnknown, "the session was begun out of sight")
		return
	}
	n.resumed, n.secret = session, session.Secret
	n.key, n.hasKey = session.Key, session.Key != rsakex.KeyID{}
	s.showClient(n, session.ClientChain, session.ClientProven)
	n.proof = session.ClientProof
	s.judge(CauseNone, "")
}

// sessionMayCome reports whether a session that is not known may be soon.
func (s *Session) sessionMayCome(n *negotiation) bool {
	if s.cfg.LateSessions == nil || s.impatient || n.judged {
		return false
	}
	if n.late == nil {
		n.late = s.cfg.LateSessions()
	}
	return n.late != nil && !n.late.Ready()
}

// awaitsSession reports whether a session that is not known is waited for.
func (s *Session) awaitsSession() bool {
	return s.waiting != nil && s.neg != nil && s.waiting == s.neg.late
}

// resumable finds the session in the store. A client that offers a ticket may add a session ID of
// its own making, so the ticket comes first (RFC 5077, Section 3.4).
func (s *Session) resumable(n *negotiation) (*rsakex.Session, Resumption) {
	ticket, id := n.hello.SessionTicket, n.server.SessionID
	way := ResumedID
	if len(ticket) > 0 {
		way = ResumedTicket
	}
	if s.cfg.Store == nil {
		return nil, way
	}
	if s.cfg.BeforeResume != nil {
		s.cfg.BeforeResume()
	}
	if session, ok := s.cfg.Store.Get(rsakex.ByTicket, ticket); ok && fits(session, n) {
		return session, ResumedTicket
	}
	if bytes.Equal(id, n.hello.SessionID) {
		if session, ok := s.cfg.Store.Get(rsakex.ByID, id); ok && fits(session, n) {
			return session, ResumedID
		}
	}
	return nil, way
}

// fits reports whether a session can be what this handshake resumes: version and suite are the
// session's (RFC 5246, Section 7.4.1.2), and so is its kind of master secret (RFC 7627, 5.3).
func fits(session *rsakex.Session, n *negotiation) bool {
	return session.Version == n.server.SelectedVersion() && session.Suite == n.server.CipherSuite &&
		session.EMS == n.server.ExtendedMasterSecret
}

// remember puts a session into the store under the names by which it can be resumed. It is called
// as each name becomes known: a client that holds one may come back before this handshake is over
// and the private key has done its work, so the store holds the secret as a promise. A promise takes
// the place of no other session: only a handshake that was verified does.
func (s *Session) remember(n *negotiation) {
	session := s.session(n)
	if s.cfg.Store == nil || session == nil {
		return
	}
	byID := n.full && n.store(s.cfg.Store, rsakex.ByID, n.server.SessionID, session)
	byTicket := n.store(s.cfg.Store, rsakex.ByTicket, n.ticket, session)
	if byID || byTicket {
		n.promised = session
	}
}

// store puts a session in the place of nothing, of an earlier promise or, when verified, of anything.
func (n *negotiation) store(to *rsakex.Store, kind rsakex.Kind, id []byte, session *rsakex.Session) bool {
	if !n.verified {
		return to.Promise(kind, id, session, n.promised)
	}
	to.Put(kind, id, session)
	return len(id) > 0
}

// promiseTicket remembers a ticket whose record has to wait for the private key: its client does not.
func (s *Session) promiseTicket(d *direction, rec []byte) {
	n := s.neg
	if d.side != handshake.Server || d.seen.changed || n == nil || !n.full ||
		handshake.ContentType(rec[0]) != handshake.ContentHandshake {
		return
	}
	m, err := handshake.ParseMessage(rec[handshake.RecordHeaderLen:])
	if err != nil || m.Type != handshake.TypeNewSessionTicket {
		return
	}
	if t, err := handshake.ParseNewSessionTicket(m); err == nil {
		n.ticket = bytes.Clone(t.Ticket)
		s.remember(n)
	}
}

// session is what the handshake establishes or resumes; nil if it cannot be opened by our key.
func (s *Session) session(n *negotiation) *rsakex.Session {
	if n.resumed != nil || n.secret == nil {
		return n.resumed
	}
	return &rsakex.Session{
		Secret: n.secret, Key: n.key, Version: n.server.SelectedVersion(),
		Suite: n.server.CipherSuite, EMS: n.server.ExtendedMasterSecret,
		ClientChain: n.clientChain, ClientProven: n.clientProven, ClientProof: n.proof,
	}
}

// forget takes back what remember promised: the secret was not the peers'.
func (s *Session) forget(n *negotiation) {
	if s.cfg.Store == nil || n.server == nil || n.verified || n.promised == nil {
		return
	}
	if n.full {
		s.cfg.Store.Remove(rsakex.ByID, n.server.SessionID, n.promised)
	}
	s.cfg.Store.Remove(rsakex.ByTicket, n.ticket, n.promised)
}
