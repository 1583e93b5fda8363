// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

// javaSuites are JSSE's with RSA key exchange.
var javaSuites = map[uint16]string{
	0x0001: "SSL_RSA_WITH_NULL_MD5", 0x0002: "SSL_RSA_WITH_NULL_SHA", 0x003b: "TLS_RSA_WITH_NULL_SHA256",
	0x0003: "SSL_RSA_EXPORT_WITH_RC4_40_MD5", 0x0008: "SSL_RSA_EXPORT_WITH_DES40_CBC_SHA",
	0x0004: "SSL_RSA_WITH_RC4_128_MD5", 0x0005: "SSL_RSA_WITH_RC4_128_SHA",
	0x0009: "SSL_RSA_WITH_DES_CBC_SHA", 0x000a: "SSL_RSA_WITH_3DES_EDE_CBC_SHA",
	0x002f: "TLS_RSA_WITH_AES_128_CBC_SHA", 0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
	0x003c: "TLS_RSA_WITH_AES_128_CBC_SHA256", 0x003d: "TLS_RSA_WITH_AES_256_CBC_SHA256",
	0x009c: "TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009d: "TLS_RSA_WITH_AES_256_GCM_SHA384",
}

const javaEphemeral = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"

var javaPeer = &peer{
	name:        "Java",
	programs:    []string{"java", "javac"},
	serve:       serveJava,
	visit:       visitJava,
	versions:    []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12},
	suites:      keys(javaSuites),
	serverTurns: emsOnly,
	clientTurns: emsOnly,
	extensions:  emsOnly,
}

// javaFlags make a Java that starts quickly and stays small.
var javaFlags = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx64m"}

// compileJava compiles the peer, once.
var compileJava = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := filepath.Join(scratch, "classes")
	args := []string{"-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-d", dir, filepath.Join("testdata", "Peer.java")}
	if out, err := exec.CommandContext(ctx, "javac", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the Java peer: %w\n%s", err, out)
	}
	return dir, nil
})

// startJava starts the peer in a host. Words are name=value.
func (l *lab) startJava(ns *nettest.Namespace, stdin io.Reader, off switches, words ...string) (*process, error) {
	classes, err := compileJava()
	if err != nil {
		return nil, err
	}
	args := append([]string(nil), javaFlags...)
	args = append(args, "-Djava.net.preferIPv6Addresses=system", "-Djdk.tls.allowLegacyResumption=true", fmt.Sprintf("-Djdk.tls.useExtendedMasterSecret=%t", !off.ems),
		"-cp", classes, "Peer")
	return l.start(ns, command{name: "java", args: append(args, words...), stdin: stdin})
}

func javaVersion(v handshake.Version) string {
	return map[handshake.Version]string{
		handshake.SSL30: "SSLv3", handshake.TLS10: "TLSv1", handshake.TLS11: "TLSv1.1", handshake.TLS12: "TLSv1.2", handshake.TLS13: "TLSv1.3",
	}[v]
}

func allJavaSuites() string {
	var names []string
	for _, id := range keys(javaSuites) {
		names = append(names, javaSuites[id])
	}
	return strings.Join(names, ",")
}

func serveJava(ctx context.Context, l *lab, s serving) (*server, error) {
	protocols, suites := "SSLv2Hello,SSLv3,TLSv1,TLSv1.1,TLSv1.2", allJavaSuites()
	switch {
	case s.tls13:
		protocols, suites = "TLSv1.3", "TLS_AES_128_GCM_SHA256"
	case s.ephemeral:
		suites = javaEphemeral
	}
	auth := map[clientAuth]string{notAsked: "none", required: "required", late: "late"}[s.auth]
	id := s.id(l)
	p, err := l.startJava(l.Server, nil, s.off, "port="+strconv.Itoa(int(s.port)), "auth="+auth, "protocols="+protocols,
		"suites="+suites, "cert="+id.certFile, "key="+id.keyFile, "ca="+l.pki.ca.certFile)
	if err != nil {
		return nil, err
	}
	if err := l.listening(ctx, l.Server, p, s.port); err != nil {
		return nil, err
	}
	return l.at(s.port, p), nil
}

// javaClient is a Java that makes visits, one after the other: to start one takes longer than a visit.
type javaClient struct {
	mu    sync.Mutex
	p     *process
	stdin *os.File
	read  int // of its standard output
}

// javaClientIn returns the client of a host, started when it is first needed.
func (l *lab) javaClientIn(ns *nettest.Namespace, off switches) (*javaClient, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := fmt.Sprintf("%s %t", ns.Name(), off.ems)
	if c := l.java[name]; c != nil {
		return c, nil
	}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	id := l.pki.client
	p, err := l.startJava(ns, in, off, "cert="+id.certFile, "key="+id.keyFile, "ca="+l.pki.ca.certFile)
	_ = in.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	l.t.Cleanup(func() { _ = out.Close() })
	c := &javaClient{p: p, stdin: out}
	l.java[name] = c
	return c, nil
}

func visitJava(ctx context.Context, l *lab, v visiting) visited { return visitJavaWith(ctx, l, v) }

// visitJavaThen renegotiates with other suites before the request.
func visitJavaThen(ctx context.Context, l *lab, v visiting, then string) visited {
	return visitJavaWith(ctx, l, v, "then="+then)
}

// visitJavaWith is visitJava with more words, which go over the usual ones.
func visitJavaWith(ctx context.Context, l *lab, v visiting, extra ...string) visited {
	suites := javaSuites[v.suite]
	switch {
	case v.version == handshake.TLS13:
		suites = "TLS_AES_128_GCM_SHA256"
	case v.ephemeral:
		suites = javaEphemeral + "," + allJavaSuites()
	case v.suite == 0:
		suites = allJavaSuites()
	}
	if suites == "" {
		return visited{err: fmt.Errorf("Java has no name for %s", handshake.SuiteName(v.suite))}
	}
	c, err := l.javaClientIn(v.host(l), v.off)
	if err != nil {
		return visited{err: err}
	}
	times := 1
	if v.resume != full {
		times = 2
	}
	line := fmt.Sprintf("host=%s port=%d name=%s protocol=%s suites=%s certificate=%t times=%d tickets=%t request=%s",
		v.to.Addr(), v.to.Port(), serverName, javaVersion(v.version), suites, v.certificate, times, v.resume == byTicket,
		base64.StdEncoding.EncodeToString([]byte(v.request())))
	done := c.visit(ctx, strings.Join(append([]string{line}, extra...), " "))
	done.path = v.path
	return done
}

// visit hands the client one line and reads what it says about it.
func (c *javaClient) visit(ctx context.Context, line string) visited {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.stdin, line+"\n"); err != nil {
		return visited{err: err, log: c.p.said()}
	}
	begin, err := c.p.stdout.wait(ctx, c.p, "done ", c.read)
	end := begin
	if err == nil {
		end, err = c.p.stdout.wait(ctx, c.p, ".\n", begin)
	}
	if err != nil {
		return visited{err: err, log: c.p.said()}
	}
	c.read = end
	return parseJavaVisit(string(c.p.stdout.Bytes()[begin : end-2]))
}

func parseJavaVisit(line string) visited {
	words := strings.Split(line, " ")
	if len(words) != 3 {
		return visited{err: fmt.Errorf("java said %q", line)}
	}
	answer, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return visited{err: err}
	}
	problem, err := base64.StdEncoding.DecodeString(words[2])
	if err == nil && len(problem) > 0 {
		err = errors.New(string(problem))
	}
	return visited{answer: answer, resumed: words[0] == "true", log: string(problem), err: answered(answer, err)}
}
