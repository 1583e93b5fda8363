// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// seedMessages adds the samples' messages of the types to the corpus; all of them for no type.
func seedMessages(f *testing.F, types ...MessageType) {
	for _, s := range samples() {
		if len(types) == 0 || slices.Contains(types, s.msg.Type) {
			f.Add(s.msg.Raw)
		}
	}
}

func addExtensions(b *cryptobyte.Builder, exts []Extension) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, e := range exts {
			ext(e.Type, raw(e.Data...))(b)
		}
	})
}

func addNumbers(b *cryptobyte.Builder, list []uint16) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, v := range list {
			b.AddUint16(v)
		}
	})
}

func marshalClientHello(h *ClientHello) []byte {
	return message(TypeClientHello, func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(h.Version))
		b.AddBytes(h.Random[:])
		vec8(h.SessionID...)(b)
		addNumbers(b, h.CipherSuites)
		vec8(h.Compressions...)(b)
		if h.Extensions != nil {
			addExtensions(b, h.Extensions)
		}
	}).Raw
}

func marshalServerHello(h *ServerHello) []byte {
	return message(TypeServerHello, func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(h.Version))
		b.AddBytes(h.Random[:])
		vec8(h.SessionID...)(b)
		b.AddUint16(h.CipherSuite)
		b.AddUint8(h.Compression)
		if h.Extensions != nil {
			addExtensions(b, h.Extensions)
		}
	}).Raw
}

// parsed turns fuzz input into a message; false if it is none.
func parsed(b []byte) (Message, bool) {
	m, err := ParseMessage(b)
	return m, err == nil
}

// whole checks that got is all of m: nothing of the input was passed over.
func whole(t *testing.T, m Message, got []byte) {
	t.Helper()
	if !bytes.Equal(got, m.Raw) {
		t.Fatalf("Raw is %x, not %x", got, m.Raw)
	}
}

func FuzzClientHello(f *testing.F) {
	seedMessages(f, TypeClientHello)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		h, err := ParseClientHello(m)
		if err != nil {
			return
		}
		whole(t, m, h.Raw)
		if again := marshalClientHello(h); !bytes.Equal(again, b) {
			t.Fatalf("marshalled to %x", again)
		}
		if len(h.JA3()) != 32 || len(h.JA4()) != 36 {
			t.Fatalf("JA3 %q, JA4 %q", h.JA3(), h.JA4())
		}
		if h.Version>>8 == 3 {
			if look := LooksLikeClientHello(records(TLS10, b, MaxPlaintext)); look != Yes {
				t.Fatalf("parses, but looks like a ClientHello: %v", look)
			}
		}
	})
}

func FuzzServerHello(f *testing.F) {
	seedMessages(f, TypeServerHello)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		h, err := ParseServerHello(m)
		if err != nil {
			return
		}
		whole(t, m, h.Raw)
		if again := marshalServerHello(h); !bytes.Equal(again, b) {
			t.Fatalf("marshalled to %x", again)
		}
		if len(h.JA3S()) != 32 || h.SelectedVersion() == 0 && h.Version != 0 {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzV2ClientHello(f *testing.F) {
	f.Add(v2Hello(TLS12, v2Specs, nil, sampleRandom[:]))
	f.Add(v2Hello(SSL20, v2Specs, sampleID[:16], sampleRandom[:16]))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseV2ClientHello(b)
		look := LooksLikeClientHello(b)
		switch {
		case errors.Is(err, ErrIncomplete):
			if n <= len(b) {
				t.Fatalf("incomplete, but %d bytes are enough", n)
			}
		case err != nil:
			if look == Yes {
				t.Fatalf("looks like a ClientHello, but %v", err)
			}
		default:
			if !bytes.Equal(h.Raw, b[2:n]) {
				t.Fatal("Raw is not the record without its length")
			}
			if (h.Version == SSL20 || h.Version>>8 == 3) != (look == Yes) {
				t.Fatalf("%v looks like a ClientHello: %v", h.Version, look)
			}
			if !bytes.HasSuffix(b[:n], bytes.TrimLeft(h.Random[:], "\x00")) {
				t.Fatal("Random does not end like the challenge")
			}
		}
	})
}

