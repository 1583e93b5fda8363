// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sightglass/sightglass/handshake"
)

// wiresharks are the programs of Wireshark that look at what comes out.
var wiresharks = []string{"tshark", "capinfos", "editcap"}

// comparison is a capture file that sightglass and tshark decrypt, each in its way.
type comparison struct {
	t         *testing.T
	ctx       context.Context
	dir       string
	file, key string            // the key may be a key log; "": what the file brings along
	protocols map[uint16]string // of ports where tshark would not find it by itself
	apart     []uint16          // where it needs more than the key

	plain, secrets string // our --pcapng and --with-secrets
}

// compared is one TCP stream of the capture, as each has it. The plaintext is by side.
type compared struct {
	number         int // in the capture
	client, server netip.AddrPort
	ours           [2][]byte // the pcapng file of the plaintext
	tls            [2][]byte // tshark, with the key
	raw            [2][]byte // the TCP stream, where TLS starts late
}

// compare decrypts the capture in all ways.
func (c *comparison) compare() []*compared {
	c.t.Helper()
	c.plain, c.secrets = filepath.Join(c.dir, "plain.pcapng"), filepath.Join(c.dir, "secrets.pcapng")
	path, err := program()
	must(c.t, err)
	option := []string{"--key", c.key}
	switch {
	case c.key == "":
		option = nil
	case strings.HasSuffix(c.key, ".keys"):
		option[0] = "--keylog-in"
	}
	cmd := exec.CommandContext(c.ctx, path, append([]string{"decrypt", "--pcapng", c.plain, "--with-secrets", c.secrets, c.file}, option...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	c.sound(c.plain)
	c.sound(c.secrets)
	c.sameAsOriginal()
	c.alone()
	all := c.streams()
	c.readPlain(all)
	work := make(chan *compared)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for s := range work {
				c.follow(s)
			}
		})
	}
	for _, s := range all {
		work <- s
	}
	close(work)
	workers.Wait()
	return all
}

// tool runs a program to its end and returns what it wrote to its standard output. It may complain of
// nothing.
func (c *comparison) tool(name string, args ...string) string {
	path, err := find(name)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(c.ctx, path, args...)
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.t.Errorf("%s %q: %v\n%s", filepath.Base(path), args, err, stderr.Bytes())
	}
	for line := range strings.Lines(stderr.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "Running as user") {
			c.t.Errorf("%s %q says: %s", filepath.Base(path), args, line)
		}
	}
	return stdout.String()
}

// sound has capinfos look at a file.
func (c *comparison) sound(file string) {
	c.t.Helper()
	said := c.tool("capinfos", file)
	if file == c.plain && !strings.Contains(said, "Strict time order:   True") {
		c.t.Errorf("the plaintext is not in the order of time:\n%s", said)
	}
}

// sameAsOriginal compares every packet of the copy with secrets, and its time, with the capture's, and
// where that is a pcapng file every block.
func (c *comparison) sameAsOriginal() {
	c.t.Helper()
	var packets [2][]byte
	for i, file := range []string{c.file, c.secrets} {
		out := filepath.Join(c.dir, fmt.Sprintf("packets-%d.pcap", i))
		c.tool("editcap", "-F", "nsecpcap", file, out)
		var err error
		packets[i], err = os.ReadFile(out)
		must(c.t, err)
	}
	const header = 24 // of the file
	if len(packets[0]) <= header || len(packets[0]) != len(packets[1]) || !bytes.Equal(packets[0][header:], packets[1][header:]) {
		c.t.Error("the copy with secrets has other packets than the capture")
	}
	original, err := os.ReadFile(c.file)
	must(c.t, err)
	if !bytes.HasPrefix(original, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		return
	}
	copied, err := os.ReadFile(c.secrets)
	must(c.t, err)
	if !blocksIn(copied, original) {
		c.t.Error("the copy with secrets has not every block of the capture, or not in its order")
	}
}

// blocksIn reports whether a pcapng file has the blocks of another in order, and only secrets beside.
func blocksIn(file, original []byte) bool {
	const secrets = 10
	for len(file) > 0 {
		kind, got := nextBlock(&file)
		rest := original
		if _, want := nextBlock(&rest); got != nil && bytes.Equal(got, want) {
			original = rest
		} else if kind != secrets {
			return false
		}
	}
	return len(original) == 0
}

// nextBlock cuts off the first block of a little-endian pcapng file. The length of a section, which may
// be left open, does not count.
func nextBlock(file *[]byte) (kind uint32, block []byte) {
	if len(*file) < 12 {
		*file = nil
		return 0, nil
	}
	kind = binary.LittleEndian.Uint32(*file)
	size := min(int(binary.LittleEndian.Uint32((*file)[4:])), len(*file))
	block, *file = bytes.Clone((*file)[:size]), (*file)[size:]
	if kind == 0x0a0d0d0a && size >= 28 {
		clear(block[16:24])
	}
	return kind, block
}

// streams lists the TCP streams of the capture by their first packets.
func (c *comparison) streams() []*compared {
	c.t.Helper()
	var all []*compared
	for _, f := range c.fields(c.file, "tcp", "tcp.flags.syn", "tcp.flags.ack") {
		if f.stream < len(all) {
			continue
		}
		if f.stream > len(all) {
			c.t.Fatalf("stream %d before stream %d", f.stream, len(all))
		}
		s := &compared{number: f.stream, client: f.from, server: f.to}
		if f.more[1] == "1" && f.more[0] == "1" { // its SYN was not captured, or came late
			s.client, s.server = s.server, s.client
		}
		all = append(all, s)
	}
	return all
}

// packet is what tshark says of a TCP packet.
type packet struct {
	stream   int
	from, to netip.AddrPort
	more     []string
}

func (c *comparison) fields(file, filter string, more ...string) []packet {
	c.t.Helper()
	args := []string{"-r", file, "-n", "-Y", filter, "-T", "fields", "-E", "separator=;", "-E", "occurrence=f",
		"-o", "tcp.desegment_tcp_streams:FALSE"}
	fields := append([]string{"tcp.stream", "ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"}, more...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var all []packet
	for line := range strings.Lines(c.tool("tshark", args...)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ";")
		if len(f) != len(fields) {
			c.t.Fatalf("tshark said %q", line)
		}
		p := packet{more: f[7:]}
		_, err := fmt.Sscan(f[0], &p.stream)
		must(c.t, err)
		p.from, err = addrPort(f[1]+f[2], f[3])
		must(c.t, err)
		p.to, err = addrPort(f[4]+f[5], f[6])
		must(c.t, err)
		all = append(all, p)
	}
	return all
}

// readPlain has tshark read our plaintext. Its packets are in order, so payloads make the stream.
func (c *comparison) readPlain(all []*compared) {
	c.t.Helper()
	ours := map[int]*compared{}
	for _, p := range c.fields(c.plain, "tcp", "tcp.payload", "tcp.analysis.flags") {
		s := ours[p.stream]
		for i := 0; s == nil && i < len(all); i++ {
			if o := all[i]; o.client == p.from && o.server == p.to && !taken(ours, o) {
				s = o
				ours[p.stream] = s
			}
		}
		if s == nil {
			c.t.Fatalf("%v to %v is no stream of the capture", p.from, p.to)
		}
		if p.more[1] != "" {
			c.t.Errorf("the plaintext of %v to %v is no ordinary TCP", p.from, p.to)
		}
		b, err := hex.DecodeString(p.more[0])
		must(c.t, err)
		side := s.side(p.from)
		s.ours[side] = append(s.ours[side], b...)
	}
}

func taken(ours map[int]*compared, s *compared) bool {
	for _, o := range ours {
		if o == s {
			return true
		}
	}
	return false
}

func (s *compared) side(from netip.AddrPort) handshake.Side {
	if from == s.client {
		return handshake.Client
	}
	return handshake.Server
}

