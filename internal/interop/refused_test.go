// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"

	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// refusal is a flow that the box cannot read, between openssl and openssl.
type refusal struct {
	cause string
	serving
	visiting
	before func(*refusal, *testing.T, context.Context, *lab, *server) // what happens out of the box's sight
	extra  []string                                                   // arguments of s_client
}

func refusals(l *lab) []*refusal {
	return []*refusal{
		{cause: "key_exchange_not_rsa", serving: serving{ephemeral: true}, visiting: visiting{version: handshake.TLS12, ephemeral: true}},
		{cause: "tls13", serving: serving{tls13: true}, visiting: visiting{version: handshake.TLS13, ephemeral: true}},
		{cause: "certificate_mismatch", serving: serving{identity: l.pki.other}, visiting: visiting{version: handshake.TLS12}},
		{cause: "session_unknown", visiting: visiting{version: handshake.TLS12}, before: (*refusal).beginOutOfSight},
	}
}

// beginOutOfSight begins a session on the server's own host, and has the client resume it.
func (c *refusal) beginOutOfSight(t *testing.T, ctx context.Context, l *lab, srv *server) {
	t.Helper()
	session := l.path("session")
	v := c.visiting
	v.from, v.to, v.path = l.Server, srv.addr4, "/first"
	if first := visitSClient(ctx, l, v, "-sess_out", session); first.err != nil {
		t.Fatal(first.err)
	}
	c.extra = []string{"-sess_in", session}
}

// TestRefused shows what the peers get when the two conditions do not hold, for each policy.
func TestRefused(t *testing.T) {
	ctx := bound(t, 2*time.Minute)
	need(t, "openssl")
	for _, policy := range []string{"alert", "reset", "forward"} {
		t.Run(policy, func(t *testing.T) {
			l := newLab(t)
			var rules []string
			for _, c := range refusals(l) {
				rules = append(rules, c.cause+"="+policy)
			}
			b := l.inline(ctx, "--policy", strings.Join(rules, ","))
			wires := l.capture()
			all := refusals(l)
			for _, c := range all {
				c.visit(t, ctx, l, policy)
			}
			r := b.finish()
			client, server, _ := wires.stop(t)
			if policy == "forward" {
				sameOnBothLegs(t, client, server)
			}
			if len(r.flows) != len(all) {
				t.Fatalf("%d flows, want %d: %v", len(r.flows), len(all), r.flows)
			}
			for i, f := range r.flows {
				if f.Outcome != "unread" || f.Cause != all[i].cause || f.Action != policy {
					t.Errorf("%s: %v", all[i].cause, f)
				}
				if ours := f.injected(); ours != (policy == "alert") {
					t.Errorf("%s: an alert of the box's own: %t", all[i].cause, ours)
				}
			}
		})
	}
}

// visit makes the connection and looks at what both ends say of it.
func (c *refusal) visit(t *testing.T, ctx context.Context, l *lab, policy string) {
	t.Helper()
	c.port = l.port()
	srv, err := serveOpenSSL(ctx, l, c.serving)
	must(t, err)
	defer srv.stop()
	if c.before != nil {
		c.before(c, t, ctx, l, srv)
	}
	c.to, c.path = srv.addr4, "/refused"
	v := visitSClient(ctx, l, c.visiting, c.extra...)
	switch policy {
	case "alert":
		wantAlert(t, c.cause, v, srv)
	case "reset":
		if v.err == nil || alerted(v.log) || !strings.Contains(v.log, "errno=104") { // ECONNRESET
			t.Errorf("%s: the client was not reset: %v\n%s", c.cause, v.err, v.log)
		}
	case "forward":
		if v.err != nil {
			t.Errorf("%s: not forwarded: %v\n%s", c.cause, v.err, v.log)
		}
	}
}

// injected reports whether EVE speaks of an illegal_parameter alert of the box.
func (f *flow) injected() bool {
	for _, a := range f.Alerts {
		if a.From == "sightglass" && a.Code == 47 {
			return true
		}
	}
	return false
}

// alerted reports whether OpenSSL said that it got the alert.
func alerted(log string) bool {
	return strings.Contains(log, "alert illegal parameter") && strings.Contains(log, "SSL alert number 47")
}

// wantAlert demands that both ends got a fatal illegal_parameter alert.
func wantAlert(t *testing.T, what string, v visited, srv *server) {
	t.Helper()
	if v.err == nil || !alerted(v.log) {
		t.Errorf("%s: the client did not get the alert: %v\n%s", what, v.err, v.log)
	}
	if !srv.logs(alerted) {
		t.Errorf("%s: the server did not get the alert:\n%s", what, srv.log())
	}
}
