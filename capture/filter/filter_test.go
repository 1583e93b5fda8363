// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
)

// frame is a packet with what the kernel would say beside it.
type frame struct {
	data []byte
	tag  int // the VLAN that was taken out; -1: none
}

// run runs a program as the kernel does.
func run(t testing.TB, program []bpf.Instruction, f frame) uint32 {
	t.Helper()
	// The virtual machine does not know tags.
	filled := make([]bpf.Instruction, len(program))
	for i, ins := range program {
		if ext, ok := ins.(bpf.LoadExtension); ok {
			switch ext.Num {
			case bpf.ExtVLANTagPresent:
				ins = bpf.LoadConstant{Val: map[bool]uint32{true: 1}[f.tag >= 0]}
			case bpf.ExtVLANTag:
				ins = bpf.LoadConstant{Val: uint32(max(f.tag, 0))}
			}
		}
		filled[i] = ins
	}
	vm, err := bpf.NewVM(filled)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(f.data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

type build struct{ layers []gopacket.SerializableLayer }

func (b build) frame(t testing.TB) frame {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, b.layers...); err != nil {
		t.Fatal(err)
	}
	return frame{buf.Bytes(), -1}
}

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t,
	}
}

func ip4(src, dst string, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 9, Protocol: p, SrcIP: net.ParseIP(src).To4(), DstIP: net.ParseIP(dst).To4()}
}

func ip6(src, dst string, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: p, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func tcp(src, dst layers.TCPPort) *layers.TCP {
	return &layers.TCP{SrcPort: src, DstPort: dst, SYN: true}
}
func udp(src, dst layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: src, DstPort: dst} }

const (
	typeIP4 = layers.EthernetTypeIPv4
	typeIP6 = layers.EthernetTypeIPv6
	isTCP   = layers.IPProtocolTCP
	isUDP   = layers.IPProtocolUDP
)

// frames are the packets that expressions are tried on.
func frames(t testing.TB) map[string]frame {
	list := func(ls ...gopacket.SerializableLayer) frame { return build{ls}.frame(t) }
	options := ip4("10.0.0.1", "192.0.2.2", isTCP)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	piece := ip4("10.0.0.1", "192.0.2.2", isTCP)
	piece.FragOffset = 100
	tag := func(id uint16, next layers.EthernetType) *layers.Dot1Q {
		return &layers.Dot1Q{VLANIdentifier: id, Type: next}
	}
	beside := func(f frame, tag int) frame { f.tag = tag; return f }
	https := list(eth(typeIP4), ip4("10.0.0.1", "192.0.2.2", isTCP), tcp(40000, 443))
	arp := &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: typeIP4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: []byte{2, 0, 0, 0, 0, 1}, SourceProtAddress: []byte{10, 0, 0, 1},
		DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 0, 0, 9},
	}
	toAll := eth(layers.EthernetTypeARP)
	toAll.DstMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}
	return map[string]frame{
		"https":       https,
		"back":        list(eth(typeIP4), ip4("192.0.2.2", "10.0.0.1", isTCP), tcp(443, 40000)),
		"https6":      list(eth(typeIP6), ip6("2001:db8::1", "2001:db8:1::2", isTCP), tcp(40000, 443)),
		"options":     list(eth(typeIP4), options, tcp(40000, 443)),
		"fragment":    list(eth(typeIP4), piece, tcp(40000, 443)),
		"dns":         list(eth(typeIP4), ip4("10.0.0.1", "10.0.0.53", isUDP), udp(5353, 53)),
		"dns6":        list(eth(typeIP6), ip6("2001:db8::1", "2001:db8::53", isUDP), udp(5353, 53)),
		"arp":         list(toAll, arp),
		"ping":        list(eth(typeIP4), ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolICMPv4), gopacket.Payload(make([]byte, 8))),
		"ping6":       list(eth(typeIP6), ip6("2001:db8::1", "ff02::1", layers.IPProtocolICMPv6), gopacket.Payload(make([]byte, 8))),
		"tagged":      list(eth(layers.EthernetTypeDot1Q), tag(5, typeIP4), ip4("10.0.0.1", "192.0.2.2", isTCP), tcp(40000, 443)),
		"offloaded":   beside(https, 5),
		"offloaded 6": beside(https, 6),
		"twice":       list(eth(layers.EthernetTypeQinQ), tag(5, layers.EthernetTypeDot1Q), tag(7, typeIP4), ip4("10.0.0.1", "192.0.2.2", isTCP), tcp(40000, 443)),
		"twice, one offloaded": beside(list(eth(layers.EthernetTypeDot1Q), tag(7, typeIP4),
			ip4("10.0.0.1", "192.0.2.2", isTCP), tcp(40000, 443)), 5),
		"large":  list(eth(typeIP4), ip4("10.0.0.1", "192.0.2.2", isTCP), tcp(40000, 443), gopacket.Payload(make([]byte, 1000))),
		"high":   list(eth(typeIP4), ip4("172.16.0.1", "172.31.0.1", isTCP), tcp(8500, 8443)),
		"runt":   {[]byte{2, 2, 3}, -1},
		"nought": {nil, -1},
	}
}

