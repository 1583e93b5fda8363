// SPDX-License-Identifier: Apache-2.0

package bpf

import "errors"

// What stands between a caller and the kernel's help. An error of this package that is one of these
// says in one line what is missing; the caller may go on by other means.
var (
	// ErrPrivilege is a missing capability.
	ErrPrivilege = errors.New("not permitted")
	// ErrUnsupported is a kernel that is too old or was built without.
	ErrUnsupported = errors.New("not supported by this kernel")
)
