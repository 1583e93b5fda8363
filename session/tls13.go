// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"crypto/hmac"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/record"
	"github.com/sightglass/sightglass/rsakex"
)

// level is a stage of TLS 1.3's key schedule (RFC 8446, Section 7.1).
type level uint8

const (
	levelNone level = iota
	levelEarly
	levelHandshake
	levelApplication
)

// schedule13 is the key schedule of a TLS 1.3 connection, its secrets taken from a key log.
type schedule13 struct {
	random  handshake.Random
	suite   *handshake.Suite // nil before the ServerHello
	retried bool             // a HelloRetryRequest came
	level   [2]level
	secret  [2][]byte // the traffic secret in force
}

var labels13 = [...][2]keylog.Label{
	levelEarly:       {keylog.ClientEarlyTraffic, ""},
	levelHandshake:   {keylog.ClientHandshakeTraffic, keylog.ServerHandshakeTraffic},
	levelApplication: {keylog.ClientTraffic, keylog.ServerTraffic},
}

// serverHello13 is the ServerHello of TLS 1.3, or a HelloRetryRequest.
func (s *Session) serverHello13(n *negotiation, m handshake.Message) {
	if n.suite == nil || n.suite.KeyExchange != handshake.KeyExchangeTLS13 {
		s.fail(Malformed, "TLS 1.3 with a cipher suite of another version")
		return
	}
	if s.tls13 == nil {
		s.tls13 = &schedule13{random: n.hello.Random}
	}
	n.transcript.SetVersion(handshake.TLS13, n.suite.PRF)
	if n.server.IsHelloRetryRequest {
		if !s.tls13.retried {
			n.transcript.HelloRetryRequest()
		}
		s.tls13.retried = true
		s.tls13.level[handshake.Client] = levelNone
		s.dir[handshake.Client].opener = nil
	}
	n.transcript.Write(m.Raw)
	s.judge(TLS13, "the server chose TLS 1.3")
	if n.server.IsHelloRetryRequest {
		n.server = nil
		return
	}
	if s.tls13 == nil {
		return
	}
	s.tls13.suite = n.suite
	s.tls13.level[handshake.Server] = levelHandshake
	if s.tls13.level[handshake.Client] != levelEarly {
		s.tls13.level[handshake.Client] = levelHandshake
	}
	if n.server.HasSelectedPSK {
		s.flow.Resumed = ResumedPSK
	}
}

// secondHello is the ClientHello that answers a HelloRetryRequest.
func (s *Session) secondHello(n *negotiation, m handshake.Message) {
	m.Raw = bytes.Clone(m.Raw)
	hello, err := handshake.ParseClientHello(m)
	if err != nil {
		s.malformed(m, err)
		return
	}
	n.hello = hello
	n.transcript.Write(hello.Raw)
}

// ready13 puts the keys of the direction's level in force. It returns false while they are missing.
func (s *Session) ready13(d *direction, typ handshake.ContentType) bool {
	if typ != handshake.ContentApplicationData || d.opener != nil {
		return true
	}
	k := s.tls13
	if k.suite == nil {
		return true
	}
	label := labels13[k.level[d.side]][d.side]
	secret, ok := s.lookup13(label)
	if !ok {
		return s.noSecret13()
	}
	return s.install13(d, k.suite, secret)
}

func (s *Session) lookup13(label keylog.Label) ([]byte, bool) {
	if s.cfg.KeyLog == nil || label == "" {
		return nil, false
	}
	secret, ok := s.cfg.KeyLog.Lookup(label, s.tls13.random[:])
	if ok {
		s.secretLine(keylog.Line{Label: label, ID: s.tls13.random[:], Secret: secret})
	}
	return secret, ok
}

func (s *Session) noSecret13() bool {
	if s.cfg.KeyLog != nil && s.cfg.KeyLogGrows {
		s.waitsLog = true
		return false
	}
	s.fail(TLS13, "the server chose TLS 1.3, and no key log opens it")
	return true
}

// install13 protects the direction under a traffic secret (RFC 8446, Section 7.3).
func (s *Session) install13(d *direction, suite *handshake.Suite, secret []byte) bool {
	opener, err := opener13(suite, secret)
	if err != nil {
		s.fail(CipherUnsupported, err.Error())
		return true
	}
	d.opener = opener
	s.tls13.secret[d.side] = secret
	return true
}

func opener13(suite *handshake.Suite, secret []byte) (*record.Opener, error) {
	if len(secret) != suite.PRF.Size() {
		return nil, fmt.Errorf("%s: a secret of %d bytes", suite.Name, len(secret))
	}
	p := record.Params{Version: handshake.TLS13, Suite: suite}
	return record.NewOpener(p, record.Keys(rsakex.TrafficKeys13(suite, secret)))
}

