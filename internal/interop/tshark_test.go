// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sightglass/sightglass/internal/nettest"
)

// seen is what tshark says of each stream: the request's path in one direction, the status in the
// other, and what it complains about.
type seen map[nettest.StreamKey]string

// plaintext has tshark read the pcapng file of plaintext.
func (s *sharks) plaintext(ctx context.Context) seen {
	s.l.t.Helper()
	// A server that closes before it has read the client's close_notify resets, which ends no body.
	return s.ask(ctx, s.b.pcapng, "http", seen.complain, "-o", "http.desegment_body:FALSE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
}

// opened has tshark open the packets of the client's leg with the key log.
func (s *sharks) opened(ctx context.Context) seen {
	s.l.t.Helper()
	path := s.l.path("wire.pcap")
	must(s.l.t, os.WriteFile(path, nettest.Pcap(s.frames), 0o644))
	// Inside TLS it does not see that the connection's end is a body's.
	return s.ask(ctx, path, "tls", nil, "-o", "tls.keylog_file:"+s.b.keylog, "-o", "http.desegment_body:FALSE")
}

// ask has tshark read a capture whose server ports bear the given protocol. What TCP did is looked at
// by also, unless that is nil.
func (s *sharks) ask(ctx context.Context, file, protocol string, also func(seen, nettest.StreamKey, []string), args ...string) seen {
	s.l.t.Helper()
	for port := 8001; port <= 8000+int(s.l.ports.Load()); port++ {
		args = append(args, "-d", fmt.Sprintf("tcp.port==%d,%s", port, protocol))
	}
	args = append(args, "-r", file, "-n", "-T", "fields", "-E", "separator=;")
	for _, field := range []string{"ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport",
		"http.request.uri", "http.response.code", "_ws.expert.message", "tcp.checksum.status"} {
		args = append(args, "-e", field)
	}
	p, err := s.l.run(ctx, s.l.Client, command{name: "tshark", args: args})
	if err != nil {
		s.l.t.Fatalf("tshark: %v", err)
	}
	all := seen{}
	for line := range strings.Lines(p.stdout.String()) {
		all.add(strings.Split(strings.TrimSuffix(line, "\n"), ";"), also)
	}
	return all
}

func (s seen) add(fields []string, also func(seen, nettest.StreamKey, []string)) {
	if len(fields) != 10 {
		return
	}
	from, err1 := addrPort(fields[0]+fields[1], fields[2])
	to, err2 := addrPort(fields[3]+fields[4], fields[5])
	if err1 != nil || err2 != nil {
		return
	}
	key := nettest.StreamKey{From: from, To: to}
	s[key] += fields[6] + fields[7]
	if also != nil {
		also(s, key, fields)
	}
}

// complain notes what is not well-formed about TCP.
func (s seen) complain(key nettest.StreamKey, fields []string) {
	for _, word := range []string{"alformed", "hecksum", "not captured", "unseen", "etransmission", "ut-Of-Order"} {
		if strings.Contains(fields[8], word) {
			s[key] += " (" + fields[8] + ")"
		}
	}
	if fields[9] == "0" {
		s[key] += " (bad checksum)"
	}
}

func addrPort(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err
}

// check compares what tshark saw of a flow with its only request.
func (s seen) check(t *testing.T, name nettest.StreamKey, path string) {
	t.Helper()
	if got := s[name]; got != path {
		t.Errorf("tshark saw the request %q, want %q", got, path)
	}
	if got := s[name.Reverse()]; got != "200" {
		t.Errorf("tshark saw the answer %q, want 200", got)
	}
}
