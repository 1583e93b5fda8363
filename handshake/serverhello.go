// SPDX-License-Identifier: Apache-2.0

package handshake

import "golang.org/x/crypto/cryptobyte"

// helloRetryRandom is the Random of a ServerHello that is a HelloRetryRequest (RFC 8446,
// Section 4.1.3).
var helloRetryRandom = Random{
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
}

// ServerHello is a parsed ServerHello of SSL 3.0 to TLS 1.3. Its byte slices alias the message it
// was parsed from.
type ServerHello struct {
	Raw                 []byte  // with its header
	Version             Version // server_version; for TLS 1.3 see SelectedVersion
	Random              Random
	SessionID           []byte
	CipherSuite         uint16
	Compression         uint8
	Extensions          []Extension // in the order they came; nil when there was no block of them
	IsHelloRetryRequest bool

	ALPN                  string
	NPN                   bool
	NextProtocols         []string // offered with NPN
	SessionTicket         bool     // a NewSessionTicket will come
	ExtendedMasterSecret  bool
	EncryptThenMAC        bool
	StatusRequest         bool   // a CertificateStatus may come
	MaxFragmentLength     uint8  // as in ClientHello
	RecordSizeLimit       int    // bytes; 0: not there
	KeyShareGroup         uint16 // TLS 1.3: the group of the key share, or the one asked for; 0: none
	HasSelectedPSK        bool
	SelectedPSK           uint16 // index into the ClientHello's identities
	ClientCertificateType uint8  // RFC 7250: 0 for X.509
	ServerCertificateType uint8  // RFC 7250: 0 for X.509
	SecureRenegotiation   bool
	RenegotiationInfo     []byte // both sides' last verify_data; empty in a first handshake

	supportedVersion Version // of the extension; 0: not there
}

// SelectedVersion returns the version that the server chose: of supported_versions, or else Version.
func (h *ServerHello) SelectedVersion() Version {
	if h.supportedVersion != 0 {
		return h.supportedVersion
	}
	return h.Version
}

// ParseServerHello parses a ServerHello or HelloRetryRequest. The result keeps msg.Raw and aliases it.
func ParseServerHello(msg Message) (*ServerHello, error) {
	s, err := msg.body(TypeServerHello)
	if err != nil {
		return nil, err
	}
	h := &ServerHello{Raw: msg.Raw}
	switch {
	case !s.ReadUint16((*uint16)(&h.Version)) || !s.CopyBytes(h.Random[:]):
		return nil, malformed(TypeServerHello, "version and random")
	case !readBytes8(&s, &h.SessionID) || len(h.SessionID) > maxSessionID:
		return nil, malformed(TypeServerHello, "session ID")
	case !s.ReadUint16(&h.CipherSuite) || !s.ReadUint8(&h.Compression):
		return nil, malformed(TypeServerHello, "cipher suite and compression method")
	}
	h.IsHelloRetryRequest = h.Random == helloRetryRandom
	if s.Empty() { // no extensions at all (RFC 5246, Section 7.4.1.3)
		return h, nil
	}
	if !readExtensions(&s, &h.Extensions) || !s.Empty() {
		return nil, malformed(TypeServerHello, "extensions")
	}
	for _, e := range h.Extensions {
		if !h.parseExtension(e) {
			return nil, malformed(TypeServerHello, e.Type.String()+" extension")
		}
	}
	return h, nil
}

