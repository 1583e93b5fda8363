// SPDX-License-Identifier: Apache-2.0

package rsakex

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// The vectors that were published on the IETF's TLS mailing list for P_hash of TLS 1.2.
func TestPRF12(t *testing.T) {
	for _, test := range []struct {
		hash               handshake.Hash
		secret, seed, want string
	}{
		{handshake.SHA256, "9bbe436ba940f017b17652849a71db35", "a0ba9f936cda311827a6f796ffd5198c",
			"e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"},
		{handshake.SHA384, "b80b733d6ceefcdc71566ea48e5567df", "cd665cf6a8447dd6ff8b27555edb7465",
			"7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec479e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f"},
	} {
		out := make([]byte, len(test.want)/2)
		prfFor(handshake.TLS12, test.hash)(out, unhex(t, test.secret), "test label", unhex(t, test.seed))
		wantHex(t, test.hash.String(), out, test.want)
	}
}

// Key derivations that GnuTLS printed, as they stand in the tests of Go's crypto/tls; the last one's
// premaster secret is of another length than RSA's.
func TestKeysTLS10(t *testing.T) {
	suite := suiteOf(t, 0x0005) // TLS_RSA_WITH_RC4_128_SHA
	for _, test := range []struct{ premaster, client, server, master, clientMAC, serverMAC, clientKey, serverKey string }{
		{"0302cac83ad4b1db3b9ab49ad05957de2a504a634a386fc600889321e1a971f57479466830ac3e6f468e87f5385fa0c5",
			"4ae66303755184a3917fcb44880605fcc53baa01912b22ed94473fc69cebd558",
			"4ae663020ec16e6bb5130be918cfcafd4d765979a3136a5d50c593446e4e44db",
			"3d851bab6e5556e959a16bc36d66cfae32f672bfa9ecdef6096cbb1b23472df1da63dbbd9827606413221d149ed08ceb",
			"805aaa19b3d2c0a0759a4b6c9959890e08480119", "2d22f9fe519c075c16448305ceee209fc24ad109",
			"d50b5771244f850cd8117a9ccafe2cf1", "e076e33206b30507a85c32855acd0919"},
		{"832d515f1d61eebb2be56ba0ef79879efb9b527504abb386fb4310ed5d0e3b1f220d3bb6b455033a2773e6d8bdf951d278a187482b400d45deb88a5d5a6bb7d6a7a1decc04eb9ef0642876cd4a82d374d3b6ff35f0351dc5d411104de431375355addc39bfb1f6329fb163b0bc298d658338930d07d313cd980a7e3d9196cac1",
			"4ae663b2ee389c0de147c509d8f18f5052afc4aaf9699efe8cb05ece883d3a5e",
			"4ae664d503fd4cff50cfc1fb8fc606580f87b0fcdac9554ba0e01d785bdf278e",
			"1aff2e7a2c4279d0126f57a65a77a8d9d0087cf2733366699bec27eb53d5740705a8574bb1acc2abbe90e44f0dd28d6c",
			"3c7647c93c1379a31a609542aa44e7f117a70085", "0d73102994be74a575a3ead8532590ca32a526d4",
			"ac7581b0b6c10d85bbd905ffbf36c65e", "ff07edde49682b45466bd2e39464b306"},
	} {
		client, server := handshake.Random(unhex(t, test.client)), handshake.Random(unhex(t, test.server))
		master := MasterSecret(handshake.TLS10, 0, unhex(t, test.premaster), client, server)
		wantHex(t, "master secret", master, test.master)
		c, s := ExpandKeys(handshake.TLS10, suite, master, client, server, 20, 16, 0)
		wantHex(t, "client MAC", c.MAC, test.clientMAC)
		wantHex(t, "server MAC", s.MAC, test.serverMAC)
		wantHex(t, "client key", c.Key, test.clientKey)
		wantHex(t, "server key", s.Key, test.serverKey)
	}
}

// A secret of odd length shares its middle byte between the halves (RFC 2246, Section 5).
func TestPRF10OddSecret(t *testing.T) {
	secret := []byte{1, 2, 3, 4, 5}
	got := make([]byte, 40)
	prf10(got, secret, "label", []byte("seed"))
	// The even secret with the middle byte doubled has the same halves.
	want := make([]byte, 40)
	prf10(want, []byte{1, 2, 3, 3, 4, 5}, "label", []byte("seed"))
	if !bytes.Equal(got, want) {
		t.Error("the halves of an odd secret do not overlap")
	}
}

const (
	ssl3Master  = "59a9f296c1e2e9aa77a00c14de80cfa23e72bb6bed23d1f99f38f28045934052c0fd6a1234718eeb0b1c52849df3c14c"
	tls10Master = "47d02707923d479ae364471a9a286141a66d2c3ce1a176042783bf6e836319a41e40c05ad1046598538902b3e38fad7d"
)

