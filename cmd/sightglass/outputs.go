// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/session"
	"github.com/sightglass/sightglass/sink"
)

// outputs opens what comes out, one after the other, and remembers the first that fails.
type outputs struct {
	e     *env
	opt   sink.Options
	sinks []sink.Sink
	err   error
}

// liveOptions suit traffic that cannot wait: what a slow output misses is dropped and counted, and
// files are continued over a restart.
func liveOptions(o *config.Output) sink.Options {
	return sink.Options{
		Order:      sink.OrderLive,
		Append:     true,
		RotateSize: int64(o.RotateSize),
		RotateTime: time.Duration(o.RotateTime),
	}
}

// captureOptions suit files: the reader waits for its outputs, soon, as what is in little memory is
// quickly at hand.
func captureOptions() sink.Options {
	return sink.Options{Lossless: true, Order: sink.OrderGiven, Buffer: 512 << 10}
}

// openOutputs opens what the settings name for every way in.
func openOutputs(e *env, o *config.Output, opt sink.Options) *outputs {
	out := &outputs{e: e, opt: opt}
	out.file(o.KeyLog, func(w *sink.Output) sink.Sink { return sink.NewKeyLog(w) })
	if out.err == nil {
		out.err = private(o.KeyLog)
	}
	out.file(o.EVE, func(w *sink.Output) sink.Sink { return sink.NewEVE(w, sink.EVEOptions{}) })
	out.file(o.PCAPNG, func(w *sink.Output) sink.Sink { return sink.NewPcapng(w, sink.PcapngOptions{}) })
	if path := e.getenv(envDigest); path != "" {
		out.add(func() (sink.Sink, error) { return newDigest(path) })
	}
	if o.Follow {
		out.writer(e.stdout, func(w *sink.Output) sink.Sink { return sink.NewFollow(w, sink.FollowOptions{Colour: e.colour()}) })
	}
	return out
}

// file opens path, if there is one, and makes a sink on it.
func (out *outputs) file(path string, make func(*sink.Output) sink.Sink) {
	if path == "" || out.err != nil {
		return
	}
	if path == "-" {
		out.writer(out.e.stdout, make)
		return
	}
	w, err := sink.Create(path, out.opt)
	if err != nil {
		out.err = err
		return
	}
	out.sinks = append(out.sinks, make(w))
}

// writer makes a sink on an open writer.
func (out *outputs) writer(w io.Writer, make func(*sink.Output) sink.Sink) {
	if out.err == nil {
		out.sinks = append(out.sinks, make(sink.NewOutput(w, out.opt)))
	}
}

// add takes a sink that was made elsewhere.
func (out *outputs) add(make func() (sink.Sink, error)) {
	if out.err != nil {
		return
	}
	s, err := make()
	if err != nil {
		out.err = err
		return
	}
	out.sinks = append(out.sinks, s)
}

// done returns the sinks as one, or closes them all if one could not be opened.
func (out *outputs) done() (*sink.Fan, error) {
	fan := sink.NewFan(out.sinks...)
	if out.err != nil {
		return nil, errors.Join(out.err, fan.Close())
	}
	return fan, nil
}

// tellsPeople says that standard output has nothing to show but what a person reads.
func tellsPeople(o *config.Output) bool {
	return !o.Follow && o.EVE != "-" && o.PCAPNG != "-" && o.KeyLog != "-"
}

// colour says whether colours suit standard output.
func (e *env) colour() bool {
	f, ok := e.stdout.(*os.File)
	return ok && sink.Coloured(f)
}

// handlers hands each event to several.
type handlers []session.Handler

// Event implements session.Handler.
func (h handlers) Event(e *session.Event) {
	for _, next := range h {
		next.Event(e)
	}
}

// muting is a writer that can be silenced: of what could not be read at all there is no table.
type muting struct {
	io.Writer
	mute atomic.Bool
}

// Write writes, or does as if.
func (m *muting) Write(b []byte) (int, error) {
	if m.mute.Load() {
		return len(b), nil
	}
	return m.Writer.Write(b)
}

func withSecretsFlag(cmd *cobra.Command, to *string) {
	fileFlag(cmd, to, "with-secrets", "FILE", "the packets themselves, and the secrets that let Wireshark show them decrypted")
}

// openCopy makes the file for --with-secrets, nil if there is none. finish closes it.
func openCopy(e *env, path string) (w io.Writer, finish func() error, err error) {
	switch path {
	case "":
		return nil, func() error { return nil }, nil
	case "-":
		return e.stdout, func() error { return nil }, nil
	}
	f, err := sink.OpenFile(path, false)
	if err != nil {
		return nil, nil, err
	}
	if err := private(path); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, f.Close, nil
}
