// SPDX-License-Identifier: Apache-2.0

// Package walls holds the test that keeps the order of the house: which package may import which, and
// which may know a dependency. It has no code of its own.
package walls
