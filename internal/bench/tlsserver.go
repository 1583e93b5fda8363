// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/rsakex"
)

// acceptor is what a server's connections have in common.
type acceptor struct {
	own      *identity
	mutual   bool // ask for the client's certificate
	sessions sessions
}

// sessions are those that may be resumed: the last, for a server that kept all would have more to look through with each collection
// of garbage.
type sessions struct {
	mu      sync.Mutex
	masters map[string][]byte // by session ID
	last    [1024]string      // the next to be forgotten is at
	at      int
}

func (s *sessions) add(id string, master []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.masters == nil {
		s.masters = make(map[string][]byte)
	}
	delete(s.masters, s.last[s.at])
	s.masters[id] = master
	s.last[s.at] = id
	s.at = (s.at + 1) % len(s.last)
}

func (s *sessions) find(id string) (master []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	master, ok = s.masters[id]
	return master, ok
}

// server makes a handshake as the server.
func (t *tlsConn) server(a *acceptor) error {
	m, err := t.message(handshake.TypeClientHello)
	if err != nil {
		return err
	}
	hello, err := handshake.ParseClientHello(m)
	if err != nil {
		return err
	}
	t.random[0] = hello.Random
	suite := uint16(suiteGCM)
	for _, id := range hello.CipherSuites {
		if id == suiteGCM || id == suiteCBC {
			suite = id
			break
		}
	}
	if err := t.choose(suite); err != nil {
		return err
	}
	t.hs.Write(m.Raw)
	if master, ok := a.sessions.find(string(hello.SessionID)); ok {
		t.id, t.master, t.resumed = hello.SessionID, master, true
		return t.resume(hello)
	}
	return t.full(a, hello)
}

// serverHello adds the ServerHello. Clients that know RFC 5746 insist on its extension.
func (t *tlsConn) serverHello(hello *handshake.ClientHello) error {
	rand.Read(t.random[1][:])
	body := append([]byte{byte(version >> 8), byte(version & 0xff)}, t.random[1][:]...)
	body = append(append(body, byte(len(t.id))), t.id...)
	body = append(body, byte(t.suite.ID>>8), byte(t.suite.ID), 0)
	if hello.SecureRenegotiation {
		body = append(body, 0, 5, 0xff, 1, 0, 1, 0)
	}
	return t.say(handshake.TypeServerHello, body)
}

func (t *tlsConn) resume(hello *handshake.ClientHello) error {
	if err := t.serverHello(hello); err != nil {
		return err
	}
	o, s, err := t.keys()
	if err != nil {
		return err
	}
	if err := t.finish(s); err != nil {
		return err
	}
	return t.awaitFinished(o)
}

func (t *tlsConn) full(a *acceptor, hello *handshake.ClientHello) error {
	t.id = make([]byte, sessionID)
	rand.Read(t.id)
	err := t.serverHello(hello)
	if err == nil {
		err = t.say(handshake.TypeCertificate, certificates(a.own.cert))
	}
	if err == nil && a.mutual {
		err = t.say(handshake.TypeCertificateRequest, []byte{1, 1, 0, 2, 4, 1, 0, 0}) // rsa_sign, rsa_pkcs1_sha256
	}
	if err == nil {
		err = t.say(handshake.TypeServerHelloDone, nil)
	}
	if err == nil {
		err = t.flush()
	}
	if err == nil {
		err = t.clientKeys(a)
	}
	if err != nil {
		return err
	}
	o, s, err := t.keys()
	if err != nil {
		return err
	}
	if err := t.awaitFinished(o); err != nil {
		return err
	}
	a.sessions.add(string(t.id), t.master)
	return t.finish(s)
}

// clientKeys takes what the client says before its ChangeCipherSpec. The client's certificate is for the
// box to look at: here it only has to be there.
func (t *tlsConn) clientKeys(a *acceptor) error {
	for seen := false; ; {
		m, err := t.message(handshake.TypeClientKeyExchange, handshake.TypeCertificate, handshake.TypeCertificateVerify)
		if err != nil {
			return err
		}
		t.hs.Write(m.Raw)
		switch m.Type {
		case handshake.TypeCertificate:
			seen = true
		case handshake.TypeCertificateVerify:
			return nil
		case handshake.TypeClientKeyExchange:
			if a.mutual && !seen {
				return errors.New("the client has no certificate")
			}
			if err := t.openPremaster(a.own, m); err != nil || !a.mutual {
				return err
			}
		}
	}
}

func (t *tlsConn) openPremaster(own *identity, m handshake.Message) error {
	sealed, err := handshake.ParseClientKeyExchangeRSA(m, version)
	if err != nil {
		return err
	}
	premaster := own.premaster
	switch {
	case own.many != nil:
		if premaster, err = own.many.premaster(sealed); err != nil {
			return err
		}
	case !bytes.Equal(sealed, own.sealed):
		return errors.New("not the premaster secret that both peers know")
	}
	t.master = rsakex.MasterSecret(version, t.suite.PRF, premaster, t.random[0], t.random[1])
	return nil
}
