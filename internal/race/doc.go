// SPDX-License-Identifier: Apache-2.0

// Package race tells tests by Enabled whether the race detector is on. A sync.Pool drops at random then, so that
// allocations cannot be counted.
package race
