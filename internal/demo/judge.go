// SPDX-License-Identifier: Apache-2.0

//go:build linux

package demo

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sightglass/sightglass/internal/nettest"
)

// alert47 is a fatal illegal_parameter in a record of TLS 1.2 (RFC 5246, Section 7.2).
var alert47 = []byte{21, 3, 3, 0, 2, 2, 47}

// claim tells whether something that was promised held.
func (d *demo) claim(ok bool, what, otherwise string) {
	if ok {
		fmt.Fprintf(d.out, "  ok      %s\n", what)
		return
	}
	d.failed++
	fmt.Fprintf(d.out, "  FAILED  %s: %s\n", what, otherwise)
}

// judge shows what the box read, and checks every claim by what the peers saw, what the box wrote and
// what crossed its two legs.
func (d *demo) judge() error {
	fmt.Fprintf(d.out, "The box, of what passed through it:\n\n")
	follow := string(d.box.follow.Bytes())
	for line := range strings.Lines(follow) {
		fmt.Fprintf(d.out, "  | %s", line)
	}
	events, err := d.box.events()
	if err != nil {
		return err
	}
	var legs [2]map[nettest.StreamKey]*nettest.Stream
	for i := range legs {
		frames, err := d.legs[i].Stop()
		if err != nil {
			return err
		}
		if legs[i], err = nettest.Streams(frames); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\nChecked:\n\n")
	for _, f := range families {
		d.judgePeers(f)
		d.judgeReading(f, follow, events)
		d.judgeLegs(f, legs)
		d.judgeRefusal(f, events, legs)
	}
	return nil
}

// judgePeers asks the peers: their TLS was their own, and their addresses, too.
func (d *demo) judgePeers(f family) {
	s := d.peers.seen[f.name]
	d.claim(s.clientErr == nil && strings.Contains(s.answer, secret),
		f.name+": client and server spoke over TLS", fmt.Sprintf("%v, %q", s.clientErr, s.answer))
	d.claim(strings.Contains(s.subject, "CN="+clientName),
		f.name+": the server itself verified the client's certificate, "+s.subject, "it saw "+s.subject)
	d.claim(s.remote == f.from().String(), f.name+": the server saw the client's own address and port, "+f.from().String(), "it saw "+s.remote)
}

// judgeReading asks the box.
func (d *demo) judgeReading(f family, follow string, events []eveEvent) {
	request, response := "GET /demo/"+f.name, "Hello "+clientName+", here is "+secret
	d.claim(strings.Contains(follow, request), f.name+": the box read the request", "it is not in what it showed")
	d.claim(strings.Count(follow, response) >= len(families), f.name+": the box read the response", "it is not in what it showed")
	var subject string
	var verified, read bool
	for _, e := range events {
		if e.SourceIP != f.client.String() || e.SourcePort != f.port {
			continue
		}
		if e.Type == "tls" {
			subject, verified = e.TLS.Client.Subject, e.Sightglass.Verified
		}
		read = read || e.Type == "flow" && e.Sightglass.Outcome == "read"
	}
	d.claim(strings.Contains(subject, "CN="+clientName) && verified,
		f.name+": the box saw who the client proved to be, "+subject, fmt.Sprintf("it saw %q, verified %v", subject, verified))
	d.claim(read, f.name+": the flow was read from its first protected byte to its last", "its outcome is another")
}

// judgeLegs compares the bytes on both sides of the box.
func (d *demo) judgeLegs(f family, legs [2]map[nettest.StreamKey]*nettest.Stream) {
	key := nettest.StreamKey{From: f.from(), To: f.to()}
	for i, k := range []nettest.StreamKey{key, key.Reverse()} {
		direction := []string{"client to server", "server to client"}[i]
		a, b := payload(legs[0], k), payload(legs[1], k)
		d.claim(len(a) > 0 && bytes.Equal(a, b), fmt.Sprintf("%s: the same %d bytes on both legs, %s", f.name, len(a), direction),
			fmt.Sprintf("%d bytes on one leg, %d on the other", len(a), len(b)))
		d.claim(!bytes.Contains(a, []byte(secret)), f.name+": and no plaintext on the wire, "+direction, "the secret is there")
	}
}

// judgeRefusal looks at the connection that could not be read.
func (d *demo) judgeRefusal(f family, events []eveEvent, legs [2]map[nettest.StreamKey]*nettest.Stream) {
	s := d.peers.seen[f.name]
	const said = "tls: illegal parameter"
	d.claim(s.clientAlert != nil && strings.Contains(s.clientAlert.Error(), said),
		f.name+": ECDHE is refused: the client got alert 47, illegal parameter", fmt.Sprint(s.clientAlert))
	d.claim(s.serverAlert != nil && strings.Contains(s.serverAlert.Error(), said),
		f.name+": ECDHE is refused: the server got alert 47, illegal parameter", fmt.Sprint(s.serverAlert))
	key := nettest.StreamKey{From: f.fromECDHE(), To: f.toECDHE()}
	toClient, toServer := payload(legs[0], key.Reverse()), payload(legs[1], key)
	d.claim(bytes.Equal(toClient, alert47), f.name+": not a byte of that server's first flight reached the client", fmt.Sprintf("% x", toClient))
	hello := payload(legs[0], key)
	d.claim(bytes.Equal(toServer, append(hello, alert47...)), f.name+": that server got the client's hello, and then the alert",
		fmt.Sprintf("%d bytes of hello, %d on the other leg", len(hello), len(toServer)))
	cause := ""
	for _, e := range events {
		if e.Type == "flow" && e.SourceIP == f.client.String() && netip.AddrPortFrom(f.client, e.SourcePort) == f.fromECDHE() {
			cause = e.Sightglass.Cause
		}
	}
	d.claim(cause == "key_exchange_not_rsa", f.name+": and the box says why: key_exchange_not_rsa", fmt.Sprintf("it says %q", cause))
}

func payload(streams map[nettest.StreamKey]*nettest.Stream, key nettest.StreamKey) []byte {
	if s := streams[key]; s != nil {
		return bytes.Clone(s.Payload)
	}
	return nil
}
