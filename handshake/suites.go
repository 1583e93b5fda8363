// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"sort"
)

// Suite is one cipher suite: what its name says, as data. Suites are shared and must not be
// modified.
type Suite struct {
	ID          uint16
	Name        string // the IANA name, such as "TLS_RSA_WITH_AES_128_CBC_SHA"
	KeyExchange KeyExchange
	Cipher      Cipher // CipherUnknown: its records cannot be opened
	MAC         MAC    // MACNULL for AEAD ciphers
	PRF         Hash   // of the TLS 1.2 PRF and the TLS 1.3 HKDF; earlier versions have a fixed one
	Export      bool   // key and IV are derived as RFC 2246, Section 6.3.1 says
}

// The signalling values that stand among cipher suites in a ClientHello and are none.
const (
	EmptyRenegotiationInfoSCSV uint16 = 0x00FF // RFC 5746, Section 3.3
	FallbackSCSV               uint16 = 0x5600 // RFC 7507, Section 2
)

// SuiteByID returns the cipher suite with this number. Signalling values are no suites.
func SuiteByID(id uint16) (*Suite, bool) {
	i := sort.Search(len(suites), func(i int) bool { return suites[i].ID >= id })
	if i == len(suites) || suites[i].ID != id {
		return nil, false
	}
	return &suites[i], true
}

// SuiteName returns the name of a cipher suite or signalling value, or its number, such as
// "0x1234", if it has none.
func SuiteName(id uint16) string {
	switch id {
	case EmptyRenegotiationInfoSCSV:
		return "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
	case FallbackSCSV:
		return "TLS_FALLBACK_SCSV"
	}
	if s, ok := SuiteByID(id); ok {
		return s.Name
	}
	return fmt.Sprintf("0x%04x", id)
}

// KeyExchange is how the peers agree on the premaster secret, and who is authenticated by what.
type KeyExchange uint8

// The key exchanges. Only the first two put the premaster secret, encrypted to an RSA key, on the
// wire. With KeyExchangeRSAExport that key is the certificate's only if it is short enough;
// otherwise it is a temporary one, which a ServerKeyExchange brings (RFC 2246, Section 7.4.3).
const (
	KeyExchangeUnknown KeyExchange = iota
	KeyExchangeRSA
	KeyExchangeRSAExport // RSA_EXPORT (512 bits) and RSA_EXPORT1024
	KeyExchangeNULL
	KeyExchangeDHDSS
	KeyExchangeDHRSA
	KeyExchangeDHEDSS
	KeyExchangeDHERSA
	KeyExchangeDHAnon
	KeyExchangeECDHECDSA
	KeyExchangeECDHRSA
	KeyExchangeECDHEECDSA
	KeyExchangeECDHERSA
	KeyExchangeECDHAnon
	KeyExchangePSK
	KeyExchangeRSAPSK
	KeyExchangeDHEPSK
	KeyExchangeECDHEPSK
	KeyExchangeKRB5
	KeyExchangeSRP
	KeyExchangeSRPRSA
	KeyExchangeSRPDSS
	KeyExchangeECCPWD
	KeyExchangeECJPAKE
	KeyExchangeFortezza
	KeyExchangeGOST
	KeyExchangeTLCP
	KeyExchangeTLS13 // negotiated by extensions, not by the suite (RFC 8446, Section 4.1.1)
)

