// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sightglass/sightglass/relay/sock"
	"github.com/sightglass/sightglass/session"
)

// TestServerSpeaksFirst: where the client says nothing, the server sees the connection after a moment all the same; where it does,
// nobody wakes up for that.
func TestServerSpeaksFirst(t *testing.T) {
	cfg := Config{NewEngine: func(f session.Flow) Engine { return &fake{flow: f} }}
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	l := newLoops(t, 1, cfg)[0]
	up, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	target := up.Addr().(*net.TCPAddr).AddrPort()

	connected := func() *flow {
		f := newFlow(l, -1, connection{start: time.Now()})
		f.quiet = true
		f.connect(target)
		t.Cleanup(f.legs[server].close)
		if !eventually(func() bool {
			peer, err := sock.Connected(f.legs[server].fd)
			return peer != netip.AddrPort{} || err != nil
		}) {
			t.Fatal("not connected")
		}
		f.connecting(0)
		return f
	}

	silent := connected()
	if silent.showBy.IsZero() || !silent.at.Equal(silent.showBy) {
		t.Fatalf("the next tick is at %v, the connection to be seen by %v", silent.at, silent.showBy)
	}
	silent.tick(silent.showBy)
	if _, err := up.Accept(); err != nil {
		t.Error(err)
	}
	if !silent.showBy.IsZero() || !silent.at.After(silent.start.Add(showAfter*2)) {
		t.Errorf("and again at %v", silent.at)
	}

	speaks := connected()
	if _, err := speaks.legs[server].write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	speaks.setTimer(time.Now())
	if !speaks.showBy.IsZero() || !speaks.at.After(speaks.start.Add(showAfter*2)) {
		t.Errorf("the next tick is at %v though the client spoke", speaks.at)
	}
}
