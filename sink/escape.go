// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"os"
	"runtime"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// appendSafe appends s so that it cannot drive a terminal: graphic characters and spaces as they
// are, everything else (controls of both sets, text-direction and invisible characters, invalid
// UTF-8) as an escape in the manner of Go.
func appendSafe[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			dst = appendSafeByte(dst, c)
			i++
			continue
		}
		var raw [utf8.UTFMax]byte
		r, n := utf8.DecodeRune(raw[:copy(raw[:], s[i:])])
		dst = appendSafeRune(dst, r, raw[:n])
		i += n
	}
	return dst
}

// mostlyText says that at least nine tenths of b, in bytes, are what appendSafe leaves as it is.
func mostlyText(b []byte) bool {
	bad := 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || r >= utf8.RuneSelf && !safeRune(r) {
			bad += n
		}
		i += n
	}
	return bad*10 <= len(b)
}

func appendSafeByte(dst []byte, c byte) []byte {
	switch {
	case c == '\\':
		return append(dst, `\\`...)
	case c >= ' ' && c < 0x7f:
		return append(dst, c)
	case c == '\n':
		return append(dst, `\n`...)
	case c == '\r':
		return append(dst, `\r`...)
	case c == '\t':
		return append(dst, `\t`...)
	default:
		return append(dst, '\\', 'x', lowerHex[c>>4], lowerHex[c&15])
	}
}

func appendSafeRune(dst []byte, r rune, raw []byte) []byte {
	if r == utf8.RuneError && len(raw) == 1 {
		return append(dst, '\\', 'x', lowerHex[raw[0]>>4], lowerHex[raw[0]&15])
	}
	if safeRune(r) {
		return append(dst, raw...)
	}
	dst = append(dst, `\u{`...)
	started := false
	for shift := 20; shift >= 0; shift -= 4 {
		if d := r >> shift & 15; d != 0 || started || shift == 0 {
			dst, started = append(dst, lowerHex[d]), true
		}
	}
	return append(dst, '}')
}

// safeRune says that a non-ASCII character shows as itself and does nothing else. unicode.IsPrint
// leaves out controls, surrogates, format characters such as bidirectional overrides, and all
// spaces but U+0020; combining marks could pile up on what is not theirs.
func safeRune(r rune) bool { return unicode.IsPrint(r) && !unicode.Is(unicode.M, r) }

// Coloured says whether colours suit f: it is a terminal that understands them, and the person has
// not asked for none (NO_COLOR, https://no-color.org).
func Coloured(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	if runtime.GOOS == "windows" && os.Getenv("WT_SESSION") == "" {
		return false
	}
	return term.IsTerminal(int(f.Fd()))
}

// The colours, as SGR parameters.
const (
	colourNone   = ""
	colourRed    = "31"
	colourGreen  = "32"
	colourYellow = "33"
	colourBlue   = "34"
	colourCyan   = "36"
	colourFaint  = "2"
	colourBold   = "1"
)

// paint appends s in a colour, if on.
func paint(dst []byte, on bool, colour, s string) []byte {
	if !on || colour == colourNone {
		return append(dst, s...)
	}
	dst = append(append(append(dst, "\x1b["...), colour...), 'm')
	return append(append(dst, s...), "\x1b[0m"...)
}
