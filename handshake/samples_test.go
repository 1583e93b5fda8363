// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// build returns the bytes that f adds.
func build(f func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	f(&b)
	return b.BytesOrPanic()
}

// message returns a message of type t with the body that f adds.
func message(t MessageType, f func(b *cryptobyte.Builder)) Message {
	return Message{t, build(func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(t))
		b.AddUint24LengthPrefixed(f)
	})}
}

// vec8 adds data with its length in 1 byte; vec16 and vec24 in 2 and 3.
func vec8(data ...byte) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(data) })
	}
}

func vec16(data ...byte) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(data) })
	}
}

func vec24(data ...byte) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(data) })
	}
}

func raw(data ...byte) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddBytes(data) }
}

// seq adds one part after another.
func seq(parts ...func(b *cryptobyte.Builder)) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		for _, part := range parts {
			part(b)
		}
	}
}

// within16 puts the parts into a vector with a 2-byte length.
func within16(parts ...func(b *cryptobyte.Builder)) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddUint16LengthPrefixed(seq(parts...)) }
}

// within24 puts the parts into a vector with a 3-byte length.
func within24(parts ...func(b *cryptobyte.Builder)) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddUint24LengthPrefixed(seq(parts...)) }
}

// ext adds one extension.
func ext(t ExtensionType, parts ...func(b *cryptobyte.Builder)) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(t))
		b.AddUint16LengthPrefixed(seq(parts...))
	}
}

var (
	sampleRandom = Random(bytes.Repeat([]byte{0xa5}, 32))
	sampleID     = bytes.Repeat([]byte{0x1d}, 32)
)

// clientHello returns a ClientHello with the given extensions block, or none.
func clientHello(v Version, exts ...func(b *cryptobyte.Builder)) Message {
	return message(TypeClientHello, func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(v))
		b.AddBytes(sampleRandom[:])
		seq(vec8(sampleID...), vec16(0x0a, 0x0a, 0x00, 0x9c, 0x00, 0x2f, 0x00, 0xff, 0x56, 0x00), vec8(1, 0))(b)
		if exts != nil {
			within16(exts...)(b)
		}
	})
}

// serverHello returns a ServerHello with the given extensions block, or none.
func serverHello(v Version, random Random, exts ...func(b *cryptobyte.Builder)) Message {
	return message(TypeServerHello, func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(v))
		b.AddBytes(random[:])
		seq(vec8(sampleID...), raw(0x00, 0x2f, 1))(b)
		if exts != nil {
			within16(exts...)(b)
		}
	})
}

// allClientExtensions is every extension that ParseClientHello looks into, and two it does not.
var allClientExtensions = []func(b *cryptobyte.Builder){
	ext(0x1a1a),
	ext(ExtServerName, within16(raw(7), vec16(1, 2), raw(0), vec16([]byte("example.com")...))),
	ext(ExtMaxFragmentLength, raw(2)),
	ext(ExtStatusRequest, raw(1, 0, 0, 0, 0)),
	ext(ExtSupportedGroups, vec16(0x2a, 0x2a, 0, 29, 0, 23)),
	ext(ExtECPointFormats, vec8(0, 1)),
	ext(ExtSignatureAlgorithms, vec16(4, 3, 8, 4)),
	ext(ExtALPN, within16(vec8([]byte("h2")...), vec8([]byte("http/1.1")...))),
	ext(ExtEncryptThenMAC),
	ext(ExtExtendedMasterSecret),
	ext(ExtRecordSizeLimit, raw(0x40, 1)),
	ext(ExtSessionTicket, raw(9, 8, 7)),
	ext(ExtEarlyData),
	ext(ExtSupportedVersions, vec8(0x3a, 0x3a, 3, 4, 3, 3)),
	ext(ExtNextProtocol),
	ext(ExtRenegotiationInfo, vec8(5, 6)),
	ext(21, raw(0, 0)),
	ext(ExtPreSharedKey, within16(vec16(1, 2, 3), raw(0, 0, 0, 1), vec16(4), raw(0, 0, 0, 2)),
		within16(vec8(sampleID...), vec8(sampleID...))),
}

