// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestSecret(t *testing.T) {
	s, settle := NewSecret()
	if _, err := s.Master(); s.Ready() || !errors.Is(err, ErrPending) {
		t.Fatal("ready before it is settled")
	}
	var calls []int
	s.Then(func() { calls = append(calls, 1) })
	s.Then(func() {
		if !s.Ready() {
			t.Error("not ready in Then")
		}
		calls = append(calls, 2)
	})
	settle([]byte("master"), nil)
	settle(nil, ErrOverload) // does not count
	s.Then(func() { calls = append(calls, 3) })
	if m, err := s.Master(); err != nil || string(m) != "master" {
		t.Errorf("Master: %q, %v", m, err)
	}
	if fmt.Sprint(calls) != "[1 2 3]" {
		t.Errorf("calls %v", calls)
	}
	if _, err := Failed(ErrOverload).Master(); !errors.Is(err, ErrOverload) {
		t.Errorf("error %v", err)
	}
}

// Whatever races with the settling, each function is called once, and finds the secret ready.
func TestSecretConcurrent(t *testing.T) {
	s, settle := NewSecret()
	const n = 50
	calls := make(chan bool, 2*n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { s.Then(func() { calls <- s.Ready() }) })
		wg.Go(func() { settle([]byte("m"), nil) })
	}
	wg.Wait()
	close(calls)
	count := 0
	for ready := range calls {
		count++
		if !ready {
			t.Fatal("called before it was ready")
		}
	}
	if count != n {
		t.Errorf("%d calls for %d functions", count, n)
	}
}

// Nothing that holds a secret prints it, in any verb, alone, in a struct, or logged.
func TestNothingPrintsSecrets(t *testing.T) {
	secret := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL")
	key := key512(t)
	ring := ringOf(t, key)
	private := ring.keys[0]
	values := []any{
		Resolved(secret), &Session{Secret: Resolved(secret)}, Session{Secret: Resolved(secret)},
		DirectionKeys{secret, secret, secret}, &DirectionKeys{secret, secret, secret},
		struct{ K DirectionKeys }{DirectionKeys{secret, secret, secret}},
		ring, *ring, struct{ R *Ring }{ring}, NewLocal(ring), *NewLocal(ring), private, *private,
	}
	needles := []string{string(secret), hexOf(secret), strings.ToUpper(hexOf(secret)), fmt.Sprint(secret)[1:40], fmt.Sprintf("%#v", secret)[8:60],
		key.D.String(), key.D.Text(16), hexOf(private.d), fmt.Sprint(private.d)[1:40], key.Primes[0].String()}
	for _, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		if _, ok := v.(DirectionKeys); !ok {
			if b, err := json.Marshal(v); err == nil {
				out.Write(b)
			}
		}
		for _, needle := range needles {
			if strings.Contains(out.String(), needle) {
				t.Errorf("%T prints a secret", v)
				break
			}
		}
	}
}
