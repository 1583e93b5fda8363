// SPDX-License-Identifier: Apache-2.0

// Package rsakex knows what an RSA private key opens: the premaster secret, and from it the master
// secret, the key block and the Finished check, from SSL 3.0 to TLS 1.2; with a key log's secrets,
// the traffic keys of TLS 1.3 too. It keeps the key ring, the wall around the private key
// ([Decrypter]) and the secrets of sessions that may be resumed ([Store]).
//
// It refuses to know records, connections and time. Nothing in it prints a secret: every type that
// holds one formats as a placeholder.
//
// # Small keys
//
// Keys from 512 bits are opened, since old and embedded servers have them, but crypto/rsa refuses
// keys under 1024 bits unless GODEBUG has rsa1024min=0. Main packages, and the _test.go files of
// packages that test with such keys, carry the line
//
//	//go:debug rsa1024min=0
//
// Without it, loading a smaller key fails with an error that says so.
package rsakex
