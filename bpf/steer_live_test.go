// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/sightglass/sightglass/internal/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	echo4  = netip.AddrPortFrom(nettest.Server4, serverPort)
	echo6  = netip.AddrPortFrom(nettest.Server6, serverPort)
	greet4 = netip.AddrPortFrom(nettest.Server4, greetPort)
)

// A lab is a client, a box that steers into a relay, and a server.
type lab struct {
	*nettest.Topology
	*Steer
	relay     *relay
	listeners []*net.TCPListener
}

var labRules = Rules{Servers: AllServers(PortSet(serverPort, greetPort))}

func newLab(t *testing.T, way Attachment) *lab {
	hosts := nettest.Hosts(t)
	l := &lab{Topology: hosts}
	l.Steer = newSteer(t, hosts.Box, SteerConfig{Attachment: way, Rules: labRules})
	routeMark(t, hosts.Box)
	accept(t, listen(t, hosts.Server, "tcp", fmt.Sprintf("[::]:%d", serverPort), nil), echo)
	accept(t, listen(t, hosts.Server, "tcp", fmt.Sprintf("[::]:%d", greetPort), nil), greet)
	l.listen(t)
	ok(t, attachBoth(l.Steer))
	return l
}

// listen gives the Steer two new listeners, and the relay to both.
func (l *lab) listen(t *testing.T) {
	t.Helper()
	l.listeners = nil
	for range 2 {
		l.listeners = append(l.listeners, listen(t, l.Box, "tcp", fmt.Sprintf("[::]:%d", proxyPort), transparent(unix.SO_REUSEPORT)))
	}
	l.relay = startRelay(t, l.Box, l.listeners...)
	ok(t, l.SetListeners(l.listeners[0], l.listeners[1]))
}

// caught is how many connections the relay has taken.
func (l *lab) caught() (n int) {
	for _, c := range l.relay.count(l.listeners...) {
		n += c
	}
	return n
}

func (l *lab) stats(t *testing.T) SteerStats {
	t.Helper()
	st, err := l.Stats()
	ok(t, err)
	return st
}

// expect has a conversation, and checks whether the box was in it.
func (l *lab) expect(t *testing.T, to netip.AddrPort, caught bool) {
	t.Helper()
	before := l.caught()
	c := converse(t, l.Client, to)
	c.say(t, 100000)
	c.end(t)
	if got := l.caught() > before; got != caught {
		t.Fatalf("to %v: caught is %v, want %v; %+v", to, got, caught, l.stats(t))
	}
}

func TestSteerTCX(t *testing.T) {
	l := newLab(t, AttachTCX)
	t.Run("through", l.through)
	t.Run("no early demux", l.noEarlyDemux)
	t.Run("own services", l.ownServices)
	t.Run("rules", l.changeRules)
	t.Run("before the box", l.beforeTheBox)
	t.Run("time wait", l.timeWait)
	t.Run("cookies", l.cookies)
	t.Run("path MTU", l.pathMTU)
	t.Run("vlan", l.vlan)
	t.Run("scattered", l.scattered)
	t.Run("fragments", l.fragments)
	t.Run("interface comes back", l.comesBack)
	t.Run("others", l.others)
	t.Run("listeners close", l.listenersClose)
	t.Run("closed", l.closed)
}

func TestSteerClsact(t *testing.T) {
	l := newLab(t, AttachClsact)
	t.Run("through", l.through)
	t.Run("before the box", l.beforeTheBox)
	t.Run("interface comes back", l.comesBack)
	t.Run("others", l.others)
	t.Run("instances", l.instances)
	t.Run("listeners close", l.listenersClose)
	t.Run("closed", l.closed)
}

// through catches both families, keeps their addresses and uses both listeners.
func (l *lab) through(t *testing.T) {
	for i := 0; ; i++ {
		l.expect(t, echo4, true)
		l.expect(t, echo6, true)
		if n := l.relay.count(l.listeners...); n[0] > 0 && n[1] > 0 {
			break
		} else if i == 50 {
			t.Fatalf("%v connections at the listeners", n)
		}
	}
	st := l.stats(t)
	if st.New.Packets != uint64(l.caught()) || st.Established.Packets < st.New.Packets || st.Failed.Packets > 0 {
		t.Errorf("%d connections, counted %+v", l.caught(), st)
	}
	if n := st.Rules[0].Connections + st.Rules[1].Connections; n != uint64(l.caught()) {
		t.Errorf("%d connections, the rules counted %d", l.caught(), n)
	}
}

// noEarlyDemux has IP look up the route of each packet, and the socket after that.
func (l *lab) noEarlyDemux(t *testing.T) {
	ok(t, l.Box.Sysctl("net.ipv4.tcp_early_demux", "0"))
	defer func() { ok(t, l.Box.Sysctl("net.ipv4.tcp_early_demux", "1")) }()
	l.expect(t, echo4, true)
	l.expect(t, echo6, true)
}

// ownServices are never steered to the relay, although they listen where the rules say.
func (l *lab) ownServices(t *testing.T) {
	accept(t, listen(t, l.Box, "tcp", fmt.Sprintf("[::]:%d", serverPort), nil), echo)
	added := netip.MustParseAddr("198.51.100.77")
	for _, own := range []netip.Addr{nettest.BoxClient4, nettest.BoxServer4, nettest.BoxClient6, nettest.BoxServer6} {
		l.expect(t, netip.AddrPortFrom(own, serverPort), false)
	}
	// Nothing tells the program in time, so the kernel's own routes must.
	ok(t, l.Box.AddAddr(nettest.BoxServerLink, netip.PrefixFrom(added, 32)))
	l.expect(t, netip.AddrPortFrom(added, serverPort), false)
	// The service that listens on all addresses does not take what is for a server.
	l.expect(t, echo4, true)
}

// changeRules leaves a server out while a connection to it is open.
func (l *lab) changeRules(t *testing.T) {
	open := converse(t, l.Client, echo4)
	ok(t, l.SetRules(Rules{Servers: append([]Rule{
		{Network: netip.PrefixFrom(nettest.Server4, 32), Exclude: true},
	}, labRules.Servers...)}))
	l.expect(t, echo4, false)
	l.expect(t, echo6, true)
	st := l.stats(t)
	if st.Rules[0].Connections != 1 || st.Excluded.Packets != 1 {
		t.Errorf("counted %+v", st)
	}
	before := st.Established
	open.say(t, 100000)
	if after := l.stats(t).Established; after.Bytes < before.Bytes+200000 {
		t.Errorf("the open connection went elsewhere: %v, then %v", before, after)
	}
	open.end(t)
	ok(t, l.SetRules(labRules))
	l.expect(t, echo4, true)
}

// beforeTheBox has a connection that began before the box did; it goes on as it was.
func (l *lab) beforeTheBox(t *testing.T) {
	ok(t, l.Detach(nettest.BoxClientLink))
	ok(t, l.Detach(nettest.BoxServerLink))
	before := converse(t, l.Client, echo4)
	ok(t, attachBoth(l.Steer))
	l.expect(t, echo4, true)
	caught, st := l.caught(), l.stats(t)
	before.say(t, 100000)
	before.end(t)
	if l.caught() != caught || l.stats(t).Midstream.Packets == st.Midstream.Packets {
		t.Errorf("the connection was not passed: %+v", l.stats(t))
	}
	if err := l.Attach(nettest.BoxClientLink, TowardsClients); err == nil {
		t.Error("attached twice")
	}
	if err := l.Attach("nothing0", TowardsClients); err == nil {
		t.Error("attached to no interface")
	}
}

// timeWait reuses the ends of a connection that the box closed first, while it waits.
func (l *lab) timeWait(t *testing.T) {
	const port = 45678
	from := netip.AddrPortFrom(nettest.Client4, port)
	begun := l.stats(t).New.Packets
	for i := range 3 {
		c, err := dial(l.Client, from.String(), greet4.String())
		ok(t, err)
		if got := retransmits(t, c); got > 0 {
			t.Errorf("%d retransmissions to connect for the time %d", got, i)
		}
		ok(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		conversation{c}.greeted(t)
		// The box's end towards the client is now what waits.
		ok(t, l.Box.WaitSocket(t.Context(), "a socket in TIME_WAIT", func(s nettest.SocketState) bool {
			return s.State == nettest.StateTimeWait && s.LocalPort == greetPort && s.RemotePort == port
		}))
		// Its end towards the server is in nobody's way any more: the next is of the same pair.
		ok(t, l.Box.WaitNoSocket(t.Context(), "the connection to the server", func(s nettest.SocketState) bool {
			return s.LocalPort == port
		}))
	}
	if got := l.stats(t).New.Packets - begun; got != 3 {
		t.Errorf("%d new connections, want 3", got)
	}
}

// greeted reads the greeting and closes after the other end.
func (c conversation) greeted(t *testing.T) {
	t.Helper()
	want := c.LocalAddr().String() + "\n"
	got := make([]byte, len(want)+1)
	n := 0
	for {
		m, err := c.Read(got[n:])
		n += m
		if err != nil || n == len(got) {
			break
		}
	}
	if string(got[:n]) != want {
		t.Fatalf("greeted with %q, want %q", got[:n], want)
	}
	ok(t, c.Close())
}

func tcpInfo(t *testing.T, c *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	var info *unix.TCPInfo
	ok(t, control(c, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	}))
	return info
}

