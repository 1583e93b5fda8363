// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sightglass/sightglass/handshake"
)

// nssSuites are those of NSS's libssl with RSA key exchange.
var nssSuites = []uint16{
	0x0001, 0x0002, 0x003b, 0x0004, 0x0005, 0x0009, 0x000a, 0x002f, 0x0035, 0x003c, 0x003d,
	0x009c, 0x009d, 0x0041, 0x0084, 0x0096,
}

var nssPeer = &peer{
	name:       "NSS",
	programs:   []string{"selfserv", "tstclnt", "strsclnt", "certutil", "pk12util"},
	serve:      serveNSS,
	visit:      visitNSS,
	versions:   []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12},
	suites:     nssSuites,
	extensions: emsOnly,
}

func nssVersion(v handshake.Version) string {
	return map[handshake.Version]string{
		handshake.SSL30: "ssl3", handshake.TLS10: "tls1.0", handshake.TLS11: "tls1.1", handshake.TLS12: "tls1.2", handshake.TLS13: "tls1.3",
	}[v]
}

// nssCiphers is the argument that allows these suites and no others.
func nssCiphers(suites ...uint16) string {
	var b strings.Builder
	for _, id := range suites {
		fmt.Fprintf(&b, ":%04X", id)
	}
	return b.String()
}

// Suites that NSS prefers by itself.
var nssEphemeral = []uint16{0xc02f, 0xc030, 0xc013, 0xc014}

// serveNSS starts selfserv, which answers each request with the request.
func serveNSS(ctx context.Context, l *lab, s serving) (*server, error) {
	db, err := loadNSS()
	if err != nil {
		return nil, err
	}
	versions, ciphers := "ssl3:tls1.2", nssCiphers(nssSuites...)
	switch {
	case s.tls13:
		versions, ciphers = "tls1.3:tls1.3", nssCiphers(0x1301)
	case s.ephemeral:
		ciphers = nssCiphers(nssEphemeral...)
	}
	args := []string{"-d", db, "-n", s.id(l).name, "-p", strconv.Itoa(int(s.port)), "-V", versions, "-c", ciphers, "-v"}
	switch s.auth {
	case required:
		args = append(args, "-r", "-r")
	case late:
		args = append(args, "-r", "-r", "-r", "-r")
	}
	if !s.noTickets {
		args = append(args, "-u")
	}
	return l.serve(ctx, s.port, command{name: "selfserv", args: args})
}

// visitNSS connects with tstclnt; to resume, twice with strsclnt, whose request is its own.
func visitNSS(ctx context.Context, l *lab, v visiting) visited { return visitNSSWith(ctx, l, v) }

// visitNSSWith is visitNSS with more arguments.
func visitNSSWith(ctx context.Context, l *lab, v visiting, extra ...string) visited {
	db, err := loadNSS()
	if err != nil {
		return visited{err: err}
	}
	suites := []uint16{v.suite}
	switch {
	case v.ephemeral:
		suites = append(nssEphemeral, nssSuites...)
	case v.suite == 0:
		suites = nssSuites
	}
	args := []string{"-d", db, "-p", strconv.Itoa(int(v.to.Port())), "-V", nssVersion(v.version) + ":" + nssVersion(v.version),
		"-v"}
	args = append(args, extra...)
	if v.certificate {
		args = append(args, "-n", l.pki.client.name)
	}
	if v.resume == byTicket {
		args = append(args, "-u")
	}
	if v.resume == full {
		// -O: what it does at the same time as the handshake fails it now and then.
		return visitTstclnt(ctx, l, v, append(args, "-O", "-a", serverName, "-h", v.to.Addr().String(), "-c", nssCiphers(suites...)))
	}
	return visitStrsclnt(ctx, l, v, append(args, "-c", "2", "-C", nssCiphers(suites...), v.to.Addr().String()))
}

func visitTstclnt(ctx context.Context, l *lab, v visiting, args []string) visited {
	// It sees the end of a file, but not that of a pipe.
	request, err := l.file("request", v.request())
	if err != nil {
		return visited{err: err}
	}
	stdin, err := os.Open(request)
	if err != nil {
		return visited{err: err}
	}
	defer func() { _ = stdin.Close() }()
	p, err := l.run(ctx, v.host(l), command{name: "tstclnt", args: args, stdin: stdin})
	if p == nil {
		return visited{err: err}
	}
	return visited{path: v.path, answer: p.stdout.Bytes(), log: p.said(), err: answered(p.stdout.Bytes(), err)}
}

func visitStrsclnt(ctx context.Context, l *lab, v visiting, args []string) visited {
	p, err := l.run(ctx, v.host(l), command{name: "strsclnt", args: args})
	if p == nil {
		return visited{err: err}
	}
	said := p.said()
	resumed := strings.Contains(said, "1 cache hits")
	if err == nil && strings.Count(said, "bytes total") != 2 {
		err = fmt.Errorf("not two answers")
	}
	return visited{path: "/abc", resumed: resumed, log: said, err: err}
}
