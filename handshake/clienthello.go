// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// maxSessionID is the length of the longest session ID, bytes (RFC 5246, Section 7.4.1.2).
const maxSessionID = 32

// Signalling suites: they are offered, never chosen.
const (
	suiteEmptyRenegotiationInfo = 0x00ff // RFC 5746, Section 3.3
	suiteFallback               = 0x5600 // RFC 7507
)

// ClientHello is a parsed ClientHello of any version. Its byte slices alias the message it was parsed
// from. Lists hold GREASE values as they came.
type ClientHello struct {
	Raw          []byte  // with its header; of a V2 hello see ParseV2ClientHello
	V2           bool    // came as an SSLv2-compatible CLIENT-HELLO
	Version      Version // client_version; for TLS 1.3 see SupportedVersions
	Random       Random
	SessionID    []byte
	CipherSuites []uint16
	Compressions []byte
	Extensions   []Extension // in the order they came; nil when there was no block of them

	ServerName           string // as it came: not checked to be a host name
	ALPN                 []string
	SupportedVersions    []Version
	SupportedGroups      []uint16
	PointFormats         []byte
	SignatureAlgorithms  []uint16
	SessionTicket        []byte
	HasSessionTicket     bool // the extension was there, perhaps empty
	ExtendedMasterSecret bool
	EncryptThenMAC       bool
	StatusRequest        bool
	EarlyData            bool
	NPN                  bool
	MaxFragmentLength    uint8 // RFC 6066, Section 4: 1 to 4 for 2^9 to 2^12 bytes; 0: not there
	RecordSizeLimit      int   // bytes; 0: not there
	PSKIdentities        [][]byte
	SecureRenegotiation  bool   // by the extension or the signalling suite
	RenegotiationInfo    []byte // the client's last verify_data; empty in a first handshake
	Fallback             bool   // TLS_FALLBACK_SCSV was offered
}

// ParseClientHello parses a ClientHello of SSL 3.0 to TLS 1.3. The result keeps msg.Raw and aliases it.
func ParseClientHello(msg Message) (*ClientHello, error) {
	s, err := msg.body(TypeClientHello)
	if err != nil {
		return nil, err
	}
	h := &ClientHello{Raw: msg.Raw}
	var suites cryptobyte.String
	switch {
	case !s.ReadUint16((*uint16)(&h.Version)) || !s.CopyBytes(h.Random[:]):
		return nil, malformed(TypeClientHello, "version and random")
	case !readBytes8(&s, &h.SessionID) || len(h.SessionID) > maxSessionID:
		return nil, malformed(TypeClientHello, "session ID")
	case !s.ReadUint16LengthPrefixed(&suites) || suites.Empty() || !readNumbers(suites, &h.CipherSuites):
		return nil, malformed(TypeClientHello, "cipher suites")
	case !readBytes8(&s, &h.Compressions) || len(h.Compressions) == 0:
		return nil, malformed(TypeClientHello, "compression methods")
	}
	h.SecureRenegotiation = slices.Contains(h.CipherSuites, suiteEmptyRenegotiationInfo)
	h.Fallback = slices.Contains(h.CipherSuites, suiteFallback)
	if s.Empty() { // no extensions at all (RFC 5246, Section 7.4.1.2)
		return h, nil
	}
	if !readExtensions(&s, &h.Extensions) || !s.Empty() {
		return nil, malformed(TypeClientHello, "extensions")
	}
	for i, e := range h.Extensions {
		last := i == len(h.Extensions)-1
		if !h.parseExtension(e) || e.Type == ExtPreSharedKey && !last { // RFC 8446, Section 4.2.11
			return nil, malformed(TypeClientHello, e.Type.String()+" extension")
		}
	}
	return h, nil
}

func (h *ClientHello) parseExtension(e Extension) bool {
	s := cryptobyte.String(e.Data)
	ok := true
	switch e.Type {
	case ExtServerName:
		ok = readServerName(&s, &h.ServerName)
	case ExtALPN:
		ok = readProtocols(&s, &h.ALPN)
	case ExtSupportedVersions:
		var list cryptobyte.String
		ok = s.ReadUint8LengthPrefixed(&list) && readNumbers(list, &h.SupportedVersions)
	case ExtSupportedGroups:
		ok = readNumberList(&s, &h.SupportedGroups)
	case ExtSignatureAlgorithms:
		ok = readNumberList(&s, &h.SignatureAlgorithms)
	case ExtECPointFormats:
		ok = readBytes8(&s, &h.PointFormats)
	case ExtPreSharedKey:
		ok = readPSKs(&s, &h.PSKIdentities)
	case ExtRecordSizeLimit:
		ok = readRecordSizeLimit(&s, &h.RecordSizeLimit)
	case ExtMaxFragmentLength:
		ok = s.ReadUint8(&h.MaxFragmentLength)
	case ExtRenegotiationInfo:
		h.SecureRenegotiation = true
		ok = readBytes8(&s, &h.RenegotiationInfo)
	case ExtSessionTicket: // the ticket is all there is (RFC 5077, Section 3.2)
		h.HasSessionTicket, h.SessionTicket = true, e.Data
		return true
	case ExtStatusRequest:
		h.StatusRequest = true
		return true
	case ExtExtendedMasterSecret:
		h.ExtendedMasterSecret = true
	case ExtEncryptThenMAC:
		h.EncryptThenMAC = true
	case ExtEarlyData:
		h.EarlyData = true
	case ExtNextProtocol:
		h.NPN = true
	default:
		return true
	}
	return ok && s.Empty()
}

// readServerName reads the ServerNameList of RFC 6066, Section 3: one name a type, and only host
// names are known.
func readServerName(s *cryptobyte.String, out *string) bool {
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || list.Empty() {
		return false
	}
	for seen := false; !list.Empty(); {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return false
		}
		if kind != 0 {
			continue
		}
		if seen {
			return false
		}
		seen, *out = true, string(name)
	}
	return true
}

// readPSKs reads the OfferedPsks of RFC 8446, Section 4.2.11: as many binders as identities.
func readPSKs(s *cryptobyte.String, out *[][]byte) bool {
	var identities, binders cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&identities) || !s.ReadUint16LengthPrefixed(&binders) || identities.Empty() {
		return false
	}
	for !identities.Empty() {
		var id, binder cryptobyte.String
		var age uint32
		if !identities.ReadUint16LengthPrefixed(&id) || id.Empty() || !identities.ReadUint32(&age) ||
			!binders.ReadUint8LengthPrefixed(&binder) {
			return false
		}
		*out = append(*out, id)
	}
	return binders.Empty()
}

// readRecordSizeLimit reads the limit of RFC 8449, Section 4: at least 64 bytes.
func readRecordSizeLimit(s *cryptobyte.String, out *int) bool {
	var limit uint16
	if !s.ReadUint16(&limit) || limit < 64 {
		return false
	}
	*out = int(limit)
	return true
}

// MaxVersion returns the highest version offered: of supported_versions, which has the say where it
// is there (RFC 8446, Section 4.2.1), or else Version. Drafts of TLS 1.3 do not count.
func (h *ClientHello) MaxVersion() Version {
	best := Version(0)
	for _, v := range h.SupportedVersions {
		if v>>8 == 3 {
			best = max(best, v)
		}
	}
	if best == 0 {
		return h.Version
	}
	return best
}
