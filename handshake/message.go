// SPDX-License-Identifier: Apache-2.0

package handshake

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MessageType is a handshake message's type (RFC 5246, Section 7.4).
type MessageType uint8

// The message types.
const (
	TypeHelloRequest          MessageType = 0
	TypeClientHello           MessageType = 1
	TypeServerHello           MessageType = 2
	TypeNewSessionTicket      MessageType = 4
	TypeEndOfEarlyData        MessageType = 5
	TypeEncryptedExtensions   MessageType = 8
	TypeCertificate           MessageType = 11
	TypeServerKeyExchange     MessageType = 12
	TypeCertificateRequest    MessageType = 13
	TypeServerHelloDone       MessageType = 14
	TypeCertificateVerify     MessageType = 15
	TypeClientKeyExchange     MessageType = 16
	TypeFinished              MessageType = 20
	TypeCertificateURL        MessageType = 21
	TypeCertificateStatus     MessageType = 22
	TypeSupplementalData      MessageType = 23
	TypeKeyUpdate             MessageType = 24
	TypeCompressedCertificate MessageType = 25
	TypeNextProtocol          MessageType = 67
	TypeMessageHash           MessageType = 254
)

var messageNames = map[MessageType]string{
	TypeHelloRequest:          "HelloRequest",
	TypeClientHello:           "ClientHello",
	TypeServerHello:           "ServerHello",
	TypeNewSessionTicket:      "NewSessionTicket",
	TypeEndOfEarlyData:        "EndOfEarlyData",
	TypeEncryptedExtensions:   "EncryptedExtensions",
	TypeCertificate:           "Certificate",
	TypeServerKeyExchange:     "ServerKeyExchange",
	TypeCertificateRequest:    "CertificateRequest",
	TypeServerHelloDone:       "ServerHelloDone",
	TypeCertificateVerify:     "CertificateVerify",
	TypeClientKeyExchange:     "ClientKeyExchange",
	TypeFinished:              "Finished",
	TypeCertificateURL:        "CertificateURL",
	TypeCertificateStatus:     "CertificateStatus",
	TypeSupplementalData:      "SupplementalData",
	TypeKeyUpdate:             "KeyUpdate",
	TypeCompressedCertificate: "CompressedCertificate",
	TypeNextProtocol:          "NextProtocol",
	TypeMessageHash:           "MessageHash",
}

// String returns the RFCs' name, such as "ClientHello".
func (t MessageType) String() string {
	if name, ok := messageNames[t]; ok {
		return name
	}
	return fmt.Sprintf("message(%d)", uint8(t))
}

// Sizes of handshake messages, in bytes.
const (
	MessageHeaderLen = 4
	MaxMessage       = 1<<24 - 1 // of a body
)

// Message is one whole handshake message.
type Message struct {
	Type MessageType
	Raw  []byte // with the 4-byte header, as it enters the transcript
}

// ParseMessage returns raw, which must be exactly one message with its header, as a Message that
// aliases it.
func ParseMessage(raw []byte) (Message, error) {
	if len(raw) < MessageHeaderLen {
		return Message{}, fmt.Errorf("malformed handshake message: %d bytes", len(raw))
	}
	m := Message{MessageType(raw[0]), raw}
	if bodyLen(raw) != len(raw)-MessageHeaderLen {
		return Message{}, malformed(m.Type, "length")
	}
	return m, nil
}

// Body returns the message without its header, as a slice of Raw; nil when Raw has no whole header.
func (m Message) Body() []byte {
	if len(m.Raw) < MessageHeaderLen {
		return nil
	}
	return m.Raw[MessageHeaderLen:]
}

// Clone returns a copy of the message that shares nothing with it.
func (m Message) Clone() Message { return Message{m.Type, bytes.Clone(m.Raw)} }

// body returns the body of m for parsing, after checking that m is one whole message of the type.
func (m Message) body(t MessageType) (cryptobyte.String, error) {
	whole, err := ParseMessage(m.Raw)
	if err != nil {
		return nil, err
	}
	if m.Type != t || whole.Type != t {
		return nil, fmt.Errorf("unexpected %v, not %v", m.Type, t)
	}
	return cryptobyte.String(m.Body()), nil
}

// malformed is the error of a message of type t that breaks its syntax at the named part.
func malformed(t MessageType, part string) error {
	return fmt.Errorf("malformed %v: %s", t, part)
}

// bodyLen returns the length of a body as its header says; header has at least MessageHeaderLen bytes.
func bodyLen(header []byte) int {
	return int(header[1])<<16 | int(header[2])<<8 | int(header[3])
}

// ErrTooLarge says that a handshake message is longer than Messages.Limit.
var ErrTooLarge = errors.New("handshake message too large")

// Messages cuts handshake messages out of the record fragments of one direction. The zero value is
// ready for use.
type Messages struct {
	// Limit is the largest body accepted, in bytes; 0 stands for MaxMessage.
	Limit int

	data  []byte // not cut yet: the end of the last fragment, or of own
	own   []byte // what had to be copied
	owned bool   // data is the end of own
}

// Push adds the next fragment. It is read, not copied, as long as whole messages can be cut from it:
// it must not change until Next has reported that there is no more.
func (m *Messages) Push(fragment []byte) {
	if len(m.data) == 0 {
		m.data, m.own, m.owned = fragment, nil, false
		return
	}
	m.keep()
	if len(m.own) > len(m.data) {
		m.own = append(m.own[:0], m.data...)
	}
	m.own = append(m.own, fragment...)
	m.data = m.own
}

// keep makes the bytes not cut yet the Messages' own. It moves none that already are: messages cut
// from them are still in use.
func (m *Messages) keep() {
	if !m.owned {
		m.own = append([]byte(nil), m.data...)
		m.data, m.owned = m.own, true
	}
}

// Next cuts off the next message. It returns false if none is complete; what is left of it has then
// been copied. The message's bytes are valid until the next Push. A message over the limit is
// ErrTooLarge, as soon as its header is seen and on every later call.
func (m *Messages) Next() (Message, bool, error) {
	if len(m.data) < MessageHeaderLen {
		m.keep()
		return Message{}, false, nil
	}
	n := bodyLen(m.data)
	if m.Limit > 0 && n > m.Limit {
		m.keep()
		return Message{}, false, fmt.Errorf("%w: %v of %d bytes", ErrTooLarge, MessageType(m.data[0]), n)
	}
	n += MessageHeaderLen
	if len(m.data) < n {
		m.keep()
		return Message{}, false, nil
	}
	msg := Message{MessageType(m.data[0]), m.data[:n:n]}
	m.data = m.data[n:]
	return msg, true, nil
}

// Pending returns how many bytes were pushed and not yet cut off.
func (m *Messages) Pending() int { return len(m.data) }

// Reset forgets all that was pushed.
func (m *Messages) Reset() { m.data, m.own, m.owned = nil, nil, false }
