// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"errors"
	"testing"
)

func TestRecordHeader(t *testing.T) {
	for _, test := range []struct {
		b    []byte
		want RecordHeader
		err  error
	}{
		{[]byte{22, 3, 1, 0x40, 0}, RecordHeader{ContentHandshake, TLS10, 1 << 14}, nil},
		{[]byte{23, 3, 3, 0x48, 0, 9}, RecordHeader{ContentApplicationData, TLS12, MaxCiphertext}, nil},
		{[]byte{24, 3, 0, 0, 0}, RecordHeader{ContentHeartbeat, SSL30, 0}, nil},
		{[]byte{23, 3, 3, 0x48, 1}, RecordHeader{}, ErrNotRecord},
		{[]byte{19, 3, 1, 0, 1}, RecordHeader{}, ErrNotRecord},
		{[]byte{25, 3, 1, 0, 1}, RecordHeader{}, ErrNotRecord},
		{[]byte{22, 2, 1, 0, 1}, RecordHeader{}, ErrNotRecord},
		{[]byte("HTTP/"), RecordHeader{}, ErrNotRecord},
		{[]byte{22, 3, 1, 0}, RecordHeader{}, ErrIncomplete},
		{nil, RecordHeader{}, ErrIncomplete},
	} {
		h, err := ParseRecordHeader(test.b)
		if h != test.want || !errors.Is(err, test.err) {
			t.Errorf("%x: %+v, %v", test.b, h, err)
		}
	}
}

func TestParsingAllocations(t *testing.T) {
	header := []byte{23, 3, 3, 0x40, 0}
	hello := clientHello(TLS12, allClientExtensions...)
	server := serverHello(TLS12, sampleRandom, serverExtensions...)
	for _, test := range []struct {
		name string
		most float64
		f    func()
	}{
		{"record header", 0, func() { _, _ = ParseRecordHeader(header) }},
		{"alert", 0, func() { _, _ = ParseAlert(header[:2]) }},
		{"ClientHello", 14, func() { _, _ = ParseClientHello(hello) }},
		{"ServerHello", 8, func() { _, _ = ParseServerHello(server) }},
	} {
		if n := testing.AllocsPerRun(100, test.f); n > test.most {
			t.Errorf("%s: %v allocations, at most %v", test.name, n, test.most)
		}
	}
}