// Computed from RFC 6101 and RFC 2246 with another program, in another language.
func TestKeysSSL3AndExport(t *testing.T) {
	client, server := testRandoms()
	for _, test := range []struct {
		name                   string
		version                handshake.Version
		suite                  uint16
		macLen, keyLen, ivLen  int
		master                 string
		cMAC, sMAC, cKey, sKey string
		cIV, sIV               string
	}{
		{"SSL 3.0", handshake.SSL30, 0x000a, 20, 24, 8, ssl3Master,
			"0be8c115ee06775e43808efe72be5b3b3fbd18f3", "c757e91684976698f8467c915e3727ecfd825184",
			"54e8b4d1a17a621c30776fd348619b921a083623d86278e6", "c61033179bc110cf7b916b5da936780ec820b3c188bc2a54",
			"8df6afcaa0ebe196", "55a4427642ff59a8"},
		{"SSL 3.0 export", handshake.SSL30, 0x0006, 16, 5, 8, ssl3Master,
			"0be8c115ee06775e43808efe72be5b3b", "3fbd18f3c757e91684976698f8467c91",
			"00bf1cd7c86b35520b95a1ac98453918", "1d1b04734b2d21b8e317b78ffdb3ee42",
			"04b81e6e7859a11d", "c9ae94dc31d0d2d5"},
		{"TLS 1.0 export", handshake.TLS10, 0x0008, 20, 5, 8, tls10Master,
			"59cba6991bb5f584a43122b10efe7498f375640c", "c0b3b75a3d9c6cd4aa82203977b137c4662a15d5",
			"6d654cda0bd7cb42", "9c37e0c4e91a3541",
			"3a321042d83b3f52", "adf9eaaf09ba4a8c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			master := MasterSecret(test.version, 0, testPremaster(), client, server)
			wantHex(t, "master secret", master, test.master)
			c, s := ExpandKeys(test.version, suiteOf(t, test.suite), master, client, server, test.macLen, test.keyLen, test.ivLen)
			wantHex(t, "client MAC", c.MAC, test.cMAC)
			wantHex(t, "server MAC", s.MAC, test.sMAC)
			wantHex(t, "client key", c.Key, test.cKey)
			wantHex(t, "server key", s.Key, test.sKey)
			wantHex(t, "client IV", c.IV, test.cIV)
			wantHex(t, "server IV", s.IV, test.sIV)
		})
	}
}

// The key block is one string of bytes: asking for more of it changes none of the first.
func TestKeyBlockPrefix(t *testing.T) {
	client, server := testRandoms()
	master := testPremaster()
	suite := suiteOf(t, 0x009d)
	for _, v := range []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12} {
		whole := KeyBlock(v, suite, master, client, server, maxSSL3Output)
		for n := 0; n <= maxSSL3Output; n += 13 {
			if got := KeyBlock(v, suite, master, client, server, n); !bytes.Equal(got, whole[:n]) {
				t.Fatalf("%v: %d bytes are not a prefix of %d", v, n, len(whole))
			}
		}
	}
	if KeyBlock(handshake.SSL30, suite, master, client, server, maxSSL3Output+1) != nil {
		t.Error("SSL 3.0 gave more than it has")
	}
}

func TestExtendedMasterSecretSSL3(t *testing.T) {
	if ExtendedMasterSecret(handshake.SSL30, 0, testPremaster(), []byte("hash")) != nil {
		t.Error("SSL 3.0 has an extended master secret")
	}
}

func FuzzExpandKeys(f *testing.F) {
	f.Add(uint16(0x0301), uint16(0x0005), uint8(20), uint8(16), uint8(0), []byte("secret"))
	f.Add(uint16(0x0300), uint16(0x0006), uint8(16), uint8(5), uint8(8), []byte{})
	f.Add(uint16(0x0303), uint16(0x009d), uint8(0), uint8(32), uint8(4), []byte("x"))
	f.Fuzz(func(t *testing.T, version, id uint16, macLen, keyLen, ivLen uint8, master []byte) {
		suite, ok := handshake.SuiteByID(id)
		if !ok || suite.Cipher == handshake.CipherUnknown {
			t.Skip()
		}
		m, k, i := int(macLen%49), int(keyLen%33), int(ivLen%17)
		client, server := testRandoms()
		c, s := ExpandKeys(handshake.Version(version), suite, master, client, server, m, k, i)
		if suite.Export {
			k = suite.Cipher.Params().ExpandedKeyLen
		}
		for _, d := range []DirectionKeys{c, s} {
			if len(d.MAC) != m || len(d.Key) != k || len(d.IV) != i {
				t.Fatalf("lengths %d %d %d, want %d %d %d", len(d.MAC), len(d.Key), len(d.IV), m, k, i)
			}
		}
		// Appending to one part must not write into the next.
		before := bytes.Clone(s.MAC)
		_ = append(c.MAC, 0xee)
		if !bytes.Equal(before, s.MAC) {
			t.Fatal("the parts share their capacity")
		}
	})
}

// TestShortWay: the PRF with SHA-256 has a way of its own, which gives what the general one does.
func TestShortWay(t *testing.T) {
	for _, n := range []int{0, 1, 12, 32, 33, 64, 104, 200} {
		for _, secret := range [][]byte{nil, bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 64), bytes.Repeat([]byte{3}, 65), bytes.Repeat([]byte{4}, 300)} {
			for _, seed := range [][][]byte{nil, {bytes.Repeat([]byte{5}, 32), bytes.Repeat([]byte{6}, 32)}, {bytes.Repeat([]byte{7}, 300)}} {
				got, want := make([]byte, n), make([]byte, n)
				pSHA256(got, secret, "a label", seed...)
				pHash(want, sha256.New, secret, "a label", seed)
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes, secret of %d, seed %d: %x, want %x", n, len(secret), len(seed), got, want)
				}
			}
		}
	}
}

func BenchmarkMasterSecret(b *testing.B) {
	var client, server handshake.Random
	premaster := make([]byte, premasterLen)
	for b.Loop() {
		MasterSecret(handshake.TLS12, handshake.SHA256, premaster, client, server)
	}
}
