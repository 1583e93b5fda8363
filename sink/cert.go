// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"crypto/sha1"
	"encoding/asn1"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// certificate is what outputs show of a certificate. It is read more leniently than crypto/x509
// does, which refuses certificates that are found in old captures.
type certificate struct {
	subject, issuer     string
	serial              []byte // big-endian, as encoded
	notBefore, notAfter time.Time
	names               []string // subject alternative names: DNS names and IP addresses
	sha1                [sha1.Size]byte
}

const (
	maxNameParts = 64
	maxNameLen   = 1024
	maxAltNames  = 256
)

// parseCertificate reads what it can; a field that cannot be read stays empty.
func parseCertificate(der []byte) certificate {
	c := certificate{sha1: sha1.Sum(der)}
	in := cryptobyte.String(der)
	var cert, tbs, validity cryptobyte.String
	if !in.ReadASN1(&cert, cbasn1.SEQUENCE) || !cert.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return c
	}
	var serial, issuer, subject cryptobyte.String
	if !tbs.SkipOptionalASN1(cbasn1.Tag(0).Constructed().ContextSpecific()) ||
		!tbs.ReadASN1(&serial, cbasn1.INTEGER) ||
		!tbs.SkipASN1(cbasn1.SEQUENCE) ||
		!tbs.ReadASN1(&issuer, cbasn1.SEQUENCE) {
		return c
	}
	c.serial, c.issuer = serial, distinguishedName(issuer)
	if !tbs.ReadASN1(&validity, cbasn1.SEQUENCE) || !tbs.ReadASN1(&subject, cbasn1.SEQUENCE) {
		return c
	}
	c.notBefore, c.notAfter = readTime(&validity), readTime(&validity)
	c.subject = distinguishedName(subject)
	c.names = altNames(tbs)
	return c
}

func readTime(s *cryptobyte.String) (t time.Time) {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		s.ReadASN1UTCTime(&t)
	} else {
		s.ReadASN1GeneralizedTime(&t)
	}
	return t
}

// altNames finds the subject alternative names in the rest of a TBSCertificate after the subject
// (RFC 5280, Section 4.2.1.6).
func altNames(tbs cryptobyte.String) []string {
	var outer, exts cryptobyte.String
	if !tbs.SkipASN1(cbasn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(cbasn1.Tag(1).ContextSpecific()) ||
		!tbs.SkipOptionalASN1(cbasn1.Tag(2).ContextSpecific()) ||
		!tbs.ReadASN1(&outer, cbasn1.Tag(3).Constructed().ContextSpecific()) ||
		!outer.ReadASN1(&exts, cbasn1.SEQUENCE) {
		return nil
	}
	for !exts.Empty() {
		var ext, value, names cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !exts.ReadASN1(&ext, cbasn1.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&oid) ||
			!ext.SkipOptionalASN1(cbasn1.BOOLEAN) || !ext.ReadASN1(&value, cbasn1.OCTET_STRING) {
			return nil
		}
		if oid.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) && value.ReadASN1(&names, cbasn1.SEQUENCE) {
			return generalNames(names)
		}
	}
	return nil
}

func generalNames(in cryptobyte.String) (names []string) {
	for !in.Empty() && len(names) < maxAltNames {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1(&value, &tag) {
			break
		}
		switch tag {
		case cbasn1.Tag(2).ContextSpecific():
			names = append(names, string(value))
		case cbasn1.Tag(7).ContextSpecific():
			if ip, ok := netip.AddrFromSlice(value); ok {
				names = append(names, ip.String())
			}
		}
	}
	return names
}

// attributeNames are the short names of RFC 4514 and of common use, by dotted OID.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
	"2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title",
	"2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.42": "GN",
	"2.5.4.46": "dnQualifier", "0.9.2342.19200300.100.1.1": "UID",
	"0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress",
}

// distinguishedName writes an RDNSequence in the order of the certificate, as Suricata does:
// "C=GB, O=Example, CN=example.com".
func distinguishedName(in cryptobyte.String) string {
	var b strings.Builder
	for parts := 0; !in.Empty() && parts < maxNameParts && b.Len() < maxNameLen; {
		var set cryptobyte.String
		if !in.ReadASN1(&set, cbasn1.SET) {
			break
		}
		for ; !set.Empty() && parts < maxNameParts; parts++ {
			var attr, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !set.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&oid) ||
				!attr.ReadAnyASN1(&value, &tag) {
				return b.String()
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			name := oid.String()
			if short, ok := attributeNames[name]; ok {
				name = short
			}
			b.WriteString(name + "=" + attributeValue(tag, value))
		}
	}
	return b.String()
}

// attributeValue decodes a DirectoryString; what is no string is shown in hexadecimal behind "#"
// (RFC 4514, Section 2.4).
func attributeValue(tag cbasn1.Tag, value []byte) string {
	if len(value) > maxNameLen {
		value = value[:maxNameLen]
	}
	const teletex, universal, bmp = cbasn1.Tag(20), cbasn1.Tag(28), cbasn1.Tag(30)
	switch tag {
	case cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String, cbasn1.Tag(18):
		return strings.ToValidUTF8(string(value), string(utf8.RuneError))
	case teletex: // in practice ISO 8859-1
		runes := make([]rune, len(value))
		for i, c := range value {
			runes[i] = rune(c)
		}
		return string(runes)
	case bmp:
		units := make([]uint16, len(value)/2)
		for i := range units {
			units[i] = uint16(value[2*i])<<8 | uint16(value[2*i+1])
		}
		return string(utf16.Decode(units))
	case universal:
		runes := make([]rune, len(value)/4)
		for i := range runes {
			runes[i] = rune(value[4*i])<<24 | rune(value[4*i+1])<<16 | rune(value[4*i+2])<<8 | rune(value[4*i+3])
		}
		return string(runes)
	default:
		return "#" + hex.EncodeToString(value)
	}
}

// appendColonHex appends b as two digits a byte with colons between, of the given digits.
func appendColonHex(dst, b []byte, digits string) []byte {
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)