func retransmits(t *testing.T, c *net.TCPConn) uint32 { return tcpInfo(t, c).Total_retrans }

// cookies makes the listeners answer with SYN cookies only.
func (l *lab) cookies(t *testing.T) {
	ok(t, l.Box.Sysctl("net.ipv4.tcp_syncookies", "2"))
	for i, to := range []netip.AddrPort{echo4, echo6} {
		l.expect(t, to, true)
		if got := l.stats(t).Cookies.Packets; got != uint64(i+1) {
			t.Errorf("%d cookies came back, want %d", got, i+1)
		}
	}
	ok(t, l.Box.Sysctl("net.ipv4.tcp_syncookies", "1"))
}

// pathMTU tells the box's connection to the server, which has the client's address, of a narrow path.
func (l *lab) pathMTU(t *testing.T) {
	wire, err := l.Server.Capture(nettest.ServerLink)
	ok(t, err)
	open := converse(t, l.Client, echo4)
	open.say(t, 10)
	frames, err := wire.Stop()
	ok(t, err)
	quote := lastFrom(t, frames, nettest.Client4)
	server := l.relay.newest()
	if mtu := tcpInfo(t, server).Pmtu; mtu != 1500 {
		t.Fatalf("path MTU is %d already", mtu)
	}
	icmp := []byte{3, 4, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(icmp[6:], 1000)
	icmp = append(icmp, quote...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	ok(t, l.Server.Do(func() error { return sendRaw4(unix.IPPROTO_ICMP, nettest.Client4, icmp) }))
	eventually(t, "the path MTU is learnt", func() bool { return tcpInfo(t, server).Pmtu == 1000 })
	if got := l.stats(t).ICMP.Packets; got != 1 {
		t.Errorf("%d ICMP errors, want 1", got)
	}
	open.end(t)
}

// newest is the relay's newest connection to a server.
func (r *relay) newest() *net.TCPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// lastFrom is the beginning of the last IPv4 packet from an address as a router quotes it, its sequence
// number that of the next byte.
func lastFrom(t *testing.T, frames []nettest.Frame, from netip.Addr) (quote []byte) {
	t.Helper()
	for _, f := range frames {
		p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
		ip, _ := p.NetworkLayer().(*layers.IPv4)
		tcp, _ := p.TransportLayer().(*layers.TCP)
		if ip == nil || tcp == nil || !ip.SrcIP.Equal(from.AsSlice()) {
			continue
		}
		quote = append(append([]byte(nil), ip.Contents...), tcp.Contents[:8]...)
		binary.BigEndian.PutUint32(quote[len(ip.Contents)+4:], tcp.Seq+uint32(len(tcp.Payload)))
	}
	if quote == nil {
		t.Fatalf("no packet from %v", from)
	}
	return quote
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return ^uint16(sum)
}

func sendRaw4(protocol int, to netip.Addr, b []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to.As4()})
}

// vlan sends tagged frames. The kernel takes the first tag off before the program sees them.
func (l *lab) vlan(t *testing.T) {
	hardware := hardwareOf(t, l.Box, nettest.BoxClientLink)
	for _, tags := range [][]layers.EthernetType{{0x8100}, {0x88A8, 0x8100}} {
		for _, to := range []netip.AddrPort{echo4, echo6} {
			p := packet{from: client4, to: to, flags: "S", tags: tags, hardware: hardware}
			if to.Addr().Is6() {
				p.from = client6
			}
			begun := l.stats(t).New.Packets
			ok(t, l.Client.Do(func() error { return sendFrame(nettest.ClientLink, p.bytes(t)) }))
			eventually(t, "a tagged SYN is taken", func() bool { return l.stats(t).New.Packets == begun+1 })
		}
	}
}

