// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const good = `{"Action":"output","Package":"p","Test":"TestA","Output":"hello\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}
`
	tests := []struct {
		name, in       string
		noSkip         bool
		passed, failed int
		shows          string
	}{
		{"one passes", good, false, 1, 0, "ok   p"},
		{"nothing ran", "", false, 0, 1, "no test ran"},
		{"one fails", good + `{"Action":"output","Package":"q","Test":"TestB","Output":"why\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"fail","Package":"q"}
`, false, 1, 1, "why"},
		{"does not build", good + `{"ImportPath":"q","Action":"build-output","Output":"syntax error\n"}
{"Action":"fail","Package":"q"}
`, false, 1, 1, "syntax error"},
		{"dies", good + `{"Action":"output","Package":"q","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"q"}
`, false, 1, 1, "test timed out"},
		{"a skip is told", good + `{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:1: no nginx\n"}
{"Action":"output","Package":"q","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}
{"Action":"skip","Package":"q","Test":"TestC"}
{"Action":"pass","Package":"q"}
`, false, 1, 0, "no nginx"},
		{"a processor's skip is forgiven", good + `{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:1: processor: no AVX\n"}
{"Action":"skip","Package":"q","Test":"TestC"}
`, true, 1, 0, "processor: no AVX"},
		{"a skip fails", good + `{"Action":"skip","Package":"q","Test":"TestC"}` + "\n", true, 1, 1, "TestC"},
		{"other output", "plain words\n" + good, false, 1, 0, "plain words"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(tt.noSkip)
			if err := s.read(strings.NewReader(tt.in), &out); err != nil {
				t.Fatal(err)
			}
			passed, failed := s.finish(&out)
			if passed != tt.passed || failed != tt.failed {
				t.Errorf("%d passed, %d failed; want %d, %d", passed, failed, tt.passed, tt.failed)
			}
			if !strings.Contains(out.String(), tt.shows) {
				t.Errorf("%q is not in:\n%s", tt.shows, out.String())
			}
		})
	}
}
