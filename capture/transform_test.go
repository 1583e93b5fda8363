// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// raws returns packets of raw IP as bytes.
func raws(ps []packet) [][]byte {
	var out [][]byte
	for i := range ps {
		out = append(out, ps[i].appendIP(nil))
	}
	return out
}

// savedAs writes packets of a link type to a file.
func savedAs(t *testing.T, link uint32, data [][]byte, from []packet) string {
	t.Helper()
	var b bytes.Buffer
	w := newPcapWriter(&b, link)
	for i, d := range data {
		w.write(from[min(i, len(from)-1)].time, d)
	}
	w.w.Flush()
	path := filepath.Join(t.TempDir(), "transformed.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shuffled moves packets by a few places; times stay in order.
func shuffled(ps []packet, window int, seed uint64) []packet {
	rng := rand.New(rand.NewPCG(seed, 3))
	keys := make([]int, len(ps))
	order := make([]int, len(ps))
	for i := range ps {
		keys[i] = 2*i + rng.IntN(2*window)
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return keys[a] - keys[b] })
	out := make([]packet, len(ps))
	for i, from := range order {
		out[i] = ps[from]
		out[i].time = ps[i].time
	}
	return out
}

// wrapped puts each packet into headers, made by layers that end in IPv4's EtherType.
func wrapped(t *testing.T, ps []packet, make func() []gopacket.SerializableLayer) [][]byte {
	t.Helper()
	var out [][]byte
	for _, raw := range raws(ps) {
		buf := gopacket.NewSerializeBuffer()
		ls := append(make(), gopacket.Payload(raw))
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Clone(buf.Bytes()))
	}
	return out
}

func ethernet(next layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: next}
}

func outer(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 9, Protocol: proto, SrcIP: []byte{172, 16, 0, 1}, DstIP: []byte{172, 16, 0, 2}}
}

// fragmented cuts each IPv4 packet into fragments, which come in reverse order.
func fragmented(raw [][]byte, size int) (out [][]byte) {
	for id, p := range raw {
		head, body := p[:20], p[20:]
		var frags [][]byte
		for at := 0; at < len(body); at += size {
			part := body[at:min(len(body), at+size)]
			f := slices.Concat(head, part)
			field := uint16(at / 8)
			if at+size < len(body) {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
			binary.BigEndian.PutUint16(f[4:], uint16(id))
			binary.BigEndian.PutUint16(f[6:], field)
			frags = append(frags, f)
		}
		slices.Reverse(frags)
		out = append(out, frags...)
	}
	return out
}

// Whatever a capture looks like, what is read of it is the same.
func TestTransforms(t *testing.T) {
	const size = 40_000
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), size))
	ps := w.out
	repeat := func(ps []packet) (out []packet) {
		for i, p := range ps {
			out = append(out, p)
			if len(p.data) > 10 && i%3 == 0 {
				again := p
				again.seq += 5
				again.data = p.data[5:]
				out = append(out, again, p)
			}
		}
		return out
	}
	cut := func(ps []packet) (out []packet) {
		for _, p := range ps {
			for len(p.data) > 100 {
				part := p
				part.flags &^= flagFIN
				part.data = p.data[:100]
				out = append(out, part)
				p.data, p.seq = p.data[100:], p.seq+100
			}
			out = append(out, p)
		}
		return out
	}
	keepAlive := func(ps []packet) (out []packet) {
		for i, p := range ps {
			out = append(out, p)
			if p.flags == flagACK && i > 10 && i < len(ps)-4 {
				probe := p
				probe.seq += uint32(len(p.data)) - 1
				probe.data = []byte{0}[:i%2]
				out = append(out, probe)
			}
		}
		return out
	}
	for name, path := range map[string]string{
		"as it is":                pcapOf(t, ps),
		"in packets of 100 bytes": pcapOf(t, cut(ps)),
		"repeated, overlapping":   pcapOf(t, repeat(ps)),
		"keep-alives":             pcapOf(t, keepAlive(ps)),
		"out of order":            pcapOf(t, shuffled(ps, 5, 1)),
		"far out of order":        pcapOf(t, shuffled(ps, 25, 2)),
		"all of it":               pcapOf(t, shuffled(repeat(cut(ps)), 20, 3)),
		"no SYN":                  pcapOf(t, ps[3:]),
		"no SYN, out of order":    pcapOf(t, shuffled(ps[3:], 10, 4)),
		"fragments":               savedAs(t, linkRaw, fragmented(raws(ps), 400), ps),
		"VLAN": savedAs(t, 1, wrapped(t, ps, func() []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{
				ethernet(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 42, Type: layers.EthernetTypeIPv4},
			}
		}), ps),
		"GRE": savedAs(t, 1, wrapped(t, ps, func() []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{
				ethernet(layers.EthernetTypeIPv4), outer(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4},
			}
		}), ps),
		"VXLAN": savedAs(t, 1, wrapped(t, ps, func() []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{
				ethernet(layers.EthernetTypeIPv4), outer(layers.IPProtocolUDP), &layers.UDP{SrcPort: 7, DstPort: 4789},
				&layers.VXLAN{ValidIDFlag: true, VNI: 5}, ethernet(layers.EthernetTypeIPv4),
			}
		}), ps),
		"IP in IP, in fragments": savedAs(t, linkRaw, fragmented(wrapped(t, ps, func() []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{outer(layers.IPProtocolIPv4)}
		}), 800), ps),
		"two interfaces": twoInterfaces(t, ps),
	} {
		t.Run(name, func(t *testing.T) {
			s, stats := decrypt(t, Options{Workers: 2}, path)
			f := s.flow(1)
			if len(s.flows) != 1 || f.Outcome != session.OutcomeRead {
				t.Fatalf("%d flows; %v %v %s; %+v", len(s.flows), f.Outcome, f.Cause, f.Detail, stats)
			}
			if s.said(1, handshake.Client) != "GET / HTTP/1.1\r\n\r\n" || s.said(1, handshake.Server) != string(numbered(size)) {
				t.Errorf("%q, %d bytes", s.said(1, handshake.Client), len(s.said(1, handshake.Server)))
			}
			if name == "VLAN" && f.VLAN != 42 || name == "two interfaces" && f.Interface != "up" {
				t.Errorf("VLAN %d, interface %q", f.VLAN, f.Interface)
			}
		})
	}
}

