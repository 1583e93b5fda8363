// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// harden keeps keys and plaintext out of core dumps, and other processes of the same user from
// reading this one's memory. Where the system refuses, the program goes on: it only hardens.
func harden() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
