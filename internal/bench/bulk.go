// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"iter"
	"os"
	"slices"
	"time"
)

// figures are those of one run.
type figures struct {
	cpu   float64 // processor seconds of the box, for each GB or handshake
	rate  float64 // bytes or handshakes a second
	peers float64 // processor seconds of client and server, for as much
}

// medians of several runs.
func medians(runs []figures) figures {
	var cpu, rate, peers []float64
	for _, r := range runs {
		cpu, rate, peers = append(cpu, r.cpu), append(rate, r.rate), append(peers, r.peers)
	}
	return figures{median(cpu), median(rate), median(peers)}
}

// inTurn returns who comes in a round, with its index: there and back again, so that nobody always comes after the same
// one, and a machine that gets slower or faster does so for all.
func inTurn[T any](round int, all []T) iter.Seq2[int, T] {
	if round%2 == 1 {
		return slices.Backward(all)
	}
	return slices.All(all)
}

// interleaved runs each box in turn, for so many rounds, and returns the medians of each.
func (b *bench) interleaved(rounds int, boxes []*box, run func(*box) (figures, error)) ([]figures, error) {
	all := make([][]figures, len(boxes))
	for round := range rounds {
		for i, x := range inTurn(round, boxes) {
			f, err := run(x)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.name, err)
			}
			all[i] = append(all[i], f)
		}
	}
	out := make([]figures, len(boxes))
	for i, runs := range all {
		out[i] = medians(runs)
		fmt.Fprintf(os.Stderr, "bench: %s: %.3g processor seconds each, and %.3g of the peers; %.0f a second\n",
			boxes[i].name, out[i].cpu, out[i].peers, out[i].rate)
	}
	return out, nil
}

// spent is processor time, of the box and of both peers, and how long the box went on after them.
type spent struct {
	box, peers time.Duration
	late       time.Duration
}

// per divides by how much was done.
func (s spent) per(units float64) figures {
	return figures{cpu: s.box.Seconds() / units, peers: s.peers.Seconds() / units}
}

// rate returns how much was done a second. What is not read yet when the peers are done is not.
func (s spent) rate(units float64, a *answer) float64 { return units / (a.Seconds + s.late.Seconds()) }

// peersCPU returns the processor time of client and server so far.
func (l *lab) peersCPU() (time.Duration, error) {
	a, err := l.client.cpu()
	if err != nil {
		return 0, err
	}
	c, err := l.server.cpu()
	return a + c, err
}

// loaded has the client do a job through a box, and returns how much processor time that took.
func (b *bench) loaded(x *box, j job) (*answer, spent, error) {
	var c *child
	var err error
	if x.awake {
		sleepy, err := keepAwake()
		if err != nil {
			return nil, spent{}, err
		}
		defer sleepy.Close()
	}
	if x.start != nil {
		if c, err = x.start(b); err != nil {
			c.stop()
			return nil, spent{}, err
		}
	}
	defer c.stop()
	var before, after spent
	a, err := b.lab.ask(b.ctx, j, func() (err error) {
		before, _, err = b.spent(c)
		return err
	})
	done := time.Now()
	var still time.Time
	if err == nil {
		after, still, err = b.spent(c)
	}
	if err == nil && c != nil {
		err = c.alive()
	}
	return a, spent{after.box - before.box, after.peers - before.peers, max(still.Sub(done), 0)}, err
}

// spent returns what the box, if there is one, and the peers have taken so far, and since when the box takes no more.
func (b *bench) spent(c *child) (s spent, still time.Time, err error) {
	if c != nil {
		if s.box, still, err = c.settled(); err != nil {
			return s, still, err
		}
	}
	s.peers, err = b.lab.peersCPU()
	return s, still, err
}

// bulkOnce sends in bulk through a box, and checks what came out of it.
func (b *bench) bulkOnce(x *box, j job) (figures, error) {
	j.Open = x.seals
	kind := portTLS
	switch {
	case j.Plain:
		kind = portPlain
	case x.seals:
		kind = portBehind
	}
	j.Targets = []string{b.lab.address(x.way, kind)}
	a, took, err := b.loaded(x, j)
	if err != nil {
		return figures{}, err
	}
	if x.reads {
		digests, err := b.lab.digests()
		if err == nil && j.Plain {
			err = allForwarded(digests, j.Flows)
		} else if err == nil {
			err = sameAs(digests, a.Sums)
		}
		if err != nil {
			return figures{}, err
		}
	}
	total := float64(j.Bytes) * float64(j.Flows)
	f := took.per(total / 1e9)
	f.rate = took.rate(total, a)
	return f, nil
}

