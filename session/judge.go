// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
)

// judge decides on a handshake: CauseNone says that both conditions hold.
func (s *Session) judge(c Cause, detail string) {
	n := s.neg
	if n.judged {
		return
	}
	if s.refuses(c) {
		s.hello()
		s.fail(c, detail)
		return
	}
	// From here on the flow is relayed: a watching engine, or one whose policy says so, goes on and
	// reads what a key log opens.
	n.judged = true
	n.unread, n.unreadDetail = c, detail
	if s.verdict == Undecided {
		s.verdict = Relay
	}
	s.hello()
}

// refuses reports whether there is nothing to read in a handshake, or the policy is against it.
func (s *Session) refuses(c Cause) bool {
	return c != CauseNone && s.cfg.Inline && (s.cfg.Policy[c] != ActionForward || s.cfg.KeyLog == nil)
}

// hello shows what the peers agreed on.
func (s *Session) hello() { s.emit(KindHello, handshake.Server) }

// serverHello notes what the server chose, and judges what can be judged by it alone.
func (s *Session) serverHello(n *negotiation, m handshake.Message) {
	if n.server != nil {
		s.fail(Malformed, "a second ServerHello in one handshake")
		return
	}
	m.Raw = bytes.Clone(m.Raw)
	hello, err := handshake.ParseServerHello(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	if s.tls13 != nil && hello.SelectedVersion() != handshake.TLS13 && !s.leave13() {
		return
	}
	n.server = hello
	s.noteServerHello(n)
	if n.suite, _ = handshake.SuiteByID(hello.CipherSuite); n.suite != nil {
		s.finishedSize = n.sizeOfFinished()
	}
	if hello.SelectedVersion() == handshake.TLS13 {
		s.serverHello13(n, m)
		return
	}
	c, detail := s.readable(n)
	if n.suite != nil {
		n.transcript.SetVersion(s.flow.Version, n.suite.PRF)
	}
	n.transcript.Write(hello.Raw)
	if c != CauseNone {
		s.judge(c, detail)
	}
}

func (s *Session) noteServerHello(n *negotiation) {
	f, hello := &s.flow, n.server
	f.Version = hello.SelectedVersion()
	f.Suite = hello.CipherSuite
	f.EMS = hello.ExtendedMasterSecret
	f.EtM = hello.EncryptThenMAC
	f.Compressed = hello.Compression == compressionDeflate
	if hello.ALPN != "" {
		f.ALPN = hello.ALPN
	}
	if f.JA3S == "" {
		f.JA3S = hello.JA3S()
	}
}

const (
	compressionDeflate = 1 // RFC 3749, Section 2
	extTruncatedHMAC   = 4 // RFC 6066, Section 7
)

func hasExtension(hello *handshake.ServerHello, t handshake.ExtensionType) bool {
	_, ok := handshake.FindExtension(hello.Extensions, t)
	return ok
}

// readable says what in the ServerHello keeps a handshake up to TLS 1.2 from being read.
func (s *Session) readable(n *negotiation) (Cause, string) {
	hello := n.server
	v := hello.SelectedVersion()
	name := handshake.SuiteName(hello.CipherSuite)
	switch {
	case v < handshake.SSL30 || v > handshake.TLS13:
		return VersionUnsupported, fmt.Sprintf("the server chose %v", v)
	case n.suite == nil:
		return CipherUnsupported, fmt.Sprintf("the server chose the unknown suite %s", name)
	case n.suite.KeyExchange != handshake.KeyExchangeRSA &&
		n.suite.KeyExchange != handshake.KeyExchangeRSAExport:
		return KeyExchangeNotRSA, fmt.Sprintf("the server chose %s", name)
	case n.suite.Cipher == handshake.CipherUnknown:
		return CipherUnsupported, fmt.Sprintf("%s cannot be read", name)
	case hasExtension(hello, extTruncatedHMAC):
		return CipherUnsupported, "the server chose truncated MACs"
	case hello.Compression != 0 && hello.Compression != compressionDeflate:
		return CompressionUnsupported, fmt.Sprintf("the server chose compression method %d", hello.Compression)
	}
	return CauseNone, ""
}

// serverCertificate is the second condition: the certificate must be a configured one.
func (s *Session) serverCertificate(n *negotiation, m handshake.Message) {
	if n.full || n.resumed != nil {
		s.fail(Malformed, "a Certificate of the server out of place")
		return
	}
	n.full = true
	s.flow.Resumed = ResumedNot
	s.flow.ServerChain = nil
	s.showClient(n, nil, false)
	if n.server.ServerCertificateType != 0 {
		s.judge(CertificateMismatch, "the server showed no X.509 certificate") // RFC 7250
		return
	}
	c, err := handshake.ParseCertificate(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	s.flow.ServerChain = s.cloneServerChain(c.Chain)
	if n.judged {
		return // a key log may read it
	}
	if len(c.Chain) == 0 {
		s.judge(CertificateMismatch, "the server sent no certificate")
		return
	}
	cause, detail := s.matchCertificate(n, c.Chain[0])
	if cause != CauseNone {
		s.judge(cause, detail)
	} else if n.suite.KeyExchange == handshake.KeyExchangeRSA {
		s.judge(CauseNone, "")
	}
	// With an export suite a temporary key may still come: the next message tells.
}

// serverRest looks at what follows the certificate in the server's first flight.
func (s *Session) serverRest(n *negotiation, t handshake.MessageType) {
	switch {
	case n.unread != CauseNone:
	case t == handshake.TypeServerKeyExchange && n.judged:
		s.fail(KeyExchangeNotRSA, temporaryKey)
	case t == handshake.TypeServerKeyExchange:
		s.judge(KeyExchangeNotRSA, temporaryKey)
	case t != handshake.TypeCertificateRequest && t != handshake.TypeServerHelloDone:
	case n.full:
		s.judge(CauseNone, "") // with an export suite it was left open until now
	case !n.broken:
		s.fail(Malformed, fmt.Sprintf("a %v of the server without a Certificate", t))
	}
}

// temporaryKey is what export suites may have, and others made to be one (FREAK): the premaster secret
// is not encrypted to the certificate's key.
const temporaryKey = "the server made a temporary RSA key"

func (s *Session) matchCertificate(n *negotiation, leaf []byte) (Cause, string) {
	ring := s.cfg.Ring
	if ring == nil {
		return NoKeyForCertificate, "no key is configured"
	}
	if !s.cfg.Inline {
		n.key, n.hasKey = ring.MatchKey(leaf)
		if !n.hasKey {
			return NoKeyForCertificate, "no key fits the server's certificate"
		}
		return CauseNone, ""
	}
	key, match := ring.Match(leaf, s.cfg.MatchPublicKey)
	switch match {
	case rsakex.Matched:
		n.key, n.hasKey = key, true
		return CauseNone, ""
	case rsakex.NoKey:
		return NoKeyForCertificate, "the server's certificate is configured without its key"
	}
	return CertificateMismatch, "the server's certificate is not a configured one"
}
