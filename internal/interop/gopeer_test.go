// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// goSuites are those of crypto/tls with RSA key exchange.
var goSuites = []uint16{0x0005, 0x000a, 0x002f, 0x0035, 0x003c, 0x009c, 0x009d}

// goPeer runs in this process, on sockets that were opened in the hosts. crypto/tls resumes by ticket
// only and has no switch for the extended master secret.
var goPeer = &peer{
	name:       "Go",
	serve:      serveGo,
	visit:      visitGo,
	versions:   []handshake.Version{handshake.TLS10, handshake.TLS11, handshake.TLS12},
	suites:     goSuites,
	extensions: emsOnly,
	noIDs:      true,
}

func (l *lab) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(l.pki.ca.cert)
	return pool
}

func (id *identity) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}
}

// goServerConfig is a server's configuration.
func goServerConfig(l *lab, s serving) *tls.Config {
	cfg := &tls.Config{
		Certificates:           []tls.Certificate{s.id(l).tls()},
		MinVersion:             tls.VersionTLS10,
		MaxVersion:             tls.VersionTLS12,
		CipherSuites:           goSuites,
		SessionTicketsDisabled: s.noTickets,
	}
	switch {
	case s.tls13:
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	case s.ephemeral:
		cfg.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	if s.auth == required {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, l.pool()
	}
	return cfg
}

// serveGo answers each request with the client's name and the session.
func serveGo(_ context.Context, l *lab, s serving) (*server, error) {
	ln, err := l.Server.Listen("tcp", fmt.Sprintf("[::]:%d", s.port))
	if err != nil {
		return nil, err
	}
	var said output
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			subject := "nobody"
			if len(r.TLS.PeerCertificates) > 0 {
				subject = r.TLS.PeerCertificates[0].Subject.String()
			}
			fmt.Fprintf(w, "%s from %s, %s\n", r.URL.Path, subject, tls.CipherSuiteName(r.TLS.CipherSuite))
		}),
		ErrorLog:    log.New(&said, "", 0),
		ReadTimeout: visitLimit,
	}
	go func() {
		err := srv.Serve(tls.NewListener(ln, goServerConfig(l, s)))
		if !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(&said, err)
		}
	}()
	l.t.Cleanup(func() { _ = srv.Close() })
	at := l.at(s.port, nil)
	at.log, at.stop = said.String, func() { _ = srv.Close() }
	return at, nil
}

// goClientConfig is a client's configuration.
func goClientConfig(l *lab, v visiting) *tls.Config {
	cfg := &tls.Config{
		RootCAs:       l.pool(),
		ServerName:    serverName,
		MinVersion:    uint16(v.version),
		MaxVersion:    uint16(v.version),
		CipherSuites:  goSuites,
		Renegotiation: tls.RenegotiateFreelyAsClient,
	}
	if v.suite != 0 {
		cfg.CipherSuites = []uint16{v.suite}
	}
	if v.ephemeral {
		cfg.CipherSuites = append([]uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, goSuites...)
	}
	if v.certificate {
		cfg.Certificates = []tls.Certificate{l.pki.client.tls()}
	}
	if v.resume != full {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return cfg
}

// visitGo sends the request, after a first one if it is to resume.
func visitGo(ctx context.Context, l *lab, v visiting) visited {
	if v.resume == byID {
		return visited{err: errors.New("crypto/tls resumes by ticket only")}
	}
	cfg := goClientConfig(l, v)
	done := visitGoOnce(ctx, l, v, cfg)
	if v.resume == full || done.err != nil {
		return done
	}
	return visitGoOnce(ctx, l, v, cfg)
}

func visitGoOnce(ctx context.Context, l *lab, v visiting, cfg *tls.Config) visited {
	raw, err := v.host(l).Dial("tcp", v.to.String())
	if err != nil {
		return visited{err: err}
	}
	defer func() { _ = raw.Close() }()
	return goRequest(ctx, raw, v, cfg)
}

// goRequest makes one request over a connection.
func goRequest(ctx context.Context, raw net.Conn, v visiting, cfg *tls.Config) visited {
	limit, ok := ctx.Deadline()
	if !ok {
		limit = time.Now().Add(visitLimit)
	}
	_ = raw.SetDeadline(limit)
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return visited{err: err}
	}
	if _, err := io.WriteString(conn, v.request()); err != nil {
		return visited{err: err}
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	_ = conn.Close()
	return visited{path: v.path, answer: answer, resumed: conn.ConnectionState().DidResume, err: answered(answer, err)}
}
