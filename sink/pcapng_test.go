// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/sightglass/sightglass/session"
)

// pattern returns n bytes that no two offsets near each other share.
func pattern(n int) string {
	b := make([]byte, 0, n+8)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%07d\n", i)
	}
	return string(b[:n])
}

// pcapngOf returns the pcapng file of what play does, and its path.
func pcapngOf(t *testing.T, opt PcapngOptions, play func(session.Handler)) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.pcapng")
	out, err := Create(path, Options{Lossless: true, Order: OrderLive, FlushEvery: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPcapng(out, opt)
	play(p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, b
}

type packetRead struct {
	ci  gopacket.CaptureInfo
	tcp *layers.TCP
	ip  gopacket.NetworkLayer
	pkt gopacket.Packet
}

// readPackets reads a pcapng file with gopacket, and fails on anything malformed or any checksum
// that is wrong.
func readPackets(t *testing.T, file []byte) []packetRead {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []packetRead
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		pkt := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeStreamsAsDatagrams)
		tcp, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok {
			t.Fatalf("packet %d: %v", len(all), pkt.ErrorLayer())
		}
		if err := tcp.SetNetworkLayerForChecksum(pkt.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, bad := pkt.VerifyChecksums(); err != nil || len(bad) > 0 {
			t.Fatalf("packet %d: checksums %v %v", len(all), err, bad)
		}
		all = append(all, packetRead{ci, tcp, pkt.NetworkLayer(), pkt})
	}
}

// flags names a packet as tests compare them: "C SYN", "S ACK 12".
func (p packetRead) String() string {
	side := "S"
	if p.tcp.DstPort < p.tcp.SrcPort {
		side = "C"
	}
	s := side
	for _, f := range []struct {
		on   bool
		name string
	}{{p.tcp.SYN, "SYN"}, {p.tcp.FIN, "FIN"}, {p.tcp.RST, "RST"}, {p.tcp.PSH, "PSH"}, {p.tcp.ACK, "ACK"}} {
		if f.on {
			s += " " + f.name
		}
	}
	if n := len(p.tcp.Payload); n > 0 {
		s += fmt.Sprint(" ", n)
	}
	return s
}

func packetNames(all []packetRead) string {
	var names []string
	for _, p := range all {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

func TestPcapngConversations(t *testing.T) {
	const open = "C SYN, S SYN ACK, C ACK"
	tests := []struct {
		name string
		play func(h session.Handler)
		want string
	}{
		{"unread flow", func(h session.Handler) { play(h, testFlow(1)).fin(client).fin(server).end() }, ""},
		{"no data", func(h session.Handler) { play(h, testFlow(1)).established().end() }, open},
		{"orderly", func(h session.Handler) {
			play(h, testFlow(1)).established().data(client, "hi").data(server, "ho").fin(client).fin(server).end()
		}, open + ", C PSH ACK 2, S ACK, S PSH ACK 2, C ACK, C FIN ACK, S ACK, S FIN ACK, C ACK"},
		{"half closed", func(h session.Handler) {
			play(h, testFlow(1)).established().fin(client).data(client, "never").data(server, "ho").fin(server).end()
		}, open + ", C FIN ACK, S ACK, S PSH ACK 2, C ACK, S FIN ACK, C ACK"},
		{"reset", func(h session.Handler) {
			play(h, testFlow(1)).established().data(client, "hi").rst(server).data(client, "never").fin(client).end()
		}, open + ", C PSH ACK 2, S ACK, S RST ACK"},
		{"segments", func(h session.Handler) {
			play(h, testFlow(1)).data(client, pattern(3000)).end()
		}, open + ", C ACK 1460, C ACK 1460, C PSH ACK 80, S ACK"},
		{"segments of IPv6", func(h session.Handler) {
			play(h, testFlow6(1)).data(client, pattern(2880)).end()
		}, open + ", C ACK 1440, C PSH ACK 1440, S ACK"},
		{"gap", func(h session.Handler) {
			play(h, testFlow(1)).data(client, "a").gap(client, 10).data(client, "b").end()
		}, open + ", C PSH ACK 1, S ACK, S ACK, C PSH ACK 1, S ACK"},
		{"clear prologue, late TLS", func(h session.Handler) {
			play(h, testFlow(1)).data(server, "220 hi\r\n").established().data(client, "x").end()
		}, open + ", S PSH ACK 8, C ACK, C PSH ACK 1, S ACK"},
	}
	for _, tt := range tests {
		_, file := pcapngOf(t, PcapngOptions{}, tt.play)
		if got := packetNames(readPackets(t, file)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestPcapngHole(t *testing.T) {
	for _, tt := range []struct{ lost, hole int }{{10, 10}, {0, 1}, {1 << 40, maxHole}} {
		_, file := pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
			play(h, testFlow(1)).data(client, "a").gap(client, tt.lost).data(client, "b").end()
		})
		all := readPackets(t, file)
		a, hole, b := all[3], all[5], all[6]
		if got := int(b.tcp.Seq - a.tcp.Seq - 1); got != tt.hole || hole.tcp.Ack != b.tcp.Seq {
			t.Errorf("lost %d: hole of %d, acknowledged to %d, want %d", tt.lost, got, hole.tcp.Ack, tt.hole)
		}
	}
}

func TestPcapngAddressesAndVLAN(t *testing.T) {
	for _, tt := range []struct {
		client, server string
		vlan           uint16
		network        string
	}{
		{"10.0.0.1:5", "10.0.0.2:6", 0, "10.0.0.1->10.0.0.2"},
		{"[::ffff:10.0.0.1]:5", "10.0.0.2:6", 4094, "10.0.0.1->10.0.0.2"},
		{"[2001:db8::1]:5", "[2001:db8::2]:6", 7, "2001:db8::1->2001:db8::2"},
		{"[fe80::1%eth0]:5", "[fe80::2]:6", 7, "fe80::1->fe80::2"},
		{"[::1]:5", "127.0.0.1:6", 0, "::1->127.0.0.1"}, // ::ffff:127.0.0.1, as net.IP prints it
	} {
		f := testFlow(1)
		f.Client, f.Server, f.VLAN = netip.MustParseAddrPort(tt.client), netip.MustParseAddrPort(tt.server), tt.vlan
		_, file := pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
			play(h, f).data(client, "odd").data(server, "even").end()
		})
		all := readPackets(t, file)
		if got := all[0].ip.NetworkFlow().String(); got != tt.network {
			t.Errorf("%s: network %s, want %s", tt.client, got, tt.network)
		}
		var vlan uint16
		if l, ok := all[0].pkt.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
			vlan = l.VLANIdentifier
		}
		if vlan != tt.vlan {
			t.Errorf("%s: VLAN %d, want %d", tt.client, vlan, tt.vlan)
		}
	}
}

func TestPcapngTimeOrderAcrossFlows(t *testing.T) {
	_, file := pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
		a, b := play(h, testFlow(2)), play(h, testFlow6(1))
		a.established().data(client, "later").end()
		b.established().data(client, "earlier").end()
	})
	all := readPackets(t, file)
	for i := 1; i < len(all); i++ {
		if all[i].ci.Timestamp.Before(all[i-1].ci.Timestamp) {
			t.Errorf("packet %d goes back in time", i)
		}
	}
	if got := all[0].ci.Timestamp; !got.Equal(epoch.Add(time.Second + 2*time.Millisecond)) {
		t.Errorf("first packet at %v", got)
	}
}

