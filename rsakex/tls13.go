// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/hkdf"
	"crypto/hmac"

	"github.com/sightglass/sightglass/handshake"
)

// ExpandLabel is HKDF-Expand-Label (RFC 8446, Section 7.1) for n bytes, at most 255 times the
// hash's length.
func ExpandLabel(h handshake.Hash, secret []byte, label string, context []byte, n int) []byte {
	info := make([]byte, 0, 2+1+6+len(label)+1+len(context))
	info = append(info, byte(n>>8), byte(n), byte(6+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, byte(len(context)))
	info = append(info, context...)
	out, err := hkdf.Expand(h.New, secret, string(info), n)
	if err != nil {
		return nil
	}
	return out
}

// TrafficKeys13 returns the write key and IV of one direction from its traffic secret, as a key log
// has it (RFC 8446, Section 7.3).
func TrafficKeys13(suite *handshake.Suite, secret []byte) DirectionKeys {
	return DirectionKeys{
		Key: ExpandLabel(suite.PRF, secret, "key", nil, suite.Cipher.Params().KeyLen),
		IV:  ExpandLabel(suite.PRF, secret, "iv", nil, 12), // RFC 8446, Section 5.3
	}
}

// NextTrafficSecret returns the traffic secret that follows a KeyUpdate (RFC 8446, Section 7.2).
func NextTrafficSecret(suite *handshake.Suite, secret []byte) []byte {
	return ExpandLabel(suite.PRF, secret, "traffic upd", nil, suite.PRF.Size())
}

// Finished13 returns the verify_data of a TLS 1.3 Finished, from the handshake traffic secret of
// its sender and the hash of the transcript before it (RFC 8446, Section 4.4.4).
func Finished13(suite *handshake.Suite, secret, transcriptHash []byte) []byte {
	mac := hmac.New(suite.PRF.New, ExpandLabel(suite.PRF, secret, "finished", nil, suite.PRF.Size()))
	mac.Write(transcriptHash)
	return mac.Sum(nil)
}
