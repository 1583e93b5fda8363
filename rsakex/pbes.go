// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	encoding_asn1 "encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"unicode/utf16"

	"github.com/sightglass/sightglass/internal/rc2"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/scrypt"
)

// Bounds on what a file may ask of us before its passphrase is checked.
const (
	maxIterations   = 10_000_000
	maxScryptMemory = 1 << 30 // bytes
)

var errPBES = errors.New("the private key's encryption is damaged")

func errPBESUnsupported(what string, oid encoding_asn1.ObjectIdentifier) error {
	return fmt.Errorf("the private key's encryption is not supported (%s %s): convert it with openssl pkey", what, oid)
}

// blockCipher is a cipher in CBC mode.
type blockCipher struct {
	keyLen int
	new    func([]byte) (cipher.Block, error)
}

var (
	cipherDES        = blockCipher{8, des.NewCipher}
	cipher3DES       = blockCipher{24, des.NewTripleDESCipher}
	cipherAES128     = blockCipher{16, aes.NewCipher}
	cipherAES192     = blockCipher{24, aes.NewCipher}
	cipherAES256     = blockCipher{32, aes.NewCipher}
	cipherRC2Bits40  = blockCipher{5, newRC2}
	cipherRC2Bits128 = blockCipher{16, newRC2}
)

// newRC2 takes a key all of whose bits count.
func newRC2(key []byte) (cipher.Block, error) { return rc2.NewCipher(key, 8*len(key)) }

// open decrypts and takes the padding off (RFC 8018, Section 6.1.1); padding that is wrong means a
// wrong passphrase.
func (c blockCipher) open(key, iv, data []byte) ([]byte, error) {
	block, err := c.new(key)
	if err != nil || len(iv) != block.BlockSize() || len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, errPBES
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n == 0 || n > block.BlockSize() || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errWrongPassphrase
	}
	return plain[:len(plain)-n], nil
}

// legacyCiphers are those of the DEK-Info header of old PEM files.
var legacyCiphers = map[string]blockCipher{
	"DES-CBC": cipherDES, "DES-EDE3-CBC": cipher3DES,
	"AES-128-CBC": cipherAES128, "AES-192-CBC": cipherAES192, "AES-256-CBC": cipherAES256,
}

// decryptLegacyPEM opens a PEM block whose header says how it is encrypted (RFC 1423), with the key
// derivation that OpenSSL made for it: MD5, once, salted with the IV.
func decryptLegacyPEM(info string, data, passphrase []byte) ([]byte, error) {
	name, ivHex, _ := strings.Cut(info, ",")
	c, ok := legacyCiphers[strings.TrimSpace(name)]
	if !ok {
		return nil, fmt.Errorf("the private key's encryption is not supported (%.32q): convert it with openssl pkey", name)
	}
	iv, err := hex.DecodeString(strings.TrimSpace(ivHex))
	if err != nil || len(iv) < 8 {
		return nil, errPBES
	}
	var key, sum []byte
	for len(key) < c.keyLen {
		sum = md5Of(md5.Size, sum, passphrase, iv[:8])
		key = append(key, sum...)
	}
	return c.open(key[:c.keyLen], iv, data)
}

// decryptPKCS8 opens an EncryptedPrivateKeyInfo (RFC 5208, Section 6). It does not use the module
// for it, which panics on a damaged IV, knows neither PBES1 nor HMAC with SHA-512, and takes any
// unusual key for a wrong passphrase.
func decryptPKCS8(der, passphrase []byte) ([]byte, error) {
	s := cryptobyte.String(der)
	var info, algorithm, data cryptobyte.String
	if !s.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!info.ReadASN1(&data, asn1.OCTET_STRING) {
		return nil, errPBES
	}
	return decryptPBES(algorithm, data, passphrase)
}

// decryptPBES opens what was encrypted with a passphrase in one of the schemes of RFC 8018, Section 6.
func decryptPBES(algorithm cryptobyte.String, data, passphrase []byte) ([]byte, error) {
	oid, params, err := readAlgorithm(algorithm)
	if err != nil {
		return nil, err
	}
	if oid.Equal(oidPBES2) {
		return decryptPBES2(params, data, passphrase)
	}
	return decryptPBES1(oid, params, data, passphrase)
}

// readAlgorithm reads the contents of an AlgorithmIdentifier whose parameters are a SEQUENCE, and
// returns theirs.
func readAlgorithm(s cryptobyte.String) (oid encoding_asn1.ObjectIdentifier, params cryptobyte.String, err error) {
	if !s.ReadASN1ObjectIdentifier(&oid) || !s.ReadASN1(&params, asn1.SEQUENCE) {
		return nil, nil, errPBES
	}
	return oid, params, nil
}

