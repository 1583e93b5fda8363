// SPDX-License-Identifier: Apache-2.0

//go:build !race

package session

// raceEnabled says that the race detector is on, under which a sync.Pool drops at random.
const raceEnabled = false
