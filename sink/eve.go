// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// EVEOptions say how events are written. The zero value is good.
type EVEOptions struct {
	Location *time.Location // of timestamps; nil: local, as Suricata's
}

// EVE writes Suricata's EVE JSON, one object a line: "tls" when a handshake is complete (or, if it
// never is, at the flow's end), "http" for each exchange in the plaintext, "alert" for a flow that
// the policy refused, "anomaly" for one that broke the protocol, "flow" at the end of each, and
// "stats". What EVE has no field for is in the object "sightglass".
type EVE struct {
	base
	loc   *time.Location
	flows FlowTable[eveFlow]
	texts sync.Pool // of *jsonText
	// second is that of the last timestamp.
	second atomic.Pointer[second]

	servers, clients eveCertificates
}

// eveFlow is what EVE remembers of a flow.
type eveFlow struct {
	http     httpFlow
	clock    clock
	id       uint64
	e        *session.Event // during the call
	tls      bool           // a tls event was written
	proto    string         // of the plaintext, once known
	alerts   []eveAlert
	fin, rst [2]bool
}

type eveAlert struct {
	side     handshake.Side
	injected bool
	alert    handshake.Alert
}

const maxAlerts = 8 // kept of a flow

// NewEVE returns an EVE writer on out.
func NewEVE(out *Output, opt EVEOptions) *EVE {
	if opt.Location == nil {
		opt.Location = time.Local
	}
	return &EVE{base: base{name: "eve", q: out.start(plain{})}, loc: opt.Location, servers: eveCertificates{names: true}}
}

// Event writes what the event completes.
func (v *EVE) Event(e *session.Event) {
	if e.Kind == session.KindHello || e.Kind == session.KindSecrets {
		return // what they say is said when the handshake is complete
	}
	f := v.flows.Get(e.Flow.ID)
	if f == nil {
		f = v.open(e)
	}
	f.e = e
	f.http.event(e)
	switch e.Kind {
	case session.KindEstablished:
		f.tls = true
		v.tls(f, e)
	case session.KindAlert:
		if len(f.alerts) < maxAlerts {
			f.alerts = append(f.alerts, eveAlert{e.Side, e.Injected, e.Alert})
		}
	case session.KindFin:
		f.fin[e.Side] = true
	case session.KindReset:
		f.rst[e.Side] = true
	case session.KindEnd:
		v.end(f, e)
	}
	f.e = nil
}

func (v *EVE) open(e *session.Event) *eveFlow {
	f := &eveFlow{id: flowID(e.Flow)}
	f.http.emit = func(x *exchange) { v.http(f, x) }
	v.flows.Put(e.Flow.ID, f)
	return f
}

func (v *EVE) end(f *eveFlow, e *session.Event) {
	v.flows.Remove(e.Flow.ID)
	if e.Flow.TLS && !f.tls {
		v.tls(f, e)
	}
	switch e.Flow.Action {
	case session.ActionAlert, session.ActionReset:
		v.refusal(f, e)
	}
	v.anomaly(f, e)
	v.flow(f, e)
}

// flowID makes a number that tells flows of several runs apart, and is exact in any JSON reader.
func flowID(f *session.Flow) uint64 {
	h := fnv.New64a()
	var b [56]byte
	binary.BigEndian.PutUint64(b[:], f.ID)
	binary.BigEndian.PutUint64(b[8:], uint64(nanos(f.Start)))
	binary.BigEndian.PutUint16(b[16:], f.Client.Port())
	binary.BigEndian.PutUint16(b[18:], f.Server.Port())
	client, server := f.Client.Addr().As16(), f.Server.Addr().As16()
	copy(b[24:], client[:])
	copy(b[40:], server[:])
	h.Write(b[:])
	return h.Sum64()>>13 | 1 // 51 bits, as Suricata's
}

// second is what the timestamps within one second have in common.
type second struct {
	unix int64
	date string // up to the fraction
	zone string // behind it
}

// appendTime appends a time as Suricata writes it. Most are of the last second again; an earlier one, as when a flow
// began, does not take its place.
func (v *EVE) appendTime(dst []byte, t time.Time) []byte {
	s := v.second.Load()
	if s == nil || s.unix < t.Unix() {
		local := t.In(v.loc)
		s = &second{t.Unix(), local.Format("2006-01-02T15:04:05."), local.Format("-0700")}
		v.second.Store(s)
	}
	if s.unix != t.Unix() {
		return t.In(v.loc).AppendFormat(dst, "2006-01-02T15:04:05.000000-0700")
	}
	dst = append(dst, s.date...)
	micros := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(micros/unit%10))
	}
	return append(dst, s.zone...)
}

func (v *EVE) timestamp(j *jsonText, name string, t time.Time) {
	j.key(name)
	j.b = append(j.b, '"')
	j.b = v.appendTime(j.b, t)
	j.b = append(j.b, '"')
}