func TestPcapngClampsLateRecords(t *testing.T) {
	var out lockedBuffer
	p := NewPcapng(NewOutput(&out, Options{Order: OrderLive}), PcapngOptions{})
	play(p, testFlow(9)).data(client, "late flow").end()
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	play(p, testFlow(1)).data(client, "came after, was before").end()
	p.Close()
	all := readPackets(t, []byte(out.String()))
	for i := 1; i < len(all); i++ {
		if all[i].ci.Timestamp.Before(all[i-1].ci.Timestamp) {
			t.Errorf("packet %d goes back in time", i)
		}
	}
}

func TestPcapngInterfaces(t *testing.T) {
	_, file := pcapngOf(t, PcapngOptions{Interfaces: []string{"eth0"}}, func(h session.Handler) {
		for i, name := range []string{"", "eth0", "eth1", "eth2", "eth1"} {
			f := testFlow(uint64(i + 1))
			f.Interface = name
			play(h, f).established().end()
		}
	})
	all := readPackets(t, file)
	for i, want := range []int{0, 0, 1, 2, 1} {
		if got := all[i*3].ci.InterfaceIndex; got != want {
			t.Errorf("flow %d: interface %d, want %d", i+1, got, want)
		}
	}
}

// TestPcapngInterfacesAreNumberedInOrder has a later flow come first: the file does not show it.
func TestPcapngInterfacesAreNumberedInOrder(t *testing.T) {
	var files [2][]byte
	for i, ids := range [][]uint64{{1, 2}, {2, 1}} {
		_, files[i] = pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
			for _, id := range ids {
				f := testFlow(id)
				f.Interface = fmt.Sprint("eth", id)
				play(h, f).established().end()
			}
		})
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the file depends on the order of events of different flows")
	}
}

// TestPcapngTimeNeverGoesBack has a flow's second event be older than its first.
func TestPcapngTimeNeverGoesBack(t *testing.T) {
	_, file := pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
		p := play(h, testFlow(1)).data(client, "first")
		p.t = p.t.Add(-time.Minute)
		p.data(client, "2nd").end()
	})
	if got := packetNames(readPackets(t, file)); got != "C SYN, S SYN ACK, C ACK, C PSH ACK 5, S ACK, C PSH ACK 3, S ACK" {
		t.Errorf("%s", got)
	}
}

