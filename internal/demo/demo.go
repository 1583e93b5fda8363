// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package demo shows the whole program at work on one machine: a client, a server and the box between
// them, each in a network namespace of its own, with what was promised checked at the end. It knows
// the program by its command line only.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// limit is how long all of it may take.
const limit = 60 * time.Second

// inner tells the program that it runs inside a user namespace of the demo's.
const inner = "SIGHTGLASS_DEMO_INNER"

// ErrClaim says that something that was promised did not hold. It was told already.
var ErrClaim = errors.New("a claim did not hold")

// Run shows the program at path, which must be this process's own, and writes to out. Where this
// process may not make network namespaces it starts itself once more in a user namespace.
func Run(ctx context.Context, path string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := nettest.Supported(); err != nil {
		if os.Getenv(inner) != "" {
			return err
		}
		return again(ctx, path, out)
	}
	d := &demo{ctx: ctx, path: path, out: out}
	defer d.close()
	if err := d.run(); err != nil {
		return err
	}
	if d.failed > 0 {
		return ErrClaim
	}
	return nil
}

// again runs the demo as root of a user namespace of its own.
func again(ctx context.Context, path string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, path, "demo")
	cmd.Env = append(os.Environ(), inner+"=1")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	nettest.MapRoot(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return ErrClaim
	case err != nil:
		return fmt.Errorf("the demo needs root, or user namespaces for everyone (sysctl kernel.unprivileged_userns_clone=1, "+
			"kernel.apparmor_restrict_unprivileged_userns=0): %w", err)
	}
	return nil
}

// demo is one showing.
type demo struct {
	ctx    context.Context
	path   string
	out    io.Writer
	hosts  *nettest.Topology
	peers  *peers
	box    *box
	legs   [2]*nettest.Capture // towards the client, towards the server
	failed int
}

func (d *demo) run() error {
	fmt.Fprint(d.out, picture)
	steps := []func() error{d.setUp, d.talk, d.tearDown, d.judge}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if err := d.ctx.Err(); err != nil {
			return fmt.Errorf("the demo did not end in %v", limit)
		}
	}
	return nil
}

const picture = `A client, a box and a server, each in a network namespace of its own:

  client 192.0.2.2        ┌─────────────────┐        server 198.51.100.2
  2001:db8:c::2    ───────┤ sightglass      ├─────── 2001:db8:5::2
                          │ inline (TPROXY) │        :8443 RSA key exchange, mutual TLS
                          └─────────────────┘        :9443 prefers ECDHE

`

// setUp makes the hosts, the servers and the box, and starts to capture on both its legs.
func (d *demo) setUp() (err error) {
	if d.hosts, err = nettest.NewTopology(); err != nil {
		return err
	}
	if d.peers, err = newPeers(); err != nil {
		return err
	}
	if err := d.peers.serve(d.hosts.Server); err != nil {
		return err
	}
	for i, link := range []string{nettest.BoxClientLink, nettest.BoxServerLink} {
		if d.legs[i], err = d.hosts.Box.Capture(link); err != nil {
			return err
		}
	}
	d.box, err = startBox(d.ctx, d.path, d.hosts.Box, d.peers)
	return err
}

// talk has the client speak to both servers, over IPv4 and IPv6.
func (d *demo) talk() error {
	for _, family := range families {
		d.peers.ask(d.hosts.Client, family)
		d.peers.askECDHE(d.ctx, d.hosts.Client, family)
	}
	return nil
}

// tearDown ends the box in order, so that everything it read is written.
func (d *demo) tearDown() error { return d.box.stop(d.ctx) }

// close ends whatever still runs.
func (d *demo) close() {
	if d.peers != nil {
		d.peers.close()
	}
	if d.box != nil {
		d.box.close()
	}
	if d.hosts != nil {
		d.hosts.Close()
	}
}
