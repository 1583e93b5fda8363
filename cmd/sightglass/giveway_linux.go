// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/rsakex"
)

// workerNice is how far the private key's workers stand back from what carries bytes.
const workerNice = 5

// giveWay has the calling goroutine run on a thread of its own, of low priority: nobody waits for a private
// operation but the reading, and a connection's bytes wait for none of it. The thread ends with the goroutine.
func giveWay() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, workerNice) // of this thread alone; it only saves latency
}

// maxBehind is how many private operations may wait before new connections have to. The rest of the queue is
// for the handshakes that are on their way.
const maxBehind = rsakex.DefaultQueue / 8

// paced takes connections no faster than the private key can follow: clients do not wait for it, and none of
// their connections shall be left unread because others came too fast.
func (p *proxy) paced(ctx context.Context, listeners []net.Listener) []net.Listener {
	all := make([]net.Listener, len(listeners))
	for i, ln := range listeners {
		all[i] = &pacedListener{ln, func() { p.generations.waitRoom(ctx, maxBehind) }}
	}
	return all
}

type pacedListener struct {
	net.Listener
	wait func()
}

// Accept implements net.Listener.
func (l *pacedListener) Accept() (net.Conn, error) {
	l.wait()
	return l.Listener.Accept()
}
