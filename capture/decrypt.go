// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/session"
)

// Decrypt reads capture files to their end and hands the events of their flows to the handler of
// o.Session, in order. The error says what kept a file from being read to its end, unless it was
// only cut: that is a warning in Stats. Events, Stats and the copy with secrets are right for what
// was read in any case. When ctx ends, so do the flows, and the error is ctx's.
func Decrypt(ctx context.Context, o Options) (Stats, error) {
	files, err := pcapng.Set(o.Files)
	if err != nil {
		return Stats{}, err
	}
	if err := check(ctx, files); err != nil {
		return Stats{}, err
	}
	if o.WithSecrets != nil {
		spooled, remove, err := spool(ctx, files)
		defer remove()
		if err != nil {
			return Stats{}, err
		}
		files = spooled
	}
	d := &decryption{o: o, files: files}
	return d.run(ctx)
}

// check refuses, before anything is read, what is no capture.
func check(ctx context.Context, files []pcapng.File) error {
	if len(files) == 0 {
		return errors.New("no capture file")
	}
	for _, f := range files {
		if !f.Again {
			continue
		}
		in, err := f.Open(ctx)
		if err != nil {
			return err
		}
		in.Close()
	}
	return nil
}

// spool copies what can be read only once to temporary files.
func spool(ctx context.Context, files []pcapng.File) (spooled []pcapng.File, remove func(), err error) {
	var names []string
	remove = func() {
		for _, name := range names {
			os.Remove(name)
		}
	}
	for _, f := range files {
		if f.Again {
			spooled = append(spooled, f)
			continue
		}
		name, err := f.Spool(ctx)
		if name != "" {
			names = append(names, name)
		}
		if err != nil {
			return nil, remove, err
		}
		again, err := pcapng.Stat(name)
		if err != nil {
			return nil, remove, err
		}
		again.Title = f.Name()
		spooled = append(spooled, again)
	}
	return spooled, remove, nil
}

// decryption is one run of Decrypt.
type decryption struct {
	o        Options
	files    []pcapng.File
	stats    Stats
	injector *pcapng.Injector
	writeErr error // of the copy with secrets
}

func (d *decryption) run(ctx context.Context) (Stats, error) {
	cfg := *d.o.Session
	logs := gatherSecrets(ctx, d.files, cfg.KeyLog)
	cfg.KeyLog = logs.keyLog()
	handler := cfg.Handler
	if d.o.WithSecrets != nil {
		j, err := pcapng.NewInjector(d.o.WithSecrets, d.files)
		if err != nil {
			return d.stats, err
		}
		d.injector = j
		handler = &secretsTee{d, handler}
	}
	handler = d.o.Select.handler(handler)
	d.o.Session = &cfg
	f := d.process(ctx, handler, logs)
	d.stats.Secrets = logs.len()
	if d.injector != nil && f.err == nil {
		d.writeErr = errors.Join(d.writeErr, d.injector.Finish(f.ends))
	}
	return d.stats, errors.Join(f.err, d.problems(), d.writeErr)
}

// process reads the files with all workers, and merges in this goroutine.
func (d *decryption) process(ctx context.Context, handler session.Handler, logs *secrets) *feeder {
	g := newGate()
	bounds := d.o.Bounds.withDefaults()
	workers := make([]*worker, d.o.workers())
	var running sync.WaitGroup
	for i := range workers {
		workers[i] = newWorker(i, &d.o, bounds, g)
		running.Go(workers[i].run)
	}
	f := &feeder{
		files: d.files, sel: &d.o.Select, workers: workers, gate: g, bounds: bounds,
		seed: rand.Uint64(), secrets: logs.add, stats: &d.stats, used: batchBytes,
		free: make(chan *batch, numBatches), ordered: make(chan *batch, numBatches),
	}
	for range numBatches {
		f.free <- newBatch(len(workers))
	}
	running.Go(func() { f.run(ctx) })
	d.merge(f, handler, g)
	running.Wait()
	for _, w := range workers {
		d.stats.add(w.t)
	}
	return f
}

// merge hands events on until there are no more.
func (d *decryption) merge(f *feeder, handler session.Handler, g *gate) {
	var total int64
	for _, file := range d.files {
		if !file.Again {
			total = 0
			break
		}
		total += file.Size
	}
	m := &merger{handler: handler, settle: d.o.Settle, gate: g}
	for b := range f.ordered {
		m.merge(b)
		if d.o.Progress != nil {
			d.o.Progress(b.read, total)
		}
		f.free <- b
		handOver()
	}
}

// problems returns the warnings that are more than that a file is cut, as an error.
func (d *decryption) problems() error {
	var errs []error
	kept := d.stats.Warnings[:0]
	for _, w := range d.stats.Warnings {
		var e *pcapng.Error
		if isCut(w) || !errors.As(w, &e) && !isPathError(w) {
			kept = append(kept, w)
		} else {
			errs = append(errs, w)
		}
	}
	d.stats.Warnings = kept
	return errors.Join(errs...)
}

func isPathError(err error) bool {
	var e *os.PathError
	return errors.As(err, &e)
}

// secretsTee gives the secrets that were found to the copy of the files.
type secretsTee struct {
	d    *decryption
	next session.Handler
}

func (t *secretsTee) Event(e *session.Event) {
	if e.Kind == session.KindSecrets && t.d.writeErr == nil {
		t.d.writeErr = t.d.injector.Add(e.Data)
	}
	if t.next != nil {
		t.next.Event(e)
	}
}