// fragments has a SYN come in two pieces. The box answers it, with the server's address.
func (l *lab) fragments(t *testing.T) {
	hardware := hardwareOf(t, l.Box, nettest.BoxClientLink)
	for i, to := range []netip.AddrPort{echo4, echo6} {
		whole := packet{from: client4, to: to, flags: "S", tcpOpts: 20, hardware: hardware}
		if to.Addr().Is6() {
			whole.from = netip.AddrPortFrom(nettest.Client6, client6.Port())
		}
		whole.from = netip.AddrPortFrom(whole.from.Addr(), 41000)
		begun := l.stats(t)
		wire, err := l.Client.Capture(nettest.ClientLink)
		ok(t, err)
		for _, piece := range whole.split(t, uint16(7+i)) {
			ok(t, l.Client.Do(func() error { return sendFrame(nettest.ClientLink, piece) }))
		}
		// The client knows nothing of it, so a reset follows.
		eventually(t, "the answer to a SYN in fragments is answered", func() bool {
			return l.stats(t).Established.Packets > begun.Established.Packets
		})
		if got := l.stats(t).Reassembled.Packets - begun.Reassembled.Packets; got != 2 {
			t.Errorf("%d fragments were kept, want 2", got)
		}
		frames, err := wire.Stop()
		ok(t, err)
		streams, err := nettest.Streams(frames)
		ok(t, err)
		if answer := streams[nettest.StreamKey{From: to, To: whole.from}]; answer == nil || !answer.SYN {
			t.Errorf("no SYN came back, only %v", streams)
		}
	}
}

// split makes two fragments of a packet, the first with as little of TCP as the kernel puts together: 8
// bytes, and in IPv6 a whole header (RFC 8200, Section 4.5).
func (p packet) split(t *testing.T, id uint16) (pieces [2][]byte) {
	for i := range pieces {
		q := p
		q.edit = nil
		headers, first := 20, 8
		if p.to.Addr().Is6() {
			headers, first = 48, 24
			q.chain = []extension{fragmentHeader(uint16(i*first/8), 1-byte(i), byte(id))}
		} else {
			q.fragment = &fragment{offset: uint16(i * first / 8), more: i == 0, id: id}
		}
		b := q.body(t)
		body := b[headers:][:first]
		if i == 1 {
			body = b[headers+first:]
		}
		pieces[i] = q.frame(t, shorten(append(append([]byte(nil), b[:headers]...), body...), p.to.Addr().Is6()))
	}
	return pieces
}

// shorten corrects the lengths in an IP header.
func shorten(b []byte, v6 bool) []byte {
	if v6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
	return b
}

// scattered sends frames of which only the Ethernet header is in the linear part of the kernel's buffer.
// The kernel does so with those of more than a page.
func (l *lab) scattered(t *testing.T) {
	for n, name := range map[*nettest.Namespace]string{l.Client: nettest.ClientLink, l.Box: nettest.BoxClientLink} {
		ok(t, n.SetMTU(name, 9000))
	}
	for _, s := range []stack{stacks[0], {v6: true, wrap: func(p *packet) { p.chain = []extension{padding(dst, 4)} }}} {
		p := s.on("S")
		p.payload, p.hardware = make([]byte, 8000), hardwareOf(t, l.Box, nettest.BoxClientLink)
		p.from = netip.AddrPortFrom(p.from.Addr(), 40001)
		begun := l.stats(t).New.Packets
		ok(t, l.Client.Do(func() error { return sendFrame(nettest.ClientLink, p.bytes(t), unix.PACKET_VNET_HDR) }))
		eventually(t, "a scattered SYN is taken", func() bool { return l.stats(t).New.Packets == begun+1 })
	}
}

// sendFrame sends a frame; with PACKET_VNET_HDR so that the kernel keeps its headers apart.
func sendFrame(name string, frame []byte, options ...int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o, 1); err != nil {
			return err
		}
		// struct virtio_net_hdr, with the length of the headers.
		header := binary.NativeEndian.AppendUint16([]byte{0, 0}, 14)
		frame = append(append(header, make([]byte, 6)...), frame...)
	}
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6})
}

