// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
)

// flowDigest is a line of what sightglass saw of a flow.
type flowDigest struct {
	connSum
	server, outcome, cause string
}

// digests reads what sightglass saw, by the client's address. It has ended.
func (l *lab) digests() ([]flowDigest, error) {
	f, err := os.Open(l.file(digestFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []flowDigest
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var d flowDigest
		_, err := fmt.Sscanf(lines.Text(), "%s %s %s %s %d %x %d %x", &d.Client, &d.server, &d.outcome, &d.cause,
			&d.Bytes[0], &d.CRC[0], &d.Bytes[1], &d.CRC[1])
		if err != nil {
			return nil, fmt.Errorf("digest %q: %w", lines.Text(), err)
		}
		all = append(all, d)
	}
	return all, nil
}

// sameAs says that sightglass decrypted exactly what the peers said.
func sameAs(digests []flowDigest, sums []connSum) error {
	seen := make(map[string]flowDigest, len(digests))
	for _, d := range digests {
		seen[d.Client] = d
	}
	for _, s := range sums {
		d, ok := seen[s.Client]
		switch {
		case !ok:
			return fmt.Errorf("sightglass told nothing of the flow from %s", s.Client)
		case d.outcome != "read":
			return fmt.Errorf("sightglass did not read the flow from %s: %s, %s", s.Client, d.outcome, d.cause)
		case d.connSum != s:
			return fmt.Errorf("sightglass read something else of the flow from %s: %+v, and the peers said %+v", s.Client, d.connSum, s)
		}
	}
	return nil
}

// allRead says that sightglass read n flows, and no other.
func allRead(digests []flowDigest, n int) error {
	for _, d := range digests {
		if d.outcome != "read" {
			return fmt.Errorf("sightglass did not read the flow from %s: %s, %s", d.Client, d.outcome, d.cause)
		}
	}
	if len(digests) != n {
		return fmt.Errorf("sightglass read %d flows of %d", len(digests), n)
	}
	return nil
}
