// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"io"
	"runtime"
	"time"

	"github.com/sightglass/sightglass/capture/reassembly"
	"github.com/sightglass/sightglass/session"
)

// Options says what Decrypt reads, and how.
type Options struct {
	// Files are the paths of a capture or of a rotated set, "-" for standard input.
	Files []string
	// Session is what sessions are made with. Its Handler gets the events of all flows, one after
	// the other, in the order of the packets; Flow is one value for each flow there. Secrets found
	// in the files count as well as those of its KeyLog. Its Keys have to answer at once, as
	// rsakex.Local does.
	Session *session.Config
	// Settle, if set, is called after some events were handed on, by the goroutine that called Decrypt. The bytes of their data last until
	// then, and not only until Handler returns.
	Settle func()
	// Workers is the number of goroutines that read flows; 0: one for each processor.
	Workers int
	// Select picks the flows of which events are handed on. What has to wait for names or subjects
	// comes when these are known, with the time that it was.
	Select Selection
	// Progress is told how many bytes of the files were read, of how many; total is 0 if that is not
	// known. It is called often, by the goroutine that called Decrypt.
	Progress func(read, total int64)
	// WithSecrets takes a copy of the files, as one pcapng file, with the secrets of all selected
	// flows in it. Standard input is kept in a temporary file meanwhile.
	WithSecrets io.Writer

	Bounds Bounds
}

// Bounds bounds what is kept of flows. Zero values stand for the defaults.
type Bounds struct {
	// Reassembly is what is held of one connection; nil: reassembly.DefaultLimits.
	Reassembly *reassembly.Limits
	// Held is what segments of all connections may hold together, in bytes. Beyond it, less is held
	// of each.
	Held int
	// Flows is how many connections are followed. Beyond it, idle ones are given up sooner.
	Flows int
	// Idle is how long a connection may be silent, in capture time, before it is given up.
	Idle time.Duration
}

// The defaults of Bounds.
const (
	DefaultHeld  = 16 << 20
	DefaultFlows = 1 << 18
	DefaultIdle  = time.Hour
)

func (b Bounds) withDefaults() Bounds {
	if b.Reassembly == nil {
		l := reassembly.DefaultLimits()
		b.Reassembly = &l
	}
	if b.Held <= 0 {
		b.Held = DefaultHeld
	}
	if b.Flows <= 0 {
		b.Flows = DefaultFlows
	}
	if b.Idle <= 0 {
		b.Idle = DefaultIdle
	}
	return b
}

func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}
