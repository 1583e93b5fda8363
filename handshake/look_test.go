// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// records puts handshake bytes into records of at most size bytes.
func records(v Version, handshake []byte, size int) (b []byte) {
	for part := range slices.Chunk(handshake, size) {
		b = append(b, byte(ContentHandshake), byte(v>>8), byte(v), byte(len(part)>>8), byte(len(part)))
		b = append(b, part...)
	}
	return b
}

// heads returns streams that begin with a ClientHello.
func heads() map[string][]byte {
	all := goHellos()
	hello := clientHello(TLS12, allClientExtensions...).Raw
	all["SSL 3.0"] = records(SSL30, clientHello(SSL30).Raw, MaxPlaintext)
	all["record of TLS 1.0"] = records(TLS10, hello, MaxPlaintext)
	all["version from the future"] = records(0x03ff, clientHello(0x03fe).Raw, MaxPlaintext)
	all["SSLv2-compatible"] = v2Hello(TLS12, v2Specs, nil, sampleRandom[:])
	all["SSLv2-compatible SSL 3.0"] = v2Hello(SSL30, v2Specs, sampleID[:16], sampleRandom[:16])
	all["SSL 2.0"] = v2Hello(SSL20, v2Specs, nil, sampleRandom[:16])
	for _, size := range []int{1, 2, 3, 4, 5, 6, 7, 38, 100} {
		all[fmt.Sprintf("records of %d bytes", size)] = records(TLS10, hello, size)
	}
	// As long as a hello may be, in many records.
	big := clientHello(TLS12, ext(ExtALPN, within16(vec8(1))), ext(21, raw(make([]byte, 65000)...))).Raw
	all["big"] = records(TLS10, big, MaxPlaintext)
	return all
}

func TestLooksLikeClientHelloYes(t *testing.T) {
	for name, b := range heads() {
		if m := LooksLikeClientHello(b); m != Yes {
			t.Errorf("%s: %v", name, m)
		}
		checkMonotonic(t, name, b)
	}
}

// checkMonotonic checks that no answer but Maybe changes with more bytes.
func checkMonotonic(t *testing.T, name string, b []byte) {
	t.Helper()
	for look, f := range map[string]func([]byte) Match{"client": LooksLikeClientHello, "v2 server": LooksLikeV2ServerHello} {
		last := f(nil)
		if last != Maybe {
			t.Fatalf("%s, %s: nothing looks like %v", name, look, last)
		}
		for n := 1; n <= min(len(b), 600); n++ {
			m := f(b[:n])
			if last != Maybe && m != last {
				t.Fatalf("%s, %s: %v after %d bytes, %v after %d", name, look, last, n-1, m, n)
			}
			last = m
		}
		if whole := f(b); last != Maybe && whole != last {
			t.Fatalf("%s, %s: %v, then %v", name, look, last, whole)
		}
	}
}

func TestLooksLikeClientHelloNo(t *testing.T) {
	good := records(TLS10, clientHello(TLS12).Raw, MaxPlaintext)
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	for name, b := range map[string][]byte{
		"HTTP":                []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		"CONNECT":             []byte("CONNECT example.com:443 HTTP/1.1\r\n\r\n"),
		"HTTP/2":              []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"SSH":                 []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
		"SMTP":                []byte("EHLO example.com\r\n"),
		"SMTP server":         []byte("220 mail.example.com ESMTP\r\n"),
		"PROXY":               []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
		"PROXY v2":            []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"),
		"PostgreSQL":          {0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f},
		"SOCKS 5":             {5, 1, 0},
		"MySQL server":        []byte("J\x00\x00\x00\x0a8.0.36\x00"),
		"RDP":                 {3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0},
		"LDAP":                {0x30, 0x1d, 2, 1, 1, 0x77},
		"websocket frame":     {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58},
		"DTLS":                {22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50, 1},
		"application data":    {23, 3, 3, 0, 100, 1},
		"ServerHello":         records(TLS12, serverHello(TLS12, sampleRandom).Raw, MaxPlaintext),
		"empty record":        {22, 3, 1, 0, 0},
		"long record":         {22, 3, 1, 0x40, 1},
		"type":                change(5, 2),
		"hello too long":      change(6, 3),
		"hello too short":     change(8, 10),
		"behind the hello":    change(8, good[8]-1),
		"client_version":      change(9, 2),
		"session ID":          change(43, 33),
		"odd cipher suites":   change(77, 9),
		"long cipher suites":  change(76, 1),
		"no cipher suites":    change(77, 0),
		"second record's own": append(bytes.Clone(records(TLS10, clientHello(TLS12).Raw[:8], 8)), 23, 3, 3, 0, 1),
	} {
		if m := LooksLikeClientHello(b); m != No {
			t.Errorf("%s: %v", name, m)
		}
		checkMonotonic(t, name, b)
	}
}

// TestLooksLikeClientHelloRandom: bytes at random are no hello, even behind a sound record header.
func TestLooksLikeClientHelloRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, 128)
	yes := 0
	for i := range 200000 {
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		switch i % 3 {
		case 1:
			copy(b, []byte{22, 3, 1, 0, 123})
		case 2:
			copy(b, []byte{0x80, 126, 1, 3})
		}
		if LooksLikeClientHello(b) == Yes {
			yes++
		}
	}
	if yes > 0 {
		t.Errorf("%d of 200000 random heads look like a ClientHello", yes)
	}
}

// TestParsedLooks ties the two views of a hello together: what parses, looks like one.
func TestParsedLooks(t *testing.T) {
	for name, b := range heads() {
		if b[0] != byte(ContentHandshake) {
			if _, _, err := ParseV2ClientHello(b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		m := clearMessages(t, b)
		if len(m) != 1 {
			t.Errorf("%s: %d messages", name, len(m))
		} else if _, err := ParseClientHello(m[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLooksLikeV2ServerHello(t *testing.T) {
	hello := []byte{0x80, 11 + 2 + 3 + 16, 4, 0, 1, 0, 2, 0, 2, 0, 3, 0, 16, 0x30, 0, 7, 0, 0xc0}
	for _, test := range []struct {
		name string
		b    []byte
		want Match
	}{
		{"SERVER-HELLO", hello, Yes},
		{"its fixed part", hello[:13], Yes},
		{"cut short", hello[:12], Maybe},
		{"nothing", nil, Maybe},
		{"lengths", append([]byte{0x80, 31}, hello[2:]...), No},
		{"TLS", records(TLS12, serverHello(TLS12, sampleRandom).Raw, MaxPlaintext), No},
		{"CLIENT-HELLO", v2Hello(SSL20, v2Specs, nil, sampleID), No},
		{"version", append([]byte{0x80, 32, 4, 0, 1, 0, 3}, hello[7:]...), No},
	} {
		if m := LooksLikeV2ServerHello(test.b); m != test.want {
			t.Errorf("%s: %v", test.name, m)
		}
		checkMonotonic(t, test.name, test.b)
	}
}

func TestLooksLikeClientHelloAllocatesNothing(t *testing.T) {
	b := records(TLS10, clientHello(TLS12, allClientExtensions...).Raw, 7)
	if n := testing.AllocsPerRun(100, func() { LooksLikeClientHello(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