// allForwarded says that sightglass let n flows pass that are not TLS.
func allForwarded(digests []flowDigest, n int) error {
	for _, d := range digests {
		if d.cause != "not_tls" {
			return fmt.Errorf("sightglass did not take the flow from %s for what it is: %s, %s", d.Client, d.outcome, d.cause)
		}
	}
	if len(digests) != n {
		return fmt.Errorf("sightglass forwarded %d flows of %d", len(digests), n)
	}
	return nil
}

func (f figures) perGB() string   { return fmt.Sprintf("%.2f s/GB", f.cpu) }
func (f figures) perTime() string { return fmt.Sprintf("%.2f GB/s", f.rate/1e9) }

// bulkGCM is what is decrypted, against what is only forwarded.
func (b *bench) bulkGCM() error {
	for _, flows := range []int{1, 64} {
		j := job{Kind: "bulk", Suite: suiteGCM, Flows: flows, Bytes: size(b, int64(2<<30), 64<<20) / int64(flows)}
		r, err := b.interleaved(b.runs, []*box{sightglassBox, haproxyBox, copyingBox, nginxBox}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
		if err != nil {
			return err
		}
		name := fmt.Sprintf("inline bulk, AES-128-GCM, %d flow%s", flows, plural(flows))
		b.add(line{name + ": processor time", r[0].perGB(), "HAProxy TCP, splice", r[1].perGB(), ratio(r[0].cpu, r[1].cpu), atMost(0.9), ""})
		b.add(line{name + ": throughput", r[0].perTime(), "HAProxy TCP, splice", r[1].perTime(), ratio(r[0].rate, r[1].rate), atLeast(1), ""})
		for i, other := range []string{"HAProxy TCP, no splice", "nginx stream"} {
			f := r[i+2]
			b.add(line{name + ": processor time", r[0].perGB(), other, f.perGB(), ratio(r[0].cpu, f.cpu), forInformation, ""})
			b.add(line{name + ": throughput", r[0].perTime(), other, f.perTime(), ratio(r[0].rate, f.rate), forInformation, ""})
		}
	}
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// bulkCBC is what is decrypted, against what is decrypted and encrypted again.
func (b *bench) bulkCBC() error {
	j := job{Kind: "bulk", Suite: suiteCBC, Flows: 1, Bytes: size(b, int64(1<<30), 32<<20)}
	r, err := b.interleaved(b.runs, []*box{sightglassBox, terminateBox, nginxSeals}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
	if err != nil {
		return err
	}
	b.add(line{"inline bulk, AES-256-CBC-SHA: processor time", r[0].perGB(), "HAProxy, re-encrypting", r[1].perGB(), ratio(r[0].cpu, r[1].cpu), atMost(0.5), ""})
	b.add(line{"inline bulk, AES-256-CBC-SHA: processor time", r[0].perGB(), "nginx, re-encrypting", r[2].perGB(), ratio(r[0].cpu, r[2].cpu), forInformation, ""})
	return nil
}

// bulkPlain is what nobody reads.
func (b *bench) bulkPlain() error {
	j := job{Kind: "bulk", Plain: true, Flows: 1, Bytes: size(b, int64(2<<30), 64<<20)}
	r, err := b.interleaved(b.runs, []*box{sightglassBox, haproxyBox}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
	if err != nil {
		return err
	}
	b.add(line{"inline, not TLS: processor time", r[0].perGB(), "HAProxy TCP, splice", r[1].perGB(), ratio(r[0].cpu, r[1].cpu), atMost(0.6), ""})
	b.add(line{"inline, not TLS: throughput", r[0].perTime(), "HAProxy TCP, splice", r[1].perTime(), ratio(r[0].rate, r[1].rate), forInformation, ""})
	return nil
}