// matches are expressions with all the frames that fit.
var matches = map[string]string{
	"":                                     "https back https6 options fragment dns dns6 arp ping ping6 tagged offloaded|offloaded 6 twice|twice, one offloaded large high runt nought",
	"ip":                                   "https back options fragment dns ping offloaded|offloaded 6 large high",
	"ip6":                                  "https6 dns6 ping6",
	"arp":                                  "arp",
	"tcp":                                  "https back https6 options fragment offloaded|offloaded 6 large high",
	"udp":                                  "dns dns6",
	"icmp or icmp6":                        "ping ping6",
	"tcp port 443":                         "https back https6 options offloaded|offloaded 6 large",
	"tcp port https":                       "https back https6 options offloaded|offloaded 6 large",
	"port 443 or 53":                       "https back https6 options dns dns6 offloaded|offloaded 6 large",
	"port (443 or 53)":                     "https back https6 options dns dns6 offloaded|offloaded 6 large",
	"tcp dst port 443":                     "https https6 options offloaded|offloaded 6 large",
	"src port 443":                         "back",
	"ip and dst port 53":                   "dns",
	"tcp portrange 8000-9000":              "high",
	"src or dst portrange 8443":            "high",
	"portrange 400-500":                    "https back https6 options offloaded|offloaded 6 large",
	"src and dst portrange 8000-9000":      "high",
	"host 10.0.0.1":                        "https back options fragment dns arp ping offloaded|offloaded 6 large",
	"10.0.0.1":                             "https back options fragment dns arp ping offloaded|offloaded 6 large",
	"ip host 10.0.0.1":                     "https back options fragment dns ping offloaded|offloaded 6 large",
	"src host 10.0.0.1 and tcp":            "https options fragment offloaded|offloaded 6 large",
	"dst 10.0.0.9":                         "arp",
	"host 2001:db8::1":                     "https6 dns6 ping6",
	"host 10.0.0.2 or 10.0.0.53":           "dns ping",
	"net 192.0.2.0/24":                     "https back options fragment offloaded|offloaded 6 large",
	"net 192.0.2":                          "https back options fragment offloaded|offloaded 6 large",
	"net 192.0.2.0 mask 255.255.255.0":     "https back options fragment offloaded|offloaded 6 large",
	"src net 172.16.0.0/12":                "high",
	"net 2001:db8:1::/48":                  "https6",
	"net ::/0":                             "https6 dns6 ping6",
	"ip6 net 2001:db8::/33 and not udp":    "https6 ping6",
	"ip proto 6":                           "https back options fragment offloaded|offloaded 6 large high",
	`ip proto \udp`:                        "dns",
	`ip6 proto \tcp`:                       "https6",
	"proto 17":                             "dns dns6",
	"ether proto 0x0806":                   "arp",
	`ether proto \ip6`:                     "https6 dns6 ping6",
	"ether host 02:00:00:00:00:02 and ip6": "https6 dns6 ping6",
	"ether src 02:00:00:00:00:02":          "",
	"ether broadcast":                      "arp",
	"broadcast":                            "arp",
	"ether multicast":                      "arp",
	"ip6 multicast":                        "ping6",
	"less 60":                              "https back options fragment dns arp ping offloaded|offloaded 6 tagged high runt nought twice, one offloaded",
	"greater 1000":                         "large",
	"len > 1000":                           "large",
	"len = 3":                              "runt",
	"tcp[tcpflags] & (tcp-syn|tcp-ack) != 0 and port 8443": "high",
	"tcp[13] = 2 and host 172.16.0.1":                      "high",
	"ip[8] = 9 and udp":                                    "dns",
	"tcp[2:2] = 443":                                       "https options offloaded|offloaded 6 large",
	"ether[0] & 1 = 1":                                     "arp",
	"icmp[0] = 0":                                          "ping",
	"icmp6[icmp6type] = 0":                                 "ping6",
	"vlan":                                                 "tagged offloaded|offloaded 6 twice|twice, one offloaded",
	"vlan 5":                                               "tagged offloaded|twice|twice, one offloaded",
	"vlan 6":                                               "offloaded 6",
	"vlan and tcp port 443":                                "tagged offloaded|offloaded 6",
	"vlan 5 and host 10.0.0.1 and tcp port 443":                   "tagged offloaded",
	"vlan 5 or vlan 6":                                            "tagged offloaded|offloaded 6|twice|twice, one offloaded",
	"(vlan 5 or vlan 6) and tcp port 443":                         "tagged offloaded|offloaded 6",
	"vlan 5 and vlan 7 and tcp":                                   "twice|twice, one offloaded",
	"vlan 5 and (vlan 7 and tcp port 443)":                        "twice|twice, one offloaded",
	"vlan 5 and not (vlan 7 and tcp)":                             "tagged offloaded",
	"not vlan and tcp port 443":                                   "https back https6 options large",
	"tcp port 443 or vlan and tcp port 443 and not host 10.0.0.1": "https6",
	"!tcp&&!udp&&!(vlan)":                                         "arp ping ping6",
	"not (tcp or udp or arp) and ip":                              "ping",
	"tcp or udp and host 10.0.0.53":                               "dns",
	"tcp or (udp and host 10.0.0.53)":                             "https back https6 options fragment dns offloaded|offloaded 6 large high",
}

