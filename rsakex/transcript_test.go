// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

const testMessages = "some handshake messages"

// Computed from RFC 6101 and RFC 2246 with another program, in another language.
func TestFinishedOldVersions(t *testing.T) {
	var t3, t1 Transcript
	t3.SetVersion(handshake.SSL30, 0)
	t3.Write([]byte(testMessages))
	master := unhex(t, ssl3Master)
	wantHex(t, "SSL 3.0 client", t3.Finished(master, handshake.Client), "a733c7246396d6b688ca730c6fc5b0116af017c06e95d0be7a85a5f81b5317f514e7aa9b")
	wantHex(t, "SSL 3.0 server", t3.Finished(master, handshake.Server), "de3094ef4d3bea5ca9c7812d8eb73fb566639ce5874db694cf89682cc0a36888975fdd1a")
	wantHex(t, "SSL 3.0 CertificateVerify", t3.CertificateVerifySSL3(master), "f37ca4e754a799eb4b2fa2022cb36f41057996291e70c69c347a3fc38df3b1a6098079be")
	t1.SetVersion(handshake.TLS11, 0)
	t1.Write([]byte(testMessages))
	master = unhex(t, tls10Master)
	wantHex(t, "TLS 1.1 client", t1.Finished(master, handshake.Client), "23e94e74b3c15ab6ad5193b5")
	wantHex(t, "TLS 1.1 server", t1.Finished(master, handshake.Server), "297794949318ff7b9591d952")
	if t1.CertificateVerifySSL3(master) != nil {
		t.Error("TLS 1.1 signs what SSL 3.0 does")
	}
}

func TestCheckFinished(t *testing.T) {
	var tr Transcript
	master := testPremaster()
	if tr.CheckFinished(master, handshake.Client, nil) {
		t.Error("right before the version is known")
	}
	tr.SetVersion(handshake.TLS12, handshake.SHA256)
	tr.Write([]byte(testMessages))
	want := tr.Finished(master, handshake.Client)
	if !tr.CheckFinished(master, handshake.Client, want) {
		t.Error("the right verify_data is wrong")
	}
	if tr.CheckFinished(master, handshake.Server, want) || tr.CheckFinished(master, handshake.Client, want[:11]) {
		t.Error("a wrong verify_data is right")
	}
}

// The version may become known at any point, and the messages may be cut anywhere.
func TestTranscriptAnyOrder(t *testing.T) {
	master := testPremaster()
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
		var whole Transcript
		whole.SetVersion(v, handshake.SHA384)
		whole.Write([]byte(testMessages))
		for cut := range len(testMessages) + 1 {
			var tr Transcript
			tr.Write([]byte(testMessages[:cut]))
			if tr.SessionHash() != nil || tr.Finished(master, handshake.Client) != nil {
				t.Fatal("a hash before the version is known")
			}
			tr.SetVersion(v, handshake.SHA384)
			tr.Write([]byte(testMessages[cut:]))
			if !bytes.Equal(tr.SessionHash(), whole.SessionHash()) ||
				!bytes.Equal(tr.Finished(master, handshake.Server), whole.Finished(master, handshake.Server)) {
				t.Fatalf("%v: cut at %d, another hash", v, cut)
			}
			if string(tr.Raw()) != testMessages {
				t.Fatalf("Raw is %q", tr.Raw())
			}
			tr.Release()
			if tr.Raw() != nil || !bytes.Equal(tr.SessionHash(), whole.SessionHash()) {
				t.Fatal("Release changed more than Raw")
			}
		}
	}
}

func TestTranscriptLimit(t *testing.T) {
	early := Transcript{Limit: 10}
	early.Write(make([]byte, 10))
	if early.Overflow() {
		t.Fatal("overflow at the limit")
	}
	early.Write([]byte{1})
	early.SetVersion(handshake.TLS12, handshake.SHA256)
	early.Write([]byte{2})
	if !early.Overflow() || early.SessionHash() != nil || early.Finished(nil, handshake.Client) != nil || early.Raw() != nil {
		t.Error("hashes over messages that were lost")
	}
	late := Transcript{Limit: 10}
	late.SetVersion(handshake.TLS12, handshake.SHA256)
	late.Write(make([]byte, 11))
	want := sha256.Sum256(make([]byte, 11))
	if late.Overflow() || late.Raw() != nil || !bytes.Equal(late.SessionHash(), want[:]) {
		t.Error("outgrowing the limit after the version is known must lose Raw only")
	}
}

// RFC 8446, Section 4.4.1.
func TestHelloRetryRequest(t *testing.T) {
	var tr Transcript
	tr.Write([]byte("ClientHello1"))
	tr.SetVersion(handshake.TLS13, handshake.SHA384)
	tr.HelloRetryRequest()
	tr.Write([]byte("HelloRetryRequest"))
	first := sha512.Sum384([]byte("ClientHello1"))
	messages := append([]byte{254, 0, 0, 48}, first[:]...)
	messages = append(messages, "HelloRetryRequest"...)
	want := sha512.Sum384(messages)
	if !bytes.Equal(tr.SessionHash(), want[:]) || !bytes.Equal(tr.Raw(), messages) {
		t.Error("wrong hash")
	}
}

func FuzzTranscript(f *testing.F) {
	f.Add([]byte("ClientHello"), []byte("ServerHello"), uint16(0x0301), 100)
	f.Add([]byte{}, []byte{1}, uint16(0x0300), 1)
	f.Fuzz(func(t *testing.T, a, b []byte, version uint16, limit int) {
		if version == 0 {
			t.Skip()
		}
		tr := Transcript{Limit: max(1, limit%1024)}
		tr.Write(a)
		tr.SetVersion(handshake.Version(version), handshake.SHA256)
		tr.Write(b)
		if len(tr.Raw()) > tr.Limit {
			t.Fatal("more is kept than the limit")
		}
		if tr.Overflow() != (len(a) > tr.Limit) {
			t.Fatal("Overflow is wrong")
		}
		if (tr.SessionHash() == nil) != tr.Overflow() || (tr.Finished(a, handshake.Client) == nil) != tr.Overflow() {
			t.Fatal("a hash in spite of the overflow, or none without it")
		}
	})
}

// What a fork is told, the transcript does not know, and the other way round.
func TestTranscriptFork(t *testing.T) {
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS12} {
		var tr Transcript
		if tr.Fork().SessionHash() != nil {
			t.Errorf("%v: the fork of an unknown version's transcript has a hash", v)
		}
		tr.SetVersion(v, handshake.SHA256)
		tr.Write([]byte("a message"))
		want := tr.SessionHash()
		f := tr.Fork()
		tr.Write([]byte("another"))
		if got := f.SessionHash(); !bytes.Equal(got, want) {
			t.Errorf("%v: the fork's hash is %x, want %x", v, got, want)
		}
		f.Write([]byte("another"))
		if got, want := f.SessionHash(), tr.SessionHash(); !bytes.Equal(got, want) {
			t.Errorf("%v: gone on, the fork's hash is %x, want %x", v, got, want)
		}
	}
}
