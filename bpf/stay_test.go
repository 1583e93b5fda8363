// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stayConfig is what the process that is killed and the test agree on, by the environment.
func stayConfig(way Attachment, drop bool, pins string) SteerConfig {
	return SteerConfig{
		Instance:            "stay",
		About:               "what is on port 443",
		Mark:                testMark,
		Rules:               Rules{Servers: AllServers(PortSet(serverPort))},
		Attachment:          way,
		DropWithoutListener: drop,
		PinPath:             pins,
	}
}

// steerUntilKilled steers in the namespace it was started in, answers every connection with "box", and
// says when it is ready.
func steerUntilKilled() error {
	way := AttachTCX
	if os.Getenv("WAY") == "clsact" {
		way = AttachClsact
	}
	s, err := NewSteer(stayConfig(way, os.Getenv("DROP") != "", os.Getenv("PINS")))
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: transparent()}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf("[::]:%d", proxyPort))
	if err != nil {
		return err
	}
	if err := s.SetListeners(l.(*net.TCPListener)); err != nil {
		return err
	}
	if err := attachBoth(s); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(c, "box")
	}
}

func attachBoth(s *Steer) error {
	if err := s.Attach(nettest.BoxClientLink, TowardsClients); err != nil {
		return err
	}
	return s.Attach(nettest.BoxServerLink, TowardsServers)
}

// startKilled starts steerUntilKilled in the box.
func startKilled(t *testing.T, box *nettest.Namespace, env ...string) *nettest.Process {
	t.Helper()
	r, w, err := os.Pipe()
	ok(t, err)
	defer func() { _ = r.Close() }()
	cmd := inRole("steer", env...)
	cmd.SysProcAttr = nil // the thread that starts it may end before it
	cmd.Stdout, cmd.Stderr = w, w
	p, err := box.Start(cmd)
	ok(t, w.Close())
	ok(t, err)
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process that is to be killed: %s %v", line, err)
	}
	return p
}

