// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// JA3String returns the text whose MD5 is the client's JA3 fingerprint: version, suites, extensions,
// groups and point formats, without GREASE. It is empty for a V2 hello, for which JA3 is not defined.
func (h *ClientHello) JA3String() string {
	if h.V2 {
		return ""
	}
	b := make([]byte, 0, 512)
	b = strconv.AppendUint(b, uint64(h.Version), 10)
	b = appendDecimals(append(b, ','), h.CipherSuites)
	b = appendDecimals(append(b, ','), extensionTypes(h.Extensions))
	b = appendDecimals(append(b, ','), h.SupportedGroups)
	b = append(b, ',')
	for i, f := range h.PointFormats {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(f), 10)
	}
	return string(b)
}

// JA3 returns the client's JA3 fingerprint: an MD5 in hexadecimal, empty for a V2 hello.
func (h *ClientHello) JA3() string { return md5Hex(h.JA3String()) }

// JA3SString returns the text whose MD5 is the server's JA3S fingerprint: version, suite and
// extensions.
func (h *ServerHello) JA3SString() string {
	b := strconv.AppendUint(make([]byte, 0, 64), uint64(h.Version), 10)
	b = strconv.AppendUint(append(b, ','), uint64(h.CipherSuite), 10)
	return string(appendDecimals(append(b, ','), extensionTypes(h.Extensions)))
}

// JA3S returns the server's JA3S fingerprint: an MD5 in hexadecimal.
func (h *ServerHello) JA3S() string { return md5Hex(h.JA3SString()) }

// JA4 returns the client's JA4 fingerprint, as FoxIO's technical details define it for TLS over TCP.
// It is empty for a V2 hello.
func (h *ClientHello) JA4() string {
	if h.V2 {
		return ""
	}
	suites := withoutGREASE(h.CipherSuites)
	exts := withoutGREASE(extensionTypes(h.Extensions))
	_, named := FindExtension(h.Extensions, ExtServerName)

	b := make([]byte, 0, 36)
	b = append(b, 't')
	b = append(b, h.ja4Version()...)
	if named {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	b = appendCount(b, len(suites))
	b = appendCount(b, len(exts))
	b = append(b, ja4ALPN(h.ALPN)...)

	slices.Sort(suites)
	b = appendJA4Hash(append(b, '_'), appendHex(nil, suites))
	exts = slices.DeleteFunc(exts, func(t uint16) bool {
		return t == uint16(ExtServerName) || t == uint16(ExtALPN)
	})
	slices.Sort(exts)
	text := appendHex(nil, exts)
	if algs := withoutGREASE(h.SignatureAlgorithms); len(algs) > 0 {
		text = appendHex(append(text, '_'), algs)
	}
	return string(appendJA4Hash(append(b, '_'), text))
}

// ja4Version returns the two characters for the highest number that is not GREASE: a draft's, too,
// which has no characters of its own.
func (h *ClientHello) ja4Version() string {
	v := Version(0)
	for _, offered := range h.SupportedVersions {
		if !IsGREASE(uint16(offered)) {
			v = max(v, offered)
		}
	}
	if v == 0 {
		v = h.Version
	}
	switch v {
	case TLS13:
		return "13"
	case TLS12:
		return "12"
	case TLS11:
		return "11"
	case TLS10:
		return "10"
	case SSL30:
		return "s3"
	case SSL20:
		return "s2"
	default:
		return "00"
	}
}

// ja4ALPN returns the first and last character of the first protocol, or of its hexadecimal form if
// either is not alphanumeric.
func ja4ALPN(protocols []string) string {
	if len(protocols) == 0 || protocols[0] == "" {
		return "00"
	}
	p := protocols[0]
	if !isAlphanumeric(p[0]) || !isAlphanumeric(p[len(p)-1]) {
		p = hex.EncodeToString([]byte(p))
	}
	return string([]byte{p[0], p[len(p)-1]})
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// appendCount appends n in two digits, 99 at most.
func appendCount(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, '0'+byte(n/10), '0'+byte(n%10))
}

// appendJA4Hash appends the first 12 digits of the SHA-256 of text, or zeros for no text.
func appendJA4Hash(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, strings.Repeat("0", 12)...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(b, sum[:6])
}

// appendHex appends 4 hexadecimal digits a number, with commas.
func appendHex(b []byte, list []uint16) []byte {
	b = slices.Grow(b, 5*len(list))
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = hex.AppendEncode(b, []byte{byte(v >> 8), byte(v)})
	}
	return b
}

// appendDecimals appends the numbers that are not GREASE, with dashes.
func appendDecimals(b []byte, list []uint16) []byte {
	for i, v := range withoutGREASE(list) {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// withoutGREASE returns a copy of list without reserved values.
func withoutGREASE(list []uint16) []uint16 {
	kept := make([]uint16, 0, len(list))
	for _, v := range list {
		if !IsGREASE(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// extensionTypes returns the types of exts in their order.
func extensionTypes(exts []Extension) []uint16 {
	types := make([]uint16, len(exts))
	for i := range exts {
		types[i] = uint16(exts[i].Type)
	}
	return types
}

// md5Hex returns the MD5 of text in hexadecimal, "" for no text.
func md5Hex(text string) string {
	if text == "" {
		return ""
	}
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
