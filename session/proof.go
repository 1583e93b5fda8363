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
	if n.broken || len(s.flow.ClientChain) == 0 {
		return
	}
	p := identity.Proof{
		Version: v, Side: handshake.Client, Algorithm: c.SignatureAlgorithm, Signature: c.Signature,
	}
	switch v {
	case handshake.TLS13:
		p.Hash = n.transcript.SessionHash()
	case handshake.SSL30:
		p.Signature = bytes.Clone(c.Signature)
		n.proof = &ssl3Proof{p, n.transcript.Raw()}
		return
	default:
		p.Transcript = n.transcript.Raw()
	}
	s.prove(p)
	if v < handshake.TLS13 {
		s.remember(n) // what was promised before did not know the client yet
	}
}

func (s *Session) prove(p identity.Proof) {
	s.flow.ClientProven = identity.Verify(s.flow.ClientChain[0], p) == nil
}

// ssl3Proof is a CertificateVerify of SSL 3.0, which signs the master secret, too (RFC 6101,
// Section 5.6.8).
type ssl3Proof struct {
	identity.Proof
	transcript []byte // before it
}

// checkProof checks a proof that had to wait for the master secret.
func (s *Session) checkProof(n *negotiation) {
	if n.proof == nil || len(s.flow.ClientChain) == 0 || n.proof.transcript == nil {
		return
	}
	t := rsakex.Transcript{Limit: len(n.proof.transcript)}
	t.SetVersion(handshake.SSL30, n.suite.PRF)
	t.Write(n.proof.transcript)
	n.proof.Hash = t.CertificateVerifySSL3(n.keys.master)
	s.prove(n.proof.Proof)
	n.proof = nil
}
