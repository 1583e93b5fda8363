// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/rsa"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

func init() { syncFile = func(*os.File) error { return nil } }

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "sessions") }

func openStore(t testing.TB, path string, ring *Ring, limit int) *Store {
	t.Helper()
	s, err := OpenStoreFile(path, ring, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func keyedSession(key KeyID, n int) *Session {
	s := testSession(n)
	s.Key = key
	return s
}

func TestStoreFile(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	key := ring.Keys()[0]
	s := openStore(t, path, ring, 0)
	want := keyedSession(key, 7)
	want.Version, want.EMS, want.ClientProven = handshake.TLS11, true, true
	want.ServerLeaf = [32]byte{1, 2, 3}
	want.ClientChain = [][]byte{[]byte("leaf"), []byte("issuer")}
	s.Put(ByID, id(1), want)
	s.Put(ByTicket, id(1), keyedSession(key, 8))
	s.Put(ByID, id(2), keyedSession(key, 9))
	s.Put(ByID, id(2), keyedSession(key, 10))
	s.Put(ByID, id(3), keyedSession(key, 11))
	remove(s, 3)
	s.Put(ByID, id(4), testSession(4)) // opened by no key
	secret, settle := NewSecret()
	s.Put(ByID, id(5), &Session{Key: key, Secret: secret})
	settle(bytes.Repeat([]byte{5}, MasterSecretLen), nil)
	pending, _ := NewSecret()
	s.Put(ByID, id(6), &Session{Key: key, Secret: pending})
	s.Put(ByID, id(7), &Session{Key: key, Secret: Failed(ErrOverload)})
	closeStore(t, s)
	closeStore(t, s) // again

	s = openStore(t, path, ring, 0)
	got, ok := s.Get(ByID, id(1))
	if !ok {
		t.Fatal("session 1 is lost")
	}
	if got.Key != key || got.Version != want.Version || got.Suite != want.Suite || !got.EMS || !got.ClientProven ||
		got.ServerLeaf != want.ServerLeaf || len(got.ClientChain) != 2 || string(got.ClientChain[1]) != "issuer" {
		t.Errorf("session 1 is %+v", got)
	}
	wantMaster, _ := want.Secret.Master()
	if !bytes.Equal(mustMaster(t, got.Secret), wantMaster) {
		t.Error("another master secret")
	}
	if got, ok := s.Get(ByID, id(2)); !ok || got.Suite != 10 {
		t.Error("session 2 is not the later one")
	}
	if _, ok := s.Get(ByID, id(5)); !ok {
		t.Error("session 5, ready later, is lost")
	}
	for _, n := range []int{3, 4, 6, 7} {
		if _, ok := s.Get(ByID, id(n)); ok {
			t.Errorf("session %d is there", n)
		}
	}
	if s.Len() != 4 {
		t.Errorf("%d sessions", s.Len())
	}
}

// Nothing of a session can be read from the file, and no one else may open it.
func TestStoreFileIsSealed(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	s := openStore(t, path, ring, 0)
	session := keyedSession(ring.Keys()[0], 1)
	session.Secret = Resolved(bytes.Repeat([]byte("MASTER"), 8))
	session.ClientChain = [][]byte{[]byte("CERTIFICATE")}
	s.Put(ByID, []byte("SESSION-ID"), session)
	closeStore(t, s)
	data := readFileT(t, path)
	k := keyOf(ByID, []byte("SESSION-ID"))
	for _, needle := range [][]byte{[]byte("MASTER"), []byte("CERTIFICATE"), []byte("SESSION-ID"), k[:8]} {
		if bytes.Contains(data, needle) {
			t.Errorf("%q is in the file", needle)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func readFileT(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFileT(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

func TestStoreFileMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	closeStore(t, openStore(t, path, ring, 0))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, path, ring, 0))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

// Each session is under the key that opened it, and goes when its key does.
func TestStoreFileKeys(t *testing.T) {
	path := storePath(t)
	a, b := key1024(t), key2048(t)
	both, first, second := ringOf(t, a, b), ringOf(t, a), ringOf(t, b)
	s := openStore(t, path, both, 0)
	s.Put(ByID, id(1), keyedSession(first.Keys()[0], 1))
	s.Put(ByID, id(2), keyedSession(second.Keys()[0], 2))
	closeStore(t, s)
	size := len(readFileT(t, path))

	s = openStore(t, path, first, 0)
	if _, ok := s.Get(ByID, id(1)); !ok || s.Len() != 1 {
		t.Error("session 1 is lost, or session 2 there without its key")
	}
	closeStore(t, s)
	if now := len(readFileT(t, path)); now >= size {
		t.Errorf("%d bytes, %d before: session 2 is still in the file", now, size)
	}
	if s = openStore(t, path, both, 0); s.Len() != 1 {
		t.Error("session 2 is back")
	}
	closeStore(t, s)
	if s = openStore(t, path, second, 0); s.Len() != 0 {
		t.Error("a session under another key")
	}
}

func TestStoreFileNeedsAKey(t *testing.T) {
	path := storePath(t)
	certOnly := new(Ring)
	if err := certOnly.Add("x", certFor(t, key1024(t), nil), nil); err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*Ring{nil, new(Ring), certOnly} {
		if _, err := OpenStoreFile(path, ring, 0); err == nil || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("error %v", err)
		}
	}
}

func TestStoreFileLocked(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	s := openStore(t, path, ring, 0)
	if _, err := OpenStoreFile(path, ring, 0); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("error %v", err)
	}
	closeStore(t, s)
	closeStore(t, openStore(t, path, ring, 0))
}

// What is no store file is left alone.
func TestStoreFileForeign(t *testing.T) {
	ring := ringOf(t, key1024(t))
	for _, data := range []string{"hello", "a longer text that is certainly no session store, but a letter"} {
		path := storePath(t)
		writeFileT(t, path, []byte(data), 0o600)
		if _, err := OpenStoreFile(path, ring, 0); err == nil || !strings.Contains(err.Error(), "no session store") {
			t.Errorf("error %v", err)
		}
		if string(readFileT(t, path)) != data {
			t.Error("the file was changed")
		}
	}
	if _, err := OpenStoreFile(t.TempDir(), ring, 0); err == nil {
		t.Error("a directory was taken")
	}
	if _, err := OpenStoreFile(filepath.Join(t.TempDir(), "no", "such"), ring, 0); err == nil {
		t.Error("a directory that is not there was taken")
	}
}

// fillStore makes a store file of n sessions and returns its bytes.
func fillStore(t testing.TB, path string, ring *Ring, n int) []byte {
	t.Helper()
	s := openStore(t, path, ring, 0)
	for i := range n {
		s.Put(ByID, id(i), keyedSession(ring.Keys()[0], i))
	}
	closeStore(t, s)
	return readFileT(t, path)
}

// A crash may leave any part of the last record, or nothing but zeros after it: what was whole is
// there, and the file goes on.
func TestStoreFileTorn(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	const n = 4
	data := fillStore(t, path, ring, n)
	record := (len(data) - headerLen) / n
	cuts := []int{0, 1, len(storeMagic), headerLen - 1, headerLen, headerLen + 1, headerLen + 4}
	for c := len(data) - record; c <= len(data); c += record / 5 {
		cuts = append(cuts, c)
	}
	for _, cut := range cuts {
		for _, tail := range [][]byte{nil, make([]byte, 100)} {
			if cut < headerLen && tail != nil {
				continue // not a torn file but another one
			}
			writeFileT(t, path, append(bytes.Clone(data[:cut]), tail...), 0o600)
			want := max(0, cut-headerLen) / record
			s := openStore(t, path, ring, 0)
			if s.Len() != want {
				t.Fatalf("cut at %d of %d: %d sessions, want %d", cut, len(data), s.Len(), want)
			}
			s.Put(ByID, []byte("new"), keyedSession(ring.Keys()[0], 1))
			closeStore(t, s)
			s = openStore(t, path, ring, 0)
			if _, ok := s.Get(ByID, []byte("new")); !ok || s.Len() != want+1 {
				t.Fatalf("cut at %d: %d sessions after another was added", cut, s.Len())
			}
			closeStore(t, s)
		}
	}
}

// A damaged record costs itself only.
func TestStoreFileDamaged(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	const n = 4
	data := fillStore(t, path, ring, n)
	record := (len(data) - headerLen) / n
	data[headerLen+record+recordHead] ^= 1
	writeFileT(t, path, data, 0o600)
	if s := openStore(t, path, ring, 0); s.Len() != n-1 {
		t.Errorf("%d sessions, want %d", s.Len(), n-1)
	}
}

// A leftover of a rewriting that a crash cut short does no harm.
func TestStoreFileLeftover(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	fillStore(t, path, ring, 3)
	writeFileT(t, path+".new", []byte("half"), 0o644)
	if err := os.Chmod(path, 0o640); err != nil { // so that it is rewritten
		t.Fatal(err)
	}
	if s := openStore(t, path, ring, 0); s.Len() != 3 {
		t.Errorf("%d sessions", s.Len())
	}
	if _, err := os.Stat(path + ".new"); err == nil && runtime.GOOS != "windows" {
		t.Error("the leftover is still there")
	}
}

// The file does not outgrow what it holds, and the limit holds for it too.
func TestStoreFileRewritten(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	const limit = 10
	s := openStore(t, path, ring, limit)
	for i := range 3 * slack {
		s.Put(ByID, id(i%20), keyedSession(ring.Keys()[0], i))
		if i%1000 == 0 {
			runtime.Gosched()
		}
	}
	closeStore(t, s)
	record := 200
	if size := len(readFileT(t, path)); size > (2*limit+slack+storeBacklog)*record {
		t.Errorf("%d bytes for %d sessions", size, limit)
	}
	s = openStore(t, path, ring, limit)
	if s.Len() != limit {
		t.Errorf("%d sessions, want %d", s.Len(), limit)
	}
	if got, ok := s.Get(ByID, id((3*slack-1)%20)); !ok || got.Suite != uint16(3*slack-1) {
		t.Error("the last session is lost")
	}
	closeStore(t, s)
	if s = openStore(t, path, ring, 3); s.Len() != 3 {
		t.Errorf("%d sessions under a smaller limit", s.Len())
	}
}

// A file that cannot be written costs nothing but itself: Put goes on, Close tells.
func TestStoreFileGone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions")
	ring := ringOf(t, key1024(t))
	s := openStore(t, path, ring, 0)
	s.file.lost.Store(true)
	if err := os.RemoveAll(dir); err != nil {
		t.Skip("this system keeps open files")
	}
	s.Put(ByID, id(1), keyedSession(ring.Keys()[0], 1))
	if _, ok := s.Get(ByID, id(1)); !ok {
		t.Error("not in memory")
	}
	if err := s.Close(); err == nil || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("Close: error %v", err)
	}
}

// A write that fails half way leaves no torn record, and what it lost is made up for.
func TestStoreFileWriteFails(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	key := ring.Keys()[0]
	// A writer without its goroutine.
	f := &storeFile{path: path, ring: ring, store: NewStore(0)}
	if err := f.start(); err != nil {
		t.Fatal(err)
	}
	put := func(n int) {
		op := storeOp{key: keyOf(ByID, id(n)), session: keyedSession(key, n)}
		f.store.shard(op.key).put(op.key, op.session)
		f.buf = f.buf[:0]
		f.append(f.add(op))
	}
	put(1)
	good := f.size
	torn, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	torn.Write([]byte("half a record"))
	torn.Close()
	f.file.Close() // so that the next write fails
	put(2)
	if !f.lost.Load() || f.file == nil || f.size != good || int64(len(readFileT(t, path))) != good {
		t.Errorf("after a failed write: %d bytes, want %d", len(readFileT(t, path)), good)
	}
	put(3)
	if f.size == good {
		t.Error("writing did not go on")
	}
	if err := f.finish(); err != nil {
		t.Fatal(err)
	}
	if s := openStore(t, path, ring, 0); s.Len() != 3 {
		t.Errorf("%d sessions, want 3", s.Len())
	}
}

// Ops that found no place are made up for at the latest when the store is closed.
func TestStoreFileBacklog(t *testing.T) {
	path := storePath(t)
	ring := ringOf(t, key1024(t))
	s := openStore(t, path, ring, 0)
	const n = storeBacklog + 5000
	for i := range n {
		s.Put(ByID, id(i), keyedSession(ring.Keys()[0], i))
	}
	closeStore(t, s)
	if s = openStore(t, path, ring, 0); s.Len() != n {
		t.Errorf("%d sessions, want %d", s.Len(), n)
	}
}

func FuzzStoreFile(f *testing.F) {
	key, err := rsa.GenerateKey(nil, 1024)
	if err != nil {
		f.Fatal(err)
	}
	ring := ringOf(f, key)
	data := fillStore(f, storePath(f), ring, 3)
	salt := data[len(storeMagic):headerLen]
	f.Add(data[headerLen:])
	f.Add([]byte{0, 0, 0, 80})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &storeFile{ring: ring, store: NewStore(10), seals: newStoreSeals(ring, salt)}
		if _, err := s.replay(bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		if s.size > int64(headerLen+len(body)) {
			t.Fatal("more was read than there is")
		}
		// What opens can only be what was sealed.
		if n := s.store.Len(); n > 3 {
			t.Fatalf("%d sessions", n)
		}
		for i := range s.store.shards {
			for _, e := range s.store.shards[i].oldestFirst() {
				mustMaster(t, e.session.Secret)
			}
		}
	})
}

func FuzzDecodeOp(f *testing.F) {
	plain, err := encodeOp(storeOp{session: testSession(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(append(plain, 0, 0, 1, 9))
	f.Fuzz(func(t *testing.T, plain []byte) {
		op, ok := decodeOp(plain, KeyID{1})
		if !ok || op.remove {
			return
		}
		again, err := encodeOp(op)
		if err != nil {
			t.Fatal(err)
		}
		// Flags that mean nothing here and chains that are too long are not written again.
		if len(plain) <= maxChainLen && plain[37]&^3 == 0 && !bytes.Equal(again, plain) {
			t.Fatal("another record")
		}
	})
}

func BenchmarkStorePut(b *testing.B) {
	path := storePath(b)
	ring := ringOf(b, key1024(b))
	s := openStore(b, path, ring, 0)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Put(ByID, id(i), keyedSession(ring.Keys()[0], i))
		i++
	}
}
