// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// step is one turn of a conversation: what is sent, and how the answer's last line starts.
type step struct {
	send   string
	expect string // prefix of the last line of the answer; lines of other prefixes come before it
}

// The conversations that end where TLS starts, one line at a time.
var conversations = map[string][]step{
	"smtp": {{"", "220 "}, {"EHLO sightglass.invalid\r\n", "250 "}, {"STARTTLS\r\n", "220 "}}, // RFC 3207
	"lmtp": {{"", "220 "}, {"LHLO sightglass.invalid\r\n", "250 "}, {"STARTTLS\r\n", "220 "}},
	"imap": {{"", "* "}, {"a STARTTLS\r\n", "a OK"}}, // RFC 3501, Section 6.2.1
	"pop3": {{"", "+OK"}, {"STLS\r\n", "+OK"}},       // RFC 2595, Section 4
	"ftp":  {{"", "220 "}, {"AUTH TLS\r\n", "234 "}}, // RFC 4217
}

// What binary protocols ask, and the first byte of the answer that agrees.
var (
	// SSLRequest (PostgreSQL's documentation, Message Formats).
	postgresRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	// An extended request of 1.3.6.1.4.1.1466.20037 (RFC 4511, Section 4.14.1).
	ldapRequest = append([]byte{0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16}, "1.3.6.1.4.1.1466.20037"...)
	ldapSuccess = []byte{0x0a, 0x01, 0x00}
)

// StartTLSNames are the protocols in which TLS can be asked for.
func StartTLSNames() []string {
	names := []string{"ldap", "postgres"}
	for name := range conversations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// startTLS holds the conversation of the named protocol.
func startTLS(name string, w net.Conn, r *bufio.Reader) error {
	switch name {
	case "":
		return nil
	case "postgres":
		return startPostgres(w, r)
	case "ldap":
		return startLDAP(w, r)
	}
	steps, ok := conversations[name]
	if !ok {
		return fmt.Errorf("unknown protocol %q: %s", name, strings.Join(StartTLSNames(), ", "))
	}
	for _, s := range steps {
		if _, err := io.WriteString(w, s.send); err != nil {
			return err
		}
		if err := expect(r, s.expect); err != nil {
			return err
		}
	}
	return nil
}

// expect reads lines until one starts with prefix. A continued answer ("250-…") has the same number
// with a hyphen; anything else is a refusal.
func expect(r *bufio.Reader, prefix string) error {
	for read := 0; read < maxPrelude; {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the server ended the conversation before TLS: %w", err)
		}
		read += len(line)
		if strings.HasPrefix(line, prefix) {
			return nil
		}
		code := strings.TrimRight(prefix, " ")
		if !strings.HasPrefix(line, code+"-") && !strings.HasPrefix(line, "* ") {
			return fmt.Errorf("the server answered %q where TLS was asked for", strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("the server talks on before TLS")
}

func startPostgres(w net.Conn, r *bufio.Reader) error {
	if _, err := w.Write(postgresRequest); err != nil {
		return err
	}
	answer, err := r.ReadByte()
	if err != nil {
		return err
	}
	if answer != 'S' {
		return fmt.Errorf("the server answered %q: no TLS here", answer)
	}
	return nil
}

func startLDAP(w net.Conn, r *bufio.Reader) error {
	if _, err := w.Write(ldapRequest); err != nil {
		return err
	}
	header := make([]byte, 2)
	if _, err := io.ReadFull(r, header); err != nil {
		return err
	}
	length := int(header[1])
	if header[0] != 0x30 || length > 0x80+2 {
		return fmt.Errorf("the server does not speak LDAP")
	}
	if length > 0x80 { // the long form of a length, one or two bytes
		long := make([]byte, length-0x80)
		if _, err := io.ReadFull(r, long); err != nil {
			return err
		}
		length = 0
		for _, b := range long {
			length = length<<8 | int(b)
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if !bytes.Contains(body[:min(len(body), 16)], ldapSuccess) {
		return fmt.Errorf("the LDAP server refused StartTLS")
	}
	return nil
}
