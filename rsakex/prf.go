// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"hash"

	"github.com/sightglass/sightglass/handshake"
)

// prf is a version's pseudorandom function: it fills out from secret, label and seed, which is the
// concatenation of its parts.
type prf func(out, secret []byte, label string, seed ...[]byte)

// prfFor returns the PRF of a TLS version; h counts from TLS 1.2 on. SSL 3.0 has none.
func prfFor(v handshake.Version, h handshake.Hash) prf {
	if v < handshake.TLS12 {
		return prf10
	}
	if h == handshake.SHA256 {
		return pSHA256
	}
	return func(out, secret []byte, label string, seed ...[]byte) {
		pHash(out, h.New, secret, label, seed) // RFC 5246, Section 5
	}
}

// prf10 is the PRF of TLS 1.0 and 1.1: P_MD5 over the secret's first half, XOR P_SHA-1 over its
// second; a secret of odd length shares its middle byte (RFC 2246, Section 5).
func prf10(out, secret []byte, label string, seed ...[]byte) {
	half := (len(secret) + 1) / 2
	pHash(out, md5.New, secret[:half], label, seed)
	other := make([]byte, len(out))
	pHash(other, sha1.New, secret[len(secret)-half:], label, seed)
	for i := range out {
		out[i] ^= other[i]
	}
}

// pHash fills out with P_hash (RFC 5246, Section 5).
func pHash(out []byte, h func() hash.Hash, secret []byte, label string, seed [][]byte) {
	mac := hmac.New(h, secret)
	writeSeed := func() {
		mac.Write([]byte(label))
		for _, part := range seed {
			mac.Write(part)
		}
	}
	writeSeed()
	a := mac.Sum(nil) // A(1)
	block := make([]byte, 0, mac.Size())
	for len(out) > 0 {
		mac.Reset()
		mac.Write(a)
		writeSeed()
		block = mac.Sum(block[:0])
		out = out[copy(out, block):]
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
}

// maxSSL3Output is how far SSL 3.0's derivation goes: 26 letters, one MD5 sum each.
const maxSSL3Output = 26 * md5.Size

// ssl3Derive returns n bytes, at most maxSSL3Output, of SSL 3.0's derivation (RFC 6101, Section
// 6.2.2): MD5(secret + SHA("A" + secret + x + y)) + MD5(secret + SHA("BB" + secret + x + y)) + …
func ssl3Derive(n int, secret, x, y []byte) []byte {
	out := make([]byte, 0, n+md5.Size)
	inner, outer := sha1.New(), md5.New()
	var letters [26]byte
	for i := 0; len(out) < n; i++ {
		for j := 0; j <= i; j++ {
			letters[j] = 'A' + byte(i)
		}
		inner.Reset()
		inner.Write(letters[:i+1])
		inner.Write(secret)
		inner.Write(x)
		inner.Write(y)
		outer.Reset()
		outer.Write(secret)
		outer.Write(inner.Sum(nil))
		out = outer.Sum(out)
	}
	return out[:n]
}

// MasterSecret returns the 48 bytes of the master secret that two peers derive from a premaster
// secret and the randoms of their hellos (RFC 5246, Section 8.1; RFC 6101, Section 6.1). The hash
// counts from TLS 1.2 on.
func MasterSecret(v handshake.Version, h handshake.Hash, premaster []byte, client, server handshake.Random) []byte {
	if v <= handshake.SSL30 {
		return ssl3Derive(MasterSecretLen, premaster, client[:], server[:])
	}
	master := make([]byte, MasterSecretLen)
	prfFor(v, h)(master, premaster, "master secret", client[:], server[:])
	return master
}

// ExtendedMasterSecret returns the 48 bytes of the extended master secret (RFC 7627, Section 4).
// The session hash is [Transcript.SessionHash] after the ClientKeyExchange. SSL 3.0 has no
// extensions and so no such secret: for it the result is nil (RFC 7627, Section 5.1).
func ExtendedMasterSecret(v handshake.Version, h handshake.Hash, premaster, sessionHash []byte) []byte {
	if v <= handshake.SSL30 {
		return nil
	}
	master := make([]byte, MasterSecretLen)
	prfFor(v, h)(master, premaster, "extended master secret", sessionHash)
	return master
}
