// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// KeyID names a public key: SHA-256 of its SubjectPublicKeyInfo, the "pin" of RFC 7469, Section 2.4.
// The zero value names none.
type KeyID [sha256.Size]byte

// String returns the whole ID in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// MatchResult says whether a server's certificate is configured.
type MatchResult uint8

// The results of Match.
const (
	Mismatch MatchResult = iota // not configured
	NoKey                       // configured, but its key is not
	Matched                     // configured, and its key is at hand
)

// Pair is a configured certificate, its key, or both.
type Pair struct {
	// Certificate is nil if there is only a key, or if crypto/x509 refuses the certificate; then it
	// is compared by its bytes all the same.
	Certificate *x509.Certificate
	Raw         []byte // DER; nil: only a key
	Key         KeyID
	HasKey      bool
	Bits        int    // of the modulus
	Source      string // the file, as the user named it
}

// Ring is the certificates and private keys as configured. Once filled it is only read, and safe for
// concurrent use. It formats as a placeholder.
type Ring struct {
	pairs    []Pair
	keys     []*privateKey
	byKey    map[KeyID]*privateKey
	byLeaf   map[[sha256.Size]byte]int // by SHA-256 of the certificate: index in pairs
	byPublic map[KeyID]bool            // public keys of configured certificates and keys
	warnings []string
}

// Add adds a pair from memory: a certificate in DER, an RSA key, or both, which must belong
// together. It must not be called once the ring is in use.
func (r *Ring) Add(source string, certDER []byte, key *rsa.PrivateKey) error {
	if key == nil {
		return r.add(source, certDER, nil)
	}
	k, err := newPrivateKey(numbersOf(key))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	return r.add(source, certDER, k)
}

var (
	errNothing = errors.New("neither a certificate nor a key")
	errNoFit   = errors.New("the key does not belong to the certificate")
)

func (r *Ring) add(source string, certDER []byte, key *privateKey) error {
	pair := Pair{Raw: certDER, Source: source}
	switch {
	case certDER == nil && key == nil:
		return fmt.Errorf("%s: %w", source, errNothing)
	case certDER == nil:
		pair.Key, pair.Bits = key.id, key.bits()
	default:
		public, err := publicKeyOf(certDER)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		pair.Key, pair.Bits = public.id(), public.n.BitLen()
		pair.Certificate, err = x509.ParseCertificate(certDER)
		r.warnCertificate(source, pair.Certificate, err)
		if key != nil && key.id != pair.Key {
			return fmt.Errorf("%s: %w", source, errNoFit)
		}
	}
	r.init()
	r.pairs = append(r.pairs, pair)
	r.byPublic[pair.Key] = true
	if certDER != nil {
		r.byLeaf[sha256.Sum256(certDER)] = len(r.pairs) - 1
	}
	if key != nil && r.byKey[key.id] == nil {
		if key.source == "" {
			key.source = source
		}
		r.byKey[key.id] = key
		r.keys = append(r.keys, key)
	}
	return nil
}

func (r *Ring) init() {
	if r.byKey == nil {
		r.byKey = make(map[KeyID]*privateKey)
		r.byLeaf = make(map[[sha256.Size]byte]int)
		r.byPublic = make(map[KeyID]bool)
	}
}

func (r *Ring) warnCertificate(source string, c *x509.Certificate, err error) {
	switch {
	case err != nil:
		r.warn("%s: the certificate is unusual (%v): it is compared by its bytes only", source, err)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageKeyEncipherment == 0:
		r.warn("%s: the certificate's key usage does not allow key encipherment: peers may refuse RSA key exchange with it", source)
	}
}

func (r *Ring) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// Warnings returns what should be told about the configured files, a line each.
func (r *Ring) Warnings() []string { return r.warnings }

// Pairs returns what is configured, in its order, for listing. HasKey counts keys from any file.
func (r *Ring) Pairs() []Pair {
	all := make([]Pair, len(r.pairs))
	copy(all, r.pairs)
	for i := range all {
		all[i].HasKey = r.key(all[i].Key) != nil
	}
	return all
}

// Keys returns the private keys at hand, in the order of configuration: where a certificate was not
// seen, each may be tried, and the Finished check tells.
func (r *Ring) Keys() []KeyID {
	if r == nil {
		return nil
	}
	ids := make([]KeyID, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// Source returns the file a private key came from, as the user named it; "" for none.
func (r *Ring) Source(id KeyID) string {
	if k := r.key(id); k != nil {
		return k.source
	}
	return ""
}

// Match looks for a server's certificate among those configured: the very certificate, or with
// byPublicKey any with the same public key. The KeyID is that of the certificate's public key, and
// zero for Mismatch.
func (r *Ring) Match(leafDER []byte, byPublicKey bool) (KeyID, MatchResult) {
	if r == nil {
		return KeyID{}, Mismatch
	}
	id, ok := r.configured(leafDER, byPublicKey)
	switch {
	case !ok:
		return KeyID{}, Mismatch
	case r.key(id) == nil:
		return id, NoKey
	default:
		return id, Matched
	}
}

func (r *Ring) configured(leafDER []byte, byPublicKey bool) (KeyID, bool) {
	if byPublicKey {
		public, err := publicKeyOf(leafDER)
		if err != nil {
			return KeyID{}, false
		}
		id := public.id()
		return id, r.byPublic[id]
	}
	pair := r.pair(leafDER)
	if pair == nil {
		return KeyID{}, false
	}
	return pair.Key, true
}

// pair returns that of the configured certificate that is the same as der; nil: none is.
func (r *Ring) pair(der []byte) *Pair {
	if i, ok := r.byLeaf[sha256.Sum256(der)]; ok {
		return &r.pairs[i]
	}
	return nil
}

// Certificate returns the configured certificate that is the same as der, so that who keeps it needs no copy; nil: none is. It
// must not be changed.
func (r *Ring) Certificate(der []byte) []byte {
	if r == nil {
		return nil
	}
	if pair := r.pair(der); pair != nil {
		return pair.Raw
	}
	return nil
}

// MatchKey looks for a private key that fits a server's certificate, configured or not.
func (r *Ring) MatchKey(leafDER []byte) (KeyID, bool) {
	public, err := publicKeyOf(leafDER)
	if err != nil {
		return KeyID{}, false
	}
	id := public.id()
	return id, r.key(id) != nil
}

func (r *Ring) key(id KeyID) *privateKey {
	if r == nil {
		return nil
	}
	return r.byKey[id]
}

// String returns a placeholder with the numbers of certificates and keys.
func (r Ring) String() string {
	return fmt.Sprintf("key ring: %d certificates, %d private keys", len(r.byLeaf), len(r.keys))
}

// GoString returns the same as String.
func (r Ring) GoString() string { return r.String() }

// Format writes the same as String, whatever the verb.
func (r Ring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }
