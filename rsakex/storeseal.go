// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"github.com/sightglass/sightglass/handshake"
	"golang.org/x/crypto/cryptobyte"
)

// The layout of a record, in bytes.
const (
	lengthLen   = 4 // of what follows it, big-endian
	tagLen      = 8 // the first bytes of the KeyID under whose key the record is
	nonceLen    = 12
	recordHead  = lengthLen + tagLen + nonceLen
	sealLen     = 16                        // of AES-GCM
	minRecord   = recordHead + 33 + sealLen // an op and a key
	maxRecord   = 1 << 16
	maxChainLen = 1 << 14 // of the client's certificates in a record
)

// The ops of a record.
const (
	opPut    = 1
	opRemove = 2
)

type keyTag [tagLen]byte

// storeSeals are the keys of one store file: one for each private key in the ring, derived from it
// and the file's salt (RFC 5869).
type storeSeals struct {
	byTag map[keyTag]cipher.AEAD
	ids   map[keyTag]KeyID
}

func newStoreSeals(ring *Ring, salt []byte) *storeSeals {
	s := &storeSeals{byTag: make(map[keyTag]cipher.AEAD), ids: make(map[keyTag]KeyID)}
	for _, k := range ring.keys {
		tag := keyTag(k.id[:tagLen])
		s.byTag[tag], s.ids[tag] = k.storeAEAD(salt), k.id
	}
	return s
}

// storeAEAD derives the key that seals sessions of this private key. Nonces are random: a file is
// rewritten, under a new salt, long before 2^32 of them.
func (k *privateKey) storeAEAD(salt []byte) cipher.AEAD {
	info := "sightglass session store 1" + string(k.id[:])
	key, err := hkdf.Key(sha256.New, k.d, salt, info, 32)
	if err != nil {
		panic("rsakex: HKDF of 32 bytes: " + err.Error())
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("rsakex: AES of 32 bytes: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("rsakex: GCM over AES: " + err.Error())
	}
	return aead
}

// seal appends the record of op to dst. It reports false if the op cannot be sealed: its secret is
// not ready, or its key not in the ring.
func (s *storeSeals) seal(dst []byte, op storeOp) ([]byte, bool) {
	tag := keyTag(op.session.Key[:tagLen])
	aead := s.byTag[tag]
	plain, err := encodeOp(op)
	if aead == nil || err != nil || s.ids[tag] != op.session.Key {
		return dst, false
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(tagLen+nonceLen+len(plain)+sealLen))
	dst = append(dst, tag[:]...)
	var nonce [nonceLen]byte
	rand.Read(nonce[:]) // never fails
	dst = append(dst, nonce[:]...)
	// Seal may move dst as it appends, so what it authenticates is a copy.
	head := [lengthLen + tagLen]byte(dst[start:])
	return aead.Seal(dst, nonce[:], plain, head[:]), true
}

// open opens a whole record.
func (s *storeSeals) open(record []byte) (storeOp, bool) {
	tag := keyTag(record[lengthLen:])
	aead := s.byTag[tag]
	if aead == nil {
		return storeOp{}, false
	}
	head, nonce, sealed := record[:lengthLen+tagLen], record[lengthLen+tagLen:recordHead], record[recordHead:]
	plain, err := aead.Open(nil, nonce, sealed, head)
	if err != nil {
		return storeOp{}, false
	}
	return decodeOp(plain, s.ids[tag])
}

var errNoMaster = errors.New("not a master secret")

func encodeOp(op storeOp) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 256))
	if op.remove {
		b.AddUint8(opRemove)
		b.AddBytes(op.key[:])
		return b.Bytes()
	}
	s := op.session
	if s.Secret == nil {
		return nil, ErrPending
	}
	master, err := s.Secret.Master()
	if err != nil {
		return nil, err
	}
	if len(master) != MasterSecretLen {
		return nil, errNoMaster
	}
	b.AddUint8(opPut)
	b.AddBytes(op.key[:])
	b.AddUint16(uint16(s.Version))
	b.AddUint16(s.Suite)
	b.AddUint8(flag(s.EMS, 1) | flag(s.ClientProven, 2))
	b.AddBytes(master)
	b.AddBytes(s.ServerLeaf[:])
	for _, der := range boundedChain(s.ClientChain) {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
	}
	return b.Bytes()
}

func flag(on bool, bit uint8) uint8 {
	if on {
		return bit
	}
	return 0
}

// boundedChain returns the chain, or if it is long its leaf, or nothing: a file is no place for long
// chains.
func boundedChain(chain [][]byte) [][]byte {
	n := 0
	for i, der := range chain {
		if n += len(der); n > maxChainLen {
			return chain[:min(i, 1)]
		}
	}
	return chain
}

func decodeOp(plain []byte, id KeyID) (storeOp, bool) {
	s := cryptobyte.String(plain)
	var op storeOp
	var kind uint8
	if !s.ReadUint8(&kind) || !s.CopyBytes(op.key[:]) {
		return op, false
	}
	op.session = &Session{Key: id}
	if kind == opRemove {
		op.remove = true
		return op, s.Empty()
	}
	var version uint16
	var flags uint8
	master := make([]byte, MasterSecretLen)
	if kind != opPut || !s.ReadUint16(&version) || !s.ReadUint16(&op.session.Suite) ||
		!s.ReadUint8(&flags) || !s.CopyBytes(master) || !s.CopyBytes(op.session.ServerLeaf[:]) {
		return op, false
	}
	op.session.Version = handshake.Version(version)
	op.session.EMS, op.session.ClientProven = flags&1 != 0, flags&2 != 0
	op.session.Secret = Resolved(master)
	for !s.Empty() {
		var der cryptobyte.String
		if !s.ReadUint24LengthPrefixed(&der) {
			return op, false
		}
		op.session.ClientChain = append(op.session.ClientChain, der)
	}
	return op, true
}

// recordReader cuts records out of a store file.
type recordReader struct {
	r   *bufio.Reader
	buf []byte
}

func newRecordReader(r io.Reader) *recordReader {
	return &recordReader{bufio.NewReaderSize(r, maxRecord), make([]byte, maxRecord)}
}

// next returns the next record, valid until the next call. The end of the file and a record that is
// torn are both io.EOF.
func (r *recordReader) next() ([]byte, error) {
	if _, err := io.ReadFull(r.r, r.buf[:lengthLen]); err != nil {
		return nil, tornIsEOF(err)
	}
	n := lengthLen + int64(binary.BigEndian.Uint32(r.buf))
	if n < minRecord || n > maxRecord {
		return nil, io.EOF
	}
	if _, err := io.ReadFull(r.r, r.buf[lengthLen:n]); err != nil {
		return nil, tornIsEOF(err)
	}
	return r.buf[:n], nil
}

func tornIsEOF(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}