var keyExchangeNames = [...]string{
	KeyExchangeUnknown:    "unknown",
	KeyExchangeRSA:        "RSA",
	KeyExchangeRSAExport:  "RSA_EXPORT",
	KeyExchangeNULL:       "NULL",
	KeyExchangeDHDSS:      "DH_DSS",
	KeyExchangeDHRSA:      "DH_RSA",
	KeyExchangeDHEDSS:     "DHE_DSS",
	KeyExchangeDHERSA:     "DHE_RSA",
	KeyExchangeDHAnon:     "DH_anon",
	KeyExchangeECDHECDSA:  "ECDH_ECDSA",
	KeyExchangeECDHRSA:    "ECDH_RSA",
	KeyExchangeECDHEECDSA: "ECDHE_ECDSA",
	KeyExchangeECDHERSA:   "ECDHE_RSA",
	KeyExchangeECDHAnon:   "ECDH_anon",
	KeyExchangePSK:        "PSK",
	KeyExchangeRSAPSK:     "RSA_PSK",
	KeyExchangeDHEPSK:     "DHE_PSK",
	KeyExchangeECDHEPSK:   "ECDHE_PSK",
	KeyExchangeKRB5:       "KRB5",
	KeyExchangeSRP:        "SRP_SHA",
	KeyExchangeSRPRSA:     "SRP_SHA_RSA",
	KeyExchangeSRPDSS:     "SRP_SHA_DSS",
	KeyExchangeECCPWD:     "ECCPWD",
	KeyExchangeECJPAKE:    "ECJPAKE",
	KeyExchangeFortezza:   "FORTEZZA_KEA",
	KeyExchangeGOST:       "GOST",
	KeyExchangeTLCP:       "TLCP",
	KeyExchangeTLS13:      "TLS 1.3",
}

// String returns the key exchange's name as it stands in the names of suites, such as "ECDHE_RSA".
func (k KeyExchange) String() string {
	if int(k) < len(keyExchangeNames) {
		return keyExchangeNames[k]
	}
	return keyExchangeNames[KeyExchangeUnknown]
}

// Cipher is a bulk cipher with its mode.
type Cipher uint8

// The ciphers.
const (
	CipherUnknown Cipher = iota
	CipherNULL
	CipherRC4_40
	CipherRC4_56
	CipherRC4_128
	CipherRC2CBC40
	CipherRC2CBC56
	CipherDES40CBC
	CipherDESCBC
	Cipher3DESEDECBC
	CipherIDEACBC
	CipherSEEDCBC
	CipherAES128CBC
	CipherAES256CBC
	CipherCAMELLIA128CBC
	CipherCAMELLIA256CBC
	CipherARIA128CBC
	CipherARIA256CBC
	CipherAES128GCM
	CipherAES256GCM
	CipherAES128CCM
	CipherAES256CCM
	CipherAES128CCM8
	CipherAES256CCM8
	CipherCAMELLIA128GCM
	CipherCAMELLIA256GCM
	CipherARIA128GCM
	CipherARIA256GCM
	CipherCHACHA20POLY1305
)

// CipherKind says how a cipher's records are built (RFC 5246, Section 6.2.3).
type CipherKind uint8

// The kinds of cipher.
const (
	KindUnknown CipherKind = iota
	KindStream             // NULL and RC4: fragment and MAC, no padding
	KindBlock              // CBC: fragment, MAC and padding
	KindAEAD
)

// CipherParams are the sizes of a cipher, in bytes.
type CipherParams struct {
	Kind             CipherKind
	KeyLen           int // of the key block
	ExpandedKeyLen   int // of the cipher's key; more than KeyLen only in export suites
	BlockLen         int // of KindBlock only
	FixedIVLen       int // KindAEAD: the part of the nonce that comes from the key block before TLS 1.3
	ExplicitNonceLen int // KindAEAD: the part that stands in each record before TLS 1.3
	TagLen           int // KindAEAD
}

