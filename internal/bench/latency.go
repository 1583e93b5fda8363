// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// latency is what a box adds to the time of a full handshake, alone and beside others, where it has a processor of its own, as on
// a machine of its own.
func (b *bench) latency() error { return b.latencies("added to a full handshake") }

// latencyShared is the same where the peers want the box's processors, too: what it does for itself makes them wait, there.
func (b *bench) latencyShared() error {
	return b.latencies("added to a full handshake, processors shared")
}

func (b *bench) latencies(what string) error {
	half, err := b.halfLoad()
	if err != nil {
		return err
	}
	if err := b.rest(); err != nil {
		return err
	}
	boxes := []*box{directBox, haproxyBox, sightglassBox}
	if _, err := os.Stat(latencyRequests); err == nil { // it is not in every container
		boxes = append(boxes, awakeBox)
	}
	for _, load := range []struct {
		name string
		rate float64
	}{{"idle", 0}, {"at half load", half}} {
		samples, late, err := b.latencySamples(boxes, load.rate)
		if err != nil {
			return err
		}
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50", 0.5}, {"p99", 0.99}} {
			direct := make([]float64, len(samples[0]))
			for round, s := range samples[0] {
				direct[round] = quantile(s, q.at)
			}
			more := make([][]float64, len(boxes))
			for i := range boxes {
				more[i] = added(samples[i], direct, q.at)
			}
			theirs, ours := median(more[1]), median(more[2])
			us := func(s float64) string { return fmt.Sprintf("%.0f µs", s*1e6) }
			measured := fmt.Sprintf("%s, %s, %s", what, load.name, q.name)
			b.add(line{
				measured, us(ours),
				"HAProxy TCP", us(theirs), ratioAdded(ours, theirs), atMost(1),
				fmt.Sprintf("without a box %s, medians of %d rounds of some %d samples, %.0f a second; no more than HAProxy in %d of them; all was read %.0f ms after a round",
					us(median(direct)), len(direct), len(samples[0][0]), load.rate, noMore(more[2], more[1]), median(late)*1e3),
			})
			if len(boxes) > 3 {
				awake := median(more[3])
				b.add(line{measured, us(ours), "HAProxy TCP, processors kept awake", us(awake), ratioAdded(ours, awake), forInformation, ""})
			}
		}
	}
	return nil
}

// added returns by how much more a quantile of the samples is than without a box in the same round, by round.
func added(samples [][]float64, direct []float64, q float64) []float64 {
	more := make([]float64, len(samples))
	for round, s := range samples {
		more[round] = quantile(s, q) - direct[round]
	}
	return more
}

// noMore returns in how many rounds ours is no more than theirs.
func noMore(ours, theirs []float64) (n int) {
	for round := range ours {
		if ours[round] <= theirs[round] {
			n++
		}
	}
	return n
}

// ratioAdded returns ours to theirs, of what boxes add: less than nothing is nothing, as who adds less than can be told adds no
// more than who adds something. If that is them it is no number.
func ratioAdded(ours, theirs float64) float64 {
	if ours <= 0 && theirs > 0 {
		return 0
	}
	return ratio(ours, theirs)
}

// halfLoad returns half the full handshakes a second that sightglass can take, for every box.
func (b *bench) halfLoad() (float64, error) {
	r, err := b.interleaved(b.shakeRounds(), []*box{sightglassBox}, func(x *box) (figures, error) { return b.shakeOnce(x, b.shakes()) })
	if err != nil {
		return 0, err
	}
	return r[0].rate / 2, nil
}

// restFor is how long nothing is done before latencies are taken. The host of a virtual machine that was busy takes its processors
// away for a while, more often and for longer, and then a quantile tells of the host.
const restFor = 3 * time.Minute

func (b *bench) rest() error {
	select {
	case <-time.After(size(b, restFor, 0)):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// Of the samples that are taken one after the other each is followed by a pause, of samplePace in the mean, and takes a millisecond
// or two itself: about samplesASecond.
const (
	samplePace     = 0.004 // seconds
	samplesASecond = 180
)

// Latencies are taken in many short rounds: one in which the host, or somebody else, had the processors says nothing of a box.
const samplesARound = 400

// latencyRounds is how many there are. At half load p99 swings the most: the same program, measured twice with 26, differed by a sixth.
func (b *bench) latencyRounds(rate float64) int {
	rounds := 4*b.runs - 3
	if rate > 0 {
		rounds *= 3
	}
	return rounds
}

// shuffled returns the indices of n boxes in the order of a round: what runs right after one that took little gets more of the
// host, by a twentieth at half load, and it must not always be the same.
func shuffled(round, n int) []int { return rand.New(rand.NewPCG(uint64(round), uint64(n))).Perm(n) }

// latencySamples takes samples of each box in short rounds: by box, and then by round. The rate is of all handshakes:
// each is a sample. By round it returns, too, how long after its end the box that reads had read it.
func (b *bench) latencySamples(boxes []*box, rate float64) (samples [][][]float64, late []float64, err error) {
	samples = make([][][]float64, len(boxes))
	for round := range b.latencyRounds(rate) {
		for _, i := range shuffled(round, len(boxes)) {
			x := boxes[i]
			j := job{
				Kind: "latency", Suite: suiteGCM, Targets: []string{b.lab.address(x.way, portTLS)},
				Count: size(b, samplesARound, 20), Pace: samplePace, Rate: max(rate-samplesASecond, 0), Seed: uint64(round), Workers: shakeWorkers,
			}
			a, took, err := b.loaded(x, j)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", x.name, err)
			}
			if x.reads {
				digests, err := b.lab.digests()
				if err = errors.Join(err, allRead(digests, a.Count)); err != nil {
					return nil, nil, err
				}
				late = append(late, took.late.Seconds())
			}
			samples[i] = append(samples[i], a.Samples)
		}
	}
	return samples, late, nil
}
