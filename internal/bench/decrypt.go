// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"golang.org/x/sys/unix"
)

// reader is a program that decrypts capture files and shows the plaintext.
type reader struct {
	name    string
	command func(b *bench, file string) *exec.Cmd
	reads   bool // it writes a digest of the plaintext
	// showed says, of what the program wrote, whether it decrypted all of a file; nil: the digest does.
	showed func(out io.Reader, f *captureFile) error
}

var (
	sightglassReader = &reader{name: "sightglass", command: sightglassDecrypt, reads: true, showed: showedRaw}
	ssldumpReader    = &reader{name: "ssldump", command: ssldumpDecrypt, showed: byPlain(showedBytes)}
	tsharkReader     = &reader{name: "tshark", command: tsharkDecrypt, showed: byPlain(showedHex)}
	sightglassAdder  = &reader{name: "sightglass, adding up", command: sightglassTable, reads: true}
	tsharkAdder      = &reader{name: "tshark, adding up", command: tsharkAdd, showed: byPlain(tsharkShowed)}
)

// sightglassDecrypt writes the plaintext.
func sightglassDecrypt(b *bench, file string) *exec.Cmd {
	return sightglassCommand(b, file, "--raw", "-")
}

// sightglassTable adds up what was decrypted.
func sightglassTable(b *bench, file string) *exec.Cmd { return sightglassCommand(b, file) }

func sightglassCommand(b *bench, file string, more ...string) *exec.Cmd {
	cmd := exec.Command(b.sightglass, append(append([]string{"decrypt", "--key", b.lab.file(serverKey)}, more...), file)...)
	cmd.Env = append(os.Environ(), "SIGHTGLASS_DIGEST="+b.lab.file(digestFile))
	cmd.Env = append(cmd.Env, b.profile()...)
	return cmd
}

// ssldumpDecrypt prints the plaintext.
func ssldumpDecrypt(b *bench, file string) *exec.Cmd {
	return exec.Command("ssldump", "-n", "-d", "-r", file, "-k", b.lab.file(serverKey), "-p", "none")
}

// What tshark is asked for: the plaintext of the first connection, as lines of hexadecimal digits, or the
// sum of the plaintext of all, which costs the least of all that makes it decrypt.
const (
	tsharkFollow = "follow,tls,raw,0"
	tsharkStat   = "io,stat,0,SUM(data.len)data.len"
)

func tsharkDecrypt(b *bench, file string) *exec.Cmd { return tsharkCommand(b, file, tsharkFollow) }

func tsharkAdd(b *bench, file string) *exec.Cmd { return tsharkCommand(b, file, tsharkStat) }

func tsharkCommand(b *bench, file, tap string) *exec.Cmd {
	return exec.Command("tshark", "-n", "-q", "-r", file, "-o", tsharkKeys(b), "-z", tap)
}

func tsharkKeys(b *bench) string {
	return fmt.Sprintf("tls.keys_list:%s,%d,data,%s", captureServer.Addr(), captureServer.Port(), b.lab.file(serverKey))
}

// showedRaw says that a program wrote exactly the plaintext: of each flow what the client said, and then what the
// server did.
func showedRaw(out io.Reader, f *captureFile) error {
	for _, s := range f.sums {
		for side, n := range s.Bytes {
			sum := crc32.New(castagnoli)
			if _, err := io.CopyN(sum, out, int64(n)); err != nil {
				return fmt.Errorf("what it wrote of the %v at %s: %w", handshake.Side(side), s.Client, err)
			}
			if sum.Sum32() != s.CRC[side] {
				return fmt.Errorf("it wrote something else of what the %v at %s said", handshake.Side(side), s.Client)
			}
		}
	}
	n, err := io.Copy(io.Discard, out)
	if n > 0 {
		return fmt.Errorf("it wrote %d bytes more", n)
	}
	return err
}

// byPlain is of what is known by how much plaintext there is.
func byPlain(showed func(out string, plain uint64) error) func(io.Reader, *captureFile) error {
	return func(out io.Reader, f *captureFile) error {
		b, err := io.ReadAll(out)
		if err != nil {
			return err
		}
		return showed(string(b), f.plain())
	}
}

// showedBytes says that a program wrote at least the plaintext.
func showedBytes(out string, plain uint64) error {
	if uint64(len(out)) < plain {
		return fmt.Errorf("it wrote %d bytes of %d", len(out), plain)
	}
	return nil
}

// showedHex says that a program wrote at least the plaintext, in hexadecimal digits.
func showedHex(out string, plain uint64) error { return showedBytes(out, 2*plain) }

// tsharkShowed looks for the sum in tshark's table.
func tsharkShowed(out string, plain uint64) error {
	for line := range strings.Lines(out) {
		cells := strings.Split(line, "|")
		if len(cells) > 2 && strings.Contains(cells[1], "<>") && strings.TrimSpace(cells[2]) == fmt.Sprint(plain) {
			return nil
		}
	}
	return fmt.Errorf("it did not decrypt %d bytes:\n%s", plain, out)
}

// readerLife bounds one reading of one file.
const readerLife = 5 * time.Minute

