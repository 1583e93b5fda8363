// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"crypto/ecdh"
	"crypto/rand"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sightglass/sightglass/handshake"
)

// Offer is what a ClientHello says. Max may be TLS 1.0 to TLS 1.3.
type Offer struct {
	Max        handshake.Version
	Suites     []uint16
	ServerName string // empty: no server_name extension
}

// Extension numbers, of the IANA registry.
const (
	extServerName           = 0
	extSupportedGroups      = 10
	extPointFormats         = 11
	extSignatureAlgorithms  = 13
	extEncryptThenMAC       = 22
	extExtendedMasterSecret = 23
	extSupportedVersions    = 43
	extKeyShare             = 51
	extRenegotiationInfo    = 0xff01
)

// x25519 is the one group that a key share is sent for; the others lead to a HelloRetryRequest, which
// says as much.
const x25519 = 29

// record returns the offer as one TLS record.
func (o Offer) record() ([]byte, error) {
	legacy := min(o.Max, handshake.TLS12) // RFC 8446, Section 4.1.2
	var random, sessionID [32]byte
	rand.Read(random[:])
	rand.Read(sessionID[:])

	var b cryptobyte.Builder
	b.AddUint8(uint8(handshake.ContentHandshake))
	b.AddUint16(uint16(min(legacy, handshake.TLS10))) // RFC 5246, Appendix E.1
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(handshake.TypeClientHello))
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(uint16(legacy))
			b.AddBytes(random[:])
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
				if o.Max >= handshake.TLS13 { // RFC 8446, Appendix D.4
					b.AddBytes(sessionID[:])
				}
			})
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, id := range o.Suites {
					b.AddUint16(id)
				}
			})
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
			b.AddUint16LengthPrefixed(o.extensions)
		})
	})
	return b.Bytes()
}

func (o Offer) extensions(b *cryptobyte.Builder) {
	extension := func(number uint16, body func(*cryptobyte.Builder)) {
		b.AddUint16(number)
		b.AddUint16LengthPrefixed(body)
	}
	words := func(list ...uint16) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, w := range list {
					b.AddUint16(w)
				}
			})
		}
	}
	empty := func(*cryptobyte.Builder) {}

	if o.ServerName != "" {
		extension(extServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0) // host_name (RFC 6066, Section 3)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(o.ServerName)) })
			})
		})
	}
	extension(extRenegotiationInfo, func(b *cryptobyte.Builder) { b.AddUint8(0) })
	extension(extExtendedMasterSecret, empty)
	extension(extEncryptThenMAC, empty)
	if o.ellipticCurves() {
		extension(extSupportedGroups, words(x25519, 23, 24, 25, 30, 256, 257))
		extension(extPointFormats, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
		})
	}
	if o.Max >= handshake.TLS12 {
		extension(extSignatureAlgorithms, words(0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806,
			0x0401, 0x0501, 0x0601, 0x0402, 0x0201, 0x0203, 0x0202))
	}
	if o.Max >= handshake.TLS13 {
		o.extensions13(b)
	}
}

// extensions13 are those of RFC 8446, Sections 4.2.1 and 4.2.8.
func (o Offer) extensions13(b *cryptobyte.Builder) {
	b.AddUint16(extSupportedVersions)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			for v := handshake.TLS13; v >= handshake.TLS10; v-- {
				b.AddUint16(uint16(v))
			}
		})
	})
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		b.SetError(err)
		return
	}
	b.AddUint16(extKeyShare)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(x25519)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
		})
	})
}

// ellipticCurves says whether a suite needs them; a hello of RSA suites alone does not mention them.
func (o Offer) ellipticCurves() bool {
	return slices.ContainsFunc(o.Suites, func(id uint16) bool {
		s, ok := handshake.SuiteByID(id)
		return ok && s.KeyExchange != handshake.KeyExchangeRSA && s.KeyExchange != handshake.KeyExchangeRSAExport
	})
}

// RSASuites are the cipher suites with RSA key exchange that can be read, strongest first.
func RSASuites() []uint16 {
	preferred := []uint16{0x009D, 0x009C, 0x003D, 0x0035, 0x003C, 0x002F}
	all := slices.Clone(preferred)
	for id := range 0x10000 {
		s, ok := handshake.SuiteByID(uint16(id))
		if ok && s.KeyExchange == handshake.KeyExchangeRSA && s.Cipher != handshake.CipherUnknown &&
			!slices.Contains(preferred, s.ID) {
			all = append(all, s.ID)
		}
	}
	return all
}

// modern are the suites that browsers and libraries offer before those with RSA key exchange.
var modern = []uint16{
	0x1301, 0x1302, 0x1303, // TLS 1.3
	0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC009, 0xC013, 0xC00A, 0xC014, 0xC023, 0xC027, 0xC024, 0xC028,
	0x009E, 0x009F, 0xCCAA, 0x0033, 0x0039, 0x0067, 0x006B, // DHE
}

// FullSuites are what a client of today offers, and behind it everything with RSA key exchange.
func FullSuites() []uint16 { return append(slices.Clone(modern), RSASuites()...) }

// ModernSuites are FullSuites without RSA key exchange.
func ModernSuites() []uint16 { return slices.Clone(modern) }
