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
	early   early
}

// early is what became of the client's early data.
type early struct {
	accepted bool // by the server
	unread   bool // records of it were not opened
	ended    bool // by an EndOfEarlyData that was read
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
		s.helloRetryRequest(n, m)
		return
	}
	n.transcript.Write(m.Raw)
	s.judge(TLS13, "the server chose TLS 1.3")
	if s.neg != n {
		return
	}
	k := s.tls13
	k.suite = n.suite
	k.level[handshake.Server] = levelHandshake
	if k.level[handshake.Client] != levelEarly {
		k.level[handshake.Client] = levelHandshake
	}
	if n.server.HasSelectedPSK {
		s.flow.Resumed = ResumedPSK
	}
}

// helloRetryRequest asks for another ClientHello (RFC 8446, Section 4.1.4). It decides nothing but
// that it may pass.
func (s *Session) helloRetryRequest(n *negotiation, m handshake.Message) {
	switch {
	case s.refuses(TLS13):
		s.judge(TLS13, "the server chose TLS 1.3")
		return
	case s.tls13.retried:
		s.fail(Malformed, "a second HelloRetryRequest")
		return
	}
	n.transcript.HelloRetryRequest()
	n.transcript.Write(m.Raw)
	s.tls13.retried = true
	s.tls13.level[handshake.Client] = levelNone // early data is refused
	s.dir[handshake.Client].opener = nil
	n.server = nil
	n.judged = s.cfg.Inline // until it is released
}

// leave13 is called when the server answers in an older version after all. It returns false if it
// cannot (RFC 8446, Section 4.1.4).
func (s *Session) leave13() bool {
	if s.tls13.suite != nil || s.tls13.retried {
		s.fail(Malformed, "the server left TLS 1.3")
		return false
	}
	s.tls13 = nil // there was early data
	s.dir[handshake.Client].opener = nil
	return true
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
		return s.awaitLog(TLS13, unlogged13)
	}
	s.install13(d, k.suite, secret)
	if d.opener != nil {
		s.secretLine(keylog.Line{Label: label, ID: k.random[:], Secret: secret})
	}
	return true
}

const unlogged13 = "the server chose TLS 1.3, and no key log opens it"

func (s *Session) lookup13(label keylog.Label) ([]byte, bool) {
	if s.cfg.KeyLog == nil || label == "" {
		return nil, false
	}
	return s.cfg.KeyLog.Lookup(label, s.tls13.random[:])
}

// install13 protects the direction under a traffic secret (RFC 8446, Section 7.3).
func (s *Session) install13(d *direction, suite *handshake.Suite, secret []byte) {
	opener, err := opener13(suite, secret)
	if err != nil {
		s.fail(CipherUnsupported, err.Error())
		return
	}
	d.opener = opener
	s.tls13.secret[d.side] = secret
}

func opener13(suite *handshake.Suite, secret []byte) (*record.Opener, error) {
	if len(secret) != suite.PRF.Size() {
		return nil, fmt.Errorf("%s: a secret of %d bytes", suite.Name, len(secret))
	}
	p := record.Params{Version: handshake.TLS13, Suite: suite}
	return record.NewOpener(p, record.Keys(rsakex.TrafficKeys13(suite, secret)))
}

// suites13 are those of TLS 1.3 (RFC 8446, Appendix B.4).
var suites13 = [...]uint16{0x1301, 0x1302, 0x1303, 0x1304, 0x1305}

// readyEarly finds the keys of early data, which comes before the ServerHello says which suite it
// is under: the one whose tag agrees (RFC 8446, Section 4.2.10).
func (s *Session) readyEarly(n *negotiation, d *direction, rec []byte) {
	if s.tls13 == nil {
		s.tls13 = &schedule13{random: n.hello.Random}
	}
	k := s.tls13
	secret, ok := s.lookup13(keylog.ClientEarlyTraffic)
	for i := 0; ok && i < len(suites13); i++ {
		suite, known := handshake.SuiteByID(suites13[i])
		if !known {
			continue
		}
		opener, err := opener13(suite, secret)
		if err != nil {
			continue
		}
		if _, _, err := opener.Clone().Open(nil, rec); err == nil {
			d.opener = opener
			k.level[d.side], k.secret[d.side] = levelEarly, secret
			s.secretLine(keylog.Line{Label: keylog.ClientEarlyTraffic, ID: k.random[:], Secret: secret})
			return
		}
	}
	k.early.unread = true
}