// reading is what it took to read a file.
type reading struct {
	seconds float64
	peak    int64 // bytes resident
}

// read has a program decrypt a file and checks what it read. What it writes goes to out, which is closed; nil:
// nowhere. watch may be told of the process.
func (b *bench) read(r *reader, f *captureFile, out *os.File, watch func(*child)) (seconds float64, err error) {
	if out == nil {
		if out, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return 0, err
		}
	}
	defer out.Close()
	cmd := r.command(b, f.path)
	cmd.Stdout = out
	begun := time.Now()
	c, err := b.lab.start(b.lab.Box, readerLife, cmd)
	if err != nil {
		return 0, err
	}
	defer c.stop()
	if watch != nil {
		watch(c)
	}
	err = c.wait()
	seconds = time.Since(begun).Seconds()
	if err == nil && r.reads {
		digests, derr := b.lab.digests()
		err = errors.Join(derr, sameAs(digests, f.sums), allRead(digests, len(f.sums)))
	}
	if err != nil {
		return 0, fmt.Errorf("%s of %s: %w", r.name, f.name, err)
	}
	return seconds, b.ctx.Err()
}

// verify has a program decrypt a file to see that it does, and returns the most memory that it held, in bytes.
// That is looked for often, and is not part of the runs whose time is taken.
func (b *bench) verify(r *reader, f *captureFile) (int64, error) {
	var out *os.File
	shown := make(chan error, 1)
	if r.showed == nil {
		shown <- nil
	} else {
		from, to, err := os.Pipe() // not a file, which would take the place of what is read afterwards in memory
		if err != nil {
			return 0, err
		}
		out = to
		go func() {
			defer from.Close()
			err := r.showed(from, f)
			_, _ = io.Copy(io.Discard, from) // the program shall not wait
			shown <- err
		}()
	}
	var peak <-chan int64
	_, err := b.read(r, f, out, func(c *child) { peak = c.watchPeak(b.ctx.Done()) })
	if serr := <-shown; err == nil && serr != nil {
		err = fmt.Errorf("%s of %s: %w", r.name, f.name, serr)
	}
	if err != nil {
		return 0, err
	}
	most := <-peak
	if most == 0 {
		return 0, fmt.Errorf("%s of %s: it ended before its memory was seen", r.name, f.name)
	}
	return most, nil
}

// watchPeak asks for a process's largest resident size until it ends.
func (c *child) watchPeak(stop <-chan struct{}) <-chan int64 {
	result := make(chan int64, 1)
	go func() {
		var peak int64
		tick := time.NewTicker(4 * time.Millisecond)
		defer tick.Stop()
		defer func() { result <- peak }()
		for {
			if n, err := c.status("VmHWM:"); err == nil {
				peak = max(peak, n)
			}
			select {
			case <-c.proc.Done():
				return
			case <-stop:
				c.proc.Kill()
				return
			case <-tick.C:
			}
		}
	}()
	return result
}

// readAll has each program read a file in turn, again and again, and returns the medians.
func (b *bench) readAll(f *captureFile, readers ...*reader) (map[*reader]reading, error) {
	all := make(map[*reader]reading)
	for _, r := range readers {
		peak, err := b.verify(r, f)
		if err != nil {
			return nil, err
		}
		all[r] = reading{peak: peak}
	}
	unix.Sync() // the kernel shall not write files to the disk meanwhile
	seconds := make(map[*reader][]float64)
	for round := range b.runs {
		for _, r := range inTurn(round, readers) {
			if err := f.touch(); err != nil {
				return nil, err
			}
			one, err := b.read(r, f, nil, nil)
			if err != nil {
				return nil, err
			}
			seconds[r] = append(seconds[r], one)
		}
	}
	for _, r := range readers {
		all[r] = reading{median(seconds[r]), all[r].peak}
	}
	return all, nil
}

func (r reading) time() string   { return fmt.Sprintf("%.3f s", r.seconds) }
func (r reading) memory() string { return fmt.Sprintf("%.0f MB", float64(r.peak)/1e6) }

// peakTarget is the bound on memory, in bytes.
const peakTarget = 64e6

// decrypt is the reading of files, against what also can.
func (b *bench) decrypt() error {
	for _, part := range []func(*bench) error{(*bench).decryptBulk, (*bench).decryptHandshakes, (*bench).decryptLarge} {
		if err := part(b); err != nil {
			return err
		}
	}
	return nil
}

// decryptBulk is of one flow, whose plaintext all show, and which is only added up.
func (b *bench) decryptBulk() error {
	spec := captureSpec{name: "bulk", flows: 1, bytes: size(b, int64(200e6), 8e6)}
	text := fmt.Sprintf("decrypt, one flow of %d MB", int(spec.bytes/1e6))
	return b.decryptPart(spec, text, []against{
		{sightglassReader, "ssldump", ssldumpReader, atLeast(10)},
		{sightglassReader, "tshark", tsharkReader, atLeast(40)},
		{sightglassAdder, "tshark, only adding up", tsharkAdder, forInformation},
	})
}

