// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/nettest"
)

func TestCombine(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 5000)
	_, _ = rng.Read(b)
	want := crc32.Checksum(b, castagnoli)
	for _, at := range []int{0, 1, 7, 64, 2500, 4999, 5000} {
		first, second := crc32.Checksum(b[:at], castagnoli), crc32.Checksum(b[at:], castagnoli)
		if got := combine(first, second, uint64(len(b)-at)); got != want {
			t.Errorf("cut at %d: %08x, want %08x", at, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{4, 1, 3, 2, 5}
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {0.5, 3}, {1, 5}, {0.125, 1.5}} {
		if got := quantile(values, tt.q); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("quantile %v: %v, want %v", tt.q, got, tt.want)
		}
	}
	if got := median(nil); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		target target
		ratio  float64
		want   string
	}{
		{atMost(0.9), 0.9, "pass"}, {atMost(0.9), 0.91, "MISS"}, {atMost(1), math.NaN(), "MISS"},
		{atLeast(1.5), 1.5, "pass"}, {atLeast(1.5), 1.4, "MISS"}, {forInformation, 9, "–"},
	} {
		l := line{ratio: tt.ratio, target: tt.target}
		if got := l.verdict(); got != tt.want {
			t.Errorf("%v against %s: %s, want %s", tt.ratio, tt.target.text, got, tt.want)
		}
		if none := l.shown() == "–"; none != math.IsNaN(tt.ratio) {
			t.Errorf("%v is shown as %s", tt.ratio, l.shown())
		}
	}
}

// TestRatio: what noise drowned is no ratio, and passes nothing.
func TestRatio(t *testing.T) {
	for _, tt := range [][2]float64{{1, 0}, {1, -2}, {-3, -2}, {-1, 2}} {
		r := ratio(tt[0], tt[1])
		if atMost(1).ok(r) || atLeast(1).ok(r) {
			t.Errorf("%v to %v gave %v, which passes", tt[0], tt[1], r)
		}
	}
	if got := ratio(1, 2); got != 0.5 {
		t.Errorf("1 to 2: %v", got)
	}
}

// TestRatioAdded: a box that adds less than can be told adds no more than one that adds something. Where that is drowned, too,
// nothing is told.
func TestRatioAdded(t *testing.T) {
	for _, tt := range []struct {
		ours, theirs float64
		ratio        float64
		passes       bool
	}{
		{1, 2, 0.5, true}, {2, 1, 2, false}, {-1, 2, 0, true}, {0, 2, 0, true},
		{1, 0, math.NaN(), false}, {1, -2, math.NaN(), false}, {-3, -2, math.NaN(), false},
	} {
		got := ratioAdded(tt.ours, tt.theirs)
		if got != tt.ratio && !(math.IsNaN(got) && math.IsNaN(tt.ratio)) || atMost(1).ok(got) != tt.passes {
			t.Errorf("%v to %v: %v, want %v; passes: %v", tt.ours, tt.theirs, got, tt.ratio, tt.passes)
		}
	}
}

// TestReport: a miss fails the run, and only a run that judges.
func TestReport(t *testing.T) {
	missed := []line{{measured: "x", ratio: 2, target: atMost(1)}}
	if err := (&bench{lines: missed}).report(""); !errors.Is(err, errMissed) {
		t.Errorf("a miss: %v", err)
	}
	if err := (&bench{lines: missed, quick: true}).report(""); err != nil {
		t.Errorf("a miss that is not judged: %v", err)
	}
}

func TestTsharkShowed(t *testing.T) {
	out := "| Interval       |   SUM   |      |\n| 0.000 <> 3.014 | 6000050 |      |\n"
	if err := tsharkShowed(out, 6000050); err != nil {
		t.Error(err)
	}
	if tsharkShowed(out, 6000051) == nil {
		t.Error("a wrong sum was taken")
	}
}

