// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/identity"
	"github.com/sightglass/sightglass/rsakex"
)

// certificateVerify checks that the client holds the key of its certificate. A wrong proof is the
// server's to refuse; here it only means that the client is not proven.
func (s *Session) certificateVerify(n *negotiation, m handshake.Message) {
	v := s.flow.Version
	c, err := handshake.ParseCertificateVerify(m, v)
	if err != nil {
		s.malformed(m, err)
		return
	}
	if n.broken || len(n.clientChain) == 0 {
		return
	}
	p := identity.Proof{
		Version: v, Side: handshake.Client, Algorithm: c.SignatureAlgorithm, Signature: c.Signature,
	}
	switch v {
	case handshake.TLS13:
		p.Hash = n.transcript.SessionHash()
	case handshake.SSL30:
		n.proof = &rsakex.SSL3Proof{Transcript: n.transcript.Fork(), Signature: bytes.Clone(c.Signature)}
		s.remember(n)
		return
	default:
		p.Transcript = n.transcript.Raw()
	}
	s.prove(n, p)
	if v < handshake.TLS13 {
		s.remember(n) // what was promised before did not know the client yet
	}
}

func (s *Session) prove(n *negotiation, p identity.Proof) {
	s.showClient(n, n.clientChain, identity.Verify(n.clientChain[0], p) == nil)
}

// showClient notes who the client is in a handshake, or in the session that it resumes. A renegotiation
// that proves nothing does not take away what the connection has proven: both handshakes are one
// client's where the peers bind them together (RFC 5746).
func (s *Session) showClient(n *negotiation, chain [][]byte, proven bool) {
	n.clientChain, n.clientProven = chain, proven
	if s.flow.ClientProven && !proven && n.server != nil && hasExtension(n.server, handshake.ExtRenegotiationInfo) {
		return
	}
	s.flow.ClientChain, s.flow.ClientProven = chain, proven
}

// acceptClient is called when a handshake is complete: the server took the client for whom it said it
// is, though its proof may not have been seen.
func (s *Session) acceptClient(n *negotiation) {
	f := &s.flow
	if len(n.clientChain) > 0 && !n.clientProven && len(f.ClientChain) > 0 && !bytes.Equal(n.clientChain[0], f.ClientChain[0]) {
		f.ClientChain, f.ClientProven = n.clientChain, false
	}
}

// checkProof checks a proof that had to wait for the master secret, of this handshake or of the one that
// began the session.
func (s *Session) checkProof(n *negotiation) {
	if n.proof == nil || len(n.clientChain) == 0 {
		return
	}
	s.prove(n, identity.Proof{
		Version: handshake.SSL30, Side: handshake.Client,
		Hash: n.proof.Transcript.CertificateVerifySSL3(n.keys.master), Signature: n.proof.Signature,
	})
	n.proof = nil
	if n.resumed != nil {
		checked := *n.resumed
		checked.ClientProven, checked.ClientProof = n.clientProven, nil
		n.resumed = &checked
	}
}
