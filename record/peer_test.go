// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// TestPeers opens every protected record of connections between a client and a server of crypto/tls.
func TestPeers(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	withRSA, withECDSA := certificate(t, rsaKey, &rsaKey.PublicKey), certificate(t, ecdsaKey, &ecdsaKey.PublicKey)
	for _, tt := range []struct {
		version handshake.Version
		ids     []uint16
	}{
		{handshake.TLS10, []uint16{0x0005, 0x000A, 0x002F, 0x0035}},
		{handshake.TLS11, []uint16{0x0005, 0x000A, 0x002F, 0x0035}},
		{handshake.TLS12, []uint16{0x0005, 0x000A, 0x002F, 0x0035, 0x003C, 0x009C, 0x009D, 0xCCA9}},
		{handshake.TLS13, []uint16{0}}, // crypto/tls chooses
	} {
		for _, id := range tt.ids {
			cert := withRSA
			if id == 0xCCA9 {
				cert = withECDSA
			}
			t.Run(tt.version.String()+"/"+handshake.SuiteName(id), func(t *testing.T) { checkPeers(t, tt.version, id, cert) })
		}
	}
}

func certificate(t *testing.T, key, public any) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tap notes what is written to a connection.
type tap struct {
	net.Conn
	written bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.written.Write(b)
	return t.Conn.Write(b)
}

func checkPeers(t *testing.T, v handshake.Version, id uint16, cert tls.Certificate) {
	a, b := net.Pipe()
	client, server := &tap{Conn: a}, &tap{Conn: b}
	var keyLog bytes.Buffer
	config := func() *tls.Config {
		return &tls.Config{
			MinVersion: uint16(v), MaxVersion: uint16(v), CipherSuites: []uint16{id},
			Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true,
			SessionTicketsDisabled: true,
		}
	}
	cc, sc := config(), config()
	cc.KeyLogWriter = &keyLog
	upload, download := bytes.Repeat([]byte("up"), 20000), bytes.Repeat([]byte("down"), 10000)
	var wg sync.WaitGroup
	wg.Go(func() { exchange(t, tls.Server(server, sc), download, len(upload), false) })
	exchange(t, tls.Client(client, cc), upload, len(download), true)
	wg.Wait()
	for _, d := range []struct {
		side handshake.Side
		raw  []byte
		want []byte
	}{{handshake.Client, client.written.Bytes(), upload}, {handshake.Server, server.written.Bytes(), download}} {
		open := openersOf(t, v, d.side, server.written.Bytes(), keyLog.String())
		if got := readAll(t, open, d.raw); !bytes.Equal(got, d.want) {
			t.Errorf("%v: %d bytes, want %d", d.side, len(got), len(d.want))
		}
	}
}

func exchange(t *testing.T, c *tls.Conn, send []byte, receive int, first bool) {
	defer c.Close()
	if first {
		if _, err := c.Write(send); err != nil {
			t.Error(err)
		}
	}
	if _, err := io.ReadFull(c, make([]byte, receive)); err != nil {
		t.Error(err)
	}
	if !first {
		if _, err := c.Write(send); err != nil {
			t.Error(err)
		}
		io.Copy(io.Discard, c)
	}
}

// openersOf returns the openers of one direction, in the order of their use.
func openersOf(t *testing.T, v handshake.Version, side handshake.Side, server []byte, keyLog string) (all []*Opener) {
	const hello = handshake.RecordHeaderLen + 4
	serverRandom := server[hello+2:][:32]
	s := suite(t, binary.BigEndian.Uint16(server[hello+35+int(server[hello+34]):]))
	p := Params{Version: v, Suite: s}
	add := func(k Keys) {
		o, err := NewOpener(p, k)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	if v == handshake.TLS13 {
		name := strings.ToUpper(side.String())
		for _, label := range []string{name + "_HANDSHAKE_TRAFFIC_SECRET", name + "_TRAFFIC_SECRET_0"} {
			_, secret := keyLogLine(t, keyLog, label)
			add(Keys{Key: expandLabel(t, s, secret, "key", s.Cipher.Params().KeyLen), IV: expandLabel(t, s, secret, "iv", 12)})
		}
		return all
	}
	clientRandom, master := keyLogLine(t, keyLog, "CLIENT_RANDOM")
	mac, key, iv := KeySizes(p)
	block := testPRF(v, s, master, "key expansion", append(bytes.Clone(serverRandom), clientRandom...), 2*(mac+key+iv))
	cut := func(n int) (b []byte) {
		if side == handshake.Server {
			b = block[n : 2*n]
		} else {
			b = block[:n]
		}
		block = block[2*n:]
		return b
	}
	add(Keys{cut(mac), cut(key), cut(iv)})
	return all
}

// readAll opens the protected records of raw and returns their application data. Where a record is
// not authentic the next opener takes over.
func readAll(t *testing.T, openers []*Opener, raw []byte) (data []byte) {
	protected := false
	buf := make([]byte, handshake.MaxCiphertext)
	for len(raw) > 0 {
		n := handshake.RecordHeaderLen + int(binary.BigEndian.Uint16(raw[3:]))
		rec := raw[:n]
		raw = raw[n:]
		if handshake.ContentType(rec[0]) == handshake.ContentChangeCipherSpec {
			protected = true
			continue
		}
		if !protected {
			continue
		}
		typ, plaintext, err := openers[0].Open(buf, rec)
		if err == ErrMAC && len(openers) > 1 {
			openers = openers[1:]
			typ, plaintext, err = openers[0].Open(buf, rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		if typ == handshake.ContentApplicationData {
			data = append(data, plaintext...)
		}
	}
	return data
}

func keyLogLine(t *testing.T, keyLog, label string) (random, secret []byte) {
	for line := range strings.Lines(keyLog) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			random, _ = hex.DecodeString(f[1])
			secret, _ = hex.DecodeString(f[2])
			return random, secret
		}
	}
	t.Fatalf("no %s in the key log", label)
	return nil, nil
}

// expandLabel is RFC 8446, Section 7.1, without a context.
func expandLabel(t *testing.T, s *handshake.Suite, secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(6+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	out, err := hkdf.Expand(s.PRF.New, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// testPRF is RFC 2246, Section 5 and RFC 5246, Section 5.
func testPRF(v handshake.Version, s *handshake.Suite, secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	if v >= handshake.TLS12 {
		return pHash(s.PRF.New, secret, seed, n)
	}
	half := (len(secret) + 1) / 2
	out := pHash(md5.New, secret[:half], seed, n)
	subtle.XORBytes(out, out, pHash(sha1.New, secret[len(secret)-half:], seed, n))
	return out
}

func pHash(h func() hash.Hash, secret, seed []byte, n int) (out []byte) {
	sum := func(parts ...[]byte) []byte {
		m := hmac.New(h, secret)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}
