// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the command in this process, with what it says kept.
type program struct {
	t      testing.TB
	cancel context.CancelFunc
	status chan int
	stdout said
	stderr said
}

// said is what was written, and lets a test wait for words.
type said struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.Broadcast()
	return s.buf.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// wait returns the pattern's first group once it was written n times.
func (p *program) wait(s *said, pattern string, n int) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.AfterFunc(20*time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.buf.WriteString("\n[the test waited too long]\n")
		s.cond.Broadcast()
	})
	defer late.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if found := re.FindAllStringSubmatch(s.buf.String(), -1); len(found) >= n {
			return found[n-1][len(found[n-1])-1]
		}
		if strings.Contains(s.buf.String(), "[the test waited too long]") {
			p.t.Fatalf("%q was not said %d times:\n%s", pattern, n, s.buf.String())
		}
		s.cond.Wait()
	}
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{t: t, cancel: cancel, status: make(chan int, 1)}
	p.stdout.cond, p.stderr.cond = sync.NewCond(&p.stdout.mu), sync.NewCond(&p.stderr.mu)
	e := &env{stdin: strings.NewReader(""), stdout: &p.stdout, stderr: &p.stderr, now: time.Now, getenv: func(string) string { return "" }}
	go func() { p.status <- execute(ctx, e, args) }()
	t.Cleanup(func() {
		cancel()
		<-p.status
		p.status <- 0
	})
	return p
}

// end ends the program and returns its status.
func (p *program) end() int {
	p.cancel()
	status := <-p.status
	p.status <- status
	return status
}

// httpsServer is a server that wants a client certificate and answers with the path.
func httpsServer(t *testing.T, suites ...uint16) (address string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair("server.pem", "server.key")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12,
		CipherSuites: suites, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				body := "you asked for " + r.URL.Path
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				c.(*tls.Conn).CloseWrite()
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return l.Addr().String()
}

// get asks for a path with Alice's certificate.
func get(address, path string) (string, error) {
	pair, err := tls.LoadX509KeyPair("client.pem", "client.key")
	if err != nil {
		return "", err
	}
	trusted, err := os.ReadFile("server.pem")
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	secured := tls.Client(c, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "server.example",
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
	defer secured.Close()
	if _, err := fmt.Fprintf(secured, "GET %s HTTP/1.1\r\nHost: server.example\r\n\r\n", path); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(secured)
	return string(answer), err
}

// TestInlineFixed runs inline with a fixed upstream: what is read, what is refused, the metrics, and a
// configuration that is read again while it runs.
func TestInlineFixed(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeCerts(nil); err != nil {
		t.Fatal(err)
	}
	server := httpsServer(t, tls.TLS_RSA_WITH_AES_128_GCM_SHA256)
	configure := func(rest string) {
		text := "[[key]]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n" + rest
		if err := os.WriteFile("sightglass.toml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	p := start(t, "inline", "--config", "sightglass.toml", "--listen", "127.0.0.1:0", "--to", server, "--eve", "eve.json",
		"--keylog", "keys.log", "--follow", "--pcap-over-ip", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	box := p.wait(&p.stderr, `relaying (\S+) to`, 1)

	answer, err := get(box, "/first")
	if err != nil || !strings.HasSuffix(answer, "you asked for /first") {
		t.Fatalf("%v: %q", err, answer)
	}
	p.wait(&p.stdout, `> GET /first`, 1)
	p.wait(&p.stdout, `< you asked for /first`, 1)

	// Keys that do not fit the server any more: the next flow is refused, with no restart.
	hangup := func(says string, n int) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		p.wait(&p.stderr, says, n)
	}
	if err := os.WriteFile("sightglass.toml", []byte("[[key]]\ncertificate = \"other.pem\"\nkey = \"other.key\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup(`read the configuration again`, 1)
	if _, err := get(box, "/second"); err == nil || !strings.Contains(err.Error(), "illegal parameter") {
		t.Errorf("a certificate that is not configured: %v", err)
	}

	// A file that is wrong changes nothing.
	configure("[inline]\nlisen = 1\n")
	hangup(`the configuration stays as it was: sightglass.toml:5: unknown key`, 1)

	configure("")
	hangup(`read the configuration again`, 2)
	if _, err := get(box, "/third"); err != nil {
		t.Error(err)
	}

	if status := p.end(); status != 0 {
		t.Errorf("status %d: %s", status, p.stderr.String())
	}
	eve, err := os.ReadFile("eve.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"url":"/first"`, `"url":"/third"`, `"cause":"certificate_mismatch"`, `"event_type":"stats"`, "Alice"} {
		if !bytes.Contains(eve, []byte(want)) {
			t.Errorf("%s is not in EVE:\n%s", want, eve)
		}
	}
	if keys, err := os.ReadFile("keys.log"); err != nil || bytes.Count(keys, []byte("CLIENT_RANDOM ")) != 2 {
		t.Errorf("key log: %v, %d lines", err, bytes.Count(keys, []byte("\n")))
	}
}

// TestInlineRefuses lets the server choose what cannot be read, under two policies.
func TestInlineRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeCerts(nil); err != nil {
		t.Fatal(err)
	}
	server := httpsServer(t, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	for _, tt := range []struct{ policy, cause string }{
		{"alert", "illegal parameter"},
		{"forward", ""},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			p := start(t, "inline", "--listen", "127.0.0.1:0", "--to", server, "--cert", "server.pem", "--key", "server.key",
				"--policy", "key_exchange_not_rsa="+tt.policy)
			box := p.wait(&p.stderr, `relaying (\S+) to`, 1)
			_, err := get(box, "/")
			if tt.cause == "" && err != nil || tt.cause != "" && (err == nil || !strings.Contains(err.Error(), tt.cause)) {
				t.Errorf("%v", err)
			}
			if status := p.end(); status != 0 {
				t.Errorf("status %d: %s", status, p.stderr.String())
			}
			if got := p.stdout.String(); !strings.Contains(got, "key_exchange_not_rsa") {
				t.Errorf("does not say why:\n%s", got)
			}
		})
	}
}

// TestMetrics asks for what Prometheus would.
func TestMetrics(t *testing.T) {
	m := newMetrics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- m.serve(ctx, l) }()
	response, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !bytes.Contains(body, []byte("sightglass_flows_open 0")) {
		t.Errorf("%v:\n%s", err, body)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