var serverExtensions = []func(b *cryptobyte.Builder){
	ext(ExtALPN, within16(vec8([]byte("h2")...))),
	ext(ExtMaxFragmentLength, raw(3)),
	ext(ExtRecordSizeLimit, raw(2, 0)),
	ext(ExtClientCertificateType, raw(0)),
	ext(ExtServerCertificateType, raw(2)),
	ext(ExtRenegotiationInfo, vec8(1, 2, 3)),
	ext(ExtNextProtocol, vec8([]byte("spdy/3")...), vec8([]byte("h2")...)),
	ext(ExtSessionTicket),
	ext(ExtExtendedMasterSecret),
	ext(ExtEncryptThenMAC),
	ext(ExtStatusRequest),
	ext(ExtServerName),
}

// A sample is a valid message with its parser, which must give back the message's bytes.
type sample struct {
	name  string
	msg   Message
	parse func(Message) (raw []byte, err error)
	// shorter are lengths of the body at which the message is valid too.
	shorter []int
}

func parseClientHelloRaw(m Message) ([]byte, error) {
	h, err := ParseClientHello(m)
	if err != nil {
		return nil, err
	}
	return h.Raw, nil
}

func parseServerHelloRaw(m Message) ([]byte, error) {
	h, err := ParseServerHello(m)
	if err != nil {
		return nil, err
	}
	return h.Raw, nil
}

// rawOf makes a sample's parser of a parser and of the way to its result's Raw.
func rawOf[T any](parse func(Message) (*T, error), raw func(*T) []byte) func(Message) ([]byte, error) {
	return func(m Message) ([]byte, error) {
		p, err := parse(m)
		if err != nil {
			return nil, err
		}
		return raw(p), nil
	}
}

// versioned binds the version of a parser that needs it.
func versioned[T any](v Version, parse func(Message, Version) (*T, error)) func(Message) (*T, error) {
	return func(m Message) (*T, error) { return parse(m, v) }
}

func certificateRaw(m *Certificate) []byte               { return m.Raw }
func certificateRequestRaw(m *CertificateRequest) []byte { return m.Raw }
func certificateVerifyRaw(m *CertificateVerify) []byte   { return m.Raw }
func ticketRaw(m *NewSessionTicket) []byte               { return m.Raw }

// exchangeRaw gives back the message if the secret lies in it.
func exchangeRaw(v Version) func(Message) ([]byte, error) {
	return func(m Message) ([]byte, error) {
		secret, err := ParseClientKeyExchangeRSA(m, v)
		if err != nil || !bytes.HasSuffix(m.Raw, secret) {
			return nil, err
		}
		return m.Raw, nil
	}
}

var (
	sampleSecret  = bytes.Repeat([]byte{0xc3}, 256)
	authorities   = within16(vec16(0x30, 0), vec16(0x30, 1, 2))
	staple        = ext(ExtStatusRequest, raw(1), vec24(0x30, 3))
	parse12Verify = rawOf(versioned(TLS12, ParseCertificateVerify), certificateVerifyRaw)
	parse10Verify = rawOf(versioned(TLS10, ParseCertificateVerify), certificateVerifyRaw)
)

