// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// holder is a client that keeps a session between visits.
type holder struct {
	name  string
	how   resumption
	visit func(ctx context.Context, first bool) visited
	to    *server
}

// holders begin sessions in both ways, with clients whose sessions outlive a connection.
func holders(ctx context.Context, t *testing.T, l *lab) []*holder {
	t.Helper()
	var all []*holder
	for _, how := range []resumption{byID, byTicket} {
		srv, err := serveOpenSSL(ctx, l, serving{port: l.port(), auth: required})
		must(t, err)
		v := visiting{to: srv.addr6, path: "/kept", version: handshake.TLS12, certificate: true, resume: how}
		session := l.path("session")
		all = append(all, &holder{"openssl by " + how.String(), how, func(ctx context.Context, first bool) visited {
			if first {
				return visitSClient(ctx, l, v, "-sess_out", session)
			}
			return visitSClient(ctx, l, v, "-sess_in", session)
		}, srv})
	}
	srv, err := serveGo(ctx, l, serving{port: l.port(), auth: required})
	must(t, err)
	v := visiting{to: srv.addr6, path: "/kept", version: handshake.TLS12, certificate: true, resume: byTicket}
	cfg := goClientConfig(l, v)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return append(all, &holder{"go by ticket", byTicket, func(ctx context.Context, _ bool) visited {
		return visitGoOnce(ctx, l, v, cfg)
	}, srv})
}

// TestRestart resumes sessions across restarts of the box: those of its session store are read, and
// without it they are unknown.
func TestRestart(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl")
	l := newLab(t)
	store := l.path("sessions")
	all := holders(ctx, t, l)
	run := func(name string, how func(*holder) resumption, kill bool, args ...string) {
		t.Helper()
		b := l.inline(ctx, args...)
		for _, h := range all {
			if v := h.visit(ctx, how(h) == full); v.err != nil || v.resumed != (how(h) != full) {
				t.Errorf("%s, %s: %v, resumed %t\n%s", name, h.name, v.err, v.resumed, v.log)
			}
		}
		if kill {
			b.Kill()
			return
		}
		r := b.finish()
		for _, h := range all {
			flows := r.to(h.to.addr6)
			if len(flows) != 1 || flows[0].Resumed != how(h).String() {
				t.Errorf("%s, %s: flows %v", name, h.name, flows)
				continue
			}
			wellRead(t, flows[0], true)
		}
	}
	again := func(h *holder) resumption { return h.how }
	run("begun", func(*holder) resumption { return full }, false, "--session-store", store)
	run("after a restart", again, false, "--session-store", store)
	run("to be killed", again, true, "--session-store", store)
	run("after kill -9", again, false, "--session-store", store)
	b := l.inline(ctx)
	for _, h := range all {
		if v := h.visit(ctx, false); v.err == nil {
			t.Errorf("without a store, %s was not refused", h.name)
		}
	}
	for _, f := range b.finish().flows {
		if f.Cause != "session_unknown" || f.Action != "alert" {
			t.Errorf("without a store: %v", f)
		}
	}
}
