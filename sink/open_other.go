// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package sink

// noFollow does not exist here.
const noFollow = 0