func hellos() []sample {
	noExts := len(clientHello(TLS12).Body())
	noServerExts := len(serverHello(TLS12, sampleRandom).Body())
	return []sample{
		{"ClientHello SSL 3.0", clientHello(SSL30), parseClientHelloRaw, nil},
		{"ClientHello no extensions", clientHello(TLS12, seq()), parseClientHelloRaw, []int{noExts}},
		{"ClientHello all extensions", clientHello(TLS12, allClientExtensions...), parseClientHelloRaw, []int{noExts}},
		{"ServerHello SSL 3.0", serverHello(SSL30, sampleRandom), parseServerHelloRaw, nil},
		{"ServerHello TLS 1.2", serverHello(TLS12, sampleRandom, serverExtensions...), parseServerHelloRaw, []int{noServerExts}},
		{"ServerHello TLS 1.3", serverHello(TLS12, sampleRandom,
			ext(ExtSupportedVersions, raw(3, 4)), ext(ExtKeyShare, raw(0, 29), vec16(1, 2)), ext(ExtPreSharedKey, raw(0, 1)),
		), parseServerHelloRaw, []int{noServerExts}},
		{"HelloRetryRequest", serverHello(TLS12, helloRetryRandom,
			ext(ExtSupportedVersions, raw(3, 4)), ext(ExtKeyShare, raw(0, 24)),
		), parseServerHelloRaw, []int{noServerExts}},
		{"EncryptedExtensions", message(TypeEncryptedExtensions, within16(
			ext(ExtALPN, within16(vec8([]byte("h2")...))), ext(ExtEarlyData), ext(ExtRecordSizeLimit, raw(1, 0)),
			ext(ExtMaxFragmentLength, raw(1)), ext(ExtClientCertificateType, raw(0)),
			ext(ExtServerCertificateType, raw(0)), ext(ExtServerName),
		)), rawOf(ParseEncryptedExtensions, func(m *EncryptedExtensions) []byte { return m.Raw }), nil},
	}
}

func certificates() []sample {
	return []sample{
		{"Certificate", message(TypeCertificate, within24(vec24(0x30, 0), vec24(0x30, 1, 5))),
			rawOf(ParseCertificate, certificateRaw), nil},
		{"Certificate empty", message(TypeCertificate, within24()), rawOf(ParseCertificate, certificateRaw), nil},
		{"Certificate 1.3", message(TypeCertificate, seq(vec8(1, 2), within24(
			vec24(0x30, 0), within16(staple), vec24(0x30, 1, 5), within16(),
		))), rawOf(ParseCertificate13, certificateRaw), nil},
		{"CertificateStatus", message(TypeCertificateStatus, seq(raw(1), vec24(0x30, 0))),
			rawOf(ParseCertificateStatus, func(m *CertificateStatus) []byte { return m.Raw }), nil},
		{"CertificateStatus multi", message(TypeCertificateStatus, seq(raw(2), within24(vec24(0x30, 0), vec24()))),
			rawOf(ParseCertificateStatus, func(m *CertificateStatus) []byte { return m.Raw }), nil},
		{"CertificateRequest 1.0", message(TypeCertificateRequest, seq(vec8(1, 2), authorities)),
			rawOf(versioned(TLS10, ParseCertificateRequest), certificateRequestRaw), nil},
		{"CertificateRequest 1.2", message(TypeCertificateRequest, seq(vec8(1), vec16(4, 1), authorities)),
			rawOf(versioned(TLS12, ParseCertificateRequest), certificateRequestRaw), nil},
		{"CertificateRequest 1.3", message(TypeCertificateRequest, seq(vec8(), within16(
			ext(ExtSignatureAlgorithms, vec16(8, 4)), ext(ExtCertificateAuthorities, authorities), ext(0x3a3a),
		))), rawOf(versioned(TLS13, ParseCertificateRequest), certificateRequestRaw), nil},
		{"CertificateVerify SSL 3.0", message(TypeCertificateVerify, vec16(1, 2, 3)),
			rawOf(versioned(SSL30, ParseCertificateVerify), certificateVerifyRaw), nil},
		{"CertificateVerify 1.0", message(TypeCertificateVerify, vec16(1, 2, 3)), parse10Verify, nil},
		{"CertificateVerify 1.2", message(TypeCertificateVerify, seq(raw(4, 1), vec16(1, 2, 3))), parse12Verify, nil},
		{"CompressedCertificate", message(TypeCompressedCertificate, seq(raw(0, 1, 0, 1, 0), vec24(1, 2))),
			rawOf(ParseCompressedCertificate, func(m *CompressedCertificate) []byte { return m.Raw }), nil},
	}
}

