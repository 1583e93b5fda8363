// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// figures are those of one run.
type figures struct {
	cpu  float64 // processor seconds of the box, for each GB or handshake
	rate float64 // bytes or handshakes a second
}

// medians of several runs.
func medians(runs []figures) figures {
	var cpu, rate []float64
	for _, r := range runs {
		cpu, rate = append(cpu, r.cpu), append(rate, r.rate)
	}
	return figures{median(cpu), median(rate)}
}

// interleaved runs each box in turn, again and again, and returns the medians of each.
func (b *bench) interleaved(boxes []*box, run func(*box) (figures, error)) ([]figures, error) {
	all := make([][]figures, len(boxes))
	for range b.runs {
		for i, x := range boxes {
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
	}
	return out, nil
}

// loaded has the client do a job through a box, and returns how much processor time that took.
func (b *bench) loaded(x *box, j job) (*answer, time.Duration, error) {
	var c *child
	var err error
	if x.start != nil {
		if c, err = x.start(b); err != nil {
			c.stop()
			return nil, 0, err
		}
	}
	defer c.stop()
	var before, after time.Duration
	a, err := b.lab.ask(b.ctx, j, func() (err error) {
		if c != nil {
			before, err = c.settled()
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if c != nil {
		if after, err = c.settled(); err == nil {
			err = c.alive()
		}
	}
	return a, after - before, err
}

// bulkOnce sends in bulk through a box, and checks what came out of it.
func (b *bench) bulkOnce(x *box, j job) (figures, error) {
	j.Open = x.seals
	kind := portTLS
	switch {
	case j.Plain:
		kind = portPlain
	case x.seals:
		kind = portWeak
	}
	j.Targets = []string{b.lab.address(x.way, kind)}
	a, cpu, err := b.loaded(x, j)
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
	return figures{cpu: cpu.Seconds() / (total / 1e9), rate: total / a.Seconds}, nil
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
		r, err := b.interleaved([]*box{sightglassBox, haproxyBox}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
		if err != nil {
			return err
		}
		name := fmt.Sprintf("inline bulk, AES-128-GCM, %d flow%s", flows, plural(flows))
		b.add(line{name + ": processor time", r[0].perGB(), "HAProxy TCP, splice", r[1].perGB(), r[0].cpu / r[1].cpu, atMost(0.9), ""})
		b.add(line{name + ": throughput", r[0].perTime(), "HAProxy TCP, splice", r[1].perTime(), r[0].rate / r[1].rate, atLeast(1), ""})
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
	r, err := b.interleaved([]*box{sightglassBox, terminateBox}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
	if err != nil {
		return err
	}
	b.add(line{"inline bulk, AES-256-CBC-SHA: processor time", r[0].perGB(), "HAProxy, re-encrypting", r[1].perGB(), r[0].cpu / r[1].cpu, atMost(0.5), ""})
	return nil
}

// bulkPlain is what nobody reads.
func (b *bench) bulkPlain() error {
	j := job{Kind: "bulk", Plain: true, Flows: 1, Bytes: size(b, int64(2<<30), 64<<20)}
	r, err := b.interleaved([]*box{sightglassBox, haproxyBox}, func(x *box) (figures, error) { return b.bulkOnce(x, j) })
	if err != nil {
		return err
	}
	b.add(line{"inline, not TLS: processor time", r[0].perGB(), "HAProxy TCP, splice", r[1].perGB(), r[0].cpu / r[1].cpu, atMost(0.6), ""})
	b.add(line{"inline, not TLS: throughput", r[0].perTime(), "HAProxy TCP, splice", r[1].perTime(), r[0].rate / r[1].rate, forInformation, ""})
	return nil
}
