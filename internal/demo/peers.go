// SPDX-License-Identifier: Apache-2.0

//go:build linux

package demo

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

const (
	rsaPort   = 8443
	ecdhePort = 9443

	serverName = "server.example"
	clientName = "Alice"
	secret     = "the-secret-of-the-demo"
)

// patience is how long either peer waits for the other.
const patience = 10 * time.Second

// family is one way between the hosts.
type family struct {
	name           string
	client, server netip.Addr
	port           uint16 // the client's; the next one is for the second server
}

var families = []family{
	{"IPv4", nettest.Client4, nettest.Server4, 40004},
	{"IPv6", nettest.Client6, nettest.Server6, 40006},
}

func (f family) from() netip.AddrPort      { return netip.AddrPortFrom(f.client, f.port) }
func (f family) to() netip.AddrPort        { return netip.AddrPortFrom(f.server, rsaPort) }
func (f family) fromECDHE() netip.AddrPort { return netip.AddrPortFrom(f.client, f.port+1) }
func (f family) toECDHE() netip.AddrPort   { return netip.AddrPortFrom(f.server, ecdhePort) }

// seen is what the peers themselves saw of one family's two connections.
type seen struct {
	answer    string // to the client
	clientErr error
	remote    string // the client's address, as the server saw it
	subject   string // of the client's certificate, as the server verified it

	clientAlert, serverAlert error // what ended the handshake with the second server
}

// peers are the client and both servers.
type peers struct {
	certPEM, keyPEM []byte
	server, ecdhe   *tls.Config
	client          *tls.Config

	listeners []net.Listener
	running   sync.WaitGroup

	mu       sync.Mutex
	seen     map[string]*seen // by family
	refusals chan refusal
}

// refusal is how a handshake with the second server ended there.
type refusal struct {
	from netip.AddrPort
	err  error
}

func newPeers() (*peers, error) {
	server, der, err := certificate(serverName)
	if err != nil {
		return nil, err
	}
	client, _, err := certificate(clientName)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		return nil, err
	}
	serverRoots, clientRoots := x509.NewCertPool(), x509.NewCertPool()
	serverRoots.AddCert(server.Leaf)
	clientRoots.AddCert(client.Leaf)
	rsaSuites := []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_CBC_SHA}
	p := &peers{
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		server: &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: tls.VersionTLS12, CipherSuites: rsaSuites,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientRoots},
		ecdhe: &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}},
		client: &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: serverRoots, ServerName: serverName,
			MaxVersion: tls.VersionTLS12, CipherSuites: append(rsaSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)},
		seen:     map[string]*seen{},
		refusals: make(chan refusal, len(families)),
	}
	for _, f := range families {
		p.seen[f.name] = &seen{}
	}
	return p, nil
}

// certificate makes a key and a certificate that vouches for itself.
func certificate(name string) (tls.Certificate, []byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Sightglass demo"}},
		DNSNames:              []string{name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, der, err
}

// serve starts both servers.
func (p *peers) serve(host *nettest.Namespace) error {
	main, err := host.Listen("tcp", fmt.Sprintf("[::]:%d", rsaPort))
	if err != nil {
		return err
	}
	second, err := host.Listen("tcp", fmt.Sprintf("[::]:%d", ecdhePort))
	if err != nil {
		return errors.Join(err, main.Close())
	}
	p.listeners = []net.Listener{main, second}
	p.running.Go(func() { p.accept(main, p.answer) })
	p.running.Go(func() { p.accept(second, p.refuse) })
	return nil
}

// accept serves each connection on its own.
func (p *peers) accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			serve(c)
		})
	}
}

// answer answers one request with what the client cannot know, and notes who asked.
func (p *peers) answer(c net.Conn) {
	secured := tls.Server(c, p.server)
	request, err := http.ReadRequest(bufio.NewReader(secured))
	if err != nil {
		return
	}
	subject := secured.ConnectionState().PeerCertificates[0].Subject
	p.mu.Lock()
	if s := p.seen[strings.TrimPrefix(request.URL.Path, "/demo/")]; s != nil {
		s.remote, s.subject = remote(c).String(), subject.String()
	}
	p.mu.Unlock()
	body := fmt.Sprintf("Hello %s, here is %s.\n", subject.CommonName, secret)
	fmt.Fprintf(secured, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	// In order: the server's close_notify, then the client's, then both ends.
	_ = secured.CloseWrite()
	_, _ = io.Copy(io.Discard, secured)
}

// refuse notes how the handshake ends.
func (p *peers) refuse(c net.Conn) {
	p.refusals <- refusal{remote(c), tls.Server(c, p.ecdhe).Handshake()}
}

func remote(c net.Conn) netip.AddrPort {
	a := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// dial connects from the client's own address and a port that is known, so that it can be compared.
func dial(host *nettest.Namespace, from, to netip.AddrPort) (net.Conn, error) {
	conn, err := host.DialFrom(net.TCPAddrFromAddrPort(from), "tcp", to.String())
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	return conn, nil
}

// ask makes one request of the first server.
func (p *peers) ask(host *nettest.Namespace, f family) {
	answer, err := func() (string, error) {
		conn, err := dial(host, f.from(), f.to())
		if err != nil {
			return "", err
		}
		secured := tls.Client(conn, p.client)
		defer secured.Close()
		request := fmt.Sprintf("GET /demo/%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sightglass-demo\r\n\r\n", f.name, serverName)
		if _, err := secured.Write([]byte(request)); err != nil {
			return "", err
		}
		response, err := http.ReadResponse(bufio.NewReader(secured), nil)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		if err == nil {
			_, err = io.Copy(io.Discard, secured) // to the server's close_notify
		}
		return string(body), err
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[f.name].answer, p.seen[f.name].clientErr = answer, err
}

// askECDHE tries the second server, and waits for how that ended on both sides.
func (p *peers) askECDHE(ctx context.Context, host *nettest.Namespace, f family) {
	clientErr := func() error {
		conn, err := dial(host, f.fromECDHE(), f.toECDHE())
		if err != nil {
			return err
		}
		defer conn.Close()
		return tls.Client(conn, p.client).HandshakeContext(ctx)
	}()
	serverErr := errors.New("the server saw no connection")
	select {
	case r := <-p.refusals:
		if serverErr = r.err; r.from != f.fromECDHE() {
			serverErr = fmt.Errorf("the connection came from %v", r.from)
		}
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[f.name].clientAlert, p.seen[f.name].serverAlert = clientErr, serverErr
}

// close ends both servers.
func (p *peers) close() {
	for _, l := range p.listeners {
		l.Close()
	}
	p.running.Wait()
}