// decryptHandshakes is of many flows, of which tshark would show one at a time.
func (b *bench) decryptHandshakes() error {
	spec := captureSpec{name: "handshakes", flows: size(b, 2000, 50), bytes: 100}
	return b.decryptPart(spec, fmt.Sprintf("decrypt, %d full handshakes", spec.flows), []against{
		{sightglassReader, "ssldump", ssldumpReader, atLeast(1.3)},
		{sightglassReader, "tshark", tsharkAdder, atLeast(4)},
	})
}

// against is what one program takes beside another.
type against struct {
	ours   *reader
	name   string
	theirs *reader
	target target
}

// decryptPart has all programs read a capture. The peaks of the first row's are shown.
func (b *bench) decryptPart(spec captureSpec, text string, rows []against) error {
	f, err := b.makeCapture(spec)
	if err != nil {
		return err
	}
	defer f.remove()
	var readers []*reader
	for _, row := range rows {
		for _, r := range []*reader{row.ours, row.theirs} {
			if !slices.Contains(readers, r) {
				readers = append(readers, r)
			}
		}
	}
	all, err := b.readAll(f, readers...)
	if err != nil {
		return err
	}
	for _, row := range rows {
		ours, theirs := all[row.ours], all[row.theirs]
		b.add(line{text, ours.time(), row.name, theirs.time(), ratio(theirs.seconds, ours.seconds), row.target, ""})
	}
	ours, theirs := all[rows[0].ours], all[rows[0].theirs]
	b.addPeak(text, ours)
	b.add(line{text + ": peak memory", ours.memory(), rows[0].name, theirs.memory(), ratio(float64(ours.peak), float64(theirs.peak)), forInformation, ""})
	return nil
}

func (b *bench) addPeak(text string, r reading) {
	b.add(line{text + ": peak memory", r.memory(), "bound", "64 MB", ratio(float64(r.peak), peakTarget), atMost(1), ""})
}

// decryptLarge is the reading of a file that is larger than memory should be.
func (b *bench) decryptLarge() error {
	f, err := b.makeCapture(captureSpec{name: "large", flows: size(b, 8, 2), bytes: size(b, int64(250e6), 8e6)})
	if err != nil {
		return err
	}
	defer f.remove()
	peak, err := b.verify(sightglassReader, f)
	if err != nil {
		return err
	}
	b.addPeak(fmt.Sprintf("decrypt, a capture of %.1f GB", float64(f.size)/1e9), reading{peak: peak})
	return nil
}

// copies is how often a capture is made, of those that are measured against each other: one is read at half the speed of another, again
// and again, by where in memory it stands.
const copies = 3

// growth is what a GB and a flow cost in large captures, against small ones. What the program takes to begin
// and to end is taken off.
func (b *bench) growth() error {
	begin, err := b.timeOf(captureSpec{name: "growth", flows: 1, bytes: 100})
	if err != nil {
		return err
	}
	gb := func(n int64) captureSpec { return captureSpec{name: "growth", flows: 1, bytes: n} }
	flows := func(n int) captureSpec { return captureSpec{name: "growth", flows: n, bytes: 100, resumed: true} }
	for _, part := range []struct {
		text         string
		small, large captureSpec
		figure       func(seconds float64, spec captureSpec) (float64, string)
		most         float64
	}{
		{"decrypt, cost a GB, 0.2 to 2 GB", gb(size(b, int64(200e6), 2e6)), gb(size(b, int64(2e9), 20e6)), costOfGB, 1.1},
		{"decrypt, cost a flow, 1,000 to 100,000", flows(size(b, 1000, 100)), flows(size(b, 100_000, 1000)), costOfFlow, 1.2},
	} {
		specs := [2]captureSpec{part.small, part.large}
		var took [2][]float64
		for range size(b, copies, 1) {
			for i, spec := range specs {
				seconds, err := b.timeOf(spec)
				if err != nil {
					return err
				}
				took[i] = append(took[i], seconds)
			}
		}
		var cost [2]float64
		var text [2]string
		for i, spec := range specs {
			cost[i], text[i] = part.figure(median(took[i])-begin, spec)
		}
		b.add(line{part.text, text[1], "itself, small", text[0], ratio(cost[1], cost[0]), atMost(part.most), ""})
	}
	return nil
}

func costOfGB(seconds float64, spec captureSpec) (float64, string) {
	cost := seconds / (float64(spec.bytes) / 1e9)
	return cost, fmt.Sprintf("%.3f s/GB", cost)
}

func costOfFlow(seconds float64, spec captureSpec) (float64, string) {
	cost := seconds / float64(spec.flows)
	return cost, fmt.Sprintf("%.1f µs", cost*1e6)
}

// timeOf returns how long sightglass reads a capture.
func (b *bench) timeOf(spec captureSpec) (float64, error) {
	f, err := b.makeCapture(spec)
	if err != nil {
		return 0, err
	}
	defer f.remove()
	r, err := b.readAll(f, sightglassReader)
	if err != nil {
		return 0, err
	}
	return r[sightglassReader].seconds, nil
}
