// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as "4096", "64KiB", "16MiB" or "2GiB"; K, M and G alone mean
// the same.
type Size int64

var sizeUnits = []struct {
	suffix string
	shift  uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}, {"B", 0}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	digits, shift := strings.TrimSpace(string(text)), uint(0)
	for _, u := range sizeUnits {
		if cut, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, shift = strings.TrimSpace(cut), u.shift
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is not a size such as 4096, 64KiB or 1GiB", text)
	}
	*s = Size(n << shift)
	return nil
}

// MarshalText writes the size in the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range slices.Backward(sizeUnits[:4]) {
		if s != 0 && s%(1<<u.shift) == 0 {
			return fmt.Appendf(nil, "%d%s", s>>u.shift, u.suffix), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// Duration is a span of time, written as "10s", "5m" or "24h".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 10s, 5m or 24h", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

// PortRange is a range of TCP ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Ports is a set of TCP ports, written as "443,8443", "8000-8100" or "any".
type Ports struct {
	Any    bool
	Ranges []PortRange // ascending, no two touch; empty if Any
}

// UnmarshalText reads a set of ports.
func (p *Ports) UnmarshalText(text []byte) error {
	if string(text) == "any" {
		*p = Ports{Any: true}
		return nil
	}
	var ranges []PortRange
	for item := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a == 0 || a > b {
			return fmt.Errorf("%q is not a set of ports such as 443,8443, 8000-8100 or any", text)
		}
		ranges = append(ranges, PortRange{uint16(a), uint16(b)})
	}
	*p = Ports{Ranges: merge(ranges)}
	return nil
}

// merge sorts ranges and joins those that overlap or touch.
func merge(ranges []PortRange) []PortRange {
	slices.SortFunc(ranges, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var out []PortRange
	for _, r := range ranges {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Empty says that no port is in the set.
func (p Ports) Empty() bool { return !p.Any && len(p.Ranges) == 0 }

// String writes the set as it is read.
func (p Ports) String() string {
	if p.Any {
		return "any"
	}
	var parts []string
	for _, r := range p.Ranges {
		if r.First == r.Last {
			parts = append(parts, strconv.Itoa(int(r.First)))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(parts, ",")
}

// MarshalText writes the set as it is read.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Choice is one word out of a few.
type Choice string

// check says which words there are when c is not one of them.
func (c Choice) check(name string, words ...string) error {
	if slices.Contains(words, string(c)) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", name, string(c), strings.Join(words, ", "))
}
