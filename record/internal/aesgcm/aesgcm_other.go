// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || purego

package aesgcm

const missing = "aesgcm: not supported"

func supported() bool { return false }

func subWord(uint32) uint32 { panic(missing) }

func encrypt(*[15][blockSize]byte, int, *[blockSize]byte, *[blockSize]byte) { panic(missing) }

func mul(_, _ *element) { panic(missing) }

func ghash(_, _ *element, _ *byte, _ int) { panic(missing) }

func crypt16(*[15][blockSize]byte, int, *[16]element, *[blockSize]byte, *element, *byte, *byte, int) {
	panic(missing)
}

func stream16(*[15][blockSize]byte, int, *[blockSize]byte, *[atOnce]byte) { panic(missing) }