func exchanges() []sample {
	return []sample{
		{"ClientKeyExchange TLS", message(TypeClientKeyExchange, vec16(sampleSecret...)), exchangeRaw(TLS10), nil},
		{"ServerKeyExchange export", message(TypeServerKeyExchange, seq(vec16(sampleID...), vec16(1, 0, 1), vec16(7))),
			rawOf(ParseServerKeyExchangeRSAExport, func(m *RSAParams) []byte { return m.Raw }), nil},
		{"NewSessionTicket", message(TypeNewSessionTicket, seq(raw(0, 0, 1, 0), vec16(1, 2, 3))),
			rawOf(ParseNewSessionTicket, ticketRaw), nil},
		{"NewSessionTicket empty", message(TypeNewSessionTicket, seq(raw(0, 0, 1, 0), vec16())),
			rawOf(ParseNewSessionTicket, ticketRaw), nil},
		{"NewSessionTicket 1.3", message(TypeNewSessionTicket, seq(
			raw(0, 0, 1, 0, 1, 2, 3, 4), vec8(0), vec16(1, 2, 3), within16(ext(ExtEarlyData, raw(0, 0, 1, 0))),
		)), rawOf(ParseNewSessionTicket13, ticketRaw), nil},
		{"NextProtocol", message(TypeNextProtocol, seq(vec8([]byte("h2")...), vec8(make([]byte, 28)...))),
			rawOf(ParseNextProtocol, func(m *NextProtocol) []byte { return m.Raw }), nil},
		{"KeyUpdate", message(TypeKeyUpdate, raw(1)),
			rawOf(ParseKeyUpdate, func(m *KeyUpdate) []byte { return m.Raw }), nil},
	}
}

// samples returns one valid message or more for each parser.
func samples() []sample { return slices.Concat(hellos(), certificates(), exchanges()) }

// rebody returns m with another body.
func rebody(m Message, body []byte) Message { return message(m.Type, raw(body...)) }

func TestSamplesParse(t *testing.T) {
	for _, s := range samples() {
		got, err := s.parse(s.msg)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if !bytes.Equal(got, s.msg.Raw) {
			t.Errorf("%s: Raw is %x, not %x", s.name, got, s.msg.Raw)
		}
	}
}

func TestPrefixesFail(t *testing.T) {
	for _, s := range samples() {
		for n := range len(s.msg.Raw) {
			if _, err := s.parse(Message{s.msg.Type, s.msg.Raw[:n]}); err == nil {
				t.Errorf("%s: parsed %d of %d bytes", s.name, n, len(s.msg.Raw))
			}
		}
		body := s.msg.Body()
		for n := range len(body) {
			if slices.Contains(s.shorter, n) {
				continue
			}
			if _, err := s.parse(rebody(s.msg, body[:n])); err == nil {
				t.Errorf("%s: parsed a body of %d of %d bytes", s.name, n, len(body))
			}
		}
	}
}

func TestTrailingDataFails(t *testing.T) {
	for _, s := range samples() {
		if _, err := s.parse(Message{s.msg.Type, append(slices.Clone(s.msg.Raw), 0)}); err == nil {
			t.Errorf("%s: parsed with a byte after it", s.name)
		}
		if _, err := s.parse(rebody(s.msg, append(slices.Clone(s.msg.Body()), 0))); err == nil {
			t.Errorf("%s: parsed with a byte at the body's end", s.name)
		}
	}
}

func TestOtherTypesFail(t *testing.T) {
	for _, s := range samples() {
		other := message(s.msg.Type+1, raw(s.msg.Body()...))
		if _, err := s.parse(other); err == nil {
			t.Errorf("%s: parsed as %v", s.name, other.Type)
		}
		other.Type = s.msg.Type
		if _, err := s.parse(other); err == nil {
			t.Errorf("%s: parsed with Type and Raw at odds", s.name)
		}
	}
}

// TestBytesAliasMessage makes sure that parsing copies no content: what it returns lies in the message.
func TestBytesAliasMessage(t *testing.T) {
	m := clientHello(TLS12, allClientExtensions...)
	h, err := ParseClientHello(m)
	if err != nil {
		t.Fatal(err)
	}
	clear(m.Raw)
	if h.SessionTicket[0] != 0 || h.SessionID[0] != 0 || h.Extensions[2].Data[0] != 0 || h.Raw[0] != 0 {
		t.Error("parsed slices do not alias the message")
	}
	if h.ServerName != "example.com" || h.ALPN[0] != "h2" {
		t.Error("strings alias the message")
	}
}
