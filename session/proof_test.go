// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// TestProvenStays asks for what a flow shows of its peers after a renegotiation that shows less of them.
func TestProvenStays(t *testing.T) {
	anyone := options(handshake.TLS12, rsaAES128GCM)
	anyone.SessionID = bytes.Repeat([]byte{7}, 32)
	mutual := withClient(anyone)
	mutual.SessionID = bytes.Repeat([]byte{8}, 32)
	silent := mutual
	silent.ClientChain = nil
	h := hosts()
	tests := []struct {
		name   string
		then   func(first, other *forge.Conn) forge.Options
		secure bool
		client bool // the flow still shows the first handshake's
	}{
		{"no certificate asked for", func(_, _ *forge.Conn) forge.Options { return anyone }, true, true},
		{"no certificate sent", func(_, _ *forge.Conn) forge.Options { return silent }, true, true},
		{"abbreviated", func(first, _ *forge.Conn) forge.Options { return resuming(first) }, true, true},
		{"abbreviated, of a session without a client", func(_, other *forge.Conn) forge.Options { return resuming(other) }, true, true},
		{"not bound to the first", func(_, _ *forge.Conn) forge.Options { return anyone }, false, false},
		{"abbreviated, not bound to the first", func(first, _ *forge.Conn) forge.Options { return resuming(first) }, false, true},
		{"abbreviated, of a session without a client, not bound to the first",
			func(_, other *forge.Conn) forge.Options { return resuming(other) }, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			other := forge.New(anyone)
			g := newRig(t, nil)
			g.play(other.Segments)
			wantRead(t, g.finish())

			conn := forge.New(mutual)
			o := tt.then(conn, other)
			o.Secure = tt.secure
			conn.Handshake(o)
			exchange(conn)
			g = g.next()
			g.play(conn.Segments)
			f := g.finish()
			wantRead(t, f)
			if f.Handshakes != 2 {
				t.Errorf("%d handshakes", f.Handshakes)
			}
			if len(f.ServerChain) != 1 || !bytes.Equal(f.ServerChain[0], h.serverCert) {
				t.Errorf("%d certificates of the server", len(f.ServerChain))
			}
			if got := f.ClientProven && len(f.ClientChain) == 1 && bytes.Equal(f.ClientChain[0], h.clientCert); got != tt.client {
				t.Errorf("client's certificates: %d, proven %v, want it shown: %v", len(f.ClientChain), f.ClientProven, tt.client)
			}

			// What the first handshake proved is none of what the second session says, wherever that is resumed.
			if o.Resume != nil {
				return
			}
			again := forge.New(resuming(conn))
			g = g.next()
			g.play(again.Segments)
			if f := g.finish(); f.Resumed != ResumedID || f.ClientProven || len(f.ClientChain) > 0 {
				t.Errorf("resumed elsewhere: %v, with %d certificates of the client, proven %v", f.Resumed, len(f.ClientChain), f.ClientProven)
			}
		})
	}
}

// TestOtherClient renegotiates with another client's certificate: the last one is shown.
func TestOtherClient(t *testing.T) {
	o := withClient(options(handshake.TLS12, rsaAES128GCM))
	conn := forge.New(o)
	h := hosts()
	o.Secure, o.ClientKey, o.ClientChain = true, h.serverKey, [][]byte{h.serverCert}
	conn.Handshake(o)
	g := newRig(t, nil)
	g.play(conn.Segments)
	if f := g.finish(); !f.ClientProven || !bytes.Equal(f.ClientChain[0], h.serverCert) {
		t.Errorf("proven %v, %d certificates", f.ClientProven, len(f.ClientChain))
	}
	// It is, too, when its proof is not seen to be right; but then it is not proven.
	o.ClientKey = h.clientKey
	conn = forge.New(withClient(options(handshake.TLS12, rsaAES128GCM)))
	conn.Handshake(o)
	g = g.next()
	g.play(conn.Segments)
	if f := g.finish(); f.ClientProven || !bytes.Equal(f.ClientChain[0], h.serverCert) {
		t.Errorf("without a proof: proven %v, %d certificates", f.ClientProven, len(f.ClientChain))
	}
}

// resuming are the options of a handshake that resumes the last one of a connection by its session ID.
func resuming(c *forge.Conn) forge.Options {
	state := c.State(false)
	o := state.Options
	o.Resume = state
	return o
}

// TestCertificateAfterProof has a client take its certificate back when it has proven that it is its own.
func TestCertificateAfterProof(t *testing.T) {
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
		segments := forge.New(withClient(options(v, rsaAES128SHA))).Segments
		for i, seg := range segments {
			change := []byte{byte(handshake.ContentChangeCipherSpec), byte(v >> 8), byte(v), 0, 1, 1}
			at := bytes.Index(seg.Data, change)
			if seg.Side != handshake.Client || at < 0 {
				continue
			}
			none := []byte{byte(handshake.ContentHandshake), byte(v >> 8), byte(v), 0, 7, byte(handshake.TypeCertificate), 0, 0, 3, 0, 0, 0}
			segments[i].Data = slices.Insert(bytes.Clone(seg.Data), at, none...)
			break
		}
		g := newRig(t, nil)
		g.play(segments)
		if f := g.finish(); f.Cause != FinishedMismatch || f.ClientProven || len(f.ClientChain) > 0 {
			t.Errorf("%v: %v (%s), %d certificates of the client, proven %v", v, f.Cause, f.Detail, len(f.ClientChain), f.ClientProven)
		}
	}
}