func TestFilters(t *testing.T) {
	all := frames(t)
	names := func(s string) map[string]bool {
		set := make(map[string]bool)
		for _, part := range strings.Split(s, "|") {
			if _, ok := all[part]; ok {
				set[part] = true
				continue
			}
			rest := part
			for name := range all {
				if strings.Contains(name, " ") && strings.Contains(rest, name) {
					set[name] = true
					rest = strings.ReplaceAll(rest, name, "")
				}
			}
			for _, name := range strings.Fields(rest) {
				if _, ok := all[name]; !ok {
					t.Fatalf("no frame %q", name)
				}
				set[name] = true
			}
		}
		delete(set, "")
		return set
	}
	for expression, want := range matches {
		program, err := Compile(expression, Ethernet, 1234)
		if err != nil {
			t.Errorf("%q: %v", expression, err)
			continue
		}
		set := names(want)
		for name, f := range all {
			got := run(t, program, f)
			if fits := got == 1234; fits != set[name] || got != 0 && got != 1234 {
				t.Errorf("%q: %q gives %d", expression, name, got)
			}
		}
		if _, err := bpf.Assemble(program); err != nil {
			t.Errorf("%q: %v", expression, err)
		}
	}
}

func TestRawIP(t *testing.T) {
	all := frames(t)
	for expression, want := range map[string]string{
		"tcp port 443": "https https6 options large", "ip": "https options dns large", "ip6": "https6",
		"host 10.0.0.1": "https options dns large", "arp": "", "net 2001:db8::/33 and tcp": "https6",
	} {
		program, err := Compile(expression, RawIP, 1)
		if err != nil {
			t.Errorf("%q: %v", expression, err)
			continue
		}
		for _, name := range []string{"https", "https6", "options", "dns", "large"} {
			got := run(t, program, frame{all[name].data[14:], -1}) == 1
			if got != strings.Contains(" "+want+" ", " "+name+" ") {
				t.Errorf("%q: %q gives %v", expression, name, got)
			}
		}
	}
	for _, expression := range []string{"ether host 02:00:00:00:00:01", "vlan", "broadcast", "ether[0] = 1", "multicast"} {
		if _, err := Compile(expression, RawIP, 1); !errors.Is(err, errNoEther) {
			t.Errorf("%q: %v", expression, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for expression, want := range map[string]string{
		"tcp port":                         "missing at the end",
		"port 70000":                       `no port at "70000"`,
		"port nonsense-service":            "no port",
		"portrange 5-":                     "no port",
		"host example.com":                 `names are not resolved at "example.com"`,
		"tcp host 10.0.0.1":                "tcp has no addresses",
		"ip6 host 10.0.0.1":                "ip6 has no such address",
		"ip host ::1":                      "ip has no such address",
		"net 10.0.0.1/8":                   "10.0.0.0/8 is meant",
		"net 10.0.0.0 mask 255.0.255.0":    "no prefix",
		"(tcp":                             "closing parenthesis",
		"tcp)":                             "not joined",
		"tcp udp":                          "no address",
		"tcp and":                          "missing at the end",
		"and tcp":                          "no address",
		"not":                              "missing at the end",
		"vlan 5000":                        "up to 4095",
		"ether":                            "missing",
		"ether host 1:2":                   "six bytes",
		"gateway foo":                      `"gateway" is not supported`,
		"mpls 5":                           "not supported",
		"ip broadcast":                     "not supported",
		"tcp[0:3] = 1":                     "1, 2 or 4",
		"tcp[0] + 1 = 2":                   "only & can come before it",
		"tcp[0 = 1":                        "closing bracket",
		"foo[0] = 1":                       "bytes are those of a protocol",
		"less many":                        "number",
		"len":                              "comparison is missing",
		"icmp port 5":                      "icmp has no ports",
		"ip proto 300":                     "no protocol",
		"port 80;":                         "no meaning",
		strings.Repeat("(", 200) + "tcp":   "nested",
		strings.Repeat("not ", 200) + "ip": "nested",
		strings.Repeat("x", 20_000):        "more than 16384 bytes",
	} {
		_, err := Compile(expression, Ethernet, 1)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %q in it", expression, err, want)
		}
	}
	vlans := "vlan and ip" + strings.Repeat(" and (vlan or ip)", 20)
	if _, err := Compile(vlans, Ethernet, 1); !errors.Is(err, errTooLarge) {
		t.Errorf("an expression that doubles twenty times: %v", err)
	}
	if _, err := Compile("host 10.0.0.1"+strings.Repeat(" or 10.0.0.2", 1000), Ethernet, 1); !errors.Is(err, errTooLarge) {
		t.Errorf("a thousand hosts: %v", err)
	}
}

// Jumps over more than 255 instructions work as the short ones do.
func TestFarJumps(t *testing.T) {
	hosts := make([]string, 200)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("10.0.1.%d", i)
	}
	expression := "tcp port 443 and (ip host " + strings.Join(hosts, " or ") + ")"
	yes, no := expression+" or udp port 53", "not ("+expression+") and tcp port 443"
	all := frames(t)
	in := build{[]gopacket.SerializableLayer{eth(typeIP4), ip4("10.0.1.150", "9.9.9.9", isTCP), tcp(9, 443)}}.frame(t)
	for _, tt := range []struct {
		expression string
		f          frame
		want       bool
	}{{yes, in, true}, {yes, all["https"], false}, {yes, all["dns"], true}, {no, in, false}, {no, all["https"], true}} {
		program, err := Compile(tt.expression, Ethernet, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(program) < 400 {
			t.Fatalf("%d instructions", len(program))
		}
		if got := run(t, program, tt.f) == 1; got != tt.want {
			t.Errorf("%.30q…: %v", tt.expression, got)
		}
	}
}

// libpcap finds the same packets, but for tags beside them, of which tcpdump knows nothing here, and
// for what "vlan" does to its alternatives.
func TestLikeLibpcap(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tcpdump is needed in CI")
		}
		t.Skip("tcpdump is not installed")
	}
	all := frames(t)
	rng := rand.New(rand.NewPCG(1, 1))
	var random []frame
	for _, f := range all {
		if f.tag >= 0 {
			continue
		}
		random = append(random, f)
		for range 20 { // each with a byte or two that are others
			g := frame{append([]byte(nil), f.data...), -1}
			for range 2 {
				if len(g.data) > 0 {
					g.data[rng.IntN(len(g.data))] = byte(rng.Uint32())
				}
			}
			random = append(random, g)
		}
	}
	for expression := range matches {
		if strings.Contains(expression, "vlan") && (strings.Contains(expression, "or") || strings.Contains(expression, "not")) ||
			strings.Contains(expression, "!") || expression == "10.0.0.1" {
			continue
		}
		out, err := exec.Command(tcpdump, "-y", "EN10MB", "-ddd", "-O", expression).Output()
		if err != nil {
			t.Errorf("tcpdump: %q: %v", expression, err)
			continue
		}
		theirs := disassembled(t, string(out))
		ours, err := Compile(expression, Ethernet, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range random {
			if a, b := run(t, ours, f) > 0, run(t, theirs, f) > 0; a != b {
				t.Errorf("%q: %v, libpcap %v: % x", expression, a, b, f.data)
				break
			}
		}
	}
}

func disassembled(t *testing.T, text string) []bpf.Instruction {
	t.Helper()
	var raw []bpf.RawInstruction
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) != 4 {
			continue
		}
		var n [4]uint64
		for j := range f {
			n[j], _ = strconv.ParseUint(f[j], 10, 32)
		}
		raw = append(raw, bpf.RawInstruction{Op: uint16(n[0]), Jt: uint8(n[1]), Jf: uint8(n[2]), K: uint32(n[3])})
	}
	program, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("tcpdump's program is not understood:\n%s", text)
	}
	return program
}

// FuzzCompile compiles anything: what compiles assembles, and runs on any packet.
func FuzzCompile(f *testing.F) {
	for expression := range matches {
		f.Add(expression, []byte("packet"))
	}
	f.Fuzz(func(t *testing.T, expression string, packet []byte) {
		for _, link := range []Link{Ethernet, RawIP} {
			program, err := Compile(expression, link, 7)
			if err != nil {
				continue
			}
			if len(program) > maxProgram {
				t.Fatalf("%d instructions", len(program))
			}
			if _, err := bpf.Assemble(program); err != nil {
				t.Fatal(err)
			}
			if n := run(t, program, frame{packet, -1}); n != 0 && n != 7 {
				t.Fatalf("the program returns %d", n)
			}
		}
	})
}