// begin starts an event of a flow with what all have in common.
func (v *EVE) begin(f *eveFlow, e *session.Event, t time.Time, typ, proto string) *jsonText {
	j, _ := v.texts.Get().(*jsonText)
	if j == nil {
		j = &jsonText{b: make([]byte, 0, 1024)}
	}
	j.object("")
	v.timestamp(j, "timestamp", t)
	j.uint("flow_id", f.id)
	j.opt("in_iface", e.Flow.Interface)
	j.str("event_type", typ)
	if e.Flow.VLAN != 0 {
		j.array("vlan")
		j.next()
		j.b = appendUint(j.b, uint64(e.Flow.VLAN))
		j.endArray()
	}
	j.addr("src_ip", e.Flow.Client.Addr())
	j.uint("src_port", uint64(e.Flow.Client.Port()))
	j.addr("dest_ip", e.Flow.Server.Addr())
	j.uint("dest_port", uint64(e.Flow.Server.Port()))
	j.str("proto", "TCP")
	j.opt("app_proto", proto)
	return j
}

// write ends an event and queues its line.
func (v *EVE) write(f *eveFlow, j *jsonText, e *session.Event) {
	j.endObject()
	j.b = append(j.b, '\n')
	v.q.put(f.clock.at(e.Time), e.Flow.ID, 0, j.b, nil, nil)
	if cap(j.b) <= maxTextKept {
		j.b = j.b[:0]
		v.texts.Put(j)
	}
}

// maxTextKept is the largest buffer that is kept for another event, in bytes.
const maxTextKept = 8 << 10

// appProto is what Suricata calls the flow's protocol.
func appProto(f *session.Flow) string {
	if f.TLS {
		return "tls"
	}
	return "failed" // Suricata's word for none recognised
}

// tls writes what the handshake showed.
func (v *EVE) tls(f *eveFlow, e *session.Event) {
	flow := e.Flow
	j := v.begin(f, e, e.Time, "tls", "")
	j.object("tls")
	v.servers.write(j, flow.ServerChain)
	if flow.Resumed != session.ResumedNot {
		j.bool("session_resumed", true)
	}
	j.opt("sni", flow.ServerName)
	j.str("version", eveVersion(flow.Version))
	eveHash(j, "ja3", flow.JA3)
	eveHash(j, "ja3s", flow.JA3S)
	j.opt("ja4", flow.JA4)
	if flow.ALPN != "" {
		j.array("server_alpns")
		j.item(flow.ALPN)
		j.endArray()
	}
	if len(flow.ClientChain) > 0 {
		j.object("client")
		v.clients.write(j, flow.ClientChain)
		j.endObject()
	}
	j.endObject()
	j.object("sightglass")
	eveSession(j, flow)
	j.endObject()
	v.write(f, j, e)
}

// eveVersion returns the version as Suricata writes it.
func eveVersion(v handshake.Version) string {
	switch v {
	case 0:
		return "UNDETERMINED"
	case handshake.SSL20:
		return "SSLv2"
	case handshake.SSL30:
		return "SSLv3"
	case handshake.TLS10:
		return "TLSv1"
	default:
		return strings.Replace(v.String(), "version ", "", 1)
	}
}

func eveHash(j *jsonText, name, hash string) {
	if hash == "" {
		return
	}
	j.object(name)
	j.str("hash", hash)
	j.endObject()
}

// eveSession writes what is known of the TLS session and EVE has no field for.
func eveSession(j *jsonText, f *session.Flow) {
	if !f.TLS {
		return
	}
	if f.Version != 0 {
		j.str("suite", handshake.SuiteName(f.Suite))
		if s, ok := handshake.SuiteByID(f.Suite); ok {
			j.str("key_exchange", s.KeyExchange.String())
		}
	}
	j.str("resumed", f.Resumed.String())
	j.bool("extended_master_secret", f.EMS)
	j.bool("encrypt_then_mac", f.EtM)
	if f.Compressed {
		j.bool("compressed", true)
	}
	j.uint("handshakes", uint64(max(f.Handshakes, 0)))
	if len(f.ClientChain) > 0 {
		j.bool("client_certificate_verified", f.ClientProven)
	}
	j.opt("key_source", f.KeySource)
}

// eveOutcome writes how far the flow was read.
func eveOutcome(j *jsonText, f *session.Flow) {
	j.str("outcome", f.Outcome.String())
	j.opt("cause", f.Cause.String())
	j.opt("detail", f.Detail)
	j.opt("action", f.Action.String())
}

// sides writes a pair of counters.
func sides(j *jsonText, name string, n [2]uint64) {
	j.object(name)
	j.uint("toserver", n[handshake.Client])
	j.uint("toclient", n[handshake.Server])
	j.endObject()
}

