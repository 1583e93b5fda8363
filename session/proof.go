// SPDX-License-Identifier: Apache-2.0

package session

import (
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/identity"
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
	switch {
	case v == handshake.TLS13:
		p.Hash = n.transcript.SessionHash()
	case v == handshake.SSL30:
		if p.Hash = s.ssl3Hash(n); p.Hash == nil {
			return
		}
	default:
		p.Transcript = n.transcript.Raw()
	}
	s.flow.ClientProven = identity.Verify(s.flow.ClientChain[0], p) == nil
}

// ssl3Hash is what SSL 3.0 signs, which takes the master secret; nil if that is not there yet.
func (s *Session) ssl3Hash(n *negotiation) []byte {
	if n.secret == nil || !n.secret.Ready() {
		return nil
	}
	master, err := n.secret.Master()
	if err != nil {
		return nil
	}
	return n.transcript.CertificateVerifySSL3(master)
}
