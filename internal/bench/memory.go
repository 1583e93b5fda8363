// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

// memory is what a box holds of flows on which nothing happens.
func (b *bench) memory() error {
	flows := size(b, b.flows, 100)
	var each [2]float64
	for i, x := range []*box{sightglassBox, haproxyBox} {
		bytes, err := b.idleMemory(x, flows)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		each[i] = float64(bytes) / float64(flows) / 1024
	}
	kib := func(v float64) string { return fmt.Sprintf("%.1f KiB", v) }
	b.add(line{fmt.Sprintf("memory of an idle flow, mutual TLS, of %d", flows), kib(each[0]), "bound", "20 KiB", ratio(each[0], 20), atMost(1), ""})
	b.add(line{fmt.Sprintf("memory of an idle flow, mutual TLS, of %d", flows), kib(each[0]), "HAProxy TCP, the same flows", kib(each[1]), ratio(each[0], each[1]), forInformation, ""})
	return nil
}

// idleMemory returns what the box holds, all in all: sightglass has memory ready from its beginning, which flows use then.
func (b *bench) idleMemory(x *box, flows int) (int64, error) {
	c, err := x.start(b)
	defer c.stop()
	if err != nil {
		return 0, err
	}
	var held int64
	j := job{Kind: "idle", Suite: suiteGCM, Targets: []string{b.lab.address(x.way, portMutual)}, Flows: flows}
	a, err := b.lab.ask(b.ctx, j, func() error {
		// What a program gives back to the system it gives back in the next seconds.
		time.Sleep(size(b, 10*time.Second, time.Second))
		held, err = c.resident()
		return err
	})
	if err != nil {
		return 0, err
	}
	c.stop()
	if x.reads {
		digests, err := b.lab.digests()
		if err == nil {
			err = allRead(digests, a.Count)
		}
		if err != nil {
			return 0, err
		}
	}
	return held, nil
}
