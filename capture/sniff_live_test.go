// SPDX-License-Identifier: Apache-2.0

//go:build linux

package capture

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	shunting "github.com/sightglass/sightglass/bpf"
	"github.com/sightglass/sightglass/capture/afpacket"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// These tests sniff in network namespaces of their own, on a box between client and server.

// liveStory keeps what live flows said, by their clients.
type liveStory struct {
	mu    sync.Mutex
	said  map[netip.AddrPort]*[2]bytes.Buffer
	ended map[netip.AddrPort]session.Flow
	begun map[uint64]bool
	more  chan struct{}
	lost  int           // bytes
	hold  chan struct{} // events wait for it; nil: they do not
}

func newLiveStory() *liveStory {
	return &liveStory{
		said: make(map[netip.AddrPort]*[2]bytes.Buffer), ended: make(map[netip.AddrPort]session.Flow),
		begun: make(map[uint64]bool), more: make(chan struct{}, 1),
	}
}

func (s *liveStory) Event(e *session.Event) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	client := e.Flow.Client
	switch e.Kind {
	case session.KindOpen:
		s.begun[e.Flow.ID] = true
	case session.KindData:
		if s.said[client] == nil {
			s.said[client] = new([2]bytes.Buffer)
		}
		s.said[client][e.Side].Write(e.Data)
	case session.KindGap:
		s.lost += e.Lost
	case session.KindEnd:
		s.ended[client] = *e.Flow
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// await waits until a condition on what came holds.
func (s *liveStory) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		ok := done()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.more:
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			t.Fatalf("waited in vain for %s: %d flows began, %d ended", what, len(s.begun), len(s.ended))
		}
	}
}

// sniffing is a sniffer at work in the box of a topology.
type sniffing struct {
	*Sniffer
	*liveStory
	stop func()
}