// answer is the first line that a client gets from the server's address.
func answer(t *testing.T, n *nettest.Namespace, limit time.Duration) (string, error) {
	t.Helper()
	c, err := dialWithin(n, "", netip.AddrPortFrom(nettest.Server4, serverPort).String(), limit)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	ok(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	line, err := bufio.NewReader(c).ReadString('\n')
	if line == c.LocalAddr().String()+"\n" {
		line = "server\n"
	}
	return line, err
}

func wantAnswer(t *testing.T, n *nettest.Namespace, want string) {
	t.Helper()
	if got, err := answer(t, n, 10*time.Second); err != nil || got != want+"\n" {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

// wantNoAnswer checks that a connection does not come about, and that nothing of it reaches the server.
func wantNoAnswer(t *testing.T, hosts *nettest.Topology) {
	t.Helper()
	capture, err := hosts.Server.Capture(nettest.ServerLink)
	ok(t, err)
	if got, err := answer(t, hosts.Client, 200*time.Millisecond); err == nil {
		t.Errorf("got %q, want no connection", got)
	}
	frames, err := capture.Stop()
	ok(t, err)
	streams, err := nettest.Streams(frames)
	ok(t, err)
	if len(streams) > 0 {
		t.Errorf("the server saw %v", streams)
	}
}

func stayHosts(t *testing.T) *nettest.Topology {
	hosts := nettest.Hosts(t)
	routeMark(t, hosts.Box)
	accept(t, listen(t, hosts.Server, "tcp", fmt.Sprintf("[::]:%d", serverPort), nil), echo)
	wantAnswer(t, hosts.Client, "server")
	return hosts
}

// TestKilledForwards kills the process; its links go with it.
func TestKilledForwards(t *testing.T) {
	supportedHere(t)
	hosts := stayHosts(t)
	p := startKilled(t, hosts.Box, "WAY=tcx")
	wantAnswer(t, hosts.Client, "box")
	p.Kill()
	wantAnswer(t, hosts.Client, "server")
}

// TestKilledDrops kills the process; its program stays, until another takes over, and is removed.
func TestKilledDrops(t *testing.T) {
	supportedHere(t)
	for _, way := range []Attachment{AttachTCX, AttachClsact} {
		t.Run(way.String(), func(t *testing.T) { testKilledDrops(t, way) })
	}
}

func testKilledDrops(t *testing.T, way Attachment) {
	hosts, pins := stayHosts(t), bpfFS(t)
	// A connection that began before the box did is not let through.
	early := converse(t, hosts.Client, netip.AddrPortFrom(nettest.Server4, serverPort))
	p := startKilled(t, hosts.Box, "WAY="+way.String(), "DROP=1", "PINS="+pins)
	wantAnswer(t, hosts.Client, "box")
	wantReset(t, early)
	wantInstance(t, hosts.Box, pins, &Instance{"stay", "what is on port 443", []string{nettest.BoxClientLink, nettest.BoxServerLink}})
	before := linkIDs(t, hosts.Box, way, pins)
	p.Kill()
	wantNoAnswer(t, hosts)

	var s *Steer
	ok(t, hosts.Box.Do(func() (err error) {
		s, err = NewSteer(stayConfig(way, true, pins))
		return err
	}))
	t.Cleanup(func() { ok(t, s.Close()) })
	l := listen(t, hosts.Box, "tcp", fmt.Sprintf("[::]:%d", proxyPort), transparent())
	accept(t, l, func(c *net.TCPConn) { _, _ = fmt.Fprintln(c, "successor") })
	ok(t, s.SetListeners(l))
	ok(t, attachBoth(s))
	wantAnswer(t, hosts.Client, "successor")
	if after := linkIDs(t, hosts.Box, way, pins); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("links %v, before %v: they were made anew", after, before)
	}
	ok(t, s.Close())
	ok(t, l.Close())
	wantNoAnswer(t, hosts)
	for range 2 {
		ok(t, hosts.Box.Do(func() error {
			return RemoveSteering("stay", pins)
		}))
	}
	wantInstance(t, hosts.Box, pins, nil)
	wantAnswer(t, hosts.Client, "server")
	noFilters(t, hosts.Box)
}

// bpfFS mounts a BPF file system until the test ends.
func bpfFS(t *testing.T) string {
	dir := t.TempDir()
	ok(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return filepath.Join(dir, "pins")
}

// wantReset expects a connection to be broken when something is sent by it.
func wantReset(t *testing.T, c conversation) {
	t.Helper()
	_, _ = c.Write([]byte("still there?"))
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// wantInstance checks what is known of the instances in a namespace; nil is that there is none.
func wantInstance(t *testing.T, box *nettest.Namespace, path string, want *Instance) {
	t.Helper()
	var found []Instance
	ok(t, box.Do(func() (err error) {
		found, err = Instances(path)
		return err
	}))
	if want == nil && len(found) == 0 {
		return
	}
	if want == nil || len(found) != 1 || fmt.Sprint(found[0]) != fmt.Sprint(*want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

// linkIDs are those of the links that are pinned.
func linkIDs(t *testing.T, box *nettest.Namespace, way Attachment, path string) (ids []link.ID) {
	t.Helper()
	if way != AttachTCX {
		return nil
	}
	var p pinFiles
	ok(t, box.Do(func() (err error) {
		p, err = pinsOf(path, "stay")
		return err
	}))
	for _, name := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
		l, err := link.LoadPinnedLink(p.link(name), nil)
		ok(t, err)
		info, err := l.Info()
		ok(t, err)
		ids = append(ids, info.ID)
		ok(t, l.Close())
	}
	return ids
}

func noFilters(t *testing.T, box *nettest.Namespace) {
	t.Helper()
	ok(t, box.Do(func() error {
		for _, name := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
			if len(filters) > 0 {
				t.Errorf("%s still has %v", name, filters)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// supportedHere asks without loading anything.
func supportedHere(t *testing.T) {
	t.Helper()
	nettest.Require(t)
	if os.Geteuid() != 0 {
		supported(t, ErrPrivilege)
	}
}
