// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/internal/forge"
)

// makeCapture records connections of a Go TLS client with a Go TLS server as a pcap file.
//
//	makecap [flags] FILE
func makeCapture(args []string) error {
	flags := flag.NewFlagSet("makecap", flag.ContinueOnError)
	cert := flags.String("cert", "server", "the server's `NAME`.pem and .key")
	kind := flags.String("kind", "rsa", "rsa, ecdhe, tls13 or plain")
	resume := flags.Bool("resume", false, "let later connections resume the first by ticket")
	mutual := flags.Bool("mutual", false, "with a client certificate")
	n := flags.Int("n", 1, "connections")
	size := flags.Int("size", 100, "bytes of each response's body")
	keyLog := flags.String("keylog", "", "write the client's key log")
	again := flags.String("again", "", "with a second handshake, which resumes the first or asks for no client certificate: resumed or anyone")
	skip := flags.Int("skip", 0, "leave out the first packets")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert+".pem", *cert+".key")
	if err != nil {
		return err
	}
	server := &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "server.example"}
	switch *kind {
	case "rsa", "plain":
		server.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		client.CipherSuites = server.CipherSuites
	case "ecdhe":
		server.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	case "tls13":
		server.MaxVersion = tls.VersionTLS13
	}
	if *mutual {
		server.ClientAuth = tls.RequireAnyClientCert
		alice, err := tls.LoadX509KeyPair("client.pem", "client.key")
		if err != nil {
			return err
		}
		client.Certificates = []tls.Certificate{alice}
	}
	if *resume {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	if *keyLog != "" {
		f, err := os.Create(*keyLog)
		if err != nil {
			return err
		}
		defer f.Close()
		client.KeyLogWriter = f
	}
	var c pcapFile
	for i := range *n {
		record := &recording{}
		if *kind == "plain" {
			client, server = nil, nil
		}
		if *again != "" {
			record.chunks = renegotiated(pair, client.Certificates[0], *again == "resumed")
		} else if err := exchange(record, client, server, i, *size); err != nil {
			return err
		}
		c.connection(i, record.chunks)
	}
	c.packets = c.packets[min(*skip, len(c.packets)):]
	return os.WriteFile(flags.Arg(0), c.bytes(), 0o600)
}

// chunk is what one side wrote at once.
type chunk struct {
	fromServer bool
	data       []byte
}

// recording keeps what crosses a pair of connections, in order.
type recording struct {
	mu     sync.Mutex
	chunks []chunk
}

type recordedConn struct {
	net.Conn
	r          *recording
	fromServer bool
}

func (c recordedConn) Write(b []byte) (int, error) {
	c.r.mu.Lock()
	c.r.chunks = append(c.r.chunks, chunk{c.fromServer, bytes.Clone(b)})
	c.r.mu.Unlock()
	return c.Conn.Write(b)
}

// exchange has the client ask for /request-I and the server answer; a nil configuration is no TLS.
func exchange(r *recording, client, server *tls.Config, i, size int) error {
	a, b := net.Pipe()
	deadline := time.Now().Add(20 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	var clientConn, serverConn net.Conn = recordedConn{a, r, false}, recordedConn{b, r, true}
	if client != nil {
		clientConn, serverConn = tls.Client(clientConn, client), tls.Server(serverConn, server)
	}
	served := make(chan error, 1)
	go func() { served <- answer(serverConn, i, size) }()
	_, err := fmt.Fprintf(clientConn, "GET /request-%d HTTP/1.1\r\nHost: server.example\r\n\r\n", i)
	if err == nil {
		_, err = io.ReadAll(clientConn)
	}
	clientConn.Close()
	return errors.Join(err, <-served)
}

// renegotiated is a connection with two handshakes, the first of them mutual.
func renegotiated(server, client tls.Certificate, resumed bool) []chunk {
	o := forge.Options{
		Version: handshake.TLS12, Suite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256, Secure: true, SessionID: bytes.Repeat([]byte{1}, 32),
		Key: server.PrivateKey.(*rsa.PrivateKey), Chain: server.Certificate,
		ClientKey: client.PrivateKey.(*rsa.PrivateKey), ClientChain: client.Certificate,
	}
	conn := forge.New(o)
	if resumed {
		o.Resume = conn.State(false)
	} else {
		o.ClientKey, o.ClientChain = nil, nil
	}
	conn.Handshake(o)
	conn.Send(handshake.Client, []byte("GET /again HTTP/1.1\r\nHost: server.example\r\n\r\n"))
	conn.Send(handshake.Server, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	var chunks []chunk
	for _, s := range conn.Segments {
		chunks = append(chunks, chunk{s.Side == handshake.Server, s.Data})
	}
	return chunks
}

func answer(conn net.Conn, i, size int) error {
	defer conn.Close()
	request := make([]byte, 0, 256)
	for buf := make([]byte, 256); !bytes.HasSuffix(request, []byte("\r\n\r\n")); {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		request = append(request, buf[:n]...)
	}
	body := strings.Repeat(fmt.Sprintf("response %d ", i), size/11+1)[:size]
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", size, body)
	return err
}

// pcapFile makes well-formed packets: Ethernet, IPv4, TCP.
type pcapFile struct{ packets [][]byte }

// connection adds one: client 192.0.2.1, a port of its own; server 198.51.100.1, port 443.
func (p *pcapFile) connection(i int, chunks []chunk) {
	ends := [2]netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(50000+i)),
		netip.MustParseAddrPort("198.51.100.1:443"),
	}
	seq := [2]uint32{1000, 5000}
	send := func(from int, flags byte, data []byte) {
		p.packets = append(p.packets, segment(ends[from], ends[1-from], seq[from], seq[1-from], flags, data))
		seq[from] += uint32(len(data))
		if flags&(flagSYN|flagFIN) != 0 {
			seq[from]++
		}
	}
	send(0, flagSYN, nil)
	send(1, flagSYN|flagACK, nil)
	send(0, flagACK, nil)
	for _, c := range chunks {
		from := 0
		if c.fromServer {
			from = 1
		}
		for part := range slices.Chunk(c.data, 1400) {
			send(from, flagACK|flagPSH, part)
		}
	}
	send(0, flagFIN|flagACK, nil)
	send(1, flagFIN|flagACK, nil)
	send(0, flagACK, nil)
}

const (
	flagFIN = 1
	flagSYN = 2
	flagPSH = 8
	flagACK = 16
)

func segment(from, to netip.AddrPort, seq, ack uint32, flags byte, data []byte) []byte {
	if flags&flagACK == 0 {
		ack = 0
	}
	frame := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, 0x08, 0x00)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(data)))
	ip = append(append(ip, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	tcp := binary.BigEndian.AppendUint16(nil, from.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, to.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, seq)
	tcp = binary.BigEndian.AppendUint32(tcp, ack)
	tcp = append(tcp, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	tcp = append(tcp, data...)
	pseudo := append(slices.Clone(ip[12:20]), 0, 6, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(^checksum(0, pseudo), tcp))
	return append(append(frame, ip...), tcp...)
}

// checksum is the Internet's (RFC 1071), continued from sum.
func checksum(sum uint16, b []byte) uint16 {
	total := uint32(sum)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		total += word
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}

// bytes is the file, its packets a millisecond apart.
func (p *pcapFile) bytes() []byte {
	out := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	out = append(out, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for i, packet := range p.packets {
		out = binary.LittleEndian.AppendUint32(out, uint32(1700000000+i/1000))
		out = binary.LittleEndian.AppendUint32(out, uint32(i%1000*1000))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(packet)))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(packet)))
		out = append(out, packet...)
	}
	return out
}