func (h *ServerHello) parseExtension(e Extension) bool {
	s := cryptobyte.String(e.Data)
	ok := true
	switch e.Type {
	case ExtALPN:
		ok = readProtocol(&s, &h.ALPN)
	case ExtSupportedVersions:
		ok = s.ReadUint16((*uint16)(&h.supportedVersion)) && h.supportedVersion != 0
	case ExtKeyShare:
		ok = readKeyShare(&s, h.IsHelloRetryRequest, &h.KeyShareGroup)
	case ExtPreSharedKey:
		h.HasSelectedPSK = true
		ok = s.ReadUint16(&h.SelectedPSK)
	case ExtRecordSizeLimit:
		ok = readRecordSizeLimit(&s, &h.RecordSizeLimit)
	case ExtMaxFragmentLength:
		ok = s.ReadUint8(&h.MaxFragmentLength)
	case ExtClientCertificateType:
		ok = s.ReadUint8(&h.ClientCertificateType)
	case ExtServerCertificateType:
		ok = s.ReadUint8(&h.ServerCertificateType)
	case ExtRenegotiationInfo:
		h.SecureRenegotiation = true
		ok = readBytes8(&s, &h.RenegotiationInfo)
	case ExtNextProtocol:
		h.NPN = true
		ok = readNextProtocols(&s, &h.NextProtocols)
	case ExtSessionTicket:
		h.SessionTicket = true
	case ExtExtendedMasterSecret:
		h.ExtendedMasterSecret = true
	case ExtEncryptThenMAC:
		h.EncryptThenMAC = true
	case ExtStatusRequest:
		h.StatusRequest = true
	default:
		return true
	}
	return ok && s.Empty()
}

// readProtocol reads the server's choice: a ProtocolNameList of exactly one name (RFC 7301,
// Section 3.1).
func readProtocol(s *cryptobyte.String, out *string) bool {
	var names []string
	if !readProtocols(s, &names) || len(names) != 1 {
		return false
	}
	*out = names[0]
	return true
}

// readNextProtocols reads the names of NPN, which have no length before the list.
func readNextProtocols(s *cryptobyte.String, out *[]string) bool {
	for !s.Empty() {
		var name cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&name) || name.Empty() {
			return false
		}
		*out = append(*out, string(name))
	}
	return true
}

// readKeyShare reads a server's key share, which in a HelloRetryRequest is a group alone (RFC 8446,
// Section 4.2.8).
func readKeyShare(s *cryptobyte.String, retry bool, group *uint16) bool {
	var share cryptobyte.String
	return s.ReadUint16(group) && (retry || s.ReadUint16LengthPrefixed(&share) && !share.Empty())
}

// EncryptedExtensions is a parsed EncryptedExtensions message (RFC 8446, Section 4.3.1). Its byte
// slices alias the message it was parsed from.
type EncryptedExtensions struct {
	Raw                   []byte // with its header
	Extensions            []Extension
	ALPN                  string
	EarlyData             bool // the early data is accepted
	RecordSizeLimit       int  // bytes; 0: not there
	MaxFragmentLength     uint8
	ClientCertificateType uint8 // RFC 7250: 0 for X.509
	ServerCertificateType uint8 // RFC 7250: 0 for X.509
}

// ParseEncryptedExtensions parses an EncryptedExtensions message.
func ParseEncryptedExtensions(msg Message) (*EncryptedExtensions, error) {
	s, err := msg.body(TypeEncryptedExtensions)
	if err != nil {
		return nil, err
	}
	m := &EncryptedExtensions{Raw: msg.Raw}
	if !readExtensions(&s, &m.Extensions) || !s.Empty() {
		return nil, malformed(TypeEncryptedExtensions, "extensions")
	}
	for _, e := range m.Extensions {
		if !m.parseExtension(e) {
			return nil, malformed(TypeEncryptedExtensions, e.Type.String()+" extension")
		}
	}
	return m, nil
}

func (m *EncryptedExtensions) parseExtension(e Extension) bool {
	s := cryptobyte.String(e.Data)
	ok := true
	switch e.Type {
	case ExtALPN:
		ok = readProtocol(&s, &m.ALPN)
	case ExtEarlyData:
		m.EarlyData = true
	case ExtRecordSizeLimit:
		ok = readRecordSizeLimit(&s, &m.RecordSizeLimit)
	case ExtMaxFragmentLength:
		ok = s.ReadUint8(&m.MaxFragmentLength)
	case ExtClientCertificateType:
		ok = s.ReadUint8(&m.ClientCertificateType)
	case ExtServerCertificateType:
		ok = s.ReadUint8(&m.ServerCertificateType)
	default:
		return true
	}
	return ok && s.Empty()
}
