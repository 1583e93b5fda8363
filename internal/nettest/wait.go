// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// waitBound is how long a state of the outside world may take to come about.
const waitBound = 15 * time.Second

// poll asks often, and until waitBound or ctx's end, whether something outside this process has
// come about that it sends no word of.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, waitBound)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// WaitListening waits until some process in the namespace listens on a TCP port.
func (n *Namespace) WaitListening(ctx context.Context, port uint16) error {
	return n.waitSockets(ctx, fmt.Sprintf("a listener on port %d in %s", port, n.name), func(s SocketState) bool {
		return s.State == StateListen && s.LocalPort == port
	}, true)
}

// WaitNoSocket waits until no TCP socket of the namespace that match picks is left.
func (n *Namespace) WaitNoSocket(ctx context.Context, what string, match func(SocketState) bool) error {
	return n.waitSockets(ctx, fmt.Sprintf("the end of %s in %s", what, n.name), match, false)
}

// WaitSocket waits until a TCP socket of the namespace is there that match picks.
func (n *Namespace) WaitSocket(ctx context.Context, what string, match func(SocketState) bool) error {
	return n.waitSockets(ctx, fmt.Sprintf("%s in %s", what, n.name), match, true)
}

func (n *Namespace) waitSockets(ctx context.Context, what string, match func(SocketState) bool, want bool) error {
	return poll(ctx, what, func() (bool, error) {
		sockets, err := n.Sockets()
		if err != nil {
			return false, err
		}
		for _, s := range sockets {
			if match(s) {
				return want, nil
			}
		}
		return !want, nil
	})
}

// States of TCP sockets as the kernel numbers them.
const (
	StateEstablished = 1
	StateFinWait1    = 4
	StateFinWait2    = 5
	StateTimeWait    = 6
	StateClose       = 7
	StateCloseWait   = 8
	StateListen      = 10
)

// SocketState is one TCP socket of a namespace.
type SocketState struct {
	State                   int
	LocalPort, RemotePort   uint16
	SendQueue, ReceiveQueue int // bytes
}

// Sockets lists the namespace's TCP sockets.
func (n *Namespace) Sockets() (all []SocketState, err error) {
	err = n.Do(func() error {
		for _, file := range []string{"tcp", "tcp6"} {
			sockets, err := readSockets("/proc/thread-self/net/" + file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			all = append(all, sockets...)
		}
		return nil
	})
	return all, err
}

// readSockets reads a table as proc(5) describes it: "sl local remote st tx:rx …", all hexadecimal.
func readSockets(path string) ([]SocketState, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []SocketState
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || fields[0] == "sl" {
			continue
		}
		tx, rx, _ := strings.Cut(fields[4], ":")
		all = append(all, SocketState{
			State:        int(hex(fields[3])),
			LocalPort:    uint16(hex(fields[1][strings.LastIndexByte(fields[1], ':')+1:])),
			RemotePort:   uint16(hex(fields[2][strings.LastIndexByte(fields[2], ':')+1:])),
			SendQueue:    int(hex(tx)),
			ReceiveQueue: int(hex(rx)),
		})
	}
	return all, lines.Err()
}

func hex(s string) uint64 {
	v, _ := strconv.ParseUint(s, 16, 64)
	return v
}