func FuzzCertificate(f *testing.F) {
	seedMessages(f, TypeCertificate)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		if c, err := ParseCertificate(m); err == nil {
			whole(t, m, c.Raw)
			again := message(TypeCertificate, within24(func(b *cryptobyte.Builder) {
				for _, der := range c.Chain {
					vec24(der...)(b)
				}
			}))
			whole(t, m, again.Raw)
		}
		if c, err := ParseCertificate13(m); err == nil {
			whole(t, m, c.Raw)
			if c.OCSP != nil && len(c.Chain) == 0 {
				t.Fatal("a staple without a certificate")
			}
		}
	})
}

func FuzzCertificateStatus(f *testing.F) {
	seedMessages(f, TypeCertificateStatus)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		c, err := ParseCertificateStatus(m)
		if err != nil {
			return
		}
		whole(t, m, c.Raw)
		list := func(b *cryptobyte.Builder) {
			for _, response := range c.Responses {
				vec24(response...)(b)
			}
		}
		kind := m.Body()[0]
		if kind == statusOCSPMulti {
			list = within24(list)
		}
		whole(t, m, message(TypeCertificateStatus, seq(raw(kind), list)).Raw)
	})
}

func FuzzCertificateRequest(f *testing.F) {
	seedMessages(f, TypeCertificateRequest)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		for _, v := range []Version{SSL30, TLS10, TLS11, TLS12, TLS13} {
			r, err := ParseCertificateRequest(m, v)
			if err != nil {
				continue
			}
			whole(t, m, r.Raw)
			if v >= TLS13 {
				whole(t, m, message(TypeCertificateRequest, func(b *cryptobyte.Builder) {
					vec8(r.Context...)(b)
					addExtensions(b, r.Extensions)
				}).Raw)
				continue
			}
			whole(t, m, message(TypeCertificateRequest, func(b *cryptobyte.Builder) {
				vec8(r.Types...)(b)
				if v == TLS12 {
					addNumbers(b, r.SignatureAlgorithms)
				}
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
					for _, name := range r.Authorities {
						vec16(name...)(b)
					}
				})
			}).Raw)
		}
	})
}

func FuzzCertificateVerify(f *testing.F) {
	seedMessages(f, TypeCertificateVerify)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		for _, v := range []Version{SSL30, TLS11, TLS12, TLS13} {
			c, err := ParseCertificateVerify(m, v)
			if err != nil {
				continue
			}
			body := vec16(c.Signature...)
			if v >= TLS12 {
				body = seq(raw(byte(c.SignatureAlgorithm>>8), byte(c.SignatureAlgorithm)), body)
			}
			whole(t, m, message(TypeCertificateVerify, body).Raw)
		}
	})
}

func FuzzKeyExchange(f *testing.F) {
	seedMessages(f, TypeClientKeyExchange, TypeServerKeyExchange)
	f.Add(message(TypeClientKeyExchange, raw(sampleSecret...)).Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		for _, v := range []Version{SSL30, TLS10, TLS12} {
			secret, err := ParseClientKeyExchangeRSA(m, v)
			if err != nil {
				continue
			}
			if extra := len(m.Body()) - len(secret); extra != 0 && extra != 2 || !bytes.HasSuffix(m.Raw, secret) || len(secret) == 0 {
				t.Fatalf("%v: secret %x of %x", v, secret, m.Raw)
			}
		}
		if p, err := ParseServerKeyExchangeRSAExport(m); err == nil {
			whole(t, m, message(TypeServerKeyExchange, seq(vec16(p.Modulus...), vec16(p.Exponent...), vec16(p.Signature...))).Raw)
		}
	})
}

