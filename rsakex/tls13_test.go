// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// RFC 8448, Section 3.
func TestTrafficKeys13(t *testing.T) {
	suite := suiteOf(t, 0x1301)
	for _, test := range []struct{ secret, key, iv string }{
		{"b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38", "3fce516009c21727d0f2e4e86ee403bc", "5d313eb2671276ee13000b30"},
		{"b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21", "dbfaa693d1762c5b666af5d950258d01", "5bd3c71b836e0b76bb73265f"},
		{"9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"},
		{"a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"},
	} {
		k := TrafficKeys13(suite, unhex(t, test.secret))
		wantHex(t, "key", k.Key, test.key)
		wantHex(t, "IV", k.IV, test.iv)
	}
}

// RFC 8448, Section 3: the server's Finished.
func TestFinished13(t *testing.T) {
	secret := unhex(t, "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
	hash := unhex(t, "edb7725fa7a3473b031ec8ef65a2485493900138a2b91291407d7951a06110ed")
	wantHex(t, "verify_data", Finished13(suiteOf(t, 0x1301), secret, hash), "9b9b141d906337fbd2cbdce71df4deda4ab42c309572cb7fffee5454b78f0718")
}

// RFC 8448, Section 3: a label with a context, and one of the secrets derived by it.
func TestExpandLabel(t *testing.T) {
	master := unhex(t, "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919")
	hash := unhex(t, "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13")
	wantHex(t, "client application traffic secret", ExpandLabel(handshake.SHA256, master, "c ap traffic", hash, 32), "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
	if got := ExpandLabel(handshake.SHA256, master, "key", nil, 255*32+1); got != nil {
		t.Errorf("%d bytes of HKDF, which has not so many", len(got))
	}
}

func TestNextTrafficSecret(t *testing.T) {
	for _, id := range []uint16{0x1301, 0x1302, 0x1303} {
		suite := suiteOf(t, id)
		secret := make([]byte, suite.PRF.Size())
		next := NextTrafficSecret(suite, secret)
		wantHex(t, suite.Name, next, hexOf(ExpandLabel(suite.PRF, secret, "traffic upd", nil, len(secret))))
		if k := TrafficKeys13(suite, next); len(k.Key) != suite.Cipher.Params().KeyLen || len(k.IV) != 12 {
			t.Errorf("%s: keys of %d and %d bytes", suite.Name, len(k.Key), len(k.IV))
		}
	}
}
