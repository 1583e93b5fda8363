// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// FuzzDecrypt reads any file. It never fails but with an error about the file, every flow that began
// ends, no flow meets an error of our own, and the number of workers makes no difference.
func FuzzDecrypt(f *testing.F) {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 300))
	f.Add(pcapBytes(w.out))
	f.Add(pcapBytes(w.out[4:]))
	v := newWire("[2001:db8::1]:40000", "[2001:db8::2]:443").open()
	v.send(handshake.Server, []byte("220 hello\r\n"))
	v.add(handshake.Client, flagRST, nil)
	f.Add(pcapBytes(interleave(rand.New(rand.NewPCG(1, 1)), []*wire{w, v}, time.Millisecond)))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var first []string
		for _, workers := range []int{1, 3} {
			s := newStory(t)
			s.late = true // a file may turn time back
			stats, _ := Decrypt(context.Background(), Options{
				Files: []string{path}, Session: config(t, s), Workers: workers,
			})
			for _, w := range stats.Warnings {
				if !isCut(w) {
					t.Fatal(w)
				}
			}
			if len(s.open) > 0 || uint64(len(s.flows)) != stats.Flows {
				t.Fatalf("%d flows have no end, %d ended of %d", len(s.open), len(s.flows), stats.Flows)
			}
			if workers > 1 && !slices.Equal(s.lines, first) {
				t.Fatalf("%d events with one worker, %d with three", len(first), len(s.lines))
			}
			first = s.lines
		}
	})
}