// twoInterfaces captures each direction on an interface of its own, one of them a little late.
func twoInterfaces(t *testing.T, ps []packet) string {
	t.Helper()
	var b bytes.Buffer
	up := pcapgo.NgInterface{Name: "up", LinkType: layers.LinkTypeRaw}
	w, err := pcapgo.NewNgWriterInterface(&b, up, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(pcapgo.NgInterface{Name: "down", LinkType: layers.LinkTypeLinuxSLL}); err != nil {
		t.Fatal(err)
	}
	var late []packet
	write := func(p packet) {
		data := p.appendIP(nil)
		if p.side == handshake.Server {
			data = append([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0}, data...)
		}
		ci := gopacket.CaptureInfo{Timestamp: p.time, CaptureLength: len(data), Length: len(data), InterfaceIndex: int(p.side)}
		if err := w.WritePacket(ci, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range ps {
		if p.side == handshake.Server {
			late = append(late, p)
			if len(late) > 8 {
				write(late[0])
				late = late[1:]
			}
			continue
		}
		write(p)
	}
	for _, p := range late {
		write(p)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "two.pcapng")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What a small snapshot length leaves out is lost, and told; the rest is read.
func TestSnapshotLength(t *testing.T) {
	w := newWire("10.0.0.1:40000", "10.0.0.2:443").play(talk(forgeOptions(suiteGCM), 200_000))
	var b bytes.Buffer
	pw := newPcapWriter(&b, linkRaw)
	lost := 0
	for i, p := range w.out {
		data := p.appendIP(nil)
		whole := len(data)
		if i > 60 && i%10 == 0 && whole > 500 {
			data = data[:500]
			lost += whole - 500
		}
		pw.write(p.time, data)
	}
	pw.w.Flush()
	path := filepath.Join(t.TempDir(), "cut.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, stats := decrypt(t, Options{}, path)
	f := s.flow(1)
	if stats.Streams.Lost != uint64(lost) || f.Cause != session.PacketLoss || f.Outcome != session.OutcomePartial {
		t.Errorf("lost %d, want %d; %v %v %s", stats.Streams.Lost, lost, f.Outcome, f.Cause, f.Detail)
	}
	if n := len(s.said(1, handshake.Server)); n < 20_000 || n > 199_000 {
		t.Errorf("%d bytes were read", n)
	}
}
