// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// sniffer is a program that decrypts what crosses an interface.
type sniffer struct {
	name    string
	command func(b *bench) *exec.Cmd
	ready   string        // in what it says when it listens
	reads   bool          // it writes a digest of the plaintext
	holds   time.Duration // how long it may leave the last packets to the kernel
	showed  func(out string, plain uint64) error
}

var (
	sightglassSniffer = &sniffer{name: "sightglass", command: sightglassSniff, ready: "listening", reads: true}
	ssldumpSniffer    = &sniffer{name: "ssldump", command: ssldumpSniff, holds: time.Second, showed: showedBytes}
	tsharkSniffer     = &sniffer{name: "tshark", command: tsharkSniff, ready: "Capture started", showed: tsharkShowed}
)

func sightglassSniff(b *bench) *exec.Cmd {
	cmd := exec.Command(b.sightglass, "sniff", "-i", nettest.BoxClientLink, "--key", b.lab.file(serverKey), "--eve", "-")
	cmd.Env = append(os.Environ(), "SIGHTGLASS_DIGEST="+b.lab.file(digestFile))
	cmd.Env = append(cmd.Env, b.profile()...)
	return cmd
}

func ssldumpSniff(b *bench) *exec.Cmd {
	return exec.Command("ssldump", "-n", "-d", "-i", nettest.BoxClientLink, "-k", b.lab.file(serverKey), "-p", "none")
}

func tsharkSniff(b *bench) *exec.Cmd {
	return exec.Command("tshark", "-n", "-q", "-i", nettest.BoxClientLink, "-o", tsharkKeys(b), "-z", tsharkStat)
}

// sniff finds the highest rate that each program keeps up with.
func (b *bench) sniff() error {
	rates := map[*sniffer]float64{}
	for _, s := range []*sniffer{sightglassSniffer, ssldumpSniffer, tsharkSniffer} {
		rate, err := b.highest(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s keeps up with %.0f MB/s\n", s.name, rate/1e6)
		rates[s] = rate
	}
	mb := func(r float64) string { return fmt.Sprintf("%.0f MB/s", r/1e6) }
	for _, s := range []*sniffer{tsharkSniffer, ssldumpSniffer} {
		b.add(line{"sniff, highest rate without a drop", mb(rates[sightglassSniffer]), s.name + ", live", mb(rates[s]), ratio(rates[sightglassSniffer], rates[s]), atLeast(5), ""})
	}
	return nil
}

const (
	slowest   = 2e6 // bytes a second
	fastest   = 2e9 // the packets of a step are in memory
	precision = 1.15
)

// highest returns the rate, in bytes a second, that a program keeps up with. It goes up in large steps until
// one fails, and then closes in.
func (b *bench) highest(s *sniffer) (float64, error) {
	good, bad := 0.0, 0.0
	for rate := slowest; rate < fastest; rate *= 2 {
		reached, behind, err := b.keptUp(s, rate)
		if err != nil {
			return 0, err
		}
		if behind != nil {
			fmt.Fprintf(os.Stderr, "bench: %s at %.0f MB/s: %v\n", s.name, rate/1e6, behind)
			bad = rate
			break
		}
		good = reached
		if b.quick {
			return good, nil
		}
		if reached < rate/1.5 {
			fmt.Fprintf(os.Stderr, "bench: %s: what is sent comes no faster\n", s.name)
			return good, nil
		}
	}
	for good > 0 && bad/good > precision {
		reached, behind, err := b.keptUp(s, (good+bad)/2)
		switch {
		case err != nil:
			return 0, err
		case behind != nil:
			bad = (good + bad) / 2
		case reached <= good:
			return good, nil
		default:
			good = reached
		}
	}
	if good == 0 && s.reads {
		return 0, fmt.Errorf("it does not keep up with %.0f MB/s", slowest/1e6)
	}
	return good, nil // of another program, none at all is no error of ours, and no ratio either
}

// sniffSpan is how long traffic lasts, and sniffLag how long a program may be behind at its end: as long as tshark lets
// its dumpcap collect.
const (
	sniffSpan = 3 * time.Second
	sniffLag  = 500 * time.Millisecond
)

// keptUp is keepsUp. Who is behind may try once more: another program may have had the processors.
func (b *bench) keptUp(s *sniffer, rate float64) (reached float64, behind, err error) {
	reached, behind, err = b.keepsUp(s, rate)
	if err == nil && behind != nil {
		reached, behind, err = b.keepsUp(s, rate)
	}
	return reached, behind, err
}

// keepsUp sends at a rate, and returns as behind why the program did not keep up: it did not decrypt every byte, or
// was behind at the end.
func (b *bench) keepsUp(s *sniffer, rate float64) (reached float64, behind, err error) {
	c, out, err := b.startSniffer(s)
	if err != nil {
		return 0, nil, err
	}
	defer os.Remove(out)
	defer c.stop()
	span := size(b, sniffSpan, 300*time.Millisecond)
	j := job{Kind: "replay", Bytes: int64(rate * span.Seconds()), Rate: rate}
	a, err := b.lab.ask(b.ctx, j, nil)
	if err != nil {
		return 0, nil, err
	}
	reached = float64(j.Bytes) / a.Seconds
	lag, err := c.lag()
	if err != nil {
		return 0, nil, err
	}
	time.Sleep(s.holds)
	_ = c.proc.Signal(syscall.SIGINT)
	select {
	case <-c.proc.Done():
	case <-time.After(10 * time.Second):
		return reached, errors.New("it did not end"), nil
	}
	if lag > sniffLag && !b.quick {
		return reached, fmt.Errorf("it was %v behind", lag), nil
	}
	return reached, b.sawAll(s, out, a.Sums), nil
}

// lag returns how long a program goes on working when there is nothing new.
func (c *child) lag() (time.Duration, error) {
	begun, idle := time.Now(), time.Now()
	last, err := c.cpu()
	for err == nil && time.Since(idle) < 300*time.Millisecond && time.Since(begun) < 20*time.Second {
		time.Sleep(20 * time.Millisecond)
		var now time.Duration
		if now, err = c.cpu(); now-last > 4*time.Millisecond {
			idle = time.Now()
		}
		last = now
	}
	return idle.Sub(begun), err
}

// sawAll says that a program decrypted every byte.
func (b *bench) sawAll(s *sniffer, out string, sums []connSum) error {
	if s.reads {
		digests, err := b.lab.digests()
		return errors.Join(err, sameAs(digests, sums))
	}
	shown, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	var plain uint64
	for _, sum := range sums {
		plain += sum.Bytes[0] + sum.Bytes[1]
	}
	return s.showed(string(shown), plain)
}

// startSniffer starts a program and waits until it listens.
func (b *bench) startSniffer(s *sniffer) (c *child, out string, err error) {
	out = b.lab.file("sniffed")
	w, err := os.Create(out)
	if err != nil {
		return nil, out, err
	}
	defer w.Close()
	cmd := s.command(b)
	cmd.Stdout = w
	if c, err = b.lab.start(b.lab.Box, boxLife, cmd); err != nil {
		return nil, out, err
	}
	if s.ready == "" {
		time.Sleep(size(b, 2*time.Second, time.Second)) // it does not say when it is
		return c, out, c.alive()
	}
	return c, out, c.says(b.ctx, s.ready)
}
