// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
)

// latency is what a box adds to the time of a full handshake, alone and beside others.
func (b *bench) latency() error {
	boxes := []*box{directBox, haproxyBox, sightglassBox}
	for _, load := range []struct {
		name string
		rate float64
	}{{"idle", 0}, {"at half load", b.halfLoad()}} {
		samples, err := b.latencySamples(boxes, load.rate)
		if err != nil {
			return err
		}
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50", 0.5}, {"p99", 0.99}} {
			direct := quantile(samples[0], q.at)
			theirs, ours := quantile(samples[1], q.at)-direct, quantile(samples[2], q.at)-direct
			us := func(s float64) string { return fmt.Sprintf("%.0f µs", s*1e6) }
			b.add(line{
				fmt.Sprintf("added to a full handshake, %s, %s", load.name, q.name), us(ours),
				"HAProxy TCP", us(theirs), ratio(ours, theirs), atMost(1),
				fmt.Sprintf("without a box %s, of %d samples", us(direct), len(samples[0])),
			})
		}
	}
	return nil
}

// halfLoad is half the full handshakes a second that sightglass can take, the same for every box.
func (b *bench) halfLoad() float64 {
	if b.fullRate == 0 {
		return 300
	}
	return b.fullRate / 2
}

// latencySamples takes samples of each box in short phases, in turn.
func (b *bench) latencySamples(boxes []*box, rate float64) ([][]float64, error) {
	samples := make([][]float64, len(boxes))
	for round := range b.shakeRounds() {
		for i, x := range inTurn(round, boxes) {
			j := job{
				Kind: "latency", Suite: suiteGCM, Targets: []string{b.lab.address(x.way, portTLS)},
				Count: size(b, 400, 20), Pace: 0.004, Rate: rate, Seed: uint64(round), Workers: shakeWorkers,
			}
			a, _, err := b.loaded(x, j)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.name, err)
			}
			if x.reads {
				digests, err := b.lab.digests()
				if err = errors.Join(err, allRead(digests, a.Count)); err != nil {
					return nil, err
				}
			}
			samples[i] = append(samples[i], a.Samples[0]...)
		}
	}
	return samples, nil
}