// options are those of tshark for the capture, with the key.
func (c *comparison) options() []string {
	options := c.withoutKey()
	switch {
	case c.key == "":
		return options
	case strings.HasSuffix(c.key, ".keys"):
		return append(options, "-o", "tls.keylog_file:"+c.key)
	default:
		return append(options, "-o", fmt.Sprintf(`uat:rsa_keys:"%s",""`, c.key))
	}
}

func (c *comparison) withoutKey() []string {
	options := []string{"-o", "tcp.reassemble_out_of_order:TRUE"} // as we do by ourselves
	for port, protocol := range c.protocols {
		options = append(options, "-d", fmt.Sprintf("tcp.port==%d,%s", port, protocol))
	}
	return options
}

// follow has tshark decrypt a stream.
func (c *comparison) follow(s *compared) {
	s.tls = c.followed(s, "tls", c.options())
	for side := range s.ours {
		if len(s.ours[side]) > len(s.tls[side]) {
			s.raw = c.followed(s, "tcp", nil)
			return
		}
	}
}

// alone has tshark dump all packets, and all that it decrypts from them: of the copy with secrets and
// without any key, as of the capture with the key.
func (c *comparison) alone() {
	c.t.Helper()
	filter := "tcp"
	for _, port := range c.apart {
		filter += fmt.Sprintf(" && !(tcp.port==%d)", port)
	}
	dump := func(file string, options []string) string {
		return c.tool("tshark", append([]string{"-r", file, "-n", "-x", "-Y", filter}, options...)...)
	}
	want, got := dump(c.file, c.options()), dump(c.secrets, c.withoutKey())
	const word = "\nDecrypted TLS ("
	if n := strings.Count(want, word); n == 0 || want != got {
		c.t.Errorf("tshark decrypts %d times with the key, and %d times without it from the copy with secrets", n, strings.Count(got, word))
	}
}

// followed is what tshark shows of one stream.
func (c *comparison) followed(s *compared, kind string, options []string) (sides [2][]byte) {
	args := append([]string{"-r", c.file, "-n", "-q", "-z", fmt.Sprintf("follow,%s,raw,%d", kind, s.number)}, options...)
	nodes := [2]handshake.Side{handshake.Client, handshake.Server}
	for line := range strings.Lines(c.tool("tshark", args...)) {
		line = strings.TrimSuffix(line, "\n")
		if node, ok := strings.CutPrefix(line, "Node 0: "); ok {
			if node == s.server.String() { // it takes the first that it hears for the client
				nodes[0], nodes[1] = nodes[1], nodes[0]
			} else if node != s.client.String() && node != ":0" {
				c.t.Errorf("stream %d: %q is neither %v nor %v", s.number, node, s.client, s.server)
			}
		}
		side := nodes[0]
		if text, ok := strings.CutPrefix(line, "\t"); ok {
			line, side = text, nodes[1]
		}
		if b, err := hex.DecodeString(line); err == nil {
			sides[side] = append(sides[side], b...)
		}
	}
	return sides
}

// judge compares a stream's plaintext. Where tshark cannot read it, it says why.
func (s *compared) judge(t *testing.T, unknown string) {
	t.Helper()
	for side := range s.ours {
		ours, tls := s.ours[side], s.tls[side]
		late := len(ours) - len(tls)
		same := late >= 0 && bytes.HasSuffix(ours, tls) && (late == 0 || bytes.HasPrefix(s.raw[side], ours[:late]))
		switch {
		case unknown != "" && len(ours) > 0 && same:
			t.Errorf("stream %d, %v: tshark can read it, though it is said that %s", s.number, handshake.Side(side), unknown)
		case unknown == "" && !same:
			t.Errorf("stream %d, %v, of %v: we read %d bytes, tshark %d:\n%.200q\n%.200q", s.number, handshake.Side(side), s.client,
				len(ours), len(tls), ours, tls)
		}
	}
}
