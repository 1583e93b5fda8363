// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/record"
	"github.com/sightglass/sightglass/rsakex"
)

// keys is what a handshake derived. Without a certificate that says which private key is the right
// one, several are tried and the first record tells.
type keys struct {
	master []byte
	trials []trial
}

type trial struct {
	key     rsakex.KeyID
	secret  *rsakex.Secret
	master  []byte
	openers [2]*record.Opener
}

// clientKeyExchange hands the encrypted premaster secret to the private key. Whether its padding
// was right never shows here: a secret comes back in any case, and the Finished tells.
func (s *Session) clientKeyExchange(n *negotiation, m handshake.Message) {
	switch {
	case n.server == nil || n.suite == nil:
		return
	case n.request != nil:
		s.fail(Malformed, "a second ClientKeyExchange")
		return
	case n.unread != CauseNone:
		// A key log may have the premaster secret.
		encrypted, _ := handshake.ParseClientKeyExchangeRSA(m, s.flow.Version)
		n.request = s.request(n, bytes.Clone(encrypted))
		return
	case !n.full && !n.broken:
		s.fail(Malformed, "a ClientKeyExchange in an abbreviated handshake")
		return
	case !n.judged && s.cfg.Inline:
		s.fail(Malformed, "a ClientKeyExchange before the server's certificate was complete")
		return
	}
	s.judge(CauseNone, "") // the messages that would have led to it were lost
	encrypted, err := handshake.ParseClientKeyExchangeRSA(m, s.flow.Version)
	if err != nil {
		s.malformed(m, err)
		return
	}
	if n.request = s.request(n, bytes.Clone(encrypted)); n.request == nil {
		n.unread, n.unreadDetail = PacketLoss, "messages of the handshake were lost"
		return
	}
	s.askKey(n)
}

// request is what a ClientKeyExchange asks for; nil if too much of the handshake was lost.
func (s *Session) request(n *negotiation, encrypted []byte) *rsakex.Request {
	q := &rsakex.Request{
		Key: n.key, Version: s.flow.Version, ClientVersion: n.hello.Version, PRF: n.suite.PRF,
		EncryptedPremaster: encrypted, Client: n.hello.Random, Server: n.server.Random,
	}
	if n.server.ExtendedMasterSecret {
		if n.broken {
			return nil
		}
		q.SessionHash = n.transcript.SessionHash()
	}
	return q
}

// askKey asks the private key that fits the certificate, or each in turn where none was seen. What a
// key log knows need not be asked.
func (s *Session) askKey(n *negotiation) {
	master, ok := s.loggedPremaster(n)
	switch {
	case ok:
		n.secret = rsakex.Resolved(master)
	case s.cfg.Keys == nil:
	case n.hasKey:
		n.secret = s.cfg.Keys.MasterSecret(*n.request)
	case !s.cfg.Inline && s.cfg.Ring != nil:
		for _, id := range s.cfg.Ring.Keys() {
			n.request.Key = id
			secret := s.cfg.Keys.MasterSecret(*n.request)
			secret.Start() // all of them at once
			n.trials = append(n.trials, trial{key: id, secret: secret})
		}
	}
	s.remember(n)
}

// loggedPremaster finds the premaster secret in the key log (the labels RSA and
// PMS_CLIENT_RANDOM).
func (s *Session) loggedPremaster(n *negotiation) ([]byte, bool) {
	if s.cfg.KeyLog == nil || n.request == nil {
		return nil, false
	}
	premaster, ok := s.cfg.KeyLog.ByEncryptedPremaster(n.request.EncryptedPremaster)
	if !ok {
		premaster, ok = s.cfg.KeyLog.Lookup(keylog.PMSClientRandom, n.request.Client[:])
	}
	if !ok {
		return nil, false
	}
	return n.request.Master(premaster), true
}

// derive makes the keys of both directions. It returns false while the secret is not there yet.
func (s *Session) derive(n *negotiation) bool {
	if n.suite == nil {
		s.fail(CipherUnsupported, "keys are changed to those of an unknown suite")
		return true
	}
	if len(n.trials) > 0 {
		return s.deriveTrials(n)
	}
	master, ok := s.master(n)
	if !ok || master == nil {
		return ok
	}
	openers, err := s.openers(n, master)
	if err != nil {
		s.fail(CipherUnsupported, err.Error())
		return true
	}
	n.keys = &keys{master: master}
	for i := range s.dir {
		s.dir[i].next = openers[i]
	}
	s.checkProof(n)
	return true
}

// master returns the master secret. Without one it is not ok if one may still come, and otherwise
// the reading has ended.
func (s *Session) master(n *negotiation) (master []byte, ok bool) {
	if master, ok := s.loggedMaster(n); ok {
		if n.secret == nil {
			n.secret = rsakex.Resolved(master)
		}
		return master, true
	}
	if n.secret == nil {
		return nil, s.noSecret(n)
	}
	if !n.secret.Ready() {
		s.waiting = n.secret
		return nil, false
	}
	master, err := n.secret.Master()
	switch {
	case err == nil:
		return master, true
	case n.resumed != nil:
		s.fail(SessionUnknown, "the full handshake of this session was not opened")
	case errors.Is(err, rsakex.ErrOverload), errors.Is(err, rsakex.ErrClosed):
		s.fail(Overload, err.Error())
	default:
		s.fail(NoKeyForCertificate, err.Error())
	}
	return nil, true
}

