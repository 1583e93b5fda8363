// SPDX-License-Identifier: Apache-2.0

// Testsum reads the events of go test -json, or of several runs one after the other, on standard
// input and prints what a person wants of them: a line a package, the output of what failed, and the
// skips. It ends with status 1 when a test failed, when a package could not be built, when nothing ran
// or, with -noskip, when a test was skipped for more than what the processor lacks.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	noSkip := flag.Bool("noskip", false, "count a skipped test as failed")
	counts := flag.String("counts", "", "write \"PASSED FAILED SKIPPED\" to this `file`; what was skipped counts as failed, too")
	failedList := flag.String("failed", "", "write the packages that failed to this `file`, a line each")
	flag.Parse()

	s := newSummary(*noSkip)
	if err := s.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	passed, failed := s.finish(os.Stdout)
	write(*counts, fmt.Sprintf("%d %d %d\n", passed, failed, s.failedSkips()))
	write(*failedList, strings.Join(s.failedPackages, ""))
	if failed > 0 {
		os.Exit(1)
	}
}

// write makes a file, unless its path is empty.
func write(path, text string) {
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

// event is one line of go test -json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// summary counts top-level tests and subtests alike; a package that fails without a failing test (a
// build error, a panic outside a test, a timeout) counts as one failure.
type summary struct {
	noSkip          bool
	passed, failed  int
	skipped         []string
	unforgiven      int                         // skips that count as failures with noSkip
	output          map[string]*strings.Builder // by package and test, until it passed
	failedInPackage map[string]int
	failedPackages  []string // each with the end of its line
}

func newSummary(noSkip bool) *summary {
	return &summary{
		noSkip:          noSkip,
		output:          map[string]*strings.Builder{},
		failedInPackage: map[string]int{},
	}
}

// read takes all events of in. A line that is no event is passed on as it is.
func (s *summary) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e, out)
			} else {
				out.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		b := s.output[key]
		if b == nil {
			b = new(strings.Builder)
			s.output[key] = b
		}
		b.WriteString(e.Output)
	case "build-output":
		io.WriteString(out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, out)
		} else {
			s.endTest(e, key, out)
		}
	}
}

func (s *summary) endTest(e event, key string, out io.Writer) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		s.failedInPackage[e.Package]++
		fmt.Fprintf(out, "FAIL %s %s (%.1f s)\n", short(e.Package), e.Test, e.Elapsed)
		s.show(key, out)
	case "skip":
		reason := ""
		if b := s.output[key]; b != nil {
			reason = skipReason(b.String())
		}
		if !strings.Contains(reason, ": processor: ") {
			s.unforgiven++
		}
		s.skipped = append(s.skipped, fmt.Sprintf("%s %s: %s", short(e.Package), e.Test, reason))
	}
	delete(s.output, key)
}

func (s *summary) endPackage(e event, out io.Writer) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(out, "ok   %s (%.1f s)\n", short(e.Package), e.Elapsed)
	case "fail":
		fmt.Fprintf(out, "FAIL %s (%.1f s)\n", short(e.Package), e.Elapsed)
		s.failedPackages = append(s.failedPackages, e.Package+"\n")
		if s.failedInPackage[e.Package] == 0 {
			s.failed++
			s.showPackage(e.Package, out)
		}
	}
	for key := range s.output {
		if strings.HasPrefix(key, e.Package+" ") {
			delete(s.output, key)
		}
	}
}

// showPackage shows all that a package printed outside its passed tests: its own last words, and those
// of a test that was running when the process ended.
func (s *summary) showPackage(pkg string, out io.Writer) {
	var keys []string
	for key := range s.output {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		s.show(key, out)
	}
}

// maxShown bounds what one failure prints, in bytes: enough for a whole dump of goroutines' heads.
const maxShown = 24 << 10

func (s *summary) show(key string, out io.Writer) {
	b := s.output[key]
	if b == nil {
		return
	}
	text := b.String()
	if len(text) > maxShown {
		text = text[:maxShown] + "\n[more left out]\n"
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(out, "     %s\n", strings.TrimRight(line, "\n"))
	}
}

// skipReason finds what the test said with Skip: its last line that is not the testing package's.
func skipReason(output string) string {
	reason := "no reason given"
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			reason = line
		}
	}
	return reason
}

// finish prints the skips and returns the counts.
func (s *summary) finish(out io.Writer) (passed, failed int) {
	for _, skip := range s.skipped {
		fmt.Fprintln(out, "skipped:", skip)
	}
	s.failed += s.failedSkips()
	if s.passed+s.failed == 0 {
		fmt.Fprintln(out, "no test ran")
		s.failed++
	}
	return s.passed, s.failed
}

// failedSkips is how many skips count as failures.
func (s *summary) failedSkips() int {
	if !s.noSkip {
		return 0
	}
	return s.unforgiven
}

// short leaves the module's path out of a package's.
func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/sightglass/sightglass/")
}
