// SPDX-License-Identifier: Apache-2.0

package keylog

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(RefreshInterval)
}

// grown is a followed file in the hands of a test.
type grown struct {
	*testing.T
	path string
	clock
	f *Follower
}

func newGrown(t *testing.T, text string) *grown {
	t.Helper()
	g := &grown{T: t, path: filepath.Join(t.TempDir(), "keys.log")}
	g.now = time.Unix(1, 0)
	g.put(text)
	f, err := follow(g.path, g.Now)
	if err != nil {
		t.Fatal(err)
	}
	g.f = f
	t.Cleanup(func() { f.Close() })
	return g
}

func (g *grown) put(text string) {
	g.Helper()
	if err := os.WriteFile(g.path, []byte(text), 0o600); err != nil {
		g.Fatal(err)
	}
}

func (g *grown) add(text string) {
	g.Helper()
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		g.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		g.Fatal(err)
	}
}

// want checks which of the secrets 1 to 9 are found; each lookup may look again.
func (g *grown) want(ids ...int) {
	g.Helper()
	g.tick()
	there := make(map[int]bool)
	for _, id := range ids {
		there[id] = true
	}
	for i := 1; i <= 9; i++ {
		secret, ok := g.f.Lookup(ClientRandom, random(i))
		if ok != there[i] || ok && secret[0] != byte(i) {
			g.Errorf("secret %d: %v", i, ok)
		}
	}
}

func text(n int) string { return string(line(n).AppendTo(nil)) }

func TestFollow(t *testing.T) {
	g := newGrown(t, text(1))
	g.want(1)
	g.add(text(2) + text(3))
	g.want(1, 2, 3)
	g.add(text(4)[:50])
	g.want(1, 2, 3)
	g.add(text(4)[50:] + "bad\n" + text(5)[:20])
	g.want(1, 2, 3, 4)
	g.add(text(5)[20:])
	g.want(1, 2, 3, 4, 5)
	if r, err := g.f.Report(); err != nil || r.Secrets != 5 || r.Malformed != 1 || r.Errors[0].Line != 5 {
		t.Errorf("%+v, error %v", r, err)
	}
	if err := g.f.Close(); err != nil {
		t.Error(err)
	}
	g.add(text(6))
	g.want(1, 2, 3, 4, 5) // what was read stays
}

func TestFollowByOtherIDs(t *testing.T) {
	g := newGrown(t, "")
	g.add(sampleLog)
	if _, ok := g.f.BySessionID([]byte{10, 11}); !ok {
		t.Error("the session is not found")
	}
	if _, ok := g.f.ByEncryptedPremaster([]byte{1, 2, 3, 4, 5, 6, 7, 8}); !ok {
		t.Error("the premaster secret is not found")
	}
}

// A file that has grown is looked at without delay; whether it was replaced, now and then.
func TestFollowRate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be removed here")
	}
	g := newGrown(t, "")
	g.want()
	g.add(text(1))
	if _, ok := g.f.Lookup(ClientRandom, random(1)); !ok {
		t.Error("what was added is not found at once")
	}
	if err := os.Remove(g.path); err != nil {
		t.Fatal(err)
	}
	g.put(text(2))
	if _, ok := g.f.Lookup(ClientRandom, random(2)); ok {
		t.Error("looked for another file at once")
	}
	g.want(1, 2)
}

// A last line without an end is taken when it has stayed the same, and not before: half a secret of
// TLS 1.3 can look like a whole one.
func TestFollowPartialLine(t *testing.T) {
	full := string(Line{ClientTraffic, random(1), make([]byte, 48)}.AppendTo(nil))
	half := full[:len(full)-1-32]
	g := newGrown(t, "")
	g.add(half)
	g.tick()
	if _, ok := g.f.Lookup(ClientTraffic, random(1)); ok {
		t.Fatal("half a line was taken at once")
	}
	g.add(full[len(half) : len(full)-1])
	g.tick()
	if _, ok := g.f.Lookup(ClientTraffic, random(1)); ok {
		t.Fatal("a line that has just grown was taken")
	}
	g.tick()
	if secret, ok := g.f.Lookup(ClientTraffic, random(1)); !ok || len(secret) != 48 {
		t.Fatalf("a last line without an end: %v, %d bytes", ok, len(secret))
	}
	g.add("\n" + text(2))
	g.want(2)
}

func TestFollowTruncated(t *testing.T) {
	g := newGrown(t, text(1)+text(2)+"half a line")
	g.want(1, 2)
	g.put(text(3))
	g.want(1, 2, 3)
	g.put("")
	g.want(1, 2, 3)
	g.add(text(4))
	g.want(1, 2, 3, 4)
}

func TestFollowRotated(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be renamed here")
	}
	g := newGrown(t, text(1))
	g.want(1)
	old := g.path + ".1"
	g.add(text(2))
	if err := os.Rename(g.path, old); err != nil {
		t.Fatal(err)
	}
	g.want(1, 2) // the end of the old file
	g.put(text(3) + text(4)[:30])
	g.want(1, 2, 3)
	g.add(text(4)[30:])
	g.want(1, 2, 3, 4)
	if err := os.Remove(g.path); err != nil {
		t.Fatal(err)
	}
	g.want(1, 2, 3, 4)
	g.put("# new\n" + text(5) + "bad\n")
	g.want(1, 2, 3, 4, 5)
	if r, err := g.f.Report(); err != nil || r.Malformed != 1 || r.Errors[0].Line != 3 {
		t.Errorf("%+v, error %v", r, err)
	}
}

func TestFollowLongLines(t *testing.T) {
	g := newGrown(t, strings.Repeat("x", maxLine+1))
	g.want()
	g.add(strings.Repeat("x", 100_000))
	g.want()
	g.add("\n" + text(1))
	g.want(1)
	if r, _ := g.f.Report(); r.Lines != 2 || r.Malformed != 1 {
		t.Errorf("%+v", r)
	}
	if cap(g.f.partial) > 2*maxLine {
		t.Errorf("%d bytes are kept of a line", cap(g.f.partial))
	}
}

func TestFollowMissing(t *testing.T) {
	if _, err := Follow(filepath.Join(t.TempDir(), "no")); err == nil || !strings.HasPrefix(err.Error(), "key log: ") {
		t.Errorf("error %v", err)
	}
	if _, err := Follow(t.TempDir()); err == nil {
		t.Error("a directory was followed")
	}
}

func TestFollowConcurrent(t *testing.T) {
	g := newGrown(t, "")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 1; i <= 9; i++ {
				g.tick()
				g.f.Lookup(ClientRandom, random(i))
			}
		})
	}
	for i := 1; i <= 9; i++ {
		g.add(text(i))
	}
	wg.Wait()
	g.want(1, 2, 3, 4, 5, 6, 7, 8, 9)
}

// FuzzFollow grows a file in steps and holds the result against reading it at once.
func FuzzFollow(f *testing.F) {
	f.Add([]byte(sampleLog), uint8(40))
	f.Add([]byte(text(1)+"\n\n"+text(2)), uint8(1))
	f.Fuzz(func(t *testing.T, log []byte, step uint8) {
		if len(log) > 1<<13 {
			return
		}
		s := NewSecrets(0)
		want := s.LoadBytes(append(log, '\n'))
		fl := &Follower{secrets: NewSecrets(0)}
		for b := append(log, '\n'); len(b) > 0; {
			n := min(len(b), int(step)+1)
			fl.split(b[:n])
			b = b[n:]
		}
		if got := fl.report; got.Secrets != want.Secrets || got.Malformed != want.Malformed || got.Unknown != want.Unknown || fl.secrets.Len() != s.Len() {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}