// noSecret is called when nothing opens this handshake. It returns false if a growing key log may.
func (s *Session) noSecret(n *negotiation) bool {
	switch {
	case n.unread != CauseNone:
	case n.broken:
		n.unread, n.unreadDetail = PacketLoss, "messages of the handshake were lost"
	case n.request == nil && !n.abbreviated:
		s.fail(Malformed, "a ChangeCipherSpec before the ClientKeyExchange")
		return true
	default:
		n.unread, n.unreadDetail = NoKeyForCertificate, "no key opens this handshake"
	}
	return s.awaitLog(n.unread, n.unreadDetail)
}

// awaitLog waits for a growing key log, and returns false. Without one the reading ends.
func (s *Session) awaitLog(c Cause, detail string) bool {
	if s.cfg.KeyLog == nil || !s.cfg.KeyLogGrows {
		s.fail(c, detail)
		return true
	}
	s.waitsLog, s.unlogged, s.unloggedDetail = true, c, detail
	return false
}

// loggedMaster finds the master secret in the key log, where the private key has nothing to say.
func (s *Session) loggedMaster(n *negotiation) ([]byte, bool) {
	if s.cfg.KeyLog == nil || n.secret != nil && n.secret.Ready() && n.unread == CauseNone {
		return nil, false
	}
	if master, ok := s.cfg.KeyLog.Lookup(keylog.ClientRandom, n.hello.Random[:]); ok {
		return master, true
	}
	if master, ok := s.loggedPremaster(n); ok {
		return master, true
	}
	if id := n.server.SessionID; len(id) > 0 {
		return s.cfg.KeyLog.BySessionID(id)
	}
	return nil, false
}

// openers makes the protection of both directions (RFC 5246, Section 6.3).
func (s *Session) openers(n *negotiation, master []byte) (o [2]*record.Opener, err error) {
	p := record.Params{
		Version: s.flow.Version, Suite: n.suite,
		EncryptThenMAC: n.server.EncryptThenMAC, Compression: n.server.Compression,
	}
	mac, key, iv := record.KeySizes(p)
	client, server := rsakex.ExpandKeys(p.Version, n.suite, master, n.hello.Random, n.server.Random, mac, key, iv)
	for i, k := range [2]rsakex.DirectionKeys{client, server} {
		if o[i], err = record.NewOpener(p, record.Keys(k)); err != nil {
			return o, fmt.Errorf("%s: %w", n.suite.Name, err)
		}
	}
	return o, nil
}

// deriveTrials derives keys from each private key's answer; the first record picks one. It returns
// false while an answer is missing.
func (s *Session) deriveTrials(n *negotiation) bool {
	for _, t := range n.trials {
		if !t.secret.Ready() {
			s.waiting = t.secret
			return false
		}
	}
	n.keys = new(keys)
	for _, t := range n.trials {
		master, err := t.secret.Master()
		if err != nil {
			continue
		}
		t.master = master
		if t.openers, err = s.openers(n, master); err != nil {
			s.fail(CipherUnsupported, err.Error())
			return true
		}
		n.keys.trials = append(n.keys.trials, t)
	}
	n.trials = nil
	if len(n.keys.trials) == 0 {
		s.fail(NoKeyForCertificate, "no key opens this handshake")
		return true
	}
	s.pick(n, n.keys.trials[0])
	return true
}

// pick takes one trial's keys for both directions.
func (s *Session) pick(n *negotiation, t trial) {
	n.keys.master = t.master
	n.key, n.hasKey, n.secret = t.key, true, t.secret
	for i := range s.dir {
		if n.changed[i] {
			s.dir[i].opener = t.openers[i]
		} else {
			s.dir[i].next = t.openers[i]
		}
	}
}

// openAnyway is called when a record did not open: another key may be the right one, or records
// were lost before it.
func (s *Session) openAnyway(d *direction, buf, rec []byte, err error) (handshake.ContentType, []byte, error) {
	if n := s.neg; n != nil && n.keys != nil && len(n.keys.trials) > 0 && n.changed[d.side] &&
		!errors.Is(err, record.ErrIVLost) {
		for _, t := range n.keys.trials[1:] {
			if _, _, err := t.openers[d.side].Clone().Open(buf, rec); err != nil {
				continue
			}
			s.pick(n, t)
			n.keys.trials = nil
			return d.opener.Open(buf, rec)
		}
		s.fail(NoKeyForCertificate, "none of the keys opens this handshake")
		return 0, nil, err
	}
	if s.tls13 != nil {
		return s.openAnyway13(d, buf, rec, err)
	}
	return s.resync(d, buf, rec, err)
}

// secretsEvent shows the master secret as a line of an NSS key log.
func (s *Session) secretsEvent(n *negotiation) {
	line := keylog.Line{Label: keylog.ClientRandom, ID: n.hello.Random[:], Secret: n.keys.master}
	s.secretLine(line)
}

func (s *Session) secretLine(line keylog.Line) {
	s.ev = Event{Kind: KindSecrets, Side: handshake.Client, Time: s.now, Flow: &s.flow}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	text := line.AppendTo((*buf)[:0])
	defer clear(text)
	s.ev.Data = text
	s.send()
}