func TestSameAs(t *testing.T) {
	s := connSum{Client: "a", Bytes: [2]uint64{1, 2}, CRC: [2]uint32{3, 4}}
	other := s
	other.CRC[1]++
	read := func(s connSum, outcome string) []flowDigest { return []flowDigest{{connSum: s, outcome: outcome}} }
	if err := sameAs(read(s, "read"), []connSum{s}); err != nil {
		t.Error(err)
	}
	for name, digests := range map[string][]flowDigest{
		"nothing": nil, "other bytes": read(other, "read"), "not all": read(s, "partial"),
	} {
		if sameAs(digests, []connSum{s}) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// testIdentities makes the certificates of a run.
func testIdentities(t *testing.T) (dir string, server, client *identity) {
	t.Helper()
	dir = t.TempDir()
	if err := makeIdentities(dir); err != nil {
		t.Fatal(err)
	}
	ids, err := loadIdentities(dir)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ids.Server.identity(); err == nil {
		client, err = ids.Client.identity()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, server, client
}

// TestPeers: the bench's own client and server understand each other, in full and resumed handshakes.
func TestPeers(t *testing.T) {
	_, own, clientOwn := testIdentities(t)
	for _, suite := range []uint16{suiteGCM, suiteCBC} {
		for _, mutual := range []bool{false, true} {
			a := &acceptor{own: own, mutual: mutual}
			c := &client{server: own, own: clientOwn}
			first := peers(t, c, a, suite, nil)
			again := peers(t, c, a, suite, &session{id: first.id, master: first.master})
			if first.resumed || !again.resumed {
				t.Errorf("suite %#x, mutual %v: resumed %v, then %v", suite, mutual, first.resumed, again.resumed)
			}
		}
	}
}

// peers makes a handshake and one exchange over loopback.
func peers(t *testing.T, c *client, a *acceptor, suite uint16, resume *session) *tlsConn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			err = a.serve(conn)
			_ = conn.Close()
		}
		served <- err
	}()
	conn, err := c.connect(ln.Addr().String(), suite, resume)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := <-served; !isEOF(err) {
		t.Fatalf("server: %v", err)
	}
	return conn
}

