// SPDX-License-Identifier: Apache-2.0

// Package probe asks a server, with ClientHellos of its own making, what it would choose: one
// connection a question, given up before any key exchange. It knows hellos and first flights; it
// refuses to know what the answers mean for Sightglass.
package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sightglass/sightglass/handshake"
)

// Answer is a server's first flight.
type Answer struct {
	Version           handshake.Version
	Suite             uint16
	HelloRetry        bool
	Chain             [][]byte // DER, leaf first; nil in TLS 1.3, where it is encrypted
	ServerKeyExchange bool
	ClientCertificate bool // the server asks for one
	EMS, EtM          bool

	// Refused says that no ServerHello came; then Alert is the server's reason, if it gave one.
	Refused bool
	Alert   *handshake.Alert
}

// Bounds of what a server may send.
const (
	maxFlight  = 1 << 20 // bytes
	maxPrelude = 64 << 10
)

// ErrNotTLS says that the server answered something else.
var ErrNotTLS = errors.New("the server does not speak TLS here")

// Server is where to ask, and how to come to the point where TLS starts.
type Server struct {
	Address  string // HOST:PORT
	StartTLS string // one of StartTLS's names; empty: TLS from the first byte
	Timeout  time.Duration
	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
}

// Ask makes one connection, sends the offer and reads the first flight.
func (s Server) Ask(ctx context.Context, o Offer) (*Answer, error) {
	hello, err := o.record()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	dial := s.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", s.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	r := bufio.NewReader(conn)
	if err := startTLS(s.StartTLS, conn, r); err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello); err != nil && !broken(err) {
		return nil, err
	}
	return readFlight(r)
}

// readFlight reads until the server waits for the client, refuses, or says enough.
func readFlight(r io.Reader) (*Answer, error) {
	a := &Answer{}
	messages := handshake.Messages{Limit: maxFlight}
	for total := 0; total < maxFlight; {
		typ, fragment, err := readRecord(r)
		switch {
		case err != nil && a.Version == 0 && (errors.Is(err, io.EOF) || broken(err)):
			a.Refused = true
			return a, nil
		case err != nil:
			return nil, err
		}
		total += len(fragment)
		switch typ {
		case handshake.ContentAlert:
			alert, err := handshake.ParseAlert(fragment)
			if err != nil {
				return nil, err
			}
			if alert.Level == handshake.Warning && alert.Description != handshake.AlertCloseNotify {
				continue // unrecognized_name, for one (RFC 6066, Section 3)
			}
			a.Refused, a.Alert = a.Version == 0, &alert
			return a, nil
		case handshake.ContentHandshake:
			messages.Push(fragment)
			done, err := a.take(&messages)
			if err != nil || done {
				return a, err
			}
		default:
			return nil, fmt.Errorf("the server sent %v in its first flight", typ)
		}
	}
	return nil, fmt.Errorf("the server's first flight is longer than %d bytes", maxFlight)
}

func readRecord(r io.Reader) (handshake.ContentType, []byte, error) {
	var header [handshake.RecordHeaderLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	h, err := handshake.ParseRecordHeader(header[:])
	if err != nil {
		return 0, nil, fmt.Errorf("%w: it answered %q", ErrNotTLS, header[:])
	}
	fragment := make([]byte, h.Length)
	if _, err := io.ReadFull(r, fragment); err != nil {
		return 0, nil, err
	}
	return h.Type, fragment, nil
}

// take reads the messages that are complete; done says that no more are wanted.
func (a *Answer) take(messages *handshake.Messages) (done bool, err error) {
	for {
		m, ok, err := messages.Next()
		if err != nil || !ok {
			return false, err
		}
		switch m.Type {
		case handshake.TypeServerHello:
			if err := a.serverHello(m); err != nil {
				return false, err
			}
			if a.Version >= handshake.TLS13 {
				return true, nil // the rest is encrypted
			}
		case handshake.TypeCertificate:
			c, err := handshake.ParseCertificate(m.Clone())
			if err != nil {
				return false, err
			}
			a.Chain = c.Chain
		case handshake.TypeServerKeyExchange:
			a.ServerKeyExchange = true
		case handshake.TypeCertificateRequest:
			a.ClientCertificate = true
		case handshake.TypeServerHelloDone:
			if a.Version == 0 {
				return false, errors.New("the server's first flight has no ServerHello")
			}
			return true, nil
		}
	}
}

func (a *Answer) serverHello(m handshake.Message) error {
	h, err := handshake.ParseServerHello(m)
	if err != nil {
		return err
	}
	a.Version, a.Suite = h.SelectedVersion(), h.CipherSuite
	a.HelloRetry = h.IsHelloRetryRequest
	a.EMS, a.EtM = h.ExtendedMasterSecret, h.EncryptThenMAC
	return nil
}

// broken says that the peer ended the connection.
func broken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed)
}
