// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// maxCertificates bounds how many certificates of a capture are compared with the keys.
const maxCertificates = 1000

// keyCheck compares the keys that a person gave with the certificates of a capture, and names those
// that are wrong: at once when the first certificate fits none of them, and in the end those that
// opened nothing.
type keyCheck struct {
	e     *env
	ring  *rsakex.Ring
	seen  map[[sha256.Size]byte]bool
	fits  map[rsakex.KeyID]bool
	opens map[string]bool // by source
	other string          // one certificate that no key fits
	among string          // what was looked through, for people
}

// Event looks at certificates. It is called from one goroutine.
func (k *keyCheck) Event(e *session.Event) {
	if e.Kind == session.KindEnd && e.Flow.KeySource != "" {
		if k.opens == nil {
			k.opens = map[string]bool{}
		}
		k.opens[e.Flow.KeySource] = true
	}
	if e.Kind != session.KindHello || len(e.Flow.ServerChain) == 0 || len(k.seen) >= maxCertificates {
		return
	}
	leaf := e.Flow.ServerChain[0]
	sum := sha256.Sum256(leaf)
	if k.seen[sum] {
		return
	}
	if k.seen == nil {
		k.seen, k.fits = map[[sha256.Size]byte]bool{}, map[rsakex.KeyID]bool{}
	}
	k.seen[sum] = true
	if id, ok := k.ring.MatchKey(leaf); ok {
		k.fits[id] = true
		return
	}
	if k.other == "" {
		k.other = subjectOf(leaf)
		if len(k.seen) == 1 && len(k.ring.Keys()) > 0 {
			k.e.warn("no key given fits the capture's first certificate, %s (flow %d)", k.other, e.Flow.ID)
		}
	}
}

// report names the keys that opened nothing.
func (k *keyCheck) report(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	for _, id := range k.ring.Keys() {
		source := k.ring.Source(id)
		switch {
		case k.opens[source]:
		case k.fits[id]:
			k.e.warn("%s fits a certificate in the capture, but opened no flow", source)
		case k.other != "" && len(k.fits) == 0:
			k.e.warn("%s is the wrong key: the capture's certificates have others, such as %s", source, k.other)
		default:
			k.e.warn("%s opened nothing: no certificate in %s has its public key", source, k.among)
		}
	}
}

// subjectOf names a certificate for people.
func subjectOf(der []byte) string {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Sprintf("one with SHA-256 %x", sha256.Sum256(der))
	}
	return fmt.Sprintf("%q, SHA-256 of its key %x", c.Subject.String(), sha256.Sum256(c.RawSubjectPublicKeyInfo))
}
