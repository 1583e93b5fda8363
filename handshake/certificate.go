// SPDX-License-Identifier: Apache-2.0

package handshake

import "golang.org/x/crypto/cryptobyte"

// maxChain bounds the certificates of one message: more than any peer verifies, and few enough that a
// message of tiny ones costs little.
const maxChain = 256

// Certificate is a parsed Certificate message. Its byte slices alias the message it was parsed from.
type Certificate struct {
	Raw     []byte   // with its header
	Context []byte   // TLS 1.3: certificate_request_context
	Chain   [][]byte // DER, leaf first; empty when the peer has none
	OCSP    []byte   // TLS 1.3: the leaf's stapled OCSPResponse, DER; nil: none
}

// ParseCertificate parses the Certificate message of SSL 3.0 to TLS 1.2 (RFC 5246, Section 7.4.2).
// At most 256 certificates are accepted.
func ParseCertificate(msg Message) (*Certificate, error) {
	s, err := msg.body(TypeCertificate)
	if err != nil {
		return nil, err
	}
	m := &Certificate{Raw: msg.Raw}
	var list cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return nil, malformed(TypeCertificate, "list")
	}
	for !list.Empty() {
		if !m.readEntry(&list) {
			return nil, malformed(TypeCertificate, "entry")
		}
	}
	return m, nil
}

// readEntry reads one certificate with its 3-byte length.
func (m *Certificate) readEntry(list *cryptobyte.String) bool {
	var der []byte
	if !readBytes24(list, &der) || len(der) == 0 || len(m.Chain) == maxChain {
		return false
	}
	m.Chain = append(m.Chain, der)
	return true
}

// ParseCertificate13 parses the Certificate message of TLS 1.3 (RFC 8446, Section 4.4.2). At most 256
// certificates are accepted.
func ParseCertificate13(msg Message) (*Certificate, error) {
	s, err := msg.body(TypeCertificate)
	if err != nil {
		return nil, err
	}
	m := &Certificate{Raw: msg.Raw}
	var list cryptobyte.String
	if !readBytes8(&s, &m.Context) || !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return nil, malformed(TypeCertificate, "list")
	}
	for !list.Empty() {
		var exts []Extension
		if !m.readEntry(&list) || !readExtensions(&list, &exts) {
			return nil, malformed(TypeCertificate, "entry")
		}
		if len(m.Chain) > 1 {
			continue
		}
		if staple, ok := FindExtension(exts, ExtStatusRequest); ok && !readOCSP(staple, &m.OCSP) {
			return nil, malformed(TypeCertificate, "status_request extension")
		}
	}
	return m, nil
}

// The certificate status types (RFC 6066, Section 8; RFC 6961, Section 2.2).
const (
	statusOCSP      = 1
	statusOCSPMulti = 2
)

// readOCSP reads a CertificateStatus of one response.
func readOCSP(b []byte, out *[]byte) bool {
	s := cryptobyte.String(b)
	var kind uint8
	return s.ReadUint8(&kind) && kind == statusOCSP && readBytes24(&s, out) && len(*out) > 0 && s.Empty()
}

// CertificateStatus is a parsed CertificateStatus message. Its byte slices alias the message it was
// parsed from.
type CertificateStatus struct {
	Raw []byte // with its header
	// Responses are OCSPResponses, DER, in the order of the chain; an empty one stands for a
	// certificate without (RFC 6961, Section 2.2).
	Responses [][]byte
}

// ParseCertificateStatus parses a CertificateStatus message of either type. At most 256 responses are
// accepted.
func ParseCertificateStatus(msg Message) (*CertificateStatus, error) {
	s, err := msg.body(TypeCertificateStatus)
	if err != nil {
		return nil, err
	}
	m := &CertificateStatus{Raw: msg.Raw}
	var response []byte
	if readOCSP(s, &response) {
		m.Responses = [][]byte{response}
		return m, nil
	}
	var kind uint8
	var list cryptobyte.String
	if !s.ReadUint8(&kind) || kind != statusOCSPMulti || !s.ReadUint24LengthPrefixed(&list) || list.Empty() || !s.Empty() {
		return nil, malformed(TypeCertificateStatus, "type or list")
	}
	for !list.Empty() {
		if !readBytes24(&list, &response) || len(m.Responses) == maxChain {
			return nil, malformed(TypeCertificateStatus, "response")
		}
		m.Responses = append(m.Responses, response)
	}
	return m, nil
}

