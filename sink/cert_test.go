// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"crypto/x509"
	"testing"
	"unicode/utf8"
)

// FuzzCertificate holds that the lenient reader agrees with crypto/x509 where that reads, and bounds
// what it shows of anything else.
func FuzzCertificate(f *testing.F) {
	f.Add(testCert(f, "server.pem"))
	f.Add(testCert(f, "client.pem"))
	f.Fuzz(func(t *testing.T, der []byte) {
		c := parseCertificate(der)
		for _, name := range []string{c.subject, c.issuer} {
			if len(name) > 16*maxNameLen || !utf8.ValidString(name) {
				t.Fatalf("name of %d bytes: %q", len(name), cut(name, 200))
			}
		}
		if len(c.names) > maxAltNames {
			t.Fatalf("%d names", len(c.names))
		}
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if !x.NotAfter.Equal(c.notAfter) || !x.NotBefore.Equal(c.notBefore) {
			t.Fatalf("validity %v to %v, want %v to %v", c.notBefore, c.notAfter, x.NotBefore, x.NotAfter)
		}
		if n := len(x.DNSNames) + len(x.IPAddresses); n <= maxAltNames && n != len(c.names) {
			t.Fatalf("names %q, want %q and %v", c.names, x.DNSNames, x.IPAddresses)
		}
	})
}