func FuzzNewSessionTicket(f *testing.F) {
	seedMessages(f, TypeNewSessionTicket)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		if n, err := ParseNewSessionTicket(m); err == nil {
			whole(t, m, message(TypeNewSessionTicket, func(b *cryptobyte.Builder) {
				b.AddUint32(n.Lifetime)
				vec16(n.Ticket...)(b)
			}).Raw)
		}
		if n, err := ParseNewSessionTicket13(m); err == nil {
			whole(t, m, message(TypeNewSessionTicket, func(b *cryptobyte.Builder) {
				b.AddUint32(n.Lifetime)
				b.AddUint32(n.AgeAdd)
				vec8(n.Nonce...)(b)
				vec16(n.Ticket...)(b)
				addExtensions(b, n.Extensions)
			}).Raw)
		}
	})
}

// FuzzSmallMessages is for the parsers that one line each marshals again.
func FuzzSmallMessages(f *testing.F) {
	seedMessages(f, TypeEncryptedExtensions, TypeCompressedCertificate, TypeNextProtocol, TypeKeyUpdate)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsed(b)
		if !ok {
			return
		}
		if e, err := ParseEncryptedExtensions(m); err == nil {
			whole(t, m, message(m.Type, func(b *cryptobyte.Builder) { addExtensions(b, e.Extensions) }).Raw)
		}
		if c, err := ParseCompressedCertificate(m); err == nil {
			whole(t, m, message(m.Type, func(b *cryptobyte.Builder) {
				b.AddUint16(c.Algorithm)
				b.AddUint24(uint32(c.Uncompressed))
				vec24(c.Data...)(b)
			}).Raw)
		}
		if p, err := ParseNextProtocol(m); err == nil {
			if body := m.Body(); len(p.Protocol) != int(body[0]) || len(body) != 2+len(p.Protocol)+int(body[1+len(p.Protocol)]) {
				t.Fatalf("%q of %x", p.Protocol, body)
			}
		}
		if k, err := ParseKeyUpdate(m); err == nil && (k.UpdateRequested != (m.Body()[0] == 1) || len(m.Raw) != 5) {
			t.Fatalf("%+v", k)
		}
	})
}

// FuzzMessages compares what comes out for one chunk and for many.
func FuzzMessages(f *testing.F) {
	_, all := stream()
	f.Add(all, []byte{1, 2, 3}, uint16(0))
	f.Add(all, []byte{255, 5}, uint16(100))
	f.Fuzz(func(t *testing.T, b, sizes []byte, limit uint16) {
		one, many := Messages{Limit: int(limit)}, Messages{Limit: int(limit)}
		want, wantErr := cut(t, &one, b, func() int { return len(b) })
		i := 0
		got, gotErr := cut(t, &many, b, func() int {
			i++
			if len(sizes) == 0 {
				return 1
			}
			return int(sizes[i%len(sizes)])
		})
		if !sameMessages(got, want) || (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%d messages (%v) in chunks, %d (%v) at once", len(got), gotErr, len(want), wantErr)
		}
		if gotErr == nil && one.Pending() != many.Pending() {
			t.Fatalf("%d pending in chunks, %d at once", many.Pending(), one.Pending())
		}
		n := 0
		for _, m := range want {
			n += len(m.Raw)
		}
		if wantErr == nil && n+one.Pending() != len(b) {
			t.Fatalf("%d bytes in messages and %d pending of %d", n, one.Pending(), len(b))
		}
	})
}

func FuzzLooks(f *testing.F) {
	for _, b := range heads() {
		f.Add(b[:min(len(b), 600)])
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x80, 32, 4, 0, 1, 0, 2, 0, 2, 0, 3, 0, 16, 0x30, 0, 7, 0, 0xc0})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkMonotonic(t, "fuzz", b)
	})
}

func FuzzRecordHeaderAndAlert(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 5})
	f.Add([]byte{2, 47})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseRecordHeader(b); err == nil {
			again := []byte{byte(h.Type), byte(h.Version >> 8), byte(h.Version), byte(h.Length >> 8), byte(h.Length)}
			if !bytes.HasPrefix(b, again) || h.Length > MaxCiphertext {
				t.Fatalf("%+v", h)
			}
		}
		if a, err := ParseAlert(b); err == nil {
			if again := a.AppendRecord(nil, TLS12)[RecordHeaderLen:]; !bytes.Equal(again, b) {
				t.Fatalf("%v is %x", a, again)
			}
		}
	})
}
