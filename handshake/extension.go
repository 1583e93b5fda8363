// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// ExtensionType is the type of a hello extension (RFC 5246, Section 7.4.1.4).
type ExtensionType uint16

// The extensions this package knows the inside of.
const (
	ExtServerName             ExtensionType = 0
	ExtMaxFragmentLength      ExtensionType = 1
	ExtStatusRequest          ExtensionType = 5
	ExtSupportedGroups        ExtensionType = 10
	ExtECPointFormats         ExtensionType = 11
	ExtSignatureAlgorithms    ExtensionType = 13
	ExtALPN                   ExtensionType = 16
	ExtClientCertificateType  ExtensionType = 19
	ExtServerCertificateType  ExtensionType = 20
	ExtEncryptThenMAC         ExtensionType = 22
	ExtExtendedMasterSecret   ExtensionType = 23
	ExtRecordSizeLimit        ExtensionType = 28
	ExtSessionTicket          ExtensionType = 35
	ExtPreSharedKey           ExtensionType = 41
	ExtEarlyData              ExtensionType = 42
	ExtSupportedVersions      ExtensionType = 43
	ExtCertificateAuthorities ExtensionType = 47
	ExtKeyShare               ExtensionType = 51
	ExtNextProtocol           ExtensionType = 0x3374
	ExtRenegotiationInfo      ExtensionType = 0xff01
)

// Of the IANA registry "TLS ExtensionType Values", and the widespread ones that never got into it.
var extensionNames = map[ExtensionType]string{
	0:      "server_name",
	1:      "max_fragment_length",
	2:      "client_certificate_url",
	3:      "trusted_ca_keys",
	4:      "truncated_hmac",
	5:      "status_request",
	6:      "user_mapping",
	7:      "client_authz",
	8:      "server_authz",
	9:      "cert_type",
	10:     "supported_groups",
	11:     "ec_point_formats",
	12:     "srp",
	13:     "signature_algorithms",
	14:     "use_srtp",
	15:     "heartbeat",
	16:     "application_layer_protocol_negotiation",
	17:     "status_request_v2",
	18:     "signed_certificate_timestamp",
	19:     "client_certificate_type",
	20:     "server_certificate_type",
	21:     "padding",
	22:     "encrypt_then_mac",
	23:     "extended_master_secret",
	24:     "token_binding",
	25:     "cached_info",
	26:     "tls_lts",
	27:     "compress_certificate",
	28:     "record_size_limit",
	29:     "pwd_protect",
	30:     "pwd_clear",
	31:     "password_salt",
	32:     "ticket_pinning",
	33:     "tls_cert_with_extern_psk",
	34:     "delegated_credential",
	35:     "session_ticket",
	36:     "TLMSP",
	37:     "TLMSP_proxying",
	38:     "TLMSP_delegate",
	39:     "supported_ekt_ciphers",
	41:     "pre_shared_key",
	42:     "early_data",
	43:     "supported_versions",
	44:     "cookie",
	45:     "psk_key_exchange_modes",
	47:     "certificate_authorities",
	48:     "oid_filters",
	49:     "post_handshake_auth",
	50:     "signature_algorithms_cert",
	51:     "key_share",
	52:     "transparency_info",
	53:     "connection_id_deprecated",
	54:     "connection_id",
	55:     "external_id_hash",
	56:     "external_session_id",
	57:     "quic_transport_parameters",
	58:     "ticket_request",
	59:     "dnssec_chain",
	60:     "sequence_number_encryption_algorithms",
	61:     "rrc",
	62:     "tls_flags",
	0x3374: "next_protocol_negotiation",
	0x4469: "application_settings_old",
	0x44cd: "application_settings",
	0x754f: "channel_id_old",
	0x7550: "channel_id",
	0xfd00: "ech_outer_extensions",
	0xfe0d: "encrypted_client_hello",
	0xff01: "renegotiation_info",
}

// String returns the registry's name, such as "server_name".
func (t ExtensionType) String() string {
	if name, ok := extensionNames[t]; ok {
		return name
	}
	if IsGREASE(uint16(t)) {
		return fmt.Sprintf("GREASE(0x%04x)", uint16(t))
	}
	return fmt.Sprintf("extension(%d)", uint16(t))
}

// Extension is one extension as it stands on the wire.
type Extension struct {
	Type ExtensionType
	Data []byte
}

// FindExtension returns the data of the extension of type t, and whether there is one.
func FindExtension(exts []Extension, t ExtensionType) ([]byte, bool) {
	for i := range exts {
		if exts[i].Type == t {
			return exts[i].Data, true
		}
	}
	return nil, false
}

// readExtensions reads a block of extensions, its 2-byte length first, in which no type may stand
// twice (RFC 5246, Section 7.4.1.4). The result is never nil, and its data alias s.
func readExtensions(s *cryptobyte.String, out *[]Extension) bool {
	var block cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&block) {
		return false
	}
	exts := make([]Extension, 0, countExtensions(block))
	for !block.Empty() {
		var t uint16
		var data cryptobyte.String
		if !block.ReadUint16(&t) || !block.ReadUint16LengthPrefixed(&data) {
			return false
		}
		exts = append(exts, Extension{ExtensionType(t), data})
	}
	*out = exts
	return !repeated(exts)
}

// countExtensions returns how many extensions a block holds up to its first fault.
func countExtensions(block cryptobyte.String) (n int) {
	var data cryptobyte.String
	for block.Skip(2) && block.ReadUint16LengthPrefixed(&data) {
		n++
	}
	return n
}

// repeated reports whether two extensions have the same type.
func repeated(exts []Extension) bool {
	types := make([]ExtensionType, 0, 64)
	for i := range exts {
		types = append(types, exts[i].Type)
	}
	slices.Sort(types)
	for i := 1; i < len(types); i++ {
		if types[i] == types[i-1] {
			return true
		}
	}
	return false
}

// readNumbers reads all of s as 16-bit numbers.
func readNumbers[T ~uint16](s cryptobyte.String, out *[]T) bool {
	list := make([]T, 0, len(s)/2)
	for !s.Empty() {
		var v uint16
		if !s.ReadUint16(&v) {
			return false
		}
		list = append(list, T(v))
	}
	*out = list
	return true
}

// readNumberList reads 16-bit numbers, the list's 2-byte length first.
func readNumberList[T ~uint16](s *cryptobyte.String, out *[]T) bool {
	var list cryptobyte.String
	return s.ReadUint16LengthPrefixed(&list) && readNumbers(list, out)
}

// readBytes8 reads a vector with a 1-byte length; out aliases s.
func readBytes8(s *cryptobyte.String, out *[]byte) bool {
	return s.ReadUint8LengthPrefixed((*cryptobyte.String)(out))
}

// readBytes16 reads a vector with a 2-byte length; out aliases s.
func readBytes16(s *cryptobyte.String, out *[]byte) bool {
	return s.ReadUint16LengthPrefixed((*cryptobyte.String)(out))
}

// readBytes24 reads a vector with a 3-byte length; out aliases s.
func readBytes24(s *cryptobyte.String, out *[]byte) bool {
	return s.ReadUint24LengthPrefixed((*cryptobyte.String)(out))
}

// readProtocols reads the ProtocolNameList of RFC 7301, Section 3.1.
func readProtocols(s *cryptobyte.String, out *[]string) bool {
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) || name.Empty() {
			return false
		}
		*out = append(*out, string(name))
	}
	return true
}
