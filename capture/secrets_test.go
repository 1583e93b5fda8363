// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// withSecrets decrypts a capture and returns the path of its copy with secrets.
func withSecrets(t *testing.T, sel Selection, files ...string) (*story, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "with-secrets.pcapng")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s, _ := decrypt(t, Options{WithSecrets: out, Select: sel}, files...)
	return s, path
}

// noKeys reads what needs none.
func noKeys() *session.Config { return &session.Config{} }

// secretCaptures are captures of the same two flows.
func secretCaptures(t *testing.T) map[string][]string {
	t.Helper()
	var wires []*wire
	for i := range 2 {
		client, server := hosts(i)
		wires = append(wires, newWire(client, server).play(talk(forgeOptions(suiteCBC), 20_000+i)))
	}
	packets := interleave(rand.New(rand.NewPCG(1, 1)), wires, time.Microsecond)
	pcap := pcapOf(t, packets)
	zipped := filepath.Join(t.TempDir(), "capture.pcap.gz")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(pcapBytes(packets))
	z.Close()
	if err := os.WriteFile(zipped, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"pcap": {pcap}, "gzip": {zipped}, "set": {pcapOf(t, packets[:20]), pcapOf(t, packets[20:])},
	}
}

// The copy is read without any key, to the same plaintext.
func TestWithSecrets(t *testing.T) {
	for name, files := range secretCaptures(t) {
		t.Run(name, func(t *testing.T) {
			want, path := withSecrets(t, Selection{}, files...)
			got, stats := decrypt(t, Options{Session: noKeys()}, path)
			if stats.Secrets != 2 {
				t.Errorf("%d secrets", stats.Secrets)
			}
			for id := range uint64(2) {
				for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
					if got.said(id+1, side) != want.said(id+1, side) || got.said(id+1, side) == "" {
						t.Errorf("flow %d, %v: %d bytes, want %d", id+1, side, len(got.said(id+1, side)), len(want.said(id+1, side)))
					}
				}
			}
			// A copy of the copy is as good: now the original is pcapng.
			_, again := withSecrets(t, Selection{}, path)
			a, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(again)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(b) - len(a); n <= 0 || !bytes.HasSuffix(b, a[200:]) && len(files) == 1 && !bytes.Contains(b, a[400:]) {
				t.Errorf("the copy of %d bytes is not in its copy of %d", len(a), len(b))
			}
		})
	}
	t.Run("standard input", func(t *testing.T) {
		file, err := os.Open(secretCaptures(t)["pcap"][0])
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		defer func(f *os.File) { os.Stdin = f }(os.Stdin)
		os.Stdin = file
		_, path := withSecrets(t, Selection{}, "-")
		got, _ := decrypt(t, Options{Session: noKeys()}, path)
		if n := len(got.said(1, handshake.Server)); n < 20_000 {
			t.Errorf("%d bytes", n)
		}
	})
	t.Run("one of the flows", func(t *testing.T) {
		_, path := withSecrets(t, Selection{Ports: []uint16{40001}}, secretCaptures(t)["pcap"]...)
		got, stats := decrypt(t, Options{Session: noKeys()}, path)
		for _, f := range got.flows {
			if read := f.Outcome == session.OutcomeRead; read != (f.Client.Port() == 40001) || stats.Secrets != 1 {
				t.Errorf("flow of %v: %v, %d secrets", f.Client, f.Outcome, stats.Secrets)
			}
		}
	})
}

// Secrets count wherever they stand in the file.
func TestSecretsBehindPackets(t *testing.T) {
	path := secretCaptures(t)["pcap"][0]
	s, _ := decrypt(t, Options{}, path)
	var head, tail bytes.Buffer
	f, err := pcapng.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	j, err := pcapng.NewInjector(&head, []pcapng.File{f})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Finish([]int64{info.Size()}); err != nil {
		t.Fatal(err)
	}
	// A second section, with the secrets and without packets.
	empty := pcapOf(t, nil)
	if f, err = pcapng.Stat(empty); err != nil {
		t.Fatal(err)
	}
	if j, err = pcapng.NewInjector(&tail, []pcapng.File{f}); err != nil {
		t.Fatal(err)
	}
	if err := j.Add(s.keys.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := j.Finish([]int64{24}); err != nil {
		t.Fatal(err)
	}
	late := filepath.Join(t.TempDir(), "late.pcapng")
	if err := os.WriteFile(late, append(head.Bytes(), tail.Bytes()...), 0o600); err != nil {
		t.Fatal(err)
	}
	got, stats := decrypt(t, Options{Session: noKeys()}, late)
	if stats.Secrets != 2 || got.said(1, handshake.Server) != s.said(1, handshake.Server) {
		t.Errorf("%d secrets, %d bytes", stats.Secrets, len(got.said(1, handshake.Server)))
	}
}

type failing struct{ n int }

func (f *failing) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// A copy that cannot be written is an error, and the flows are read all the same.
func TestWithSecretsCannotWrite(t *testing.T) {
	for _, room := range []int{0, 70_000} {
		s := newStory(t)
		_, err := Decrypt(context.Background(), Options{
			Files:   []string{pcapOf(t, newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteCBC), 100_000)).out)},
			Session: config(t, s), WithSecrets: &failing{room},
		})
		if err == nil || len(s.said(1, handshake.Server)) != 100_000 {
			t.Errorf("%v, %d bytes", err, len(s.said(1, handshake.Server)))
		}
	}
}

// tool returns the path of a program, without which the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed in CI", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// tshark shows the copy decrypted with no key given, and capinfos finds no fault in it.
func TestWithSecretsInWireshark(t *testing.T) {
	tshark, capinfos := tool(t, "tshark"), tool(t, "capinfos")
	for name, files := range secretCaptures(t) {
		t.Run(name, func(t *testing.T) {
			want, path := withSecrets(t, Selection{}, files...)
			out, err := exec.Command(capinfos, "-c", "-M", path).CombinedOutput()
			if err != nil || strings.Contains(string(out), "cut short") || strings.Contains(string(out), "error") {
				t.Errorf("capinfos: %v\n%s", err, out)
			}
			for stream := range 2 {
				cmd := exec.Command(tshark, "-r", path, "-o", "tls.keylog_file:", "-q", "-z", fmt.Sprintf("follow,tls,raw,%d", stream))
				cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("tshark: %v\n%s", err, stderr.String())
				}
				if got := followed(t, out); got != want.said(uint64(stream+1), handshake.Server) {
					t.Errorf("stream %d: %d bytes, want %d", stream, len(got), len(want.said(uint64(stream+1), handshake.Server)))
				}
			}
		})
	}
}

// followed returns what the server said in the output of "follow,tls,raw": its lines are indented.
func followed(t *testing.T, out []byte) string {
	t.Helper()
	var b bytes.Buffer
	for line := range strings.Lines(string(out)) {
		hex, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "\t")
		if !ok {
			continue
		}
		var bin []byte
		if _, err := fmt.Sscanf(hex, "%x", &bin); err != nil {
			t.Fatal(err)
		}
		b.Write(bin)
	}
	return b.String()
}
