// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// list shows a line for each flow, with the number that --flow takes.
type list struct {
	w io.Writer

	mu   sync.Mutex
	any  bool
	wide int // what the peers take in a line, in characters, so far: IPv6 takes more than there is room for in IPv4's lines
	err  error
}

// Event writes the line of a flow that ended.
func (l *list) Event(e *session.Event) {
	if e.Kind != session.KindEnd {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := e.Flow
	peers := fmt.Sprintf("%v → %v", f.Client, f.Server)
	l.wide = max(l.wide, leastWide, utf8.RuneCountInString(peers))
	if !l.any {
		l.any = true
		l.printf("%6s  %-15s  %-*s %-9s %-8s %12s %12s  %s\n", "flow", "start", l.wide, "client → server", "outcome", "version", "up", "down", "what")
	}
	version := ""
	if f.Version != 0 {
		version = f.Version.String()
	}
	l.printf("%6d  %s  %-*s %-9v %-8s %12d %12d  %s\n", f.ID, f.Start.Format("15:04:05.000000"),
		l.wide, peers, f.Outcome, version,
		f.Plaintext[handshake.Client], f.Plaintext[handshake.Server], about(f))
}

// leastWide has room for the peers of a flow in IPv4.
const leastWide = 44

func (l *list) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(l.w, format, args...); err != nil && l.err == nil {
		l.err = err
	}
}

// about says in a few words what a flow was, or why it was not read.
func about(f *session.Flow) string {
	text := ""
	switch {
	case f.Cause != session.CauseNone:
		text = f.Cause.String()
	case f.Version != 0:
		text = handshake.SuiteName(f.Suite)
	}
	if f.Resumed != session.ResumedNot {
		text += ", resumed by " + f.Resumed.String()
	}
	if f.ServerName != "" {
		text += fmt.Sprintf(", for %q", f.ServerName)
	}
	return text
}