// readyEarly finds the keys of early data, which comes before the ServerHello says which suite it
// is under: the one whose tag agrees (RFC 8446, Section 4.2.10).
func (s *Session) readyEarly(n *negotiation, d *direction, rec []byte) bool {
	if s.tls13 == nil {
		s.tls13 = &schedule13{random: n.hello.Random}
	}
	secret, ok := s.lookup13(keylog.ClientEarlyTraffic)
	if !ok {
		return true // skipEarly drops it
	}
	for _, id := range n.hello.CipherSuites {
		suite, ok := handshake.SuiteByID(id)
		if !ok || suite.KeyExchange != handshake.KeyExchangeTLS13 {
			continue
		}
		opener, err := opener13(suite, secret)
		if err != nil {
			continue
		}
		if _, _, err := opener.Clone().Open(nil, rec); err == nil {
			d.opener = opener
			s.tls13.level[d.side], s.tls13.secret[d.side] = levelEarly, secret
			return true
		}
	}
	return true
}

// openAnyway13 is called when a record did not open: after refused early data the client goes on
// under its handshake keys, without a word.
func (s *Session) openAnyway13(d *direction, buf, rec []byte, err error) (handshake.ContentType, []byte, error) {
	k := s.tls13
	if k.level[d.side] != levelEarly || k.suite == nil {
		return s.resync(d, rec, err)
	}
	k.level[d.side], d.opener = levelHandshake, nil
	if !s.ready13(d, handshake.ContentApplicationData) || d.opener == nil {
		return 0, nil, err
	}
	return d.opener.Open(buf, rec)
}

// message13 takes a handshake message after the ServerHello of TLS 1.3.
func (s *Session) message13(d *direction, m handshake.Message) {
	n := s.neg
	switch {
	case m.Type == handshake.TypeKeyUpdate:
		s.keyUpdate(d, m)
		return
	case n == nil || n.finished[d.side]:
		return // in no transcript: tickets, and client certificates asked for afterwards
	case d.opener == nil:
		s.fail(Malformed, fmt.Sprintf("a %v of the %v without protection", m.Type, d.side))
		return
	case m.Type == handshake.TypeFinished:
		s.finished13(n, d, m)
		return
	}
	s.note13(n, d, m)
	n.transcript.Write(m.Raw)
	if m.Type == handshake.TypeEndOfEarlyData && d.side == handshake.Client {
		s.advance13(d, levelHandshake)
	}
}

func (s *Session) advance13(d *direction, l level) {
	s.tls13.level[d.side], d.opener = l, nil
}

// note13 takes from a message what is worth knowing.
func (s *Session) note13(n *negotiation, d *direction, m handshake.Message) {
	switch m.Type {
	case handshake.TypeEncryptedExtensions:
		if e, err := handshake.ParseEncryptedExtensions(m); err == nil && e.ALPN != "" {
			s.flow.ALPN = e.ALPN
		}
	case handshake.TypeCertificate:
		c, err := handshake.ParseCertificate13(m)
		if err != nil {
			s.malformed(m, err)
			return
		}
		if d.side == handshake.Server {
			s.flow.ServerChain = cloneChain(c.Chain)
		} else {
			s.flow.ClientChain = cloneChain(c.Chain)
		}
	case handshake.TypeCertificateVerify:
		if d.side == handshake.Client {
			s.certificateVerify(n, m)
		}
	}
}

// finished13 checks a Finished (RFC 8446, Section 4.4.4).
func (s *Session) finished13(n *negotiation, d *direction, m handshake.Message) {
	k := s.tls13
	if !n.broken {
		want := rsakex.Finished13(k.suite, k.secret[d.side], n.transcript.SessionHash())
		if !hmac.Equal(want, m.Body()) {
			s.fail(FinishedMismatch, fmt.Sprintf("the %v's Finished does not fit the handshake", d.side))
			return
		}
	}
	n.transcript.Write(m.Raw)
	n.finished[d.side] = true
	s.advance13(d, levelApplication)
	if n.finished[d.side.Opposite()] {
		s.complete(n)
	}
}

// keyUpdate moves a direction to its next traffic secret (RFC 8446, Section 7.2).
func (s *Session) keyUpdate(d *direction, m handshake.Message) {
	k := s.tls13
	if _, err := handshake.ParseKeyUpdate(m); err != nil {
		s.malformed(m, err)
		return
	}
	if k.level[d.side] != levelApplication || d.opener == nil {
		s.fail(Malformed, fmt.Sprintf("a KeyUpdate of the %v out of place", d.side))
		return
	}
	s.install13(d, k.suite, rsakex.NextTrafficSecret(k.suite, k.secret[d.side]))
}
