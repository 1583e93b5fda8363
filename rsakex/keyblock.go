// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"crypto/md5"
	"fmt"
	"io"

	"github.com/sightglass/sightglass/handshake"
)

// DirectionKeys are the keys of one direction. They format as a placeholder.
type DirectionKeys struct{ MAC, Key, IV []byte }

// String returns a placeholder.
func (DirectionKeys) String() string { return redacted }

// GoString returns a placeholder.
func (DirectionKeys) GoString() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (DirectionKeys) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// KeyBlock returns n bytes of the key block (RFC 5246, Section 6.3; RFC 6101, Section 6.2.2). SSL
// 3.0 cannot give more than 416: the result is nil.
func KeyBlock(v handshake.Version, suite *handshake.Suite, master []byte, client, server handshake.Random, n int) []byte {
	if v <= handshake.SSL30 {
		if n > maxSSL3Output {
			return nil
		}
		return ssl3Derive(n, master, server[:], client[:])
	}
	block := make([]byte, n)
	prfFor(v, suite.PRF)(block, master, "key expansion", server[:], client[:])
	return block
}

// ExpandKeys derives the keys of both directions. The lengths are those of the key block, in bytes,
// as the record layer of this version and suite wants them. An export suite's keys come out at
// their final length and with the IVs that stand in no key block (RFC 2246, Section 6.3.1).
func ExpandKeys(v handshake.Version, suite *handshake.Suite, master []byte, client, server handshake.Random, macLen, keyLen, ivLen int) (clientKeys, serverKeys DirectionKeys) {
	blockIV := ivLen
	if suite.Export {
		blockIV = 0
	}
	block := KeyBlock(v, suite, master, client, server, 2*(macLen+keyLen+blockIV))
	cut := func(n int) []byte {
		if n > len(block) {
			n = len(block)
		}
		part := block[:n:n]
		block = block[n:]
		return part
	}
	c := DirectionKeys{MAC: cut(macLen)}
	s := DirectionKeys{MAC: cut(macLen)}
	c.Key, s.Key = cut(keyLen), cut(keyLen)
	c.IV, s.IV = cut(blockIV), cut(blockIV)
	if suite.Export {
		exportKeys(v, suite, client, server, ivLen, &c, &s)
	}
	return c, s
}

// exportKeys replaces the short keys by the final ones and sets the IVs: RFC 2246, Section 6.3.1,
// and for SSL 3.0 RFC 6101, Section 6.2.2.1.
func exportKeys(v handshake.Version, suite *handshake.Suite, client, server handshake.Random, ivLen int, c, s *DirectionKeys) {
	n := suite.Cipher.Params().ExpandedKeyLen
	if v <= handshake.SSL30 {
		c.Key = md5Of(n, c.Key, client[:], server[:])
		s.Key = md5Of(n, s.Key, server[:], client[:])
		c.IV = md5Of(ivLen, client[:], server[:])
		s.IV = md5Of(ivLen, server[:], client[:])
		return
	}
	expand := prfFor(v, suite.PRF)
	final := func(key []byte, label string) []byte {
		out := make([]byte, n)
		expand(out, key, label, client[:], server[:])
		return out
	}
	c.Key = final(c.Key, "client write key")
	s.Key = final(s.Key, "server write key")
	ivs := make([]byte, 2*ivLen)
	expand(ivs, nil, "IV block", client[:], server[:])
	c.IV, s.IV = ivs[:ivLen:ivLen], ivs[ivLen:]
}

// md5Of returns the first n bytes, at most 16, of the MD5 sum over parts.
func md5Of(n int, parts ...[]byte) []byte {
	h := md5.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)[:min(n, md5.Size)]
}