func TestPcapngEmptyIsValid(t *testing.T) {
	_, file := pcapngOf(t, PcapngOptions{}, func(session.Handler) {})
	if all := readPackets(t, file); len(all) != 0 || len(file) == 0 {
		t.Errorf("%d packets in %d bytes", len(all), len(file))
	}
}

func TestPcapngAllocatesNothing(t *testing.T) {
	p := NewPcapng(NewOutput(io.Discard, Options{Lossless: true, Order: OrderLive, FlushEvery: time.Second, Buffer: 1}), PcapngOptions{})
	defer p.Close()
	pl := play(p, testFlow6(1)).established()
	e := session.Event{Kind: session.KindData, Side: server, Flow: pl.f, Time: pl.t, Data: []byte(pattern(16384))}
	for range 3000 {
		p.Event(&e)
	}
	if n := testing.AllocsPerRun(500, func() { p.Event(&e) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// conversationsForReaders is what the readers below are given: every kind of flow, interleaved.
func conversationsForReaders(h session.Handler) {
	a := play(h, testFlow(1)).established()
	vlan := testFlow6(2)
	vlan.VLAN, vlan.ServerName, vlan.Interface = 42, "example.com\x1b[31m", "eth7"
	b := play(h, vlan).established()
	a.t, b.t = epoch.Add(3*time.Second), epoch.Add(3*time.Second)
	for range 3 {
		a.data(client, pattern(5000)).data(server, pattern(70001))
		b.data(server, pattern(20000)).data(client, "x")
	}
	a.fin(client).data(server, "last").fin(server).end()
	b.rst(client).end()
}

// TestPcapngTshark has tshark find no fault, and read the same streams.
func TestPcapngTshark(t *testing.T) {
	tshark := tool(t, "tshark")
	path, _ := pcapngOf(t, PcapngOptions{}, conversationsForReaders)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(tshark, append([]string{
			"-r", path, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
		}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		return string(out)
	}
	// Severity 0x600000 is a warning; a reset is always one.
	if out := run("-Y", "(_ws.expert.severity >= 0x600000 && !tcp.flags.reset) || _ws.malformed"); out != "" {
		t.Errorf("tshark warns:\n%s", out)
	}
	if out := run("-Y", "frame.comment contains \"example.com\"", "-T", "fields", "-e", "vlan.id", "-e", "frame.interface_name"); out != "42\teth7\n" {
		t.Errorf("comment, VLAN and interface: %q", out)
	}
	for stream, want := range []struct{ client, server string }{
		{strings.Repeat(pattern(5000), 3), strings.Repeat(pattern(70001), 3) + "last"},
		{"xxx", strings.Repeat(pattern(20000), 3)},
	} {
		client, server := followRaw(t, run("-q", "-z", fmt.Sprintf("follow,tcp,raw,%d", stream)))
		if client != want.client || server != want.server {
			t.Errorf("stream %d: %d and %d bytes, want %d and %d", stream,
				len(client), len(server), len(want.client), len(want.server))
		}
	}
}

// followRaw reads tshark's follow output: hexadecimal lines, the second node's indented.
func followRaw(t *testing.T, out string) (client, server string) {
	t.Helper()
	for _, line := range strings.Split(out, "\n") {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			continue
		}
		if strings.HasPrefix(line, "\t") {
			server += string(b)
		} else {
			client += string(b)
		}
	}
	return client, server
}

// TestPcapngTsharkSeesTheHole has tshark report a lost segment, and nothing worse.
func TestPcapngTsharkSeesTheHole(t *testing.T) {
	tshark := tool(t, "tshark")
	path, _ := pcapngOf(t, PcapngOptions{}, func(h session.Handler) {
		play(h, testFlow(1)).data(client, "before").gap(client, 1000).data(client, "after").fin(client).fin(server).end()
	})
	out, err := exec.Command(tshark, "-r", path, "-Y", "tcp.analysis.lost_segment", "-T", "fields", "-e", "tcp.len").Output()
	if err != nil || string(out) != "5\n" {
		t.Errorf("lost segment before %q, %v", out, err)
	}
	out, err = exec.Command(tshark, "-r", path, "-Y", "_ws.expert.severity >= 0x800000 || _ws.malformed").Output()
	if err != nil || string(out) != "" {
		t.Errorf("errors %q, %v", out, err)
	}
}

func TestCapinfosFindsNoFault(t *testing.T) {
	capinfos := tool(t, "capinfos")
	path, _ := pcapngOf(t, PcapngOptions{}, conversationsForReaders)
	out, err := exec.Command(capinfos, "-o", "-T", "-r", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "True") {
		t.Errorf("capinfos: %s %v", out, err)
	}
}

func BenchmarkPcapng(b *testing.B) {
	p := NewPcapng(NewOutput(io.Discard, Options{Lossless: true}), PcapngOptions{})
	defer p.Close()
	pl := play(p, testFlow(1)).established()
	e := session.Event{Kind: session.KindData, Side: server, Flow: pl.f, Time: pl.t, Data: []byte(pattern(16384))}
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	for b.Loop() {
		p.Event(&e)
	}
}
