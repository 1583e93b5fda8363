// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
	"github.com/sightglass/sightglass/keylog"
)

// tap is a connection that notes what its user writes, in one order for both ends.
type tap struct {
	net.Conn
	side handshake.Side
	log  *tapLog
}

type tapLog struct {
	mu   sync.Mutex
	conn forge.Conn
}

func (t tap) Write(b []byte) (int, error) {
	t.log.mu.Lock()
	t.log.conn.Raw(t.side, b)
	t.log.mu.Unlock()
	return t.Conn.Write(b)
}

// talk lets Go's own client and server exchange a request and a response, and returns what they
// sent and the client's key log.
func talk(t *testing.T, client, server *tls.Config) ([]forge.Segment, *keylog.Secrets) {
	t.Helper()
	var log bytes.Buffer
	client.KeyLogWriter = &log
	client.InsecureSkipVerify = true
	client.ServerName = "forge.example"
	var tl tapLog
	a, b := pipe(t)
	done := make(chan error, 1)
	go func() { done <- serve(tls.Server(tap{b, handshake.Server, &tl}, server)) }()
	c := tls.Client(tap{a, handshake.Client, &tl}, client)
	if _, err := c.Write([]byte("ping from client")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "pong from server" {
		t.Fatalf("%q, %v", got, err)
	}
	c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	secrets, report, err := keylog.Load(&log)
	if err != nil || len(report.Errors) > 0 {
		t.Fatal(err, report)
	}
	return tl.conn.Segments, secrets
}

// pipe is a TCP connection: unlike net.Pipe it lets both ends write at once.
func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func serve(c *tls.Conn) error {
	b := make([]byte, 16)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if _, err := c.Write([]byte("pong from server")); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	c.Close()
	return err
}

func goServer(change func(*tls.Config)) *tls.Config {
	h := hosts()
	c := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{h.serverCert}, PrivateKey: h.serverKey}},
		ClientAuth:   tls.RequireAnyClientCert,
	}
	if change != nil {
		change(c)
	}
	return c
}

func goClient(change func(*tls.Config)) *tls.Config {
	h := hosts()
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{h.clientCert}, PrivateKey: h.clientKey}}}
	if change != nil {
		change(c)
	}
	return c
}

func TestKeyLog(t *testing.T) {
	for name, test := range map[string]struct {
		client, server func(*tls.Config)
		version        handshake.Version
	}{
		"tls13": {version: handshake.TLS13},
		"hello retry request": {
			client:  func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384} },
			server:  func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			version: handshake.TLS13,
		},
		"ecdhe": {client: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, version: handshake.TLS12},
		"chacha20": {client: func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
		}, version: handshake.TLS12},
	} {
		t.Run(name, func(t *testing.T) {
			segments, secrets := talk(t, goClient(test.client), goServer(test.server))
			g := newRig(t, func(c *Config) { c.KeyLog = secrets })
			g.play(segments)
			f := g.finish()
			wantRead(t, f)
			g.wantPlain(t, handshake.Client, []byte("ping from client"))
			g.wantPlain(t, handshake.Server, []byte("pong from server"))
			if f.Version != test.version || !f.ClientProven || f.ServerName != "forge.example" {
				t.Errorf("version %v, proven %v, name %q", f.Version, f.ClientProven, f.ServerName)
			}

			g = newRig(t, nil)
			g.play(segments)
			want := KeyExchangeNotRSA
			if test.version == handshake.TLS13 {
				want = TLS13
			}
			wantCause(t, g.finish(), want)
		})
	}
}

// Inline, the policy decides: refused, or forwarded and read by what the key log opens.
func TestKeyLogInline(t *testing.T) {
	segments, secrets := talk(t, goClient(nil), goServer(nil))
	b := newBox(t, func(c *Config) { c.KeyLog = secrets })
	if b.play(segments, whole) {
		t.Fatal("TLS 1.3 was relayed against the policy")
	}
	wantCause(t, b.finish(), TLS13)
	b = newBox(t, func(c *Config) { c.KeyLog = secrets; c.Policy[TLS13] = ActionForward })
	if !b.play(segments, whole) {
		t.Fatalf("refused: %+v", b.Flow())
	}
	wantRead(t, b.finish())
	b.wantPlain(t, handshake.Server, []byte("pong from server"))
}

// A key log that grows may have its lines later than the records that need them.
func TestKeyLogGrows(t *testing.T) {
	segments, secrets := talk(t, goClient(nil), goServer(nil))
	late := &lateLog{Source: secrets}
	g := newRig(t, func(c *Config) { c.KeyLog = late; c.KeyLogGrows = true })
	for i, s := range segments {
		late.there = i == len(segments)-1
		g.Feed(s.Side, testStart, s.Data)
	}
	wantRead(t, g.finish())
	g.wantPlain(t, handshake.Client, []byte("ping from client"))
}

type lateLog struct {
	keylog.Source
	there bool
}

func (l *lateLog) Lookup(label keylog.Label, random []byte) ([]byte, bool) {
	if !l.there {
		return nil, false
	}
	return l.Source.Lookup(label, random)
}

// A hole in TLS 1.3 costs what it touched, whichever keys came into force in it.
func TestLoseRecords13(t *testing.T) {
	segments, secrets := talk(t, goClient(nil), goServer(nil))
	all := records(segments)
	unread := [2]int{}
	for i := range all {
		g := newRig(t, func(c *Config) { c.KeyLog = secrets })
		for k, r := range all {
			if k == i {
				g.Gap(r.Side, testStart, len(r.Data))
			} else {
				g.Feed(r.Side, testStart, r.Data)
			}
		}
		f := g.finish()
		wantCause(t, f, PacketLoss)
		if i < 2 {
			continue // the hellos
		}
		if f.Outcome != OutcomePartial || f.Handshakes != 1 {
			t.Errorf("lost %d: outcome %v, %d handshakes (%s)", i, f.Outcome, f.Handshakes, f.Detail)
		}
		for side := range unread {
			if g.plain[side].Len() == 0 {
				unread[side]++
			}
		}
	}
	if unread != [2]int{1, 1} {
		t.Errorf("lost records, one at a time, cost %v times what was said", unread)
	}
}
