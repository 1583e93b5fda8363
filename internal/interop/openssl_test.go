// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sightglass/sightglass/handshake"
)

// opensslSuites are the suites with RSA key exchange that some build of OpenSSL 3 has.
var opensslSuites = map[uint16]string{
	0x0001: "NULL-MD5", 0x0002: "NULL-SHA", 0x003b: "NULL-SHA256",
	0x0004: "RC4-MD5", 0x0005: "RC4-SHA", 0x000a: "DES-CBC3-SHA",
	0x0007: "IDEA-CBC-SHA", 0x0096: "SEED-SHA",
	0x002f: "AES128-SHA", 0x0035: "AES256-SHA", 0x003c: "AES128-SHA256", 0x003d: "AES256-SHA256",
	0x009c: "AES128-GCM-SHA256", 0x009d: "AES256-GCM-SHA384",
	0xc09c: "AES128-CCM", 0xc09d: "AES256-CCM", 0xc0a0: "AES128-CCM8", 0xc0a1: "AES256-CCM8",
	0x0041: "CAMELLIA128-SHA", 0x0084: "CAMELLIA256-SHA",
	0x00ba: "CAMELLIA128-SHA256", 0x00c0: "CAMELLIA256-SHA256",
	0xc050: "ARIA128-GCM-SHA256", 0xc051: "ARIA256-GCM-SHA384",
}

// The cipher lists that OpenSSL's users are given. Security level 0 lets the old ones in.
const (
	opensslRSA       = "kRSA:eNULL:@SECLEVEL=0"
	opensslEphemeral = "kECDHE:kDHE:@SECLEVEL=0"
	opensslAll       = "ALL:eNULL:@SECLEVEL=0"
)

var opensslVersions = []handshake.Version{handshake.SSL30, handshake.TLS10, handshake.TLS11, handshake.TLS12}

var opensslPeer = &peer{
	name:        "OpenSSL",
	programs:    []string{"openssl"},
	serve:       serveOpenSSL,
	visit:       visitOpenSSL,
	versions:    opensslVersions,
	suites:      keys(opensslSuites),
	has:         opensslHas,
	serverTurns: emsEtM,
	clientTurns: emsEtM,
	extensions:  emsEtM,
}

// keys returns a table's keys in order.
func keys[V any](m map[uint16]V) []uint16 {
	var all []uint16
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// opensslEnv makes the library as permissive as it was built to be, for whichever program uses it.
func opensslEnv(off switches) ([]string, error) {
	path, err := opensslConfs[off]()
	return []string{"OPENSSL_CONF=" + path}, err
}

// opensslConfs are its configuration files, each written once: a program may read one at any time.
var opensslConfs = map[switches]func() (string, error){
	{}:                     opensslConf(switches{}),
	{ems: true}:            opensslConf(switches{ems: true}, "-ExtendedMasterSecret"),
	{etm: true}:            opensslConf(switches{etm: true}, "-EncryptThenMac"),
	{ems: true, etm: true}: opensslConf(switches{ems: true, etm: true}, "-ExtendedMasterSecret", "-EncryptThenMac"),
}

func opensslConf(off switches, options ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		conf := `openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = all
[all]
MinProtocol = None
CipherString = ` + opensslAll + "\n"
		if len(options) > 0 {
			conf += "Options = " + strings.Join(options, ",") + "\n"
		}
		path := filepath.Join(scratch, fmt.Sprintf("openssl-%t-%t.cnf", off.ems, off.etm))
		return path, os.WriteFile(path, []byte(conf), 0o644)
	})
}

// opensslVersion is the flag that allows one version and no other.
func opensslVersion(v handshake.Version) string {
	switch v {
	case handshake.SSL30:
		return "-ssl3"
	case handshake.TLS10:
		return "-tls1"
	case handshake.TLS11:
		return "-tls1_1"
	case handshake.TLS13:
		return "-tls1_3"
	default:
		return "-tls1_2"
	}
}

