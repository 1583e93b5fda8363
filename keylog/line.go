// SPDX-License-Identifier: Apache-2.0

// Package keylog knows NSS key logs, the files that SSLKEYLOGFILE names: it reads and writes their
// lines, keeps them in an index, and follows a file that grows. It knows nothing of connections, and
// prints no secret but through [Line.AppendTo].
package keylog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Label says what secret a line holds, and what its ID is.
type Label string

// The labels. The ID is a client random (32 bytes) unless said otherwise.
const (
	RSA             Label = "RSA"               // premaster secret; the ID is the first 8 bytes of the encrypted one
	RSASessionID    Label = "RSA Session-ID"    // master secret; the ID is a session ID
	ClientRandom    Label = "CLIENT_RANDOM"     // master secret, up to TLS 1.2
	PMSClientRandom Label = "PMS_CLIENT_RANDOM" // premaster secret

	// TLS 1.3 (RFC 8446, Section 7.1).
	ClientEarlyTraffic     Label = "CLIENT_EARLY_TRAFFIC_SECRET"
	ClientHandshakeTraffic Label = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
	ServerHandshakeTraffic Label = "SERVER_HANDSHAKE_TRAFFIC_SECRET"
	ClientTraffic          Label = "CLIENT_TRAFFIC_SECRET_0"
	ServerTraffic          Label = "SERVER_TRAFFIC_SECRET_0"
	EarlyExporter          Label = "EARLY_EXPORTER_SECRET"
	Exporter               Label = "EXPORTER_SECRET"

	// Encrypted ClientHello; the ID is the random of the outer ClientHello.
	ECHSecret Label = "ECH_SECRET"
	ECHConfig Label = "ECH_CONFIG"
)

// Lengths in bytes.
const (
	randomLen       = 32
	masterLen       = 48
	encryptedIDLen  = 8
	maxSessionIDLen = 32
	maxSecretLen    = 1024 // a premaster of 8192-bit Diffie-Hellman, and any ECHConfig in use
)

// rule is what a label asks of its ID and secret: lengths in bytes.
type rule struct {
	label        Label
	minID, maxID int
	secret       func(n int) bool
}

func isMaster(n int) bool    { return n == masterLen }
func isTraffic(n int) bool   { return n == 32 || n == 48 } // SHA-256 or SHA-384
func isPremaster(n int) bool { return n >= 1 && n <= maxSecretLen }

var rules = [...]rule{
	{RSA, encryptedIDLen, encryptedIDLen, isMaster}, // such a premaster has 48 bytes too (RFC 5246, Section 7.4.7.1)
	{RSASessionID, 1, maxSessionIDLen, isMaster},
	{ClientRandom, randomLen, randomLen, isMaster},
	{PMSClientRandom, randomLen, randomLen, isPremaster},
	{ClientEarlyTraffic, randomLen, randomLen, isTraffic},
	{ClientHandshakeTraffic, randomLen, randomLen, isTraffic},
	{ServerHandshakeTraffic, randomLen, randomLen, isTraffic},
	{ClientTraffic, randomLen, randomLen, isTraffic},
	{ServerTraffic, randomLen, randomLen, isTraffic},
	{EarlyExporter, randomLen, randomLen, isTraffic},
	{Exporter, randomLen, randomLen, isTraffic},
	{ECHSecret, randomLen, randomLen, isPremaster},
	{ECHConfig, randomLen, randomLen, isPremaster},
}

// ruleFor returns the number of a label's rule, or -1.
func ruleFor(label Label) int {
	for i := range rules {
		if rules[i].label == label {
			return i
		}
	}
	return -1
}

// Line is one line of a key log.
type Line struct {
	Label  Label
	ID     []byte // by which the secret is found; see Label
	Secret []byte
}

// Why a line was not taken. Errors never quote a line.
var (
	// ErrBlank says that there is nothing on the line, or a comment.
	ErrBlank = errors.New("blank line or comment")
	// ErrUnknownLabel says that the line has the form of a key log's, with a label unknown here.
	ErrUnknownLabel = errors.New("unknown label")

	errForm = errors.New("not of the form LABEL ID SECRET")
)

// utf8BOM is what some editors put before the first line.
var utf8BOM = []byte("\xef\xbb\xbf")

// Parse reads one line, with or without its end. The result shares no memory with it.
func Parse(line []byte) (Line, error) {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, utf8BOM))
	if len(line) == 0 || line[0] == '#' {
		return Line{}, ErrBlank
	}
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return Line{}, errForm
	}
	label, id, secret := Label(fields[0]), fields[1], fields[2]
	if label == RSA {
		label, id, secret = sessionIDForm(id, secret)
	}
	return decode(label, id, secret)
}

// sessionIDForm tells "RSA Session-ID:… Master-Key:…" from "RSA … …".
func sessionIDForm(id, secret []byte) (Label, []byte, []byte) {
	sid, ok1 := bytes.CutPrefix(id, []byte("Session-ID:"))
	key, ok2 := bytes.CutPrefix(secret, []byte("Master-Key:"))
	if ok1 && ok2 {
		return RSASessionID, sid, key
	}
	return RSA, id, secret
}

func decode(label Label, id, secret []byte) (Line, error) {
	l := Line{Label: label, ID: make([]byte, hex.DecodedLen(len(id))), Secret: make([]byte, hex.DecodedLen(len(secret)))}
	if _, err := hex.Decode(l.ID, id); err != nil {
		return Line{}, errors.New("the ID is not hexadecimal")
	}
	if _, err := hex.Decode(l.Secret, secret); err != nil {
		return Line{}, errors.New("the secret is not hexadecimal")
	}
	if _, err := l.check(); err != nil {
		return Line{}, err
	}
	return l, nil
}

// check holds the line against its label, and returns the number of the label's rule.
func (l Line) check() (int, error) {
	i := ruleFor(l.Label)
	if i < 0 {
		return i, ErrUnknownLabel
	}
	r := &rules[i]
	if len(l.ID) < r.minID || len(l.ID) > r.maxID {
		return i, fmt.Errorf("%s: an ID of %d bytes", r.label, len(l.ID))
	}
	if !r.secret(len(l.Secret)) {
		return i, fmt.Errorf("%s: a secret of %d bytes", r.label, len(l.Secret))
	}
	return i, nil
}

// AppendTo appends the line as it stands in a key log, its end included.
func (l Line) AppendTo(dst []byte) []byte {
	id, key := "", ""
	label := l.Label
	if label == RSASessionID {
		label, id, key = RSA, "Session-ID:", "Master-Key:"
	}
	dst = append(dst, label...)
	dst = append(append(dst, ' '), id...)
	dst = hex.AppendEncode(dst, l.ID)
	dst = append(append(dst, ' '), key...)
	dst = hex.AppendEncode(dst, l.Secret)
	return append(dst, '\n')
}

// String returns the label and ID, without the secret.
func (l Line) String() string { return fmt.Sprintf("%s %x [secret]", string(l.Label), l.ID) }

// GoString returns the same as String.
func (l Line) GoString() string { return l.String() }

// Format writes the same as String, whatever the verb.
func (l Line) Format(f fmt.State, _ rune) { io.WriteString(f, l.String()) }

// FormatClientRandom returns the line that opens a session up to TLS 1.2: its client random and
// master secret.
func FormatClientRandom(random [32]byte, master []byte) []byte {
	return Line{ClientRandom, random[:], master}.AppendTo(nil)
}

// FormatSecret13 returns the line of a TLS 1.3 secret.
func FormatSecret13(label Label, random [32]byte, secret []byte) []byte {
	return Line{label, random[:], secret}.AppendTo(nil)
}
