// SPDX-License-Identifier: Apache-2.0

package handshake

// AlertLevel is an alert's severity (RFC 5246, Section 7.2).
type AlertLevel uint8

// AlertDescription is an alert's reason (RFC 5246, Section 7.2).
type AlertDescription uint8

// Alert is the body of an alert record.
type Alert struct {
	Level       AlertLevel
	Description AlertDescription
}