// serveOpenSSL starts s_server, which answers each request with a page about the session.
func serveOpenSSL(ctx context.Context, l *lab, s serving) (*server, error) {
	env, err := opensslEnv(s.off)
	if err != nil {
		return nil, err
	}
	id := s.id(l)
	args := []string{"s_server", "-accept", strconv.Itoa(int(s.port)), "-www", "-CAfile", l.pki.ca.certFile,
		"-cert", id.certFile, "-key", id.keyFile, "-client_renegotiation"}
	if s.chainFile != "" {
		args = append(args, "-cert_chain", s.chainFile)
	}
	switch {
	case s.tls13:
		args = append(args, "-tls1_3")
	case s.ephemeral:
		args = append(args, "-no_tls1_3", "-cipher", opensslEphemeral)
	case s.lateSuite != 0: // the client's choice
		args = append(args, "-no_tls1_3", "-cipher", opensslAll)
	default:
		args = append(args, "-no_tls1_3", "-cipher", opensslRSA)
	}
	if s.auth == required {
		args = append(args, "-Verify", "2", "-verify_return_error")
	}
	if s.noTickets {
		args = append(args, "-no_ticket")
	}
	args = append(args, s.extra...)
	return l.serve(ctx, s.port, command{name: "openssl", args: args, env: env})
}

// opensslCipher returns the list a client offers.
func opensslCipher(v visiting) (string, error) {
	switch {
	case v.ephemeral:
		return opensslAll, nil
	case v.suite == 0:
		return opensslRSA, nil
	}
	name, ok := opensslSuites[v.suite]
	if !ok {
		return "", fmt.Errorf("OpenSSL has no name for %s", handshake.SuiteName(v.suite))
	}
	return name + ":@SECLEVEL=0", nil
}

// sclient returns the command that makes one connection; extra arguments come last.
func sclient(l *lab, v visiting, extra ...string) (command, error) {
	env, err := opensslEnv(v.off)
	if err != nil {
		return command{}, err
	}
	cipher, err := opensslCipher(v)
	if err != nil {
		return command{}, err
	}
	args := []string{"s_client", "-connect", v.to.String(), "-servername", serverName, opensslVersion(v.version),
		"-cipher", cipher, "-CAfile", l.pki.ca.certFile, "-verify_return_error", "-verify_hostname", serverName}
	if v.certificate {
		args = append(args, "-cert", l.pki.client.certFile, "-key", l.pki.client.keyFile)
	}
	if v.resume != byTicket {
		args = append(args, "-no_ticket")
	}
	return command{name: "openssl", args: append(args, extra...), env: env, stdin: strings.NewReader(v.request())}, nil
}

// visitOpenSSL connects with s_client; to resume, twice.
func visitOpenSSL(ctx context.Context, l *lab, v visiting) visited {
	if v.resume == full {
		return visitSClient(ctx, l, v)
	}
	session := l.path("session")
	first := visitSClient(ctx, l, v, "-sess_out", session)
	if first.err != nil {
		return first
	}
	return visitSClient(ctx, l, v, "-sess_in", session)
}

func visitSClient(ctx context.Context, l *lab, v visiting, extra ...string) visited {
	messages := l.path("messages")
	c, err := sclient(l, v, append([]string{"-quiet", "-msg", "-msgfile", messages}, extra...)...)
	if err != nil {
		return visited{err: err}
	}
	p, err := l.run(ctx, v.host(l), c)
	if p == nil {
		return visited{err: err}
	}
	// A resumed handshake has no Certificate from the server.
	text, _ := os.ReadFile(messages)
	done, certificate := bytes.Contains(text, []byte(", Finished")), bytes.Contains(text, []byte("<<< TLS 1"))
	if certificate {
		certificate = containsMessage(text, "<<<", ", Certificate\n")
	}
	return visited{path: v.path, answer: p.stdout.Bytes(), resumed: done && !certificate, log: p.said(), err: answered(p.stdout.Bytes(), err)}
}

// containsMessage looks for a message of one direction in what s_client -msg wrote.
func containsMessage(text []byte, direction, name string) bool {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte(direction)) && bytes.HasSuffix(line, []byte(name)) {
			return true
		}
	}
	return false
}

// answered turns a client that ended well, but without an answer, into an error.
func answered(answer []byte, err error) error {
	if err == nil && !bytes.Contains(answer, []byte("HTTP/1.")) {
		return fmt.Errorf("no answer")
	}
	return err
}

// opensslBuild is what this machine's OpenSSL has, by version.
var opensslBuild = sync.OnceValue(func() map[handshake.Version]string {
	all := map[handshake.Version]string{}
	env, err := opensslEnv(switches{})
	if err != nil {
		return all
	}
	for _, v := range opensslVersions {
		cmd := exec.Command("openssl", "ciphers", "-s", opensslVersion(v), opensslAll)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.Output(); err == nil {
			all[v] = ":" + strings.TrimSpace(string(out)) + ":"
		}
	}
	return all
})

func opensslHas(v handshake.Version, suite uint16) bool {
	return strings.Contains(opensslBuild()[v], ":"+opensslSuites[suite]+":")
}