// comesBack replaces the cable to the client.
func (l *lab) comesBack(t *testing.T) {
	ok(t, l.Box.Remove(nettest.BoxClientLink))
	ok(t, nettest.Veth(l.Box, nettest.BoxClientLink, l.Client, nettest.ClientLink))
	ok(t, l.Client.AddAddr(nettest.ClientLink, netip.PrefixFrom(nettest.Client4, 24)))
	ok(t, l.Box.AddAddr(nettest.BoxClientLink, netip.PrefixFrom(nettest.BoxClient4, 24)))
	ok(t, l.Client.AddRoute(prefix("0.0.0.0/0"), nettest.BoxClient4))
	// One that begins in between has its SYN answered by both the server and the box, and fails.
	eventually(t, "the new interface is attached to", func() bool {
		before := l.caught()
		c, err := dial(l.Client, "", echo4.String())
		if err == nil {
			_ = c.Close()
		}
		return err == nil && l.caught() > before
	})
	l.expect(t, echo4, true)
}

// others are attached without being named, those that come later, too.
func (l *lab) others(t *testing.T) {
	ok(t, l.Detach(nettest.BoxServerLink))
	ok(t, l.AttachOthers())
	l.expect(t, echo4, true)
	if got := l.names(); fmt.Sprint(got) != "[client0 server0]" {
		t.Errorf("attached to %v", got)
	}
	for _, name := range []string{"later0", "later.1"} {
		ok(t, nettest.Veth(l.Box, name, l.Client, name))
	}
	eventually(t, "new interfaces are attached to", func() bool { return len(l.names()) == 4 })
	ok(t, l.Attach("later0", TowardsClients)) // from now on by its name
	ok(t, l.Box.Remove("later.1"))
	eventually(t, "a removed interface is forgotten", func() bool { return len(l.names()) == 3 })
	ok(t, l.Detach("later0"))
	ok(t, l.Box.Remove("later0"))
	l.expect(t, echo4, true)
}

// names are those of the attached interfaces.
func (l *lab) names() []string {
	l.Steer.mu.Lock()
	defer l.Steer.mu.Unlock()
	return slices.Sorted(maps.Keys(l.attached))
}

// instances have filters of their own on the same interface.
func (l *lab) instances(t *testing.T) {
	other := &attachment{name: nettest.BoxClientLink}
	ok(t, l.Box.Do(func() error {
		link, err := netlink.LinkByName(other.name)
		if err != nil {
			return err
		}
		other.index = link.Attrs().Index
		if err := other.attachClsact(l.objects.SteerServer, filterPrefix+"other"); err != nil {
			return err
		}
		return other.attachClsact(l.objects.SteerServer, filterPrefix+"other")
	}))
	l.expect(t, echo4, true)
	var found []Instance
	ok(t, l.Box.Do(func() (err error) {
		if found, err = Instances(""); err != nil {
			return err
		}
		return RemoveSteering("other", "")
	}))
	if want := "[{  [client0 server0]} {other  [client0]}]"; fmt.Sprint(found) != want {
		t.Errorf("found %v, want %v", found, want)
	}
	l.expect(t, echo4, true)
}

// listenersClose one after the other; connections that are open go on, and new ones pass at the end.
func (l *lab) listenersClose(t *testing.T) {
	open := converse(t, l.Client, echo4)
	ok(t, l.listeners[0].Close())
	for range 8 {
		l.expect(t, echo4, true)
	}
	ok(t, l.listeners[1].Close())
	before := l.stats(t)
	l.expect(t, echo4, false)
	if after := l.stats(t); after.NoListener.Packets != before.NoListener.Packets+1 {
		t.Errorf("%d connections found no listener, %d before", after.NoListener.Packets, before.NoListener.Packets)
	}
	open.say(t, 100000)
	open.end(t)
	l.listen(t)
	l.expect(t, echo4, true)
}

// closed leaves nothing behind.
func (l *lab) closed(t *testing.T) {
	ok(t, l.Steer.Close())
	ok(t, l.Steer.Close())
	before := l.caught()
	converse(t, l.Client, echo4).end(t)
	if l.caught() != before {
		t.Error("caught although closed")
	}
	noFilters(t, l.Box)
	if err := l.SetRules(labRules); err == nil {
		t.Error("SetRules after Close")
	}
	if err := l.SetListeners(); err == nil {
		t.Error("SetListeners after Close")
	}
	if err := l.Attach(nettest.BoxClientLink, TowardsClients); err == nil {
		t.Error("Attach after Close")
	}
	if _, err := l.Stats(); err == nil {
		t.Error("Stats after Close")
	}
}
