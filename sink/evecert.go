// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"sync/atomic"
	"time"
)

// eveCertificates remembers how certificates were written: the same few come in nearly every flow. A
// certificate has its place by the last byte of its signature.
type eveCertificates struct {
	names  bool // tells what names a certificate is for
	places [16]atomic.Pointer[eveCertificate]
}

// eveCertificate is a certificate and the members of a JSON object that tell of it.
type eveCertificate struct {
	der  []byte
	text []byte
}

// maxCertificateKept is the largest certificate that is remembered, in bytes.
const maxCertificateKept = 8 << 10

// write tells of the first certificate of a chain.
func (c *eveCertificates) write(j *jsonText, chain [][]byte) {
	if len(chain) == 0 || len(chain[0]) == 0 {
		return
	}
	der := chain[0]
	place := &c.places[der[len(der)-1]%byte(len(c.places))]
	known := place.Load()
	if known == nil || !bytes.Equal(known.der, der) {
		var text jsonText
		writeCertificate(&text, der, c.names)
		known = &eveCertificate{bytes.Clone(der), text.b}
		if len(der) <= maxCertificateKept {
			place.Store(known)
		}
	}
	j.members(known.text)
}

func writeCertificate(j *jsonText, der []byte, names bool) {
	c := parseCertificate(der)
	j.opt("subject", c.subject)
	j.opt("issuerdn", c.issuer)
	if names && len(c.names) > 0 {
		j.array("subjectaltname")
		for _, n := range c.names {
			j.item(n)
		}
		j.endArray()
	}
	if len(c.serial) > 0 {
		j.str("serial", string(appendColonHex(nil, c.serial[:min(len(c.serial), 64)], upperHex)))
	}
	j.str("fingerprint", string(appendColonHex(nil, c.sha1[:], lowerHex)))
	for _, d := range []struct {
		name string
		t    time.Time
	}{{"notbefore", c.notBefore}, {"notafter", c.notAfter}} {
		if !d.t.IsZero() {
			j.str(d.name, d.t.UTC().Format("2006-01-02T15:04:05"))
		}
	}
}
