// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A tap is a packet socket on one interface, as sniff has it.
type tap struct{ fd int }

func newTap(t *testing.T, n *nettest.Namespace, name string) *tap {
	t.Helper()
	var p tap
	ok(t, n.Do(func() (err error) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		// Without a protocol it sees nothing before the filter is there and it is bound.
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Protocol: 0})
	}))
	t.Cleanup(func() { _ = unix.Close(p.fd) })
	ok(t, unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20))
	return &p
}

// start lets packets in.
func (p *tap) start(t *testing.T, n *nettest.Namespace, name string) {
	t.Helper()
	ok(t, n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Protocol: all})
	}))
}

// read takes what has come, and counts the packets between two ends, in each direction, and all others.
func (p *tap) read(t *testing.T, a, b netip.AddrPort) (ab, ba, other int) {
	t.Helper()
	frame := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(p.fd, frame, 0)
		if errors.Is(err, unix.EAGAIN) {
			return ab, ba, other
		}
		ok(t, err)
		switch from, to := ends(frame[:n]); {
		case from == a && to == b:
			ab++
		case from == b && to == a:
			ba++
		default:
			other++
		}
	}
}

func ends(frame []byte) (from, to netip.AddrPort) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	tcp, _ := p.TransportLayer().(*layers.TCP)
	if tcp == nil {
		return from, to
	}
	flow := p.NetworkLayer().NetworkFlow()
	src, _ := netip.AddrFromSlice(flow.Src().Raw())
	dst, _ := netip.AddrFromSlice(flow.Dst().Raw())
	return netip.AddrPortFrom(src, uint16(tcp.SrcPort)), netip.AddrPortFrom(dst, uint16(tcp.DstPort))
}

func local(c net.Conn) netip.AddrPort { return netip.MustParseAddrPort(c.LocalAddr().String()) }

// TestShuntLive shunts one of two flows that a box forwards, until its ends are used again.
func TestShuntLive(t *testing.T) {
	hosts := nettest.Hosts(t)
	accept(t, listen(t, hosts.Server, "tcp", fmt.Sprintf("[::]:%d", serverPort), nil), echo)
	s := newShunt(t, 64)
	p := newTap(t, hosts.Box, nettest.BoxClientLink)
	ok(t, s.Attach(p.fd))
	p.start(t, hosts.Box, nettest.BoxClientLink)
	for _, server := range []netip.AddrPort{
		netip.AddrPortFrom(nettest.Server4, serverPort), netip.AddrPortFrom(nettest.Server6, serverPort),
	} {
		judged, open := converse(t, hosts.Client, server), converse(t, hosts.Client, server)
		client := local(judged)
		if ab, ba, _ := p.read(t, client, server); ab == 0 || ba == 0 {
			t.Fatalf("saw %d and %d packets of a flow that is not shunted", ab, ba)
		}
		ok(t, s.Add(client, server))
		judged.say(t, 200000)
		open.say(t, 200000)
		if ab, ba, other := p.read(t, client, server); ab+ba > 0 || other == 0 {
			t.Errorf("saw %d and %d packets of the shunted flow, and %d others", ab, ba, other)
		}
		judged.end(t)
		count, found, err := s.Flow(client, server)
		if err != nil || !found || count.Bytes < 400000 {
			t.Errorf("shunted %v of it, %v, %v", count, found, err)
		}
		if ab, ba, _ := p.read(t, client, server); ab+ba > 0 {
			t.Errorf("saw %d and %d packets of the shunted flow's end", ab, ba)
		}
		// A SYN on the same ends; the rest of it is of no interest.
		again := packet{from: client, to: server, flags: "S", hardware: hardwareOf(t, hosts.Box, nettest.BoxClientLink)}
		ok(t, hosts.Client.Do(func() error { return sendFrame(nettest.ClientLink, again.bytes(t)) }))
		var seen int
		eventually(t, "the SYN is seen", func() bool {
			ab, _, _ := p.read(t, client, server)
			seen += ab
			return seen > 0
		})
		if _, found, _ := s.Flow(client, server); found {
			t.Error("still shunted after a SYN")
		}
	}
	if st, err := s.Stats(); err != nil || st.Restarted != 2 || st.Added != 2 || st.Shunted.Bytes < 800000 {
		t.Errorf("counted %+v, %v", st, err)
	}
}

// TestShuntLiveFilter has a capture filter that looks at the tag which the kernel took off, and shunts
// flows with tags.
func TestShuntLiveFilter(t *testing.T) {
	hosts := nettest.Hosts(t)
	s := newShunt(t, 64)
	p := newTap(t, hosts.Box, nettest.BoxClientLink)
	raw, err := bpf.Assemble([]bpf.Instruction{ // vlan 100 and vlan proto 0x8100
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 6},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xFFF},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 100, SkipFalse: 3},
		bpf.LoadExtension{Num: bpf.ExtVLANProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x8100, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	ok(t, err)
	ok(t, s.AttachFilter(p.fd, raw))
	p.start(t, hosts.Box, nettest.BoxClientLink)
	hardware := hardwareOf(t, hosts.Box, nettest.BoxClientLink)
	ok(t, hosts.Client.SetMTU(nettest.ClientLink, 9000))
	ok(t, hosts.Box.SetMTU(nettest.BoxClientLink, 9000))
	send := func(flags string, tags ...layers.EthernetType) {
		t.Helper()
		q := packet{from: client4, to: server4, flags: flags, tags: tags, hardware: hardware}
		ok(t, hosts.Client.Do(func() error { return sendFrame(nettest.ClientLink, q.bytes(t)) }))
	}
	scattered := func(tags ...layers.EthernetType) {
		t.Helper()
		q := packet{from: client4, to: server4, flags: "A", tags: tags, hardware: hardware, payload: make([]byte, 8000)}
		ok(t, hosts.Client.Do(func() error {
			return sendFrame(nettest.ClientLink, q.bytes(t), unix.PACKET_VNET_HDR)
		}))
	}
	// Each marker is a packet that is seen; what came before it has been judged.
	marker := func() (flow int) {
		t.Helper()
		q := packet{from: client4, to: netip.AddrPortFrom(server4.Addr(), 1), flags: "A", tags: []layers.EthernetType{0x8100}, hardware: hardware}
		ok(t, hosts.Client.Do(func() error { return sendFrame(nettest.ClientLink, q.bytes(t)) }))
		var seen int
		eventually(t, "a tagged packet is seen", func() bool {
			ab, _, other := p.read(t, client4, server4)
			flow += ab
			seen += other
			return seen > 0
		})
		return flow
	}
	send("A")         // refused by the filter
	send("A", 0x88A8) // this one too
	send("A", 0x8100)
	send("A", 0x8100, 0x8100)
	if got := marker(); got != 2 {
		t.Errorf("saw %d packets, want 2", got)
	}
	ok(t, s.Add(client4, server4))
	send("A", 0x8100)
	send("A", 0x8100, 0x8100)
	send("FA", 0x8100)
	scattered(0x8100)
	scattered(0x8100, 0x8100)
	if got := marker(); got != 0 {
		t.Errorf("saw %d packets of a shunted flow", got)
	}
	send("S", 0x8100)
	send("A", 0x8100)
	if got := marker(); got != 2 {
		t.Errorf("saw %d packets after the flow began again, want 2", got)
	}
}

func hardwareOf(t *testing.T, n *nettest.Namespace, name string) (address net.HardwareAddr) {
	t.Helper()
	ok(t, n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			address = l.Attrs().HardwareAddr
		}
		return err
	}))
	return address
}
