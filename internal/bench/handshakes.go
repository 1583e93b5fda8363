// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// shakeOnce makes handshakes through a box for a while.
func (b *bench) shakeOnce(x *box, j job) (figures, error) {
	kind := portTLS
	if x.seals {
		kind = portBehind
	}
	j.Kind, j.Suite, j.Targets = "shake", suiteGCM, []string{b.lab.address(x.way, kind)}
	a, took, err := b.loaded(x, j)
	if err != nil {
		return figures{}, err
	}
	if x.reads {
		digests, err := b.lab.digests()
		if err == nil {
			err = allRead(digests, a.Count+len(a.Sums))
		}
		if err != nil {
			return figures{}, err
		}
	}
	f := took.per(float64(a.Count))
	f.rate = took.rate(float64(a.Count), a)
	return f, nil
}

// shakeSeconds is how long handshakes are made at a time: their rate swings from one second to the next, and many short rounds
// tell more than a few long ones.
const shakeSeconds = 3.0

// shakeRounds is how often.
func (b *bench) shakeRounds() int { return 2*b.runs - 1 }

// shakes is as many full handshakes as go.
func (b *bench) shakes() job {
	return job{Workers: shakeWorkers, Seconds: size(b, shakeSeconds, 0.5)}
}

const (
	shakeWorkers = 32
	perHandshake = "%.3f ms"
	perSecond    = "%.0f/s"
)

// handshakeCost is of full handshakes: what each takes, and how many there can be.
func (b *bench) handshakeCost() error {
	j := b.shakes()
	var own []float64
	r, err := b.interleaved(b.shakeRounds(), []*box{sightglassBox, terminateBox, haproxyBox, nginxSeals}, func(x *box) (figures, error) {
		if x == sightglassBox {
			own = append(own, privateOperation(size(b, time.Second, 200*time.Millisecond)))
		}
		return b.shakeOnce(x, j)
	})
	if err != nil {
		return err
	}
	op := median(own)
	ms := func(s float64) string { return fmt.Sprintf(perHandshake, s*1e3) }
	b.add(line{"full handshakes: processor time each", ms(r[0].cpu), "crypto/rsa, one RSA-2048 private operation", ms(op), ratio(r[0].cpu, op), atMost(1.2), ""})
	b.add(line{"full handshakes a second", fmt.Sprintf(perSecond, r[0].rate), "HAProxy, re-encrypting", fmt.Sprintf(perSecond, r[1].rate), ratio(r[0].rate, r[1].rate), atLeast(1.5), ""})
	b.add(line{"full handshakes: processor time each", ms(r[0].cpu), "HAProxy, re-encrypting", ms(r[1].cpu), ratio(r[0].cpu, r[1].cpu), forInformation, ""})
	b.add(line{"full handshakes: processor time each", ms(r[0].cpu), "HAProxy TCP, splice", ms(r[2].cpu), ratio(r[0].cpu, r[2].cpu), forInformation, ""})
	b.add(line{"full handshakes: processor time each", ms(r[0].cpu), "nginx, re-encrypting", ms(r[3].cpu), ratio(r[0].cpu, r[3].cpu), forInformation, ""})
	return nil
}

// privateOperation returns the seconds of processor time of one private operation of crypto/rsa, with all
// processors at it.
func privateOperation(span time.Duration) float64 {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // never fails
	}
	secret := make([]byte, 48)
	//lint:ignore SA1019 it is RSA key exchange that is measured
	sealed, err := rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, secret)
	if err != nil {
		panic(err)
	}
	var n atomic.Int64
	before := ownCPU()
	end := time.Now().Add(span)
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			out := make([]byte, 48)
			for time.Now().Before(end) {
				//lint:ignore SA1019 it is RSA key exchange that is measured
				_ = rsa.DecryptPKCS1v15SessionKey(nil, key, sealed, out)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return (ownCPU() - before).Seconds() / float64(n.Load())
}

// resumedRate is of handshakes that the private key has no part in, against connections that are only
// forwarded: the same ones.
func (b *bench) resumedRate() error {
	j := b.shakes()
	j.Resume = true
	r, err := b.interleaved(b.shakeRounds(), []*box{sightglassBox, haproxyBox, nginxBox}, func(x *box) (figures, error) { return b.shakeOnce(x, j) })
	if err != nil {
		return err
	}
	b.add(line{"resumed handshakes a second", fmt.Sprintf(perSecond, r[0].rate), "HAProxy TCP, the same connections", fmt.Sprintf(perSecond, r[1].rate), ratio(r[0].rate, r[1].rate), atLeast(0.9), ""})
	b.add(line{"resumed handshakes: processor time each", fmt.Sprintf(perHandshake, r[0].cpu*1e3), "HAProxy TCP, the same connections", fmt.Sprintf(perHandshake, r[1].cpu*1e3), ratio(r[0].cpu, r[1].cpu), forInformation, ""})
	b.add(line{"resumed handshakes: processor time each", fmt.Sprintf(perHandshake, r[0].cpu*1e3), "nginx stream, the same connections", fmt.Sprintf(perHandshake, r[2].cpu*1e3), ratio(r[0].cpu, r[2].cpu), forInformation, ""})
	return nil
}