// CertificateRequest is a parsed CertificateRequest message. Its byte slices alias the message it was
// parsed from.
type CertificateRequest struct {
	Raw                 []byte   // with its header
	Types               []byte   // ClientCertificateType, before TLS 1.3
	SignatureAlgorithms []uint16 // since TLS 1.2
	Authorities         [][]byte // distinguished names, DER
	Context             []byte   // TLS 1.3: certificate_request_context
	Extensions          []Extension
}

// ParseCertificateRequest parses the CertificateRequest message of the version v, which must be the
// one negotiated: the versions' forms differ.
func ParseCertificateRequest(msg Message, v Version) (*CertificateRequest, error) {
	s, err := msg.body(TypeCertificateRequest)
	if err != nil {
		return nil, err
	}
	m := &CertificateRequest{Raw: msg.Raw}
	if v >= TLS13 {
		if err := m.parse13(s); err != nil {
			return nil, err
		}
		return m, nil
	}
	switch {
	case !readBytes8(&s, &m.Types) || len(m.Types) == 0:
		return nil, malformed(TypeCertificateRequest, "certificate types")
	case v == TLS12 && !readNumberList(&s, &m.SignatureAlgorithms):
		return nil, malformed(TypeCertificateRequest, "signature algorithms")
	case !readAuthorities(&s, &m.Authorities) || !s.Empty():
		return nil, malformed(TypeCertificateRequest, "authorities")
	}
	return m, nil
}

// parse13 parses the form of RFC 8446, Section 4.3.2.
func (m *CertificateRequest) parse13(s cryptobyte.String) error {
	if !readBytes8(&s, &m.Context) || !readExtensions(&s, &m.Extensions) || !s.Empty() {
		return malformed(TypeCertificateRequest, "context or extensions")
	}
	for _, e := range m.Extensions {
		data := cryptobyte.String(e.Data)
		ok := true
		switch e.Type {
		case ExtSignatureAlgorithms:
			ok = readNumberList(&data, &m.SignatureAlgorithms) && data.Empty()
		case ExtCertificateAuthorities:
			ok = readAuthorities(&data, &m.Authorities) && data.Empty()
		}
		if !ok {
			return malformed(TypeCertificateRequest, e.Type.String()+" extension")
		}
	}
	return nil
}

// readAuthorities reads a list of distinguished names.
func readAuthorities(s *cryptobyte.String, out *[][]byte) bool {
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var name []byte
		if !readBytes16(&list, &name) || len(name) == 0 {
			return false
		}
		*out = append(*out, name)
	}
	return true
}

// CertificateVerify is a parsed CertificateVerify message. Its byte slices alias the message it was
// parsed from.
type CertificateVerify struct {
	Raw                []byte // with its header
	SignatureAlgorithm uint16 // a SignatureScheme; 0 before TLS 1.2
	Signature          []byte
}

// ParseCertificateVerify parses the CertificateVerify message of the version v, which must be the one
// negotiated (RFC 5246, Section 7.4.8; RFC 8446, Section 4.4.3).
func ParseCertificateVerify(msg Message, v Version) (*CertificateVerify, error) {
	s, err := msg.body(TypeCertificateVerify)
	if err != nil {
		return nil, err
	}
	m := &CertificateVerify{Raw: msg.Raw}
	switch {
	case v >= TLS12 && !s.ReadUint16(&m.SignatureAlgorithm):
		return nil, malformed(TypeCertificateVerify, "signature algorithm")
	case !readBytes16(&s, &m.Signature) || !s.Empty():
		return nil, malformed(TypeCertificateVerify, "signature")
	}
	return m, nil
}

// CompressedCertificate is a parsed CompressedCertificate message (RFC 8879, Section 4). Its byte
// slices alias the message it was parsed from.
type CompressedCertificate struct {
	Raw          []byte // with its header
	Algorithm    uint16 // 1 zlib, 2 brotli, 3 zstd
	Uncompressed int    // length of the Certificate message's body, as the sender says, bytes
	Data         []byte // compressed
}

// ParseCompressedCertificate parses a CompressedCertificate message; it decompresses nothing.
func ParseCompressedCertificate(msg Message) (*CompressedCertificate, error) {
	s, err := msg.body(TypeCompressedCertificate)
	if err != nil {
		return nil, err
	}
	m := &CompressedCertificate{Raw: msg.Raw}
	var n uint32
	if !s.ReadUint16(&m.Algorithm) || !s.ReadUint24(&n) || !readBytes24(&s, &m.Data) || len(m.Data) == 0 || !s.Empty() {
		return nil, malformed(TypeCompressedCertificate, "content")
	}
	m.Uncompressed = int(n)
	return m, nil
}
