// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"

	"github.com/sightglass/sightglass/session"
)

const certificateCause = session.CertificateMismatch

const openSSLSuites = "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA"

// remedies are the lines that make a server choose RSA key exchange and TLS 1.2, by its software.
var remedies = []struct {
	software string
	lines    []string
}{
	{"nginx", []string{
		"ssl_protocols TLSv1.2;",
		"ssl_ciphers " + openSSLSuites + ";",
		"ssl_prefer_server_ciphers on;",
	}},
	{"Apache", []string{
		"SSLProtocol TLSv1.2",
		"SSLCipherSuite " + openSSLSuites,
		"SSLHonorCipherOrder on",
	}},
	{"HAProxy", []string{
		"bind … ssl crt … ssl-max-ver TLSv1.2 ciphers " + openSSLSuites,
	}},
	{"openssl.cnf", []string{
		"MaxProtocol = TLSv1.2",
		"CipherString = " + openSSLSuites,
	}},
	{"GnuTLS", []string{
		"priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA",
	}},
	{"Java", []string{
		"-Djdk.tls.server.protocols=TLSv1.2",
		"-Djdk.tls.server.cipherSuites=TLS_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_256_GCM_SHA384",
		"and no TLS_RSA_* in jdk.tls.disabledAlgorithms (java.security)",
	}},
	{"Go", []string{
		"tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, …}}",
	}},
	{"Windows", []string{
		"Enable-TlsCipherSuite -Name TLS_RSA_WITH_AES_128_GCM_SHA256 -Position 0",
		"Disable-TlsCipherSuite for each TLS_ECDHE_…, TLS_DHE_… and TLS 1.3 suite",
	}},
}

func writeRemedies(b *strings.Builder) {
	b.WriteString("What to change on the server, by its software:\n\n")
	for _, r := range remedies {
		for i, line := range r.lines {
			name := ""
			if i == 0 {
				name = r.software
			}
			fmt.Fprintf(b, "  %-12s %s\n", name, line)
		}
	}
}
