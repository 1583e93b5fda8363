// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// shake makes handshakes for a while, as many as go, with so many connections at once. With Resume each
// worker resumes a session of its own.
func (c *client) shake(j *job) (*answer, error) {
	sessions := make([]*session, j.Workers)
	seeds := 0
	if j.Resume {
		seeds = len(sessions)
		err := each(len(sessions), func(i int) (err error) {
			sessions[i], err = c.seed(j)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := c.ready(); err != nil {
		return nil, err
	}
	begun := time.Now()
	end := begun.Add(time.Duration(j.Seconds * float64(time.Second)))
	var n atomic.Int64
	err := each(j.Workers, func(i int) error {
		for time.Now().Before(end) {
			if _, err := c.once(j.Targets[0], j.Suite, sessions[i]); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return &answer{Seconds: time.Since(begun).Seconds(), Count: int(n.Load()), Sums: make([]connSum, seeds)}, err
}

// seed makes the full handshake that is resumed then.
func (c *client) seed(j *job) (*session, error) {
	t, err := c.connect(j.Targets[0], j.Suite, nil)
	if err != nil {
		return nil, err
	}
	defer t.release()
	return &session{id: t.id, master: t.master}, t.Close()
}

// once is one handshake, and returns the seconds from the SYN to the server's Finished. Both sides check the other's.
func (c *client) once(target string, suite uint16, resume *session) (float64, error) {
	begun := time.Now()
	t, err := c.connect(target, suite, resume)
	if err != nil {
		return 0, err
	}
	took := time.Since(begun).Seconds()
	defer t.release()
	if resume != nil && !t.resumed {
		return 0, errNotResumed
	}
	return took, t.Close()
}

// latency takes the time of full handshakes at random times: as many as were asked for, one after the other, and those that
// are made beside them.
func (c *client) latency(j *job) (*answer, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	stop := c.load(j)
	var samples []float64
	random := rand.New(rand.NewPCG(j.Seed, 1)) // what a box puts off would always meet the next sample, or never
	next := time.Now()
	for range j.Count {
		next = next.Add(time.Duration(random.ExpFloat64() * j.Pace * float64(time.Second)))
		time.Sleep(time.Until(next))
		took, err := c.once(j.Targets[0], j.Suite, nil)
		if err != nil {
			_, _ = stop()
			return nil, err
		}
		samples = append(samples, took)
		if late := time.Now(); next.Before(late) {
			next = late
		}
	}
	beside, err := stop()
	samples = append(samples, beside...)
	return &answer{Count: len(samples), Samples: samples}, err
}

// load makes full handshakes beside, at the job's rate and at random times, and returns what each took in the end.
func (c *client) load(j *job) (stop func() ([]float64, error)) {
	if j.Rate == 0 {
		return func() ([]float64, error) { return nil, nil }
	}
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	samples := make([][]float64, j.Workers)
	done := make(chan struct{})
	due := make(chan struct{}, j.Workers)
	for i := range samples {
		wg.Go(func() {
			for range due {
				took, err := c.once(j.Targets[0], j.Suite, nil)
				if err != nil {
					failed.Store(&err)
				}
				samples[i] = append(samples[i], took)
			}
		})
	}
	wg.Go(func() {
		defer close(due)
		at := newArrivals(j.Rate, j.Seed)
		for {
			at.wait()
			select {
			case due <- struct{}{}:
			case <-done:
				return
			}
		}
	})
	return func() ([]float64, error) {
		close(done)
		wg.Wait()
		if err := failed.Load(); err != nil {
			return nil, *err
		}
		return slices.Concat(samples...), nil
	}
}

// idle opens flows and leaves them, after one exchange on each.
func (c *client) idle(j *job) (*answer, error) {
	flows := make([]*tlsConn, j.Flows)
	defer func() {
		for _, t := range flows {
			if t != nil {
				_ = t.Close()
			}
		}
	}()
	const atOnce = 16
	var next atomic.Int64
	err := each(atOnce, func(int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(flows) {
				return nil
			}
			t, err := c.connect(j.Targets[0], j.Suite, nil)
			if err != nil {
				return err
			}
			flows[i] = t
			if err := exchange(t); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := c.ready(); err != nil {
		return nil, err
	}
	return &answer{Count: len(flows)}, nil
}

// exchange sends one record and takes one.
func exchange(t *tlsConn) error {
	ask := append([]byte{askIdle}, make([]byte, askLen-1)...)
	if err := t.write(ask); err != nil {
		return err
	}
	_, err := t.content(handshake.ContentApplicationData)
	t.release()
	_ = t.SetDeadline(time.Time{})
	t.plain, t.out, t.msgs = nil, nil, handshake.Messages{}
	return err
}
