// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sink

import "syscall"

// noFollow makes opening a symbolic link fail.
const noFollow = syscall.O_NOFOLLOW
