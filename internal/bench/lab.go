// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// lab is client, box and server, with the peers' processes running.
type lab struct {
	*nettest.Topology
	dir    string
	own    string // this program
	server *child
	client *child
	in     io.Writer
	out    *bufio.Reader
	cpus   // that the programs run on
}

// clientAddresses is how many addresses the client has: one has ports for some 60,000 connections.
const clientAddresses = 16

// labLife bounds the lives of the peers.
const labLife = 90 * time.Minute

// The server's ports, by what a client wants. To each of the ways through the box belong ports of its own.
const (
	portTLS    = 443
	portMutual = 444
	portPlain  = 445
	portBehind = 446 // of a server behind a program that terminates
)

// port returns the server's port for a kind of connection that goes one way.
func port(way, kind int) int { return way*1000 + kind }

// The ways from client to server.
const (
	wayDirect = iota + 10
	waySightglass
	wayHAProxy
	wayTerminate
	wayNginx
	wayNginxTerminate
	ways
)

// newLab makes the hosts and starts the peers. dir is for the files of this run, and has the identities.
func newLab(dir string, on cpus) (l *lab, err error) {
	l = &lab{dir: dir, cpus: on}
	if l.own, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.Topology, err = nettest.NewTopology(); err != nil {
		return nil, err
	}
	for _, step := range []func() error{l.tune, l.startServer, l.startClient} {
		if err := step(); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	return l, nil
}

// start starts cmd in one of the hosts, on its processors, see the function.
func (l *lab) start(n *nettest.Namespace, bound time.Duration, cmd *exec.Cmd) (*child, error) {
	on := l.peers
	if n == l.Box {
		on = l.box
	}
	return start(n, bound, on, cmd)
}

// close ends the peers, and takes the hosts down.
func (l *lab) close() error {
	l.client.stop()
	l.server.stop()
	return l.Topology.Close()
}

// tune gives the hosts room for many connections.
func (l *lab) tune() error {
	for _, n := range []*nettest.Namespace{l.Client, l.Box, l.Server} {
		for key, value := range map[string]string{
			"net/ipv4/ip_local_port_range": "1024 65535",
			"net/ipv4/tcp_tw_reuse":        "1",
			"net/core/somaxconn":           "16384",
			"net/ipv4/tcp_max_syn_backlog": "16384",
		} {
			if err := n.Sysctl(key, value); err != nil {
				return err
			}
		}
	}
	// A port that a connection left behind in TIME-WAIT could not be listened on.
	if err := l.Box.Sysctl("net/ipv4/ip_local_reserved_ports", fmt.Sprintf("%d-%d", port(wayDirect, 0), port(ways, 0))); err != nil {
		return err
	}
	return l.Client.AddAddr(nettest.ClientLink, l.addresses()...)
}

func (l *lab) addresses() []netip.Prefix {
	var all []netip.Prefix
	a := nettest.Client4
	for range clientAddresses {
		a = a.Next()
		all = append(all, netip.PrefixFrom(a, 24))
	}
	return all
}

func (l *lab) startServer() error {
	var services []service
	for way := wayDirect; way < ways; way++ {
		services = append(services,
			service{Port: uint16(port(way, portTLS))},
			service{Port: uint16(port(way, portMutual)), Mutual: true},
			service{Port: uint16(port(way, portPlain)), Plain: true},
			service{Port: uint16(port(way, portBehind)), Behind: true},
		)
	}
	in, out, c, err := l.peer(l.Server, "server")
	if err != nil {
		return err
	}
	l.server = c
	if err := json.NewEncoder(in).Encode(services); err != nil {
		return c.wrap(err)
	}
	if _, err := out.ReadString('\n'); err != nil {
		return c.wrap(err)
	}
	return nil
}

func (l *lab) startClient() (err error) {
	var addresses []string
	for _, p := range l.addresses() {
		addresses = append(addresses, p.Addr().String())
	}
	l.in, l.out, l.client, err = l.peer(l.Client, "client", "-addresses", strings.Join(addresses, ","))
	return err
}

// peer starts this program again, as a peer in one of the hosts.
func (l *lab) peer(n *nettest.Namespace, role string, args ...string) (io.Writer, *bufio.Reader, *child, error) {
	cmd := exec.Command(l.own, append([]string{"-peer", role, "-dir", l.dir}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := l.start(n, labLife, cmd)
	if err != nil {
		return nil, nil, nil, err
	}
	c.name = role
	return in, bufio.NewReaderSize(out, 1<<20), c, nil
}

// address returns where the client connects for a kind of connection on a way.
func (l *lab) address(way, kind int) string {
	return netip.AddrPortFrom(nettest.Server4, uint16(port(way, kind))).String()
}

// ask has the client do a job. When it is ready, during is called, and when that returns it goes on;
// during may be nil.
func (l *lab) ask(ctx context.Context, j job, during func() error) (*answer, error) {
	stop := context.AfterFunc(ctx, func() { l.client.proc.Kill() })
	defer stop()
	if err := json.NewEncoder(l.in).Encode(j); err != nil {
		return nil, l.client.wrap(err)
	}
	for {
		line, err := l.out.ReadBytes('\n')
		if err != nil {
			return nil, l.client.wrap(errors.Join(err, ctx.Err()))
		}
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, err
		}
		switch {
		case a.Error != "":
			return nil, fmt.Errorf("%s: %s\nserver: %s", j.Kind, a.Error, l.server.said.String())
		case !a.Ready:
			return &a, nil
		}
		if during != nil {
			if err := during(); err != nil {
				return nil, err
			}
		}
		if _, err := io.WriteString(l.in, "\n"); err != nil {
			return nil, l.client.wrap(err)
		}
	}
}

// file returns the path of a file of this run.
func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }
