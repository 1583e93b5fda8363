// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// asked returns what was asked for, in order.
func asked(t *testing.T, requests *os.File) (all []int32) {
	t.Helper()
	b, err := os.ReadFile(requests.Name())
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) >= 4; b = b[4:] {
		all = append(all, int32(binary.NativeEndian.Uint32(b)))
	}
	return all
}

func requests(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "requests"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestAwake: it is asked once for any number of steps, and taken back when the last is long enough ago.
func TestAwake(t *testing.T) {
	f := requests(t)
	a := awake{request: f, within: 3}
	now := time.Now()
	want := func(what string, want ...int32) {
		t.Helper()
		if got := asked(t, f); !slices.Equal(got, want) {
			t.Fatalf("%s: asked for %d, want %d", what, got, want)
		}
	}
	a.rest(now)
	want("before any step")
	for range 3 {
		if !a.stay(now) {
			t.Fatal("they do not stay awake")
		}
		now = now.Add(awakeFor - 1)
		a.rest(now)
	}
	want("steps", 3)
	now = now.Add(1)
	a.rest(now)
	a.rest(now)
	want("no more steps", 3, anyLatency)
	a.stay(now)
	want("a step again", 3, anyLatency, 3)
	a.close()
	if a.rest(now.Add(time.Hour)); a.stay(now) {
		t.Error("they stay awake, and nobody asked")
	}
	want("at the end", 3, anyLatency, 3)
}

// TestAwakeRefused: who is refused asks no more, and lingers as without.
func TestAwakeRefused(t *testing.T) {
	f := requests(t)
	f.Close()
	l := &loop{awake: awake{request: f}}
	now := time.Now()
	l.linger(now)
	if l.awake.request != nil || !l.awake.until.IsZero() || l.lingering != now.Add(lingerFor) {
		t.Errorf("%+v, and lingers for %v", l.awake, l.lingering.Sub(now))
	}
}

// TestLingerAwake: where processors wake at once a loop lingers for less, and is there in time to take the request back.
func TestLingerAwake(t *testing.T) {
	l := &loop{awake: awake{request: requests(t)}}
	now := time.Now()
	l.linger(now)
	if l.lingering != now.Add(lingerAwake) || l.amid != now.Add(lingerFor) {
		t.Errorf("it lingers for %v, amid handshakes for %v", l.lingering.Sub(now), l.amid.Sub(now))
	}
	if most := int(awakeFor / time.Millisecond); l.patience(time.Time{}) > most {
		t.Errorf("it sleeps for %d ms, want %d", l.patience(time.Time{}), most)
	}
	l.awake.rest(now.Add(awakeFor))
	if l.patience(time.Time{}) != -1 {
		t.Errorf("it sleeps for %d ms, want for ever", l.patience(time.Time{}))
	}
}

// TestLightSleep: what is asked for is what the machine has.
func TestLightSleep(t *testing.T) {
	type state struct{ name, latency string }
	for _, test := range []struct {
		name, driver string
		states       []state
		want         int32
		ok           bool
	}{
		{"a machine", "intel_idle\n", []state{{"POLL\n", "0\n"}, {"C1\n", "2\n"}, {"C6\n", "133\n"}}, 2, true},
		{"no polling", "acpi_idle\n", []state{{"C1\n", "1\n"}, {"C2\n", "18\n"}}, 1, true},
		{"a guest that may poll", "haltpoll\n", []state{{"POLL\n", "0\n"}, {"haltpoll idle\n", "1\n"}}, 0, true},
		{"nobody heeds it", "", nil, 0, false},
		{"no states", "none\n", nil, 0, false},
		{"only polling", "x\n", []state{{"POLL\n", "0\n"}}, 0, false},
		{"no latency", "x\n", []state{{"C1\n", ""}}, 0, false},
		{"a latency that is none", "x\n", []state{{"C1\n", "99999999999\n"}}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(text string, path ...string) {
				t.Helper()
				file := filepath.Join(append([]string{dir}, path...)...)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if text == "" {
					return
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(test.driver, "driver")
			for i, s := range test.states {
				write(s.name, "states", "state"+string(rune('0'+i)), "name")
				write(s.latency, "states", "state"+string(rune('0'+i)), "latency")
			}
			got, ok := lightSleep(filepath.Join(dir, "driver"), filepath.Join(dir, "states"))
			if ok != test.ok || ok && got != test.want {
				t.Errorf("%d µs, %v, want %d, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

// TestAwakeAsked: the kernel takes what is asked for. That it forgets it cannot be seen here: others on the machine may ask.
func TestAwakeAsked(t *testing.T) {
	within, ok := lightSleep(idleDriver, idleStates)
	if !ok {
		t.Skip("processor: it has no idle states to choose from")
	}
	f, err := os.Open(latencyRequests)
	if (errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist)) && os.Getenv("CI") != "true" {
		t.Skipf("requests cannot be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var a awake
	a.open()
	defer a.close()
	if !a.stay(time.Now()) {
		t.Fatal("it may not ask")
	}
	var b [4]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		t.Fatal(err)
	}
	if got := int32(binary.NativeEndian.Uint32(b[:])); got > within {
		t.Errorf("%d µs are asked for, want %d", got, within)
	}
}