// TestCapture: what is written is a sound capture of what it says, in segments of a wire's size.
func TestCapture(t *testing.T) {
	dir, _, _ := testIdentities(t)
	b := &bench{ctx: context.Background(), lab: &lab{dir: dir}}
	f, err := b.makeCapture(captureSpec{name: "test", flows: 3, bytes: 50_000, resumed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.remove()
	raw, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	var frames []nettest.Frame
	for b := raw[24:]; len(b) > 0; {
		n := int(b[8]) | int(b[9])<<8
		if data := b[16 : 16+n]; n > 54+segmentLen || fold(sum16(0, data[14:34])) != 0xffff {
			t.Fatalf("a packet of %d bytes, or one with a wrong checksum", n)
		} else {
			frames = append(frames, nettest.Frame{Data: data})
		}
		b = b[16+n:]
	}
	streams, err := nettest.Streams(frames)
	if err != nil {
		t.Fatal(err)
	}
	if len(streams) != 2*3 || len(f.sums) != 3 || f.sums[2].Bytes[handshake.Server] != 50_000 {
		t.Errorf("%d streams, sums %+v", len(streams), f.sums)
	}
}

func TestMarkdown(t *testing.T) {
	b := &bench{machine: []string{"kernel: x"}, lines: []line{{measured: "a", figure: "1", against: "b", other: "2", ratio: 0.5, target: atMost(1)}}}
	if got := b.markdown(); !strings.Contains(got, "| a | 1 | b | 2 | 0.50 | ≤ 1 | pass |") {
		t.Errorf("%s", got)
	}
}

// TestSender: packets cross the wire no larger than on one, none is lost, and they are spread over their time.
func TestSender(t *testing.T) {
	_, own, _ := testIdentities(t)
	var file bytes.Buffer
	c := newCapture(&file)
	c.merged = sendMerged
	f := c.tls(captureClient(0), captureServer, captured(own))
	f.bulk(handshake.Server, 1<<20)
	f.close()
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	a, b := nettest.Host(t, "sender"), nettest.Host(t, "tap")
	if err := nettest.Veth(a, "eth0", b, "eth0"); err != nil {
		t.Fatal(err)
	}
	tap, err := b.Capture("eth0")
	if err != nil {
		t.Fatal(err)
	}
	packets := file.Bytes()[fileHead:]
	const span = 200 * time.Millisecond
	begun := time.Now()
	err = a.Do(func() error {
		s, err := newSender("eth0")
		if err != nil {
			return err
		}
		defer s.close()
		return s.send(packets, span)
	})
	if took := time.Since(begun); err != nil || took < span {
		t.Fatalf("took %v, %v", took, err)
	}
	frames, err := tap.Stop()
	if err != nil {
		t.Fatal(err)
	}
	var sent []nettest.Frame
	for len(packets) > 0 {
		n := packetHead + int(binary.LittleEndian.Uint32(packets[8:]))
		sent = append(sent, nettest.Frame{Data: packets[packetHead:n]})
		packets = packets[n:]
	}
	for _, f := range frames {
		if len(f.Data) > headLen+segmentLen {
			t.Fatalf("a packet of %d bytes", len(f.Data))
		}
	}
	want, err := nettest.Streams(sent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := nettest.Streams(frames)
	if err != nil || len(want) != 2 || len(got) != 2 {
		t.Fatalf("%d streams came of %d: %v", len(got), len(want), err)
	}
	for key, w := range want {
		if g := got[key]; g == nil || !bytes.Equal(g.Payload, w.Payload) || !g.SYN || !g.FIN {
			t.Errorf("%v: something else came than was sent", key)
		}
	}
}

// TestAcknowledged: what either side says is acknowledged, two segments at once.
func TestAcknowledged(t *testing.T) {
	for _, side := range []handshake.Side{handshake.Client, handshake.Server} {
		var file bytes.Buffer
		c := newCapture(&file)
		f := c.open(captureClient(0), captureServer)
		before := c.size
		f.send(side, make([]byte, 10*segmentLen))
		if got, want := c.size-before, int64(15*(packetHead+headLen)+10*segmentLen); got != want {
			t.Errorf("%v: %d bytes, want %d", side, got, want)
		}
	}
}

// TestManyPrimes: it opens what crypto/rsa has sealed, and nothing else.
func TestManyPrimes(t *testing.T) {
	k := newManyPrimes(newPrimes())
	public := k.public()
	if n := public.N.BitLen(); n != 2048 {
		t.Fatalf("a modulus of %d bits", n)
	}
	for range 20 {
		want := make([]byte, 48)
		crand.Read(want)
		//lint:ignore SA1019 it is RSA key exchange that is measured
		sealed, err := rsa.EncryptPKCS1v15(crand.Reader, public, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.premaster(sealed); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("opened %x, %v; want %x", got, err, want)
		}
		sealed[200] ^= 1
		if _, err := k.premaster(sealed); err == nil {
			t.Error("what was changed was opened")
		}
	}
	if _, err := k.premaster(make([]byte, 255)); err == nil {
		t.Error("what is too short was opened")
	}
}

func BenchmarkManyPrimes(b *testing.B) {
	k := newManyPrimes(newPrimes())
	c := make([]byte, manyPrimesSize)
	for b.Loop() {
		crand.Read(c)
		k.decrypt(c)
	}
}

// TestConfine: a program runs on the processors that it was given, and the box's is not the peers' where there are two.
func TestConfine(t *testing.T) {
	on, err := apart()
	if err != nil {
		t.Fatal(err)
	}
	if (on.box == on.peers) != (runtime.NumCPU() == 1) {
		t.Errorf("%+v of %d processors", on, runtime.NumCPU())
	}
	for _, list := range []cpuList{on.box, on.peers} {
		cmd := exec.Command("sh", "-c", "grep Cpus_allowed_list /proc/self/status")
		if err := list.confine(cmd); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		allowed := strings.Fields(string(out))[1]
		if first, _, _ := strings.Cut(string(list), ","); !strings.HasPrefix(allowed, first) || list == on.box && allowed != string(list) {
			t.Errorf("on %s, not %s", allowed, list)
		}
	}
}

// TestAdded: a round in which all was slow says nothing of a box.
func TestAdded(t *testing.T) {
	direct := []float64{1, 1, 100}
	samples := [][]float64{{2, 2, 2}, {3, 3, 3}, {150, 150, 150}}
	if got := median(added(samples, direct, 0.5)); got != 2 {
		t.Errorf("added %v, want 2", got)
	}
}