// flow writes the event of a flow's end.
func (v *EVE) flow(f *eveFlow, e *session.Event) {
	flow := e.Flow
	end := flow.End
	if end.IsZero() {
		end = e.Time
	}
	j := v.begin(f, e, e.Time, "flow", appProto(flow))
	j.object("flow")
	j.uint("bytes_toserver", flow.Bytes[handshake.Client])
	j.uint("bytes_toclient", flow.Bytes[handshake.Server])
	v.timestamp(j, "start", flow.Start)
	v.timestamp(j, "end", end)
	j.int("age", int64(max(end.Sub(flow.Start), 0)/time.Second))
	rst := f.rst[0] || f.rst[1]
	state, reason := "established", "shutdown"
	if rst || f.fin[0] && f.fin[1] {
		state, reason = "closed", "timeout" // Suricata's reason for a flow that ended by itself
	}
	j.str("state", state)
	j.str("reason", reason)
	j.bool("alerted", refused(flow))
	j.endObject()
	j.object("tcp")
	if rst {
		j.bool("rst", true)
	}
	if f.fin[0] || f.fin[1] {
		j.bool("fin", true)
	}
	j.str("state", state)
	if flow.Gaps[handshake.Client] > 0 {
		j.bool("ts_gap", true)
	}
	if flow.Gaps[handshake.Server] > 0 {
		j.bool("tc_gap", true)
	}
	j.endObject()
	v.flowExtra(j, f, flow)
	v.write(f, j, e)
}

func (v *EVE) flowExtra(j *jsonText, f *eveFlow, flow *session.Flow) {
	j.object("sightglass")
	eveOutcome(j, flow)
	if flow.Version != 0 {
		j.str("version", flow.Version.String())
	}
	eveSession(j, flow)
	j.opt("plaintext_proto", f.proto)
	sides(j, "plaintext", flow.Plaintext)
	sides(j, "records", flow.Records)
	sides(j, "gaps", flow.Gaps)
	if len(f.alerts) > 0 {
		j.array("alerts")
		for _, a := range f.alerts {
			j.object("")
			from := a.side.String()
			if a.injected {
				from = "sightglass"
			}
			j.str("from", from)
			j.str("level", a.alert.Level.String())
			j.str("description", a.alert.Description.String())
			j.uint("code", uint64(a.alert.Description))
			j.endObject()
		}
		j.endArray()
	}
	j.endObject()
}

func refused(f *session.Flow) bool {
	return f.Action == session.ActionAlert || f.Action == session.ActionReset
}

// refusal writes an alert as of an intrusion prevention system: a flow was blocked by policy. The
// signature's number is the cause's, under a generator ID that no Suricata component uses.
func (v *EVE) refusal(f *eveFlow, e *session.Event) {
	j := v.begin(f, e, e.Time, "alert", appProto(e.Flow))
	j.object("alert")
	j.str("action", "blocked")
	j.uint("gid", 5246)
	j.uint("signature_id", uint64(e.Flow.Cause))
	j.uint("rev", 1)
	j.str("signature", "SIGHTGLASS refused "+e.Flow.Cause.String())
	j.str("category", "Potential Corporate Privacy Violation") // Suricata's policy-violation
	j.uint("severity", 1)
	j.endObject()
	j.object("sightglass")
	eveOutcome(j, e.Flow)
	eveSession(j, e.Flow)
	j.endObject()
	v.write(f, j, e)
}

// anomaly writes that a peer, or what was captured of it, broke the protocol.
func (v *EVE) anomaly(f *eveFlow, e *session.Event) {
	switch e.Flow.Cause {
	case session.Malformed, session.DecryptFailed, session.FinishedMismatch,
		session.HandshakeTimeout, session.HandshakeTooLarge:
	default:
		return
	}
	j := v.begin(f, e, e.Time, "anomaly", appProto(e.Flow))
	j.object("anomaly")
	j.str("app_proto", "tls")
	j.str("type", "applayer")
	j.str("event", e.Flow.Cause.String())
	j.str("layer", "proto_parser")
	j.endObject()
	j.object("sightglass")
	eveOutcome(j, e.Flow)
	j.endObject()
	v.write(f, j, e)
}

// A Counter is one number of a stats event. Dots in its name nest: "capture.kernel_drops".
type Counter struct {
	Name  string
	Value uint64
}

// Stats writes a stats event.
func (v *EVE) Stats(t time.Time, uptime time.Duration, counters []Counter) {
	j := &jsonText{}
	j.object("")
	v.timestamp(j, "timestamp", t)
	j.str("event_type", "stats")
	j.object("stats")
	j.int("uptime", int64(uptime/time.Second))
	sorted := slices.Clone(counters)
	slices.SortFunc(sorted, func(a, b Counter) int { return cmp.Compare(a.Name, b.Name) })
	nest(j, sorted, 0)
	j.endObject()
	j.endObject()
	j.b = append(j.b, '\n')
	v.q.put(nanos(t), 0, 0, j.b, nil, nil)
}

// nest writes sorted counters that agree in the first at bytes of their names.
func nest(j *jsonText, counters []Counter, at int) {
	for len(counters) > 0 {
		name, _, nested := strings.Cut(counters[0].Name[at:], ".")
		n := 1
		if nested {
			prefix := counters[0].Name[:at+len(name)+1]
			for n < len(counters) && strings.HasPrefix(counters[n].Name, prefix) {
				n++
			}
			j.object(name)
			nest(j, counters[:n], len(prefix))
			j.endObject()
		} else {
			j.uint(name, counters[0].Value)
		}
		counters = counters[n:]
	}
}
