// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net/netip"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// Kind says what an Event reports, and so which of its fields are set.
type Kind uint8

// The kinds of event, in the order in which a well-behaved flow shows them.
const (
	// KindOpen is the first event of a flow: its addresses and start are known.
	KindOpen Kind = iota
	// KindHello follows a judged first flight: names, version, suite and certificates are known.
	// It comes again for each renegotiation.
	KindHello
	// KindSecrets carries lines for an NSS key log, in Event.Data, newline-terminated.
	KindSecrets
	// KindEstablished follows both Finished messages.
	KindEstablished
	// KindData carries plaintext of one direction, in Event.Data: application data, or bytes that
	// were never protected (a prologue, Event.Clear). It is only ever shown after its MAC or tag
	// was verified.
	KindData
	// KindGap says that Event.Lost bytes of plaintext of one direction are missing here; an
	// estimate where only the ciphertext's length is known.
	KindGap
	// KindAlert carries an alert of either peer, or of the box (Event.Injected).
	KindAlert
	// KindFin says that one side ended its direction in order, by FIN.
	KindFin
	// KindReset says that one side broke the connection.
	KindReset
	// KindEnd is the last event of a flow: Flow is complete.
	KindEnd
)

// An Event is one thing that happened on a flow. The engine reuses it: a handler that keeps any of
// it beyond the call, Data included, must copy. Flow is shared by all events of one flow and must
// only be read, and only during the call.
type Event struct {
	Kind     Kind
	Side     handshake.Side // the sender
	Clear    bool           // KindData: was never protected
	Early    bool           // KindData: TLS 1.3 early data
	Injected bool           // KindAlert: the box's own, not a peer's
	Time     time.Time      // of the last byte that completed the event, as the feed gave it
	Flow     *Flow
	Data     []byte // KindData, KindSecrets
	Lost     int    // KindGap: bytes
	Alert    handshake.Alert
}

// A Handler takes the events of many flows. Event is called with the events of one flow in order
// and never twice at once for one flow, but for several flows at the same time.
type Handler interface {
	Event(*Event)
}

// Outcome says how far a flow was read.
type Outcome uint8

// The outcomes.
const (
	// OutcomeUnread flows carry a Cause.
	OutcomeUnread Outcome = iota
	// OutcomeRead flows were decrypted and verified from their first protected byte to the last.
	OutcomeRead
	// OutcomePartial flows were read in part; Cause says what ended or interrupted the reading.
	OutcomePartial
)

// Flow is what is known of one connection, client to server. Fields fill in as the flow goes on.
type Flow struct {
	ID     uint64 // unique within one process, ascending from 1 in order of appearance
	Client netip.AddrPort
	Server netip.AddrPort
	Start  time.Time
	End    time.Time
	// VLAN and Interface are the feed's: where the flow was seen. Zero and empty when unknown.
	VLAN      uint16
	Interface string
	NoSYN     bool // the feed did not see the connection begin

	Outcome Outcome
	Cause   Cause  // CauseNone unless Outcome is unread or partial
	Detail  string // one line for people, never a secret: what exactly was wrong
	Action  Action // what the policy did about Cause (inline only)

	TLS                bool // a ClientHello was seen
	Version            handshake.Version
	Suite              uint16
	Resumed            Resumption
	EMS                bool // extended master secret (RFC 7627)
	EtM                bool // encrypt-then-MAC (RFC 7366)
	Compressed         bool // DEFLATE (RFC 3749)
	Handshakes         int  // completed, renegotiations included
	ServerName         string
	ALPN               string
	JA3                string // MD5, hexadecimal
	JA3S               string
	JA4                string
	ClientHelloVersion handshake.Version

	// ServerChain and ClientChain are DER, leaf first: what the peers last presented on this connection.
	// Nil is a server's that only resumed sessions, and a client's that sent none; a resumed session
	// brings its client's along. What was proven outlives a renegotiation that proves nothing.
	ServerChain [][]byte
	ClientChain [][]byte
	// ClientProven says that the client's CertificateVerify was checked and right: it holds the key
	// of ClientChain's leaf.
	ClientProven bool
	KeySource    string // which configured key opened the flow, as the user named it

	Bytes     [2]uint64 // of the TCP streams, by sender
	Plaintext [2]uint64 // of application data and prologue, by sender
	Records   [2]uint64 // opened, by sender
	Gaps      [2]uint64 // bytes lost, by sender
}

// Resumption says how a session was resumed.
type Resumption uint8

// The ways of resuming a session.
const (
	ResumedNot Resumption = iota
	ResumedID
	ResumedTicket
	ResumedPSK
)

// String returns "no", "id", "ticket" or "psk".
func (r Resumption) String() string {
	switch r {
	case ResumedID:
		return "id"
	case ResumedTicket:
		return "ticket"
	case ResumedPSK:
		return "psk"
	default:
		return "no"
	}
}

// String returns "unread", "read" or "partial".
func (o Outcome) String() string {
	switch o {
	case OutcomeRead:
		return "read"
	case OutcomePartial:
		return "partial"
	default:
		return "unread"
	}
}
