// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// testCert returns a certificate of testdata, in DER.
func testCert(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	return block.Bytes
}

// scenario plays one flow of each outcome.
func scenario(t testing.TB, h session.Handler) {
	leaf, alice := testCert(t, "server.pem"), testCert(t, "client.pem")
	f := testFlow(1)
	f.VLAN, f.Interface = 10, "eth0"
	p := play(h, f)
	f.Version, f.Suite, f.ServerName, f.ALPN, f.EMS = handshake.TLS12, 0x009c, "www.example.com", "http/1.1", true
	f.JA3, f.JA3S, f.JA4 = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210", "t12d0102h1_0123456789ab_cdef01234567"
	f.ServerChain, f.ClientChain, f.ClientProven, f.KeySource = [][]byte{leaf}, [][]byte{alice}, true, "server.key"
	f.Bytes, f.Records = [2]uint64{1200, 3400}, [2]uint64{3, 4}
	p.established()
	p.data(client, "POST /login?x=1 HTTP/1.1\r\nHost: www.example.com:8443\r\nUser-Agent: curl/8\r\nContent-Length: 5\r\n\r\nhello")
	p.data(server, "HTTP/1.1 302 Found\r\nLocation: /in\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\nokay")
	p.emit(session.Event{Kind: session.KindAlert, Side: client, Alert: handshake.Alert{Level: 1}})
	p.fin(client).fin(server).end()

	f = testFlow6(2)
	p = play(h, f)
	f.TLS, f.Version, f.Suite, f.Cause, f.Action = true, handshake.TLS12, 0xc02f, session.KeyExchangeNotRSA, session.ActionAlert
	f.Detail = "the server chose ECDHE \u2028 \x1b[31m \xff"
	p.emit(session.Event{Kind: session.KindHello, Side: server})
	p.emit(session.Event{Kind: session.KindAlert, Injected: true, Alert: handshake.Alert{Level: 2, Description: 47}})
	p.end()

	f = testFlow(3)
	p = play(h, f)
	f.Version, f.Suite, f.Resumed, f.EtM = handshake.TLS10, 0x0035, session.ResumedTicket, true
	p.established().data(client, "\x00\x01binary").gap(server, 99)
	f.Outcome, f.Cause, f.Detail = session.OutcomePartial, session.DecryptFailed, "record 7 of the server"
	p.rst(server).end()

	f = testFlow(4)
	p = play(h, f)
	f.Cause = session.NotTLS
	p.end()
}

func TestEVEGolden(t *testing.T) {
	var out lockedBuffer
	v := NewEVE(NewOutput(&out, Options{Lossless: true, Order: OrderGiven}), EVEOptions{Location: time.UTC})
	scenario(t, v)
	v.Stats(epoch.Add(time.Minute), time.Minute, []Counter{
		{"tcp.sessions", 4}, {"capture.kernel_packets", 10}, {"capture.kernel_drops", 1}, {"flow.emerg.used", 2}, {"flow.active", 3},
	})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) || !utf8.ValidString(line) {
			t.Errorf("not JSON: %s", line)
		}
		if err := json.Indent(&pretty, []byte(line), "", " "); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "eve.json", pretty.Bytes())
}

func TestEVEDataAllocatesNothing(t *testing.T) {
	v := NewEVE(NewOutput(io.Discard, Options{Lossless: true, FlushEvery: time.Second, Buffer: 1}), EVEOptions{})
	defer v.Close()
	p := play(v, testFlow(1)).established().data(client, get)
	p.data(server, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
	e := session.Event{Kind: session.KindData, Side: server, Flow: p.f, Time: p.t, Data: []byte(pattern(4096))}
	if n := testing.AllocsPerRun(500, func() { v.Event(&e) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestFlowID(t *testing.T) {
	seen := map[uint64]bool{}
	for id := range uint64(1000) {
		f := testFlow(id)
		f.Start = epoch
		n := flowID(f)
		if n == 0 || n >= 1<<53 || seen[n] {
			t.Fatalf("flow %d: ID %d", id, n)
		}
		seen[n] = true
	}
	if flowID(&session.Flow{}) == 0 {
		t.Error("no ID without addresses")
	}
}

// FuzzJSONString holds that any bytes become one JSON string, which stands for them: exactly for
// UTF-8, with U+FFFD for each byte that is not.
func FuzzJSONString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\n\r\t\x00\x7f", "\xff\xfe", "é\u2028\u2029\U0001F600", "\xed\xa0\x80", "</script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		b := appendJSONString(nil, s)
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := string([]rune(s)); back != want {
			t.Fatalf("%q came back as %q", want, back)
		}
		if bytes.ContainsAny(b, "\n\r\x00\x1b\x7f\u2028") || !utf8.Valid(b) {
			t.Fatalf("%q has a control", b)
		}
	})
}

func TestJSONText(t *testing.T) {
	j := &jsonText{}
	j.object("")
	j.str("a", "x\"y")
	j.array("b")
	j.item("1")
	j.item("2")
	j.object("")
	j.bool("c", true)
	j.int("d", -1)
	j.endObject()
	j.endArray()
	j.opt("none", "")
	j.uint("e", 7)
	j.endObject()
	if got, want := string(j.b), `{"a":"x\"y","b":["1","2",{"c":true,"d":-1}],"e":7}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestTimestamps: what times within a second have in common is kept, and nothing of another second.
func TestTimestamps(t *testing.T) {
	zone := time.FixedZone("", -(3*60+30)*60)
	v := NewEVE(NewOutput(io.Discard, Options{}), EVEOptions{Location: zone})
	defer v.Close()
	for _, at := range []time.Time{
		epoch, epoch.Add(999_999_999), epoch.Add(time.Second), epoch, epoch.Add(time.Nanosecond * 1999), {}, time.Unix(-1, 7000), time.Unix(0, 0),
	} {
		j := new(jsonText)
		v.timestamp(j, "t", at)
		if want := `"t":"` + at.In(zone).Format("2006-01-02T15:04:05.000000-0700") + `"`; string(j.b) != want {
			t.Errorf("%s, want %s", j.b, want)
		}
	}
}

// Certificates that share their place are told apart, and one that comes again is not read again.
func TestEVECertificates(t *testing.T) {
	one := testCert(t, "server.pem")
	two := bytes.Clone(one)
	two[len(two)/2] ^= 1
	c := eveCertificates{names: true}
	for _, der := range [][]byte{one, two, one, one, testCert(t, "client.pem"), two} {
		var got, want jsonText
		c.write(&got, [][]byte{der})
		writeCertificate(&want, der, true)
		if !bytes.Equal(got.b, want.b) {
			t.Fatalf("got %s, want %s", got.b, want.b)
		}
	}
	for _, none := range [][][]byte{nil, {{}}} {
		var got jsonText
		if c.write(&got, none); len(got.b) > 0 {
			t.Errorf("%s of no certificate", got.b)
		}
	}
	j := jsonText{b: make([]byte, 0, 4<<10)}
	if n := testing.AllocsPerRun(100, func() { j.b = j.b[:0]; c.write(&j, [][]byte{two}) }); n > 0 {
		t.Errorf("%v allocations for a known certificate", n)
	}
}
