// SPDX-License-Identifier: Apache-2.0

package session

import "fmt"

// Cause says why a flow, or a part of it, could not be read. The list is closed: the same words
// stand in events, metrics, logs and policy keys.
type Cause uint8

// The causes.
const (
	CauseNone Cause = iota
	NotTLS
	TLS13
	KeyExchangeNotRSA
	CertificateMismatch
	NoKeyForCertificate
	CipherUnsupported
	VersionUnsupported
	CompressionUnsupported
	SessionUnknown // resumed, and the full handshake was not seen
	Midstream
	PacketLoss
	Malformed
	HandshakeTimeout
	HandshakeTooLarge
	DecryptFailed // a record's MAC or tag
	FinishedMismatch
	Overload
	Bypassed
	numCauses
)

var causeNames = [numCauses]string{
	"", "not_tls", "tls13", "key_exchange_not_rsa", "certificate_mismatch",
	"no_key_for_certificate", "cipher_unsupported", "version_unsupported",
	"compression_unsupported", "session_unknown", "midstream", "packet_loss", "malformed",
	"handshake_timeout", "handshake_too_large", "decrypt_failed", "finished_mismatch",
	"overload", "bypassed",
}

// String returns the cause's word, "" for CauseNone.
func (c Cause) String() string {
	if c < numCauses {
		return causeNames[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Causes returns every cause but CauseNone, in the order of the list.
func Causes() []Cause {
	all := make([]Cause, 0, numCauses-1)
	for c := CauseNone + 1; c < numCauses; c++ {
		all = append(all, c)
	}
	return all
}

// ParseCause returns the cause with the given word.
func ParseCause(s string) (Cause, error) {
	for c := CauseNone + 1; c < numCauses; c++ {
		if causeNames[c] == s {
			return c, nil
		}
	}
	return CauseNone, fmt.Errorf("unknown cause %q", s)
}

// Action is what inline does with a flow that cannot be read.
type Action uint8

// The actions.
const (
	ActionNone    Action = iota
	ActionAlert          // an illegal_parameter alert to both peers, then an orderly close
	ActionReset          // both legs are reset
	ActionForward        // the flow goes on unread
)

var actionNames = [...]string{"", "alert", "reset", "forward"}

// String returns "alert", "reset", "forward", or "" for ActionNone.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ParseAction returns the action with the given word.
func ParseAction(s string) (Action, error) {
	for i, name := range actionNames {
		if i > 0 && name == s {
			return Action(i), nil
		}
	}
	return ActionNone, fmt.Errorf("unknown action %q: alert, reset or forward", s)
}

// Policy maps each cause to what inline does about it.
type Policy [numCauses]Action

// DefaultPolicy alerts where the peers chose something that cannot be read, forwards what is no TLS
// or is bypassed, and resets what a peer did wrong.
func DefaultPolicy() Policy {
	var p Policy
	for _, c := range Causes() {
		p[c] = ActionReset
	}
	for _, c := range []Cause{
		TLS13, KeyExchangeNotRSA, CertificateMismatch, NoKeyForCertificate, CipherUnsupported,
		VersionUnsupported, CompressionUnsupported, SessionUnknown,
	} {
		p[c] = ActionAlert
	}
	// Under overload and after lost data the two conditions still held; only the reading is lost.
	for _, c := range []Cause{NotTLS, Bypassed, Overload, PacketLoss, Midstream} {
		p[c] = ActionForward
	}
	return p
}
