// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

//go:embed testdata/peers.txt
var peersFile string

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recording is what one peer sent.
type recording struct {
	peer    string
	params  Params
	keys    Keys
	records []recorded
}

type recorded struct {
	raw       []byte
	typ       handshake.ContentType
	plaintext []byte
}

func readRecordings(t testing.TB) (all []*recording) {
	var r *recording
	for line := range strings.Lines(peersFile) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#":
		case "peer":
			r = &recording{peer: rest}
			all = append(all, r)
		case "suite":
			r.params.Suite = suiteByName(t, rest)
		case "version":
			v, err := strconv.ParseUint(rest, 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			r.params.Version = handshake.Version(v)
		case "encrypt-then-mac":
			r.params.EncryptThenMAC = true
		case "mac":
			r.keys.MAC = unhex(t, rest)
		case "key":
			r.keys.Key = unhex(t, rest)
		case "iv":
			r.keys.IV = unhex(t, rest)
		case "record":
			r.records = append(r.records, recorded{raw: unhex(t, rest)})
		case "plaintext":
			typ, data, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(typ)
			if err != nil {
				t.Fatal(err)
			}
			last := &r.records[len(r.records)-1]
			last.typ, last.plaintext = handshake.ContentType(n), unhex(t, data)
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return all
}

func suiteByName(t testing.TB, name string) *handshake.Suite {
	for id := range 0x10000 {
		if s, ok := handshake.SuiteByID(uint16(id)); ok && s.Name == name {
			return s
		}
	}
	t.Fatalf("no suite %s", name)
	return nil
}

// TestRecordings opens what other implementations sealed, and seals the same where nothing in a
// record is the sealer's choice.
func TestRecordings(t *testing.T) {
	for _, r := range readRecordings(t) {
		t.Run(r.peer+"/"+r.params.Version.String()+"/"+r.params.Suite.Name, func(t *testing.T) {
			o, err := NewOpener(r.params, r.keys)
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewSealer(r.params, r.keys)
			if err != nil {
				t.Fatal(err)
			}
			for i, rec := range r.records {
				mustOpen(t, o, rec.raw, rec.typ, rec.plaintext)
				if got := mustSeal(t, s, rec.typ, rec.plaintext); deterministic(r.params) && !bytes.Equal(got, rec.raw) {
					t.Errorf("record %d: sealed as\n%x, not\n%x", i, got, rec.raw)
				}
			}
		})
	}
}

func deterministic(p Params) bool {
	c := p.Suite.Cipher.Params()
	return c.Kind == handshake.KindStream || c.Kind == handshake.KindAEAD && (c.ExplicitNonceLen == 0 || p.Version == handshake.TLS13)
}

// TestRFC8448 opens the client's application data of RFC 8448, Section 3.
func TestRFC8448(t *testing.T) {
	p := Params{Version: handshake.TLS13, Suite: suite(t, 0x1301)}
	o, err := NewOpener(p, Keys{
		Key: unhex(t, "17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51"),
		IV:  unhex(t, "5b 78 92 3d ee 08 57 90 33 e5 23 d9"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i := range byte(50) {
		want = append(want, i)
	}
	mustOpen(t, o, unhex(t, "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f"+
		"2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6"+
		"3a ee bb 21 69 49 15 e4"), handshake.ContentApplicationData, want)
	mustOpen(t, o, unhex(t, "17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3"),
		handshake.ContentAlert, []byte{1, 0})
}
