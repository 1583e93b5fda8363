// SPDX-License-Identifier: Apache-2.0

package handshake

import "fmt"

// AlertLevel is an alert's severity (RFC 5246, Section 7.2).
type AlertLevel uint8

// The alert levels.
const (
	Warning AlertLevel = 1
	Fatal   AlertLevel = 2
)

// String returns "warning" or "fatal", or the number of a level that is neither.
func (l AlertLevel) String() string {
	switch l {
	case Warning:
		return "warning"
	case Fatal:
		return "fatal"
	default:
		return fmt.Sprintf("level(%d)", uint8(l))
	}
}

// AlertDescription is an alert's reason (RFC 5246, Section 7.2).
type AlertDescription uint8

// The alert descriptions of the IANA registry "TLS Alerts", and SSL 3.0's no_certificate.
const (
	AlertCloseNotify                  AlertDescription = 0
	AlertUnexpectedMessage            AlertDescription = 10
	AlertBadRecordMAC                 AlertDescription = 20
	AlertDecryptionFailed             AlertDescription = 21
	AlertRecordOverflow               AlertDescription = 22
	AlertDecompressionFailure         AlertDescription = 30
	AlertHandshakeFailure             AlertDescription = 40
	AlertNoCertificate                AlertDescription = 41 // SSL 3.0's empty client Certificate (RFC 6101, Section 5.6.6)
	AlertBadCertificate               AlertDescription = 42
	AlertUnsupportedCertificate       AlertDescription = 43
	AlertCertificateRevoked           AlertDescription = 44
	AlertCertificateExpired           AlertDescription = 45
	AlertCertificateUnknown           AlertDescription = 46
	AlertIllegalParameter             AlertDescription = 47
	AlertUnknownCA                    AlertDescription = 48
	AlertAccessDenied                 AlertDescription = 49
	AlertDecodeError                  AlertDescription = 50
	AlertDecryptError                 AlertDescription = 51
	AlertTooManyCIDsRequested         AlertDescription = 52
	AlertExportRestriction            AlertDescription = 60
	AlertProtocolVersion              AlertDescription = 70
	AlertInsufficientSecurity         AlertDescription = 71
	AlertInternalError                AlertDescription = 80
	AlertInappropriateFallback        AlertDescription = 86
	AlertUserCanceled                 AlertDescription = 90
	AlertNoRenegotiation              AlertDescription = 100
	AlertMissingExtension             AlertDescription = 109
	AlertUnsupportedExtension         AlertDescription = 110
	AlertCertificateUnobtainable      AlertDescription = 111
	AlertUnrecognizedName             AlertDescription = 112
	AlertBadCertificateStatusResponse AlertDescription = 113
	AlertBadCertificateHashValue      AlertDescription = 114
	AlertUnknownPSKIdentity           AlertDescription = 115
	AlertCertificateRequired          AlertDescription = 116
	AlertGeneralError                 AlertDescription = 117
	AlertNoApplicationProtocol        AlertDescription = 120
	AlertECHRequired                  AlertDescription = 121
)

var alertNames = map[AlertDescription]string{
	AlertCloseNotify:                  "close_notify",
	AlertUnexpectedMessage:            "unexpected_message",
	AlertBadRecordMAC:                 "bad_record_mac",
	AlertDecryptionFailed:             "decryption_failed",
	AlertRecordOverflow:               "record_overflow",
	AlertDecompressionFailure:         "decompression_failure",
	AlertHandshakeFailure:             "handshake_failure",
	AlertNoCertificate:                "no_certificate",
	AlertBadCertificate:               "bad_certificate",
	AlertUnsupportedCertificate:       "unsupported_certificate",
	AlertCertificateRevoked:           "certificate_revoked",
	AlertCertificateExpired:           "certificate_expired",
	AlertCertificateUnknown:           "certificate_unknown",
	AlertIllegalParameter:             "illegal_parameter",
	AlertUnknownCA:                    "unknown_ca",
	AlertAccessDenied:                 "access_denied",
	AlertDecodeError:                  "decode_error",
	AlertDecryptError:                 "decrypt_error",
	AlertTooManyCIDsRequested:         "too_many_cids_requested",
	AlertExportRestriction:            "export_restriction",
	AlertProtocolVersion:              "protocol_version",
	AlertInsufficientSecurity:         "insufficient_security",
	AlertInternalError:                "internal_error",
	AlertInappropriateFallback:        "inappropriate_fallback",
	AlertUserCanceled:                 "user_canceled",
	AlertNoRenegotiation:              "no_renegotiation",
	AlertMissingExtension:             "missing_extension",
	AlertUnsupportedExtension:         "unsupported_extension",
	AlertCertificateUnobtainable:      "certificate_unobtainable",
	AlertUnrecognizedName:             "unrecognized_name",
	AlertBadCertificateStatusResponse: "bad_certificate_status_response",
	AlertBadCertificateHashValue:      "bad_certificate_hash_value",
	AlertUnknownPSKIdentity:           "unknown_psk_identity",
	AlertCertificateRequired:          "certificate_required",
	AlertGeneralError:                 "general_error",
	AlertNoApplicationProtocol:        "no_application_protocol",
	AlertECHRequired:                  "ech_required",
}

// String returns the registry's name, such as "illegal_parameter", or "alert(N)" for a number that
// has none.
func (d AlertDescription) String() string {
	if name, ok := alertNames[d]; ok {
		return name
	}
	return fmt.Sprintf("alert(%d)", uint8(d))
}

// Alert is the body of an alert record.
type Alert struct {
	Level       AlertLevel
	Description AlertDescription
}

// String returns the alert as "fatal illegal_parameter (47)".
func (a Alert) String() string {
	name, ok := alertNames[a.Description]
	if !ok {
		name = "unknown"
	}
	return fmt.Sprintf("%v %s (%d)", a.Level, name, uint8(a.Description))
}

// alertLen is the length in bytes of an alert's body.
const alertLen = 2

// ParseAlert parses the plaintext of an alert record. Alerts are never fragmented nor coalesced
// (RFC 8446, Section 5.1), so b must be one whole alert. Unknown levels and descriptions are kept as
// they are.
func ParseAlert(b []byte) (Alert, error) {
	if len(b) != alertLen {
		return Alert{}, fmt.Errorf("malformed alert: %d bytes", len(b))
	}
	return Alert{AlertLevel(b[0]), AlertDescription(b[1])}, nil
}

// AppendRecord appends the alert to dst as one whole plaintext record of the version v.
func (a Alert) AppendRecord(dst []byte, v Version) []byte {
	v = v.Record()
	return append(dst, byte(ContentAlert), byte(v>>8), byte(v), 0, alertLen, byte(a.Level), byte(a.Description))
}
