// SPDX-License-Identifier: Apache-2.0

// Keys of 512 bits are found in old captures; crypto/rsa refuses them unless told otherwise.
//go:debug rsa1024min=0

// Sightglass reads TLS with the server's RSA private key: inline between client and server, from a live
// interface, or out of capture files. This package knows flags, wiring and signals, and nothing of TLS.
package main

import "os"

func main() {
	os.Exit(run(systemEnv(), os.Args[1:]))
}
