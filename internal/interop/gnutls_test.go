// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sightglass/sightglass/handshake"
)

// gnutlsSuites are cipher and MAC in the words of a priority string.
var gnutlsSuites = map[uint16][2]string{
	0x0001: {"NULL", "MD5"}, 0x0002: {"NULL", "SHA1"}, 0x003b: {"NULL", "SHA256"},
	0x0004: {"ARCFOUR-128", "MD5"}, 0x0005: {"ARCFOUR-128", "SHA1"}, 0x000a: {"3DES-CBC", "SHA1"},
	0x002f: {"AES-128-CBC", "SHA1"}, 0x0035: {"AES-256-CBC", "SHA1"},
	0x003c: {"AES-128-CBC", "SHA256"}, 0x003d: {"AES-256-CBC", "SHA256"},
	0x009c: {"AES-128-GCM", "AEAD"}, 0x009d: {"AES-256-GCM", "AEAD"},
	0xc09c: {"AES-128-CCM", "AEAD"}, 0xc09d: {"AES-256-CCM", "AEAD"},
	0xc0a0: {"AES-128-CCM-8", "AEAD"}, 0xc0a1: {"AES-256-CCM-8", "AEAD"},
	0x0041: {"CAMELLIA-128-CBC", "SHA1"}, 0x0084: {"CAMELLIA-256-CBC", "SHA1"},
	0x00ba: {"CAMELLIA-128-CBC", "SHA256"}, 0x00c0: {"CAMELLIA-256-CBC", "SHA256"},
	0xc07a: {"CAMELLIA-128-GCM", "AEAD"}, 0xc07b: {"CAMELLIA-256-GCM", "AEAD"},
}

var gnutlsPeer = &peer{
	name:        "GnuTLS",
	programs:    []string{"gnutls-serv", "gnutls-cli"},
	serve:       serveGnuTLS,
	visit:       visitGnuTLS,
	versions:    []handshake.Version{handshake.TLS10, handshake.TLS11, handshake.TLS12},
	suites:      keys(gnutlsSuites),
	serverTurns: emsEtM,
	clientTurns: emsEtM,
	extensions:  emsEtM,
}

const (
	gnutlsAny = ":+CIPHER-ALL:+NULL:+ARCFOUR-128:+3DES-CBC:+CAMELLIA-128-GCM:+CAMELLIA-256-GCM:+CAMELLIA-128-CBC:+CAMELLIA-256-CBC" +
		":+AES-128-CCM-8:+AES-256-CCM-8:+MAC-ALL:+MD5:+SHA1:+SHA256:+SHA384:+AEAD"
	gnutlsRest = ":+SIGN-ALL:+COMP-NULL:+GROUP-ALL:%VERIFY_ALLOW_BROKEN"
)

func gnutlsVersion(v handshake.Version) string {
	return ":+VERS-" + strings.ReplaceAll(v.String(), " ", "")
}

func gnutlsOff(off switches) string {
	s := ""
	if off.ems {
		s += ":%NO_SESSION_HASH"
	}
	if off.etm {
		s += ":%NO_ETM"
	}
	return s
}

// serveGnuTLS starts gnutls-serv, which answers each request with one and the same page.
func serveGnuTLS(ctx context.Context, l *lab, s serving) (*server, error) {
	id := s.id(l)
	priority := "NONE:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0:+RSA"
	if s.ephemeral {
		priority = "NONE:+VERS-TLS1.2:+ECDHE-RSA:+DHE-RSA"
	}
	priority += gnutlsAny + gnutlsRest + gnutlsOff(s.off)
	if s.tls13 {
		priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
	}
	args := []string{"--http", "--port", strconv.Itoa(int(s.port)), "--x509certfile", id.certFile, "--x509keyfile", id.keyFile,
		"--x509cafile", l.pki.ca.certFile, "--priority", priority}
	if s.auth == required {
		args = append(args, "--require-client-cert", "--verify-client-cert")
	} else {
		args = append(args, "--disable-client-cert")
	}
	if s.noTickets {
		args = append(args, "--noticket")
	}
	return l.serve(ctx, s.port, command{name: "gnutls-serv", args: args})
}

func gnutlsPriority(v visiting) (string, error) {
	priority := "NONE" + gnutlsVersion(v.version)
	switch {
	case v.version == handshake.TLS13:
		return "NORMAL:-VERS-ALL:+VERS-TLS1.3", nil
	case v.ephemeral:
		priority += ":+ECDHE-RSA:+DHE-RSA:+RSA" + gnutlsAny
	case v.suite == 0:
		priority += ":+RSA" + gnutlsAny
	default:
		suite, ok := gnutlsSuites[v.suite]
		if !ok {
			return "", fmt.Errorf("GnuTLS has no name for %s", handshake.SuiteName(v.suite))
		}
		priority += ":+RSA:+" + suite[0] + ":+" + suite[1]
	}
	if v.resume != byTicket {
		priority += ":%NO_TICKETS" // --noticket is for TLS 1.3 only
	}
	return priority + gnutlsRest + gnutlsOff(v.off), nil
}

// visitGnuTLS connects with gnutls-cli, which resumes by itself: its first connection then carries no
// request.
func visitGnuTLS(ctx context.Context, l *lab, v visiting) visited { return visitGnuTLSWith(ctx, l, v) }

// visitGnuTLSWith is visitGnuTLS with more arguments.
func visitGnuTLSWith(ctx context.Context, l *lab, v visiting, extra ...string) visited {
	priority, err := gnutlsPriority(v)
	if err != nil {
		return visited{err: err}
	}
	log := l.path("gnutls.log")
	args := []string{"--logfile", log, "--port", strconv.Itoa(int(v.to.Port())), "--priority", priority,
		"--x509cafile", l.pki.ca.certFile, "--verify-hostname", serverName, "--sni-hostname", serverName}
	if v.certificate {
		args = append(args, "--x509certfile", l.pki.client.certFile, "--x509keyfile", l.pki.client.keyFile)
	}
	if v.resume != full {
		args = append(args, "--resume")
	}
	args = append(args, extra...)
	c := command{name: "gnutls-cli", args: append(args, v.to.Addr().String()), stdin: strings.NewReader(v.request())}
	p, err := l.run(ctx, v.host(l), c)
	if p == nil {
		return visited{err: err}
	}
	text, _ := os.ReadFile(log)
	return visited{
		path:    v.path,
		answer:  p.stdout.Bytes(),
		resumed: bytes.Contains(text, []byte("This is a resumed session")),
		log:     p.said() + string(text),
		err:     answered(p.stdout.Bytes(), err),
	}
}