// sniff starts a sniffer. Its keys take their time, as they do outside of tests.
func sniff(t *testing.T, box *nettest.Namespace, o SniffOptions) *sniffing {
	t.Helper()
	s := &sniffing{liveStory: newLiveStory()}
	cfg := config(t, s.liveStory)
	pool := rsakex.NewPool(cfg.Ring, 2, 1000, rsakex.Manners{})
	t.Cleanup(pool.Close)
	cfg.Keys = pool
	o.Session = cfg
	if o.RingSize == 0 {
		o.RingSize = 64 << 20
	}
	err := box.Do(func() (err error) {
		s.Sniffer, err = NewSniffer(o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v", s.Stats())
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// serve answers TLS clients of a host with what they send.
func serve(t *testing.T, host *nettest.Namespace, cfg *tls.Config) netip.AddrPort {
	t.Helper()
	ln, err := host.Listen("tcp", netip.AddrPortFrom(nettest.Server4, 8443).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s := tls.Server(c, cfg)
				io.Copy(s, s)
				s.CloseWrite()
			}()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

func tlsConfig(version uint16) *tls.Config {
	key, cert := server()
	return &tls.Config{
		MinVersion: version, MaxVersion: version, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
		Certificates:       []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
		InsecureSkipVerify: true, SessionTicketsDisabled: true,
	}
}

// echo sends data to a server, checks that it comes back, and returns the client's address.
func echo(host *nettest.Namespace, to netip.AddrPort, cfg *tls.Config, data []byte) (netip.AddrPort, error) {
	raw, err := host.Dial("tcp", to.String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer raw.Close()
	c := tls.Client(raw, cfg)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(back, data) {
		err = errors.New("what came back is another thing")
	}
	return netip.MustParseAddrPort(raw.LocalAddr().String()), err
}

func TestSniff(t *testing.T) {
	for name, o := range map[string]SniffOptions{
		"one interface":  {Interfaces: []string{nettest.BoxClientLink}, Promiscuous: true, Fanout: 2},
		"both":           {Interfaces: []string{nettest.BoxClientLink, nettest.BoxServerLink, nettest.BoxClientLink}, Fanout: 1},
		"all":            {Interfaces: []string{afpacket.Any}, Fanout: 2},
		"with a filter":  {Interfaces: []string{nettest.BoxServerLink}, Filter: "tcp port 8443 and host 198.51.100.2"},
		"selected names": {Interfaces: []string{nettest.BoxClientLink}, Select: Selection{ServerNames: []string{"*"}}},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := nettest.Hosts(t)
			cfg := tlsConfig(tls.VersionTLS12)
			to := serve(t, hosts.Server, cfg)
			s := sniff(t, hosts.Box, o)
			const flows = 20
			sent := make(map[netip.AddrPort][]byte)
			var mu sync.Mutex
			var clients sync.WaitGroup
			for i := range flows {
				clients.Go(func() {
					data := numbered(1 + i*i*1000)
					from, err := echo(hosts.Client, to, cfg, data)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					sent[from] = data
					mu.Unlock()
				})
			}
			clients.Wait()
			s.await(t, "the ends of the flows", func() bool { return len(s.ended) >= flows })
			s.stop()
			if len(s.ended) != flows || len(s.begun) != flows || !s.begun[1] || !s.begun[flows] {
				t.Errorf("%d flows ended of %d", len(s.ended), len(s.begun))
			}
			for from, data := range sent {
				f := s.ended[from]
				if f.Outcome != session.OutcomeRead || f.Server != to || s.said[from] == nil {
					t.Errorf("flow of %v: %v %v %s", from, f.Outcome, f.Cause, f.Detail)
					continue
				}
				for side := range 2 {
					if got := s.said[from][side].Bytes(); !bytes.Equal(got, data) {
						t.Errorf("flow of %v: side %d: %d bytes of %d", from, side, len(got), len(data))
					}
				}
			}
			st := s.Stats()
			names := len(slices.Compact(slices.Sorted(slices.Values(o.Interfaces))))
			if st.Flows != flows || st.Open != 0 || st.Packets == 0 || len(st.Interfaces) != names || st.Interfaces[0].Received == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// When reading does not keep up, what the kernel drops is counted, and becomes gaps.
func TestSniffDrops(t *testing.T) {
	hosts := nettest.Hosts(t)
	ln, err := hosts.Server.Listen("tcp", netip.AddrPortFrom(nettest.Server4, 8443).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &sniffing{}
	story := newLiveStory()
	story.hold = make(chan struct{})
	cfg := config(t, story)
	err = hosts.Box.Do(func() (err error) {
		s.Sniffer, err = NewSniffer(SniffOptions{Interfaces: []string{nettest.BoxClientLink}, Session: cfg, RingSize: 1, Fanout: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	c, err := hosts.Client.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, in)
		read <- n
	}()
	send := func(n int) {
		for range n {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1000) // all of it while the first event is held back
	for st := s.statsBesides(); st.Interfaces[0].Dropped == 0; st = s.statsBesides() {
		send(100)
	}
	close(story.hold)
	story.await(t, "a gap", func() bool {
		send(1)
		return story.lost > 0
	})
	c.Close()
	total := <-read
	in.Close()
	cancel() // its end may have been dropped, too
	if err := <-done; err != nil {
		t.Error(err)
	}
	st := s.Stats()
	var f session.Flow
	for _, f = range story.ended {
	}
	if st.Interfaces[0].Dropped == 0 || st.Streams.Lost == 0 || f.Gaps[handshake.Client] == 0 {
		t.Errorf("%+v; gaps %v", st, f.Gaps)
	}
	if sum := f.Gaps[handshake.Client] + f.Bytes[handshake.Client]; sum > uint64(total) || sum < uint64(total)/2 {
		t.Errorf("%d bytes were read and %d lost of %d", f.Bytes[handshake.Client], f.Gaps[handshake.Client], total)
	}
}

// statsBesides are the kernel's counters, which need no lock of a shard.
func (s *Sniffer) statsBesides() (st SniffStats) {
	for _, r := range s.readers {
		r.addTo(&st)
	}
	return st
}

// A flow that cannot be read is dropped by the kernel until it ends.
func TestSniffShunts(t *testing.T) {
	hosts := nettest.Hosts(t)
	cfg := tlsConfig(tls.VersionTLS13)
	to := serve(t, hosts.Server, cfg)
	table, err := shunting.NewShunt(100, shunting.ShuntPassEnds())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	s := sniff(t, hosts.Box, SniffOptions{
		Interfaces: []string{nettest.BoxClientLink}, Fanout: 2, Filter: "tcp port 8443",
		Shunter: afpacket.Shunter{Shunt: table},
	})
	var from netip.AddrPort
	for range 3 {
		if from, err = echo(hosts.Client, to, cfg, make([]byte, 5<<20)); err != nil {
			t.Fatal(err)
		}
	}
	s.await(t, "the ends of the flows", func() bool { return len(s.ended) == 3 })
	st := s.Stats()
	if st.Shunted != 3 || st.Streams.Lost != 0 {
		t.Errorf("%+v", st)
	}
	if f := s.ended[from]; f.Cause != session.TLS13 || f.Gaps != [2]uint64{} || f.Bytes[0]+f.Bytes[1] > 20<<20 {
		t.Errorf("%v %s, gaps %v, bytes %v", f.Cause, f.Detail, f.Gaps, f.Bytes)
	}
	shunted, err := table.Stats()
	if err != nil || shunted.Shunted.Packets == 0 || shunted.Added != 3 {
		t.Errorf("%+v, %v", shunted, err)
	}
	if _, still, err := table.Flow(from, to); still || err != nil {
		t.Errorf("the flow is still in the table: %v, %v", still, err)
	}
}

// The copy of a live capture is read without a key, and by tshark in one pass.
func TestSniffWithSecrets(t *testing.T) {
	hosts := nettest.Hosts(t)
	cfg := tlsConfig(tls.VersionTLS12)
	to := serve(t, hosts.Server, cfg)
	var out bytes.Buffer
	s := sniff(t, hosts.Box, SniffOptions{Interfaces: []string{nettest.BoxClientLink}, Fanout: 2, WithSecrets: &out})
	data := numbered(100_000)
	from, err := echo(hosts.Client, to, cfg, data)
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "the end of the flow", func() bool { return len(s.ended) == 1 })
	s.stop()
	path := filepath.Join(t.TempDir(), "live.pcapng")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, stats := decrypt(t, Options{Session: noKeys()}, path)
	if got.said(1, handshake.Server) != string(data) || got.flow(1).Client != from || got.flow(1).Interface != nettest.BoxClientLink {
		t.Errorf("%d bytes of %v; %+v", len(got.said(1, handshake.Server)), got.flow(1).Client, stats)
	}
	cmd := exec.Command(tool(t, "tshark"), "-r", path, "-q", "-z", "follow,tls,raw,0")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	shown, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(followed(t, shown)); n != len(data) || s.Stats().NotCopied != 0 {
		t.Errorf("tshark shows %d bytes, want %d; %d packets were not copied", n, len(data), s.Stats().NotCopied)
	}
}

type noShunt struct{}

func (n *noShunt) AttachFilter(int, []bpf.RawInstruction) error {
	return errors.New("no such thing here")
}
func (n *noShunt) Add(a, b netip.AddrPort) error { return nil }
func (n *noShunt) Remove(a, b netip.AddrPort) (packets, bytes uint64, err error) {
	return 0, 0, nil
}

func TestSnifferErrors(t *testing.T) {
	host := nettest.Host(t, "alone")
	cfg := &session.Config{}
	for name, o := range map[string]SniffOptions{
		"no interface": {Session: cfg},
		"missing":      {Session: cfg, Interfaces: []string{"lo", "eth9"}},
		"filter":       {Session: cfg, Interfaces: []string{"lo"}, Filter: "tcp port"},
		"shunt":        {Session: cfg, Interfaces: []string{"lo"}, Shunter: new(noShunt)},
	} {
		t.Run(name, func(t *testing.T) {
			o.RingSize = 1
			err := host.Do(func() error {
				_, err := NewSniffer(o)
				return err
			})
			if err == nil || bytes.ContainsRune([]byte(err.Error()), '\n') {
				t.Errorf("%v", err)
			}
		})
	}
}

// The interfaces of a sniffer may go while it runs.
func TestSniffInterfaceGoes(t *testing.T) {
	hosts := nettest.Hosts(t)
	failed := make(chan error, 10)
	var sniffer *Sniffer
	err := hosts.Box.Do(func() (err error) {
		sniffer, err = NewSniffer(SniffOptions{
			Interfaces: []string{nettest.BoxClientLink, nettest.BoxServerLink}, Session: &session.Config{Handler: newLiveStory()}, RingSize: 1, Fanout: 2,
			Failed: func(err error) { failed <- err },
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- sniffer.Run(context.Background()) }()
	if err := hosts.Box.Remove(nettest.BoxClientLink); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, afpacket.ErrGone) || !strings.HasPrefix(err.Error(), nettest.BoxClientLink+": ") {
		t.Error(err)
	}
	if err := hosts.Box.Remove(nettest.BoxServerLink); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, afpacket.ErrGone) || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not a line for each interface: %v", err)
	}
	if len(failed) > 0 {
		t.Errorf("told once more: %v", <-failed)
	}
}
