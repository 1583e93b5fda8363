// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/session"
)

// readDir returns the files of a directory by name, and fails on any that others can read.
func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
		if fi, _ := e.Info(); runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), fi.Mode())
		}
	}
	return files
}

func TestStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "streams")
	for range 2 { // the second run replaces what the first wrote
		s, err := NewStreams(dir, StreamsOptions{Options: Options{Lossless: true}, MaxOpen: 2})
		if err != nil {
			t.Fatal(err)
		}
		var players []*player
		for id := range uint64(5) {
			players = append(players, play(s, testFlow(id+1)).established())
		}
		for range 3 { // more files than may be open
			for _, p := range players {
				p.data(client, "up ").data(server, "down ")
			}
		}
		players[0].gap(server, 77).data(server, "end")
		for _, p := range players {
			p.end()
		}
		play(s, testFlow6(6)).established().end()
		c := s.q.c.(*streamsConsumer)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(c.files) != 0 {
			t.Errorf("%d files left open", len(c.files))
		}
	}
	files := readDir(t, dir)
	first := "000001-20240229T120001-10.77.1.2_40112-10.77.2.2_443"
	if len(files) != 11 || files[first+"-client"] != "up up up " || files[first+"-server"] != "down down down end" {
		t.Errorf("files: %q", files)
	}
	if got := files["gaps.tsv"]; got != first+"-server\t15\t77\n" {
		t.Errorf("gaps: %q", got)
	}
}

func TestStreamNamesAreSafe(t *testing.T) {
	safe := regexp.MustCompile(`^[0-9a-zA-Z._-]+$`)
	for _, addr := range []string{"[2001:db8::1]:1", "[fe80::1%e/../x]:1", "1.2.3.4:5"} {
		f := testFlow(1)
		f.Client = netip.MustParseAddrPort(addr)
		f.ServerName = "../../etc/passwd"
		if name := streamBase(f); !safe.MatchString(name) {
			t.Errorf("%s: %q", addr, name)
		}
	}
	if name := streamBase(&session.Flow{}); !safe.MatchString(name) {
		t.Errorf("no addresses: %q", name)
	}
}

