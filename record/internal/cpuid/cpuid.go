// SPDX-License-Identifier: Apache-2.0

// Package cpuid tells of the instructions of an x86 processor of which golang.org/x/sys/cpu does not.
package cpuid

// SHA are the instructions for SHA-1 and SHA-256.
var SHA bool

// VAES and VPCLMULQDQ are the forms of the AES and the carry-less multiplication instructions for several blocks. Whether
// the system keeps the registers that they take is another question (cpu.X86.HasAVX2).
var VAES, VPCLMULQDQ bool
