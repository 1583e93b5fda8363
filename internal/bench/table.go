// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// line is one line of the table.
type line struct {
	measured string // what, and of how much
	figure   string
	against  string
	other    string // its figure
	ratio    float64
	target   target
	note     string
}

// target is the bound on a ratio, measured to against.
type target struct {
	text string
	ok   func(ratio float64) bool // nil: not judged
}

func atMost(x float64) target {
	return target{fmt.Sprintf("≤ %g", x), func(r float64) bool { return r <= x }}
}

func atLeast(x float64) target {
	return target{fmt.Sprintf("≥ %g", x), func(r float64) bool { return r >= x }}
}

// ratio returns a to b. Neither can be nothing or less: then noise was larger than what was measured, and what
// is returned is no number, which meets no target.
func ratio(a, b float64) float64 {
	if a <= 0 || b <= 0 {
		return math.NaN()
	}
	return a / b
}

// forInformation is shown, and has no bound.
var forInformation = target{text: "–"}

func (l *line) verdict() string {
	switch {
	case l.target.ok == nil:
		return "–"
	case l.target.ok(l.ratio):
		return "pass"
	}
	return "MISS"
}

// shown is the ratio, if it is a number.
func (l *line) shown() string {
	if math.IsNaN(l.ratio) {
		return "–"
	}
	return fmt.Sprintf("%.2f", l.ratio)
}

func (b *bench) add(l line) {
	b.lines = append(b.lines, l)
	fmt.Fprintf(os.Stderr, "bench: %s: %s, %s: %s, ratio %s (%s): %s %s\n",
		l.measured, l.figure, l.against, l.other, l.shown(), l.target.text, l.verdict(), l.note)
}

// report prints the table, and fails when it is judged and a target was missed.
func (b *bench) report(markdown string) error {
	for _, m := range b.machine {
		fmt.Println(m)
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEASURED\tSIGHTGLASS\tAGAINST\tITS FIGURE\tRATIO\tTARGET\t")
	missed := 0
	for i := range b.lines {
		l := &b.lines[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.measured, l.figure, l.against, l.other, l.shown(), l.target.text, l.verdict())
		if l.verdict() == "MISS" {
			missed++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if markdown != "" {
		if err := os.WriteFile(markdown, []byte(b.markdown()), 0o644); err != nil {
			return err
		}
	}
	switch {
	case b.quick:
		fmt.Println("\nquick: small sizes, one run each; the figures are not judged")
		return nil
	case missed > 0:
		return fmt.Errorf("%w: %d of %d", errMissed, missed, len(b.lines))
	}
	return nil
}

func (b *bench) markdown() string {
	var s strings.Builder
	for _, m := range b.machine {
		fmt.Fprintf(&s, "- %s\n", m)
	}
	s.WriteString("\n| measured | sightglass | against | its figure | ratio | target | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, l := range b.lines {
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s | %s |\n", l.measured, l.figure, l.against, l.other, l.shown(), l.target.text, l.verdict())
	}
	return s.String()
}

// median returns the middle value.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the value below which a share q of the values lies.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
