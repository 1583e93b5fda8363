// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// cut pushes stream in fragments of at most size bytes and returns what comes out, copied. Each
// fragment is overwritten once it may be.
func cut(t *testing.T, m *Messages, stream []byte, size func() int) (all []Message, err error) {
	t.Helper()
	for len(stream) > 0 {
		n := min(max(size(), 1), len(stream))
		fragment := bytes.Clone(stream[:n])
		stream = stream[n:]
		m.Push(fragment)
		var held []Message
		for {
			msg, ok, err := m.Next()
			if err != nil {
				return all, err
			}
			if !ok {
				break
			}
			held = append(held, msg)
			all = append(all, msg.Clone())
		}
		// Messages stay valid after Next has said that there is no more.
		for i, msg := range held {
			if !bytes.Equal(msg.Raw, all[len(all)-len(held)+i].Raw) {
				t.Fatalf("message %d changed before the next Push", i)
			}
		}
		for i := range fragment {
			fragment[i] = 0xff
		}
	}
	return all, nil
}

// stream returns all samples' messages, one after another, and a HelloRequest, which is empty.
func stream() (messages []Message, all []byte) {
	messages = append(messages, message(TypeHelloRequest, seq()))
	for _, s := range samples() {
		messages = append(messages, s.msg)
	}
	for _, m := range messages {
		all = append(all, m.Raw...)
	}
	return messages, all
}

func sameMessages(a, b []Message) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Type != b[i].Type || !bytes.Equal(a[i].Raw, b[i].Raw) {
			return false
		}
	}
	return true
}

func TestMessagesAnyChunking(t *testing.T) {
	want, all := stream()
	rng := rand.New(rand.NewPCG(1, 2))
	for size := 1; size < 64; size++ {
		for name, next := range map[string]func() int{
			"fixed":  func() int { return size },
			"random": func() int { return 1 + rng.IntN(8*size) },
		} {
			var m Messages
			got, err := cut(t, &m, all, next)
			if err != nil || !sameMessages(got, want) || m.Pending() != 0 {
				t.Fatalf("%s chunks of %d: %d messages, %v, %d pending", name, size, len(got), err, m.Pending())
			}
		}
	}
}

// TestMessagesPushedTogether pushes without taking messages in between.
func TestMessagesPushedTogether(t *testing.T) {
	want, all := stream()
	var m Messages
	for i := range all {
		m.Push(all[i : i+1])
	}
	if m.Pending() != len(all) {
		t.Errorf("%d bytes pending of %d", m.Pending(), len(all))
	}
	var got []Message
	for msg, ok, _ := m.Next(); ok; msg, ok, _ = m.Next() {
		got = append(got, msg)
	}
	if !sameMessages(got, want) {
		t.Errorf("%d messages of %d", len(got), len(want))
	}
}

func TestMessagesDoesNotCopyWhole(t *testing.T) {
	msg := clientHello(TLS12, allClientExtensions...)
	var m Messages
	m.Push(msg.Raw)
	got, ok, err := m.Next()
	if !ok || err != nil || &got.Raw[0] != &msg.Raw[0] {
		t.Error("a whole message was copied")
	}
	if allocs := testing.AllocsPerRun(100, func() {
		m.Push(msg.Raw)
		m.Next()
		m.Next()
	}); allocs != 0 {
		t.Errorf("%v allocations for a whole message", allocs)
	}
}

func TestMessagesLimit(t *testing.T) {
	body := make([]byte, 100)
	m := Messages{Limit: len(body)}
	m.Push(message(TypeFinished, raw(body...)).Raw)
	if _, ok, err := m.Next(); !ok || err != nil {
		t.Errorf("a message as long as the limit: %v, %v", ok, err)
	}
	m.Push(message(TypeCertificate, raw(append(body, 0)...)).Raw[:MessageHeaderLen])
	for range 2 {
		if _, ok, err := m.Next(); ok || !errors.Is(err, ErrTooLarge) {
			t.Errorf("a longer one: %v, %v", ok, err)
		}
	}
	m.Reset()
	if _, ok, err := m.Next(); ok || err != nil || m.Pending() != 0 {
		t.Errorf("after Reset: %v, %v", ok, err)
	}
}

func TestMessageBody(t *testing.T) {
	if b := (Message{Raw: []byte{1, 0, 0}}).Body(); b != nil {
		t.Errorf("body of half a header: %x", b)
	}
	m, err := ParseMessage([]byte{20, 0, 0, 2, 7, 8})
	if err != nil || m.Type != TypeFinished || !bytes.Equal(m.Body(), []byte{7, 8}) {
		t.Errorf("%+v, %v", m, err)
	}
}