var (
	oidPBES2  = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
)

var pbes2Ciphers = map[string]blockCipher{
	"1.3.14.3.2.7":            cipherDES,
	"1.2.840.113549.3.7":      cipher3DES,
	"2.16.840.1.101.3.4.1.2":  cipherAES128,
	"2.16.840.1.101.3.4.1.22": cipherAES192,
	"2.16.840.1.101.3.4.1.42": cipherAES256,
}

var pbkdf2Hashes = map[string]func() hash.Hash{
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// decryptPBES2 is RFC 8018, Section 6.2.
func decryptPBES2(params cryptobyte.String, data, passphrase []byte) ([]byte, error) {
	var kdf, encryption cryptobyte.String
	var cipherOID encoding_asn1.ObjectIdentifier
	var iv []byte
	if !params.ReadASN1(&kdf, asn1.SEQUENCE) || !params.ReadASN1(&encryption, asn1.SEQUENCE) ||
		!encryption.ReadASN1ObjectIdentifier(&cipherOID) ||
		!encryption.ReadASN1Bytes(&iv, asn1.OCTET_STRING) {
		return nil, errPBES
	}
	c, ok := pbes2Ciphers[cipherOID.String()]
	if !ok {
		return nil, errPBESUnsupported("cipher", cipherOID)
	}
	key, err := pbes2Key(kdf, passphrase, c.keyLen)
	if err != nil {
		return nil, err
	}
	return c.open(key, iv, data)
}

func pbes2Key(kdf cryptobyte.String, passphrase []byte, n int) ([]byte, error) {
	oid, params, err := readAlgorithm(kdf)
	switch {
	case err != nil:
		return nil, err
	case oid.Equal(oidPBKDF2):
		return pbkdf2Key(params, passphrase, n)
	case oid.Equal(oidScrypt):
		return scryptKey(params, passphrase, n)
	}
	return nil, errPBESUnsupported("key derivation", oid)
}

// pbkdf2Key is RFC 8018, Section 5.2, with the parameters of Appendix A.2.
func pbkdf2Key(params cryptobyte.String, passphrase []byte, n int) ([]byte, error) {
	var salt []byte
	var iterations int
	if !params.ReadASN1Bytes(&salt, asn1.OCTET_STRING) || !params.ReadASN1Integer(&iterations) ||
		!params.SkipOptionalASN1(asn1.INTEGER) || iterations < 1 || iterations > maxIterations {
		return nil, errPBES
	}
	newHash := sha1.New // the default
	if !params.Empty() {
		var prf cryptobyte.String
		var oid encoding_asn1.ObjectIdentifier
		if !params.ReadASN1(&prf, asn1.SEQUENCE) || !prf.ReadASN1ObjectIdentifier(&oid) {
			return nil, errPBES
		}
		var ok bool
		if newHash, ok = pbkdf2Hashes[oid.String()]; !ok {
			return nil, errPBESUnsupported("hash", oid)
		}
	}
	return pbkdf2.Key(newHash, string(passphrase), salt, iterations, n)
}

// scryptKey is RFC 7914, with the parameters of its Section 7.1.
func scryptKey(params cryptobyte.String, passphrase []byte, n int) ([]byte, error) {
	var salt []byte
	var cost, blockSize, parallel int
	if !params.ReadASN1Bytes(&salt, asn1.OCTET_STRING) || !params.ReadASN1Integer(&cost) ||
		!params.ReadASN1Integer(&blockSize) || !params.ReadASN1Integer(&parallel) ||
		cost < 2 || blockSize < 1 || parallel < 1 || parallel > 64 ||
		blockSize > maxScryptMemory/128 || cost > maxScryptMemory/128/blockSize {
		return nil, errPBES
	}
	key, err := scrypt.Key(passphrase, salt, cost, blockSize, parallel, n)
	if err != nil {
		return nil, errPBES
	}
	return key, nil
}

// pbes1 are the older block-cipher schemes: those of RFC 8018, Section 6.1 and of RFC 7292, Appendix C.
var pbes1 = map[string]struct {
	cipher blockCipher
	derive func(passphrase, salt []byte, iterations int) (key, iv []byte)
}{
	"1.2.840.113549.1.5.3":    {cipherDES, pbkdf1(md5.New)},
	"1.2.840.113549.1.5.10":   {cipherDES, pbkdf1(sha1.New)},
	"1.2.840.113549.1.12.1.3": {cipher3DES, pkcs12KDF(24)},
	"1.2.840.113549.1.12.1.4": {cipher3DES, twoKeys(pkcs12KDF(16))},
	"1.2.840.113549.1.12.1.5": {cipherRC2Bits128, pkcs12KDF(16)},
	"1.2.840.113549.1.12.1.6": {cipherRC2Bits40, pkcs12KDF(5)},
}

func decryptPBES1(oid encoding_asn1.ObjectIdentifier, params cryptobyte.String, data, passphrase []byte) ([]byte, error) {
	scheme, ok := pbes1[oid.String()]
	if !ok {
		return nil, errPBESUnsupported("scheme", oid)
	}
	var salt []byte
	var iterations int
	if !params.ReadASN1Bytes(&salt, asn1.OCTET_STRING) || !params.ReadASN1Integer(&iterations) ||
		len(salt) == 0 || iterations < 1 || iterations > maxIterations {
		return nil, errPBES
	}
	key, iv := scheme.derive(passphrase, salt, iterations)
	return scheme.cipher.open(key, iv, data)
}

// pbkdf1 is RFC 8018, Section 5.1: 8 bytes of key and 8 of IV.
func pbkdf1(newHash func() hash.Hash) func(passphrase, salt []byte, iterations int) (key, iv []byte) {
	return func(passphrase, salt []byte, iterations int) (key, iv []byte) {
		h := newHash()
		h.Write(passphrase)
		h.Write(salt)
		t := h.Sum(nil)
		for range iterations - 1 {
			h.Reset()
			h.Write(t)
			t = h.Sum(t[:0])
		}
		return t[:8], t[8:16]
	}
}

// pkcs12KDF derives a key of keyLen bytes and an IV with SHA-1 (RFC 7292, Appendix B.2).
func pkcs12KDF(keyLen int) func(passphrase, salt []byte, iterations int) (key, iv []byte) {
	return func(passphrase, salt []byte, iterations int) (key, iv []byte) {
		key = pkcs12Derive(sha1.New, 1, passphrase, salt, iterations, keyLen)
		return key, pkcs12Derive(sha1.New, 2, passphrase, salt, iterations, 8)
	}
}

// twoKeys makes the third key of triple DES from the first of two.
func twoKeys(kdf func(passphrase, salt []byte, iterations int) (key, iv []byte)) func(passphrase, salt []byte, iterations int) (key, iv []byte) {
	return func(passphrase, salt []byte, iterations int) (key, iv []byte) {
		key, iv = kdf(passphrase, salt, iterations)
		return append(key, key[:8]...), iv
	}
}

// bmpString is a passphrase as PKCS #12 has it: in UTF-16 and ended by a zero. Of an empty one there
// are two forms: nil stands for that of no bytes at all.
func bmpString(passphrase []byte) (bmp []byte) {
	if passphrase == nil {
		return nil
	}
	for _, u := range append(utf16.Encode([]rune(string(passphrase))), 0) {
		bmp = append(bmp, byte(u>>8), byte(u))
	}
	return bmp
}

func pkcs12Derive(newHash func() hash.Hash, id byte, passphrase, salt []byte, iterations, n int) []byte {
	h := newHash()
	v := h.BlockSize()
	d := bytes.Repeat([]byte{id}, v)
	i := append(fill(salt, v), fill(bmpString(passphrase), v)...)
	var out []byte
	for {
		h.Reset()
		h.Write(d)
		h.Write(i)
		a := h.Sum(nil)
		for range iterations - 1 {
			h.Reset()
			h.Write(a)
			a = h.Sum(a[:0])
		}
		out = append(out, a...)
		if len(out) >= n {
			return out[:n:n]
		}
		b := fill(a, v)[:v]
		for j := 0; j < len(i); j += v {
			addOne(i[j:j+v], b)
		}
	}
}

// fill repeats s to a whole number of blocks of v bytes.
func fill(s []byte, v int) []byte {
	if len(s) == 0 {
		return nil
	}
	n := (len(s) + v - 1) / v * v
	return bytes.Repeat(s, n/len(s)+1)[:n]
}

// addOne sets a to a + b + 1, both big-endian, modulo their size.
func addOne(a, b []byte) {
	carry := 1
	for i := len(a) - 1; i >= 0; i-- {
		carry += int(a[i]) + int(b[i])
		a[i] = byte(carry)
		carry >>= 8
	}
}