// cipherParams is RFC 5246, Appendix C, with RFC 2246, Appendix C for the export ciphers and
// RFC 5288, RFC 6655 and RFC 7905 for the AEADs.
var cipherParams = [...]CipherParams{
	CipherUnknown:          {},
	CipherNULL:             {KindStream, 0, 0, 0, 0, 0, 0},
	CipherRC4_40:           {KindStream, 5, 16, 0, 0, 0, 0},
	CipherRC4_56:           {KindStream, 7, 16, 0, 0, 0, 0},
	CipherRC4_128:          {KindStream, 16, 16, 0, 0, 0, 0},
	CipherRC2CBC40:         {KindBlock, 5, 16, 8, 0, 0, 0},
	CipherRC2CBC56:         {KindBlock, 7, 16, 8, 0, 0, 0},
	CipherDES40CBC:         {KindBlock, 5, 8, 8, 0, 0, 0},
	CipherDESCBC:           {KindBlock, 8, 8, 8, 0, 0, 0},
	Cipher3DESEDECBC:       {KindBlock, 24, 24, 8, 0, 0, 0},
	CipherIDEACBC:          {KindBlock, 16, 16, 8, 0, 0, 0},
	CipherSEEDCBC:          {KindBlock, 16, 16, 16, 0, 0, 0},
	CipherAES128CBC:        {KindBlock, 16, 16, 16, 0, 0, 0},
	CipherAES256CBC:        {KindBlock, 32, 32, 16, 0, 0, 0},
	CipherCAMELLIA128CBC:   {KindBlock, 16, 16, 16, 0, 0, 0},
	CipherCAMELLIA256CBC:   {KindBlock, 32, 32, 16, 0, 0, 0},
	CipherARIA128CBC:       {KindBlock, 16, 16, 16, 0, 0, 0},
	CipherARIA256CBC:       {KindBlock, 32, 32, 16, 0, 0, 0},
	CipherAES128GCM:        {KindAEAD, 16, 16, 0, 4, 8, 16},
	CipherAES256GCM:        {KindAEAD, 32, 32, 0, 4, 8, 16},
	CipherAES128CCM:        {KindAEAD, 16, 16, 0, 4, 8, 16},
	CipherAES256CCM:        {KindAEAD, 32, 32, 0, 4, 8, 16},
	CipherAES128CCM8:       {KindAEAD, 16, 16, 0, 4, 8, 8},
	CipherAES256CCM8:       {KindAEAD, 32, 32, 0, 4, 8, 8},
	CipherCAMELLIA128GCM:   {KindAEAD, 16, 16, 0, 4, 8, 16},
	CipherCAMELLIA256GCM:   {KindAEAD, 32, 32, 0, 4, 8, 16},
	CipherARIA128GCM:       {KindAEAD, 16, 16, 0, 4, 8, 16},
	CipherARIA256GCM:       {KindAEAD, 32, 32, 0, 4, 8, 16},
	CipherCHACHA20POLY1305: {KindAEAD, 32, 32, 0, 12, 0, 16},
}

// Params returns the cipher's sizes; the zero value for CipherUnknown.
func (c Cipher) Params() CipherParams {
	if int(c) < len(cipherParams) {
		return cipherParams[c]
	}
	return CipherParams{}
}

// MAC is a record MAC: HMAC with the hash it names, or the SSL 3.0 construction with it.
type MAC uint8

// The MACs.
const (
	MACNULL MAC = iota // AEAD ciphers, and TLS_NULL_WITH_NULL_NULL
	MACMD5
	MACSHA1
	MACSHA256
	MACSHA384
)

// Len returns the length of the MAC and of its key, in bytes.
func (m MAC) Len() int {
	switch m {
	case MACMD5:
		return 16
	case MACSHA1:
		return 20
	case MACSHA256:
		return 32
	case MACSHA384:
		return 48
	default:
		return 0
	}
}

// Hash is the hash of a cipher suite's key derivation. The zero value is SHA256, which TLS 1.2
// takes unless the suite says otherwise (RFC 5246, Section 5).
type Hash uint8

// The hashes.
const (
	SHA256 Hash = iota
	SHA384
)

// New returns a new hash.Hash of this kind.
func (h Hash) New() hash.Hash {
	if h == SHA384 {
		return sha512.New384()
	}
	return sha256.New()
}

// Size returns the hash's length in bytes.
func (h Hash) Size() int {
	if h == SHA384 {
		return sha512.Size384
	}
	return sha256.Size
}

// String returns "SHA-256" or "SHA-384".
func (h Hash) String() string {
	if h == SHA384 {
		return "SHA-384"
	}
	return "SHA-256"
}
