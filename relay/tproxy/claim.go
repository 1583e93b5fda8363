// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// claim is what an instance says of itself to others, while it runs and in what it leaves.
type claim struct {
	Instance   string      `json:"instance"`
	PID        int         `json:"pid"`
	Drop       bool        `json:"drop"`
	Interfaces []string    `json:"interfaces"`
	Ports      []PortRange `json:"ports"` // none: any
}

// text is the claim in no more than limit bytes; one that would be longer claims any port.
func (c claim) text(limit int) string {
	b, err := json.Marshal(c)
	if err == nil && len(b) > limit {
		c.Ports = nil
		b, err = json.Marshal(c)
	}
	if err != nil || len(b) > limit {
		return ""
	}
	return string(b)
}

func parseClaim(text string) (c claim, ok bool) {
	err := json.Unmarshal([]byte(text), &c)
	return c, err == nil
}

// overlaps reports whether both catch the same: an interface and a port.
func (c claim) overlaps(d claim) bool {
	shares := slices.ContainsFunc(c.Interfaces, func(name string) bool { return slices.Contains(d.Interfaces, name) })
	return shares && slices.ContainsFunc(explicit(c.Ports), func(a PortRange) bool {
		return slices.ContainsFunc(explicit(d.Ports), func(b PortRange) bool { return a.First <= b.Last && b.First <= a.Last })
	})
}

// describe says what is caught, for people.
func (c claim) describe() string {
	return fmt.Sprintf("interface %s, port %s", strings.Join(c.Interfaces, ","), portsText(c.Ports))
}
