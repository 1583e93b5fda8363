// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// flow is what the EVE file says of one connection.
type flow struct {
	client, server netip.AddrPort
	start          time.Time

	Outcome, Cause, Detail, Action string
	Suite, Version                 string
	Resumed                        string
	EMS                            bool `json:"extended_master_secret"`
	EtM                            bool `json:"encrypt_then_mac"`
	Handshakes                     int
	Verified                       bool   `json:"client_certificate_verified"`
	Proto                          string `json:"plaintext_proto"`
	Alerts                         []struct {
		From, Description string
		Code              int
	}

	subject string // of the client's certificate
	issued  string // the fingerprint of the server's
	sni     string
	urls    []string
	status  []int
}

// name is the flow's client-to-server stream.
func (f *flow) name() nettest.StreamKey { return nettest.StreamKey{From: f.client, To: f.server} }

func (f *flow) String() string {
	b, _ := json.Marshal(f)
	return fmt.Sprintf("%v %s client %q http %v %v", f.name(), b, f.subject, f.urls, f.status)
}

// eveEvent is one line of the file.
type eveEvent struct {
	Type     string     `json:"event_type"`
	ID       uint64     `json:"flow_id"`
	SrcIP    netip.Addr `json:"src_ip"`
	SrcPort  uint16     `json:"src_port"`
	DestIP   netip.Addr `json:"dest_ip"`
	DestPort uint16     `json:"dest_port"`
	TLS      struct {
		SNI, Fingerprint string
		Client           struct{ Subject string }
	}
	HTTP struct {
		URL    string
		Status int
	}
	Flow       struct{ Start string }
	Sightglass json.RawMessage
}

// flows returns the flows of the EVE file, in the order in which they began. The box has ended.
func (b *box) flows() ([]*flow, error) {
	file, err := os.Open(b.eve)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	byID := map[uint64]*flow{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e eveEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%w in %s", err, lines.Bytes())
		}
		if e.ID == 0 {
			continue // of no flow, such as statistics
		}
		if byID[e.ID] == nil {
			byID[e.ID] = &flow{
				client: netip.AddrPortFrom(e.SrcIP, e.SrcPort),
				server: netip.AddrPortFrom(e.DestIP, e.DestPort),
			}
		}
		if err := byID[e.ID].add(&e); err != nil {
			return nil, fmt.Errorf("%w in %s", err, lines.Bytes())
		}
	}
	var all []*flow
	for _, f := range byID {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *flow) int {
		return cmp.Or(a.start.Compare(b.start), a.client.Compare(b.client))
	})
	return all, lines.Err()
}

func (f *flow) add(e *eveEvent) (err error) {
	switch e.Type {
	case "tls":
		f.subject, f.issued, f.sni = e.TLS.Client.Subject, e.TLS.Fingerprint, e.TLS.SNI
	case "http":
		f.urls, f.status = append(f.urls, e.HTTP.URL), append(f.status, e.HTTP.Status)
	case "flow":
		if f.start, err = time.Parse("2006-01-02T15:04:05.000000-0700", e.Flow.Start); err != nil {
			return err
		}
		return json.Unmarshal(e.Sightglass, f)
	}
	return nil
}