// openAnyway13 is called when a record did not open. After refused early data the client goes on
// under its handshake keys, without a word; and early data that is not known does not open under them.
func (s *Session) openAnyway13(d *direction, buf, rec []byte, err error) (handshake.ContentType, []byte, error) {
	k, n := s.tls13, s.neg
	switch {
	case k.suite == nil || n == nil || d.side != handshake.Client:
	case k.level[d.side] == levelEarly:
		s.advance13(d, levelHandshake)
		secret, ok := s.lookup13(keylog.ClientHandshakeTraffic)
		if !ok {
			s.fail(TLS13, unlogged13)
		} else if s.install13(d, k.suite, secret); d.opener != nil {
			return d.opener.Open(buf, rec)
		}
		return 0, nil, errRecordLost
	case k.level[d.side] == levelHandshake && n.hello.EarlyData && !k.early.ended && d.opener.Sequence() == 0:
		k.early.unread = true
		return 0, nil, errRecordLost
	}
	return s.resync(d, buf, rec, err)
}

// message13 takes a handshake message after the ServerHello of TLS 1.3.
func (s *Session) message13(d *direction, m handshake.Message) {
	n := s.neg
	switch {
	case m.Type == handshake.TypeKeyUpdate:
		s.keyUpdate(d, m)
		return
	case n == nil || n.finished[d.side]:
		s.after13(d, m)
		return
	case d.opener == nil:
		s.fail(Malformed, fmt.Sprintf("a %v of the %v without protection", m.Type, d.side))
		return
	}
	s.endEarly(n, d, m)
	if m.Type == handshake.TypeFinished {
		s.finished13(n, d, m)
		return
	}
	s.note13(n, d, m)
	n.transcript.Write(m.Raw)
}

// endEarly ends the client's early data. Where its keys are not known EndOfEarlyData was not seen, but
// it always is the same (RFC 8446, Section 4.5).
func (s *Session) endEarly(n *negotiation, d *direction, m handshake.Message) {
	k := s.tls13
	switch {
	case d.side != handshake.Client || k.early.ended:
	case m.Type == handshake.TypeEndOfEarlyData:
		k.early.ended = true
		s.advance13(d, levelHandshake)
	case k.early.accepted:
		k.early.ended = true
		n.transcript.Write([]byte{byte(handshake.TypeEndOfEarlyData), 0, 0, 0})
	}
}

// after13 takes a message after the handshake: in no transcript.
func (s *Session) after13(d *direction, m handshake.Message) {
	if m.Type != handshake.TypeCertificate || d.side != handshake.Client {
		return
	}
	// A certificate that was asked for afterwards (RFC 8446, Section 4.6.2). What its proof signs is
	// not kept so long.
	if c, err := handshake.ParseCertificate13(m); err == nil && len(c.Chain) > 0 {
		s.flow.ClientChain, s.flow.ClientProven = cloneChain(c.Chain), false
	}
}

func (s *Session) advance13(d *direction, l level) {
	s.tls13.level[d.side], d.opener = l, nil
}

// note13 takes from a message what is worth knowing.
func (s *Session) note13(n *negotiation, d *direction, m handshake.Message) {
	switch m.Type {
	case handshake.TypeEncryptedExtensions:
		e, err := handshake.ParseEncryptedExtensions(m)
		if err != nil {
			s.malformed(m, err)
			return
		}
		s.tls13.early.accepted = e.EarlyData
		if e.ALPN != "" {
			s.flow.ALPN = e.ALPN
		}
	case handshake.TypeCertificate:
		c, err := handshake.ParseCertificate13(m)
		if err != nil {
			s.malformed(m, err)
			return
		}
		if d.side == handshake.Server {
			s.flow.ServerChain = s.cloneServerChain(c.Chain)
		} else {
			s.showClient(n, cloneChain(c.Chain), false)
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

// nextKeys13 are the keys that a direction may have changed to in a hole: by a Finished, or by a
// KeyUpdate.
func (s *Session) nextKeys13(d *direction) []keysAhead {
	k := s.tls13
	var secret []byte
	ok := false
	next := levelApplication
	switch {
	case k.suite == nil || k.level[d.side] == levelNone:
	case k.level[d.side] == levelEarly:
		next = levelHandshake
		secret, ok = s.lookup13(labels13[next][d.side])
	case k.level[d.side] == levelHandshake:
		secret, ok = s.lookup13(labels13[next][d.side])
	case k.secret[d.side] != nil:
		secret, ok = rsakex.NextTrafficSecret(k.suite, k.secret[d.side]), true
	}
	if !ok {
		return nil
	}
	opener, err := opener13(k.suite, secret)
	if err != nil {
		return nil
	}
	return []keysAhead{{opener, func() { k.level[d.side], k.secret[d.side] = next, secret }}}
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