func TestStreamsStayInTheDirectory(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	f := testFlow(1)
	f.Start = epoch
	if err := os.Symlink(outside, filepath.Join(dir, streamBase(f)+"-client")); err != nil {
		t.Skip(err)
	}
	s, err := NewStreams(dir, StreamsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Event(&session.Event{Kind: session.KindData, Flow: f, Time: epoch, Data: []byte("x")})
	if s.Close() == nil {
		t.Error("a link out of the directory was followed")
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a file was made outside")
	}
}

func TestStreamsAllocateNothing(t *testing.T) {
	s, err := NewStreams(t.TempDir(), StreamsOptions{Options: Options{Lossless: true, FlushEvery: time.Second, Buffer: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := play(s, testFlow(1)).data(client, "x")
	e := session.Event{Kind: session.KindData, Flow: p.f, Time: p.t, Data: make([]byte, 1000)}
	for range 1000 {
		s.Event(&e)
	}
	if n := testing.AllocsPerRun(500, func() { s.Event(&e) }); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write := func(opt Options, text string) {
		t.Helper()
		out, err := Create(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		k := NewKeyLog(out)
		k.Event(secrets(1, epoch, text))
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(Options{}, "long first\n")
	write(Options{}, "one\n")
	write(Options{Append: true}, "two\n")
	if got := readDir(t, dir)["log"]; got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err == nil && noFollow != 0 {
		if _, err := Create(filepath.Join(dir, "link"), Options{}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("symbolic link: %v", err)
		}
	}
	if _, err := Create(filepath.Join(dir, "none", "x"), Options{}); err == nil {
		t.Error("no error in a missing directory")
	}
	out, err := Create("-", Options{RotateSize: 1})
	if err != nil || out.Path() != "-" || out.Discard() != nil {
		t.Errorf("standard output: %v", err)
	}
	out, err = Create(os.DevNull, Options{})
	if err != nil || NewKeyLog(out).Close() != nil {
		t.Errorf("%s: %v", os.DevNull, err)
	}
}

func TestRotateBySize(t *testing.T) {
	dir := t.TempDir()
	out, err := Create(filepath.Join(dir, "a.keys"), Options{Lossless: true, RotateSize: 25})
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeyLog(out)
	for i := range 5 {
		k.Event(secrets(1, epoch.Add(time.Duration(i)*time.Second), "0123456789\n"))
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	got := readDir(t, dir)
	two := "0123456789\n0123456789\n"
	if len(got) != 3 || got["a-20240229T120000Z-0001.keys"] != two || got["a-20240229T120002Z-0002.keys"] != two ||
		got["a.keys"] != "0123456789\n" {
		t.Errorf("%q", got)
	}
	// Another run neither replaces what was put aside nor forgets what it continues.
	out, err = Create(filepath.Join(dir, "a.keys"), Options{Lossless: true, RotateSize: 25, Append: true})
	if err != nil {
		t.Fatal(err)
	}
	k = NewKeyLog(out)
	for range 2 {
		k.Event(secrets(1, epoch, "0123456789\n"))
	}
	k.Close()
	if got := readDir(t, dir); len(got) != 4 || got["a-20240229T120000Z-0002.keys"] != two {
		t.Errorf("second run: %q", got)
	}
}

func TestRotateByTimeKeepsFilesValid(t *testing.T) {
	dir := t.TempDir()
	out, err := Create(filepath.Join(dir, "p.pcapng"), Options{Lossless: true, RotateTime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPcapng(out, PcapngOptions{})
	for i := range uint64(3) {
		f := testFlow(i * 61)
		f.Interface = "eth" + string(rune('0'+i))
		play(p, f).data(client, "x").end()
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	files := readDir(t, dir)
	if len(files) != 3 {
		t.Errorf("%d files", len(files))
	}
	for name, b := range files {
		if got := len(readPackets(t, []byte(b))); got != 5 {
			t.Errorf("%s: %d packets", name, got)
		}
	}
}

func TestRotatedHARIsValid(t *testing.T) {
	dir := t.TempDir()
	out, err := Create(filepath.Join(dir, "x.har"), Options{Lossless: true, RotateSize: 1500})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHAR(out, HAROptions{})
	for i := range uint64(6) {
		play(h, testFlow(i)).established().data(client, get).data(server, "HTTP/1.1 204 x\r\n\r\n").end()
		if err := h.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	entries := 0
	files := readDir(t, dir)
	for _, b := range files {
		entries += len(readHAR(t, []byte(b)).Log.Entries)
	}
	if len(files) < 2 || entries != 6 {
		t.Errorf("%d entries in %d files", entries, len(files))
	}
}

func TestFan(t *testing.T) {
	var a, b lockedBuffer
	fan := NewFan(NewKeyLog(NewOutput(&a, Options{})), NewKeyLog(NewOutput(&b, Options{Order: OrderGiven})),
		NewKeyLog(NewOutput(&failing{}, Options{})))
	fan.Event(secrets(1, epoch, "x\n"))
	if err := fan.Flush(); err == nil || !strings.Contains(err.Error(), "keylog: output -: disk full") {
		t.Errorf("Flush: %v", err)
	}
	if a.String() != "x\n" || b.String() != "x\n" {
		t.Errorf("%q %q", a.String(), b.String())
	}
	fan.Event(secrets(1, epoch, "y\n"))
	if fan.Close() == nil || fan.Dropped() != 2 || len(fan.Sinks()) != 3 || fan.Name() != "fan" {
		t.Errorf("%d dropped", fan.Dropped())
	}
	if err := NewFan().Close(); err != nil {
		t.Error(err)
	}
}
