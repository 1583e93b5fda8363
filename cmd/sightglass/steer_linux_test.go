// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// hosted is the program as a process in a host, with what it says kept.
type hosted struct {
	program
	process *nettest.Process
}

// startIn starts the program in a host; it ends with the test.
func startIn(t testing.TB, host *nettest.Namespace, env []string, args ...string) *hosted {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &hosted{program: program{t: t}}
	h.stdout.cond, h.stderr.cond = sync.NewCond(&h.stdout.mu), sync.NewCond(&h.stderr.mu)
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"sightglass"}, args...) // by which TestMain knows what to be
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &h.stdout, &h.stderr
	if h.process, err = host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return h
}

// finish ends the process in order.
func (h *hosted) finish() {
	h.t.Helper()
	if err := h.process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	if err := h.process.Wait(); err != nil {
		h.t.Errorf("%v: %s", err, h.stderr.String())
	}
}

// tlsServer answers, in a host, with what it is asked, until the test ends.
func tlsServer(t testing.TB, host *nettest.Namespace, at netip.AddrPort, cfg *tls.Config) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair("server.pem", "server.key")
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.Clone()
	cfg.Certificates = []tls.Certificate{pair}
	plain, err := host.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(plain, cfg)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(60 * time.Second))
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// tlsAsk says something to a server and wants it back, so many times.
func tlsAsk(host *nettest.Namespace, to netip.AddrPort, cfg *tls.Config, what string, times int) error {
	plain, err := host.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	c := tls.Client(plain, cfg)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return err
	}
	got := make([]byte, len(what))
	for range times {
		if _, err := c.Write([]byte(what)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if string(got) != what {
			return fmt.Errorf("got something else back")
		}
	}
	return nil
}

var (
	readableTLS = &tls.Config{
		InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
	}
	unreadableTLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
)

// TestInlineSteered runs the program between client and server, steered each way; its ports change while
// it runs, and connections are counted by rule all along.
func TestInlineSteered(t *testing.T) {
	for _, steer := range []string{"nftables", "ebpf"} {
		t.Run(steer, func(t *testing.T) {
			top := nettest.Hosts(t)
			if os.Geteuid() != 0 && os.Getenv("CI") != "true" && steer == "ebpf" {
				t.Skip("programs in the kernel need root")
			}
			t.Chdir(t.TempDir())
			if err := makeCerts(nil); err != nil {
				t.Fatal(err)
			}
			testSteered(t, top, steer)
		})
	}
}

func testSteered(t *testing.T, top *nettest.Topology, steer string) {
	first, second := netip.AddrPortFrom(nettest.Server4, 443), netip.AddrPortFrom(nettest.Server6, 8443)
	for _, at := range []netip.AddrPort{first, second} {
		tlsServer(t, top.Server, at, readableTLS)
	}
	configure := func(rules string) {
		t.Helper()
		text := "[[key]]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n[inline]\ninterfaces = [\"" + nettest.BoxClientLink +
			"\"]\nsteer = \"" + steer + "\"\n" + rules
		if err := os.WriteFile("sightglass.toml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(to netip.AddrPort, what string) {
		t.Helper()
		if err := tlsAsk(top.Client, to, readableTLS, what, 1); err != nil {
			t.Fatal(err)
		}
	}
	configure("ports = \"443\"\n")
	box := startIn(t, top.Box, nil, "inline", "--config", "sightglass.toml", "--follow", "--eve", "eve.json")
	box.wait(&box.stderr, `transparent on client0, ports 443, steered by (`+steer+`)`, 1)
	ask(first, "taken at first")
	box.wait(&box.stdout, `> (taken at first)`, 1)
	ask(second, "not taken yet")

	reload := func(says string, n int) {
		t.Helper()
		if err := box.process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		box.wait(&box.stderr, says, n)
	}
	configure("ports = \"8443\"\nexclude = [\"198.51.100.0/24\"]\n")
	reload("read the configuration again", 1)
	ask(first, "not taken any more")
	ask(second, "taken now")
	box.wait(&box.stdout, `> (taken now)`, 1)
	configure("")
	reload("the configuration stays as it was: inline needs --port", 1)
	ask(second, "taken still")
	box.wait(&box.stdout, `> (taken still)`, 1)

	box.finish()
	if said := box.stdout.String(); strings.Contains(said, "not taken") {
		t.Errorf("what is not to be taken was:\n%s", said)
	}
	if said := box.stderr.String(); !strings.Contains(said, "include ::/0 port 8443: 2 connections") {
		t.Errorf("does not say at the end what each rule did:\n%s", said)
	}
	eve, err := os.ReadFile("eve.json")
	if err != nil || !bytes.Contains(eve, []byte(`"rules":{`)) || !bytes.Contains(eve, []byte(`port_8443":2`)) {
		t.Errorf("the stats do not count by rule: %v\n%s", err, eve)
	}
}
