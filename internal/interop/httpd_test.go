// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sightglass/sightglass/handshake"
)

// The suites that only a library's users choose from are OpenSSL's.
var (
	nginxPeer = &peer{
		name:        "nginx",
		programs:    []string{"nginx"},
		serve:       serveNginx,
		versions:    opensslVersions[1:],
		suites:      keys(opensslSuites),
		has:         opensslHas,
		serverTurns: emsEtM,
		extensions:  emsEtM,
	}
	apachePeer = &peer{
		name:     "Apache",
		programs: []string{"apache2"},
		serve:    serveApache,
		versions: opensslVersions[1:],
		suites:   keys(opensslSuites),
		has: func(v handshake.Version, suite uint16) bool { // mod_ssl adds !eNULL to any list
			s, _ := handshake.SuiteByID(suite)
			return s.Cipher != handshake.CipherNULL && opensslHas(v, suite)
		},
		serverTurns: emsEtM,
		extensions:  emsEtM,
	}
	// curl asks for no tickets, and resumes within one run.
	curlPeer = &peer{
		name:        "curl",
		programs:    []string{"curl"},
		visit:       visitCurl,
		versions:    opensslVersions[1:],
		suites:      keys(opensslSuites),
		has:         opensslHas,
		clientTurns: emsEtM,
		extensions:  emsEtM,
		noTickets:   true,
	}
)

// page is what nginx and Apache answer with.
const page = "a page of plain text\n"

// opensslList returns the ciphers of a server.
func opensslList(s serving) string {
	if s.ephemeral {
		return opensslEphemeral
	}
	return opensslRSA
}

func serveNginx(ctx context.Context, l *lab, s serving) (*server, error) {
	env, err := opensslEnv(s.off)
	if err != nil {
		return nil, err
	}
	dir := l.path("nginx")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	id := s.id(l)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("daemon off; master_process off; pid %s/pid; error_log %s/error.log info;", dir, dir)
	line("events {} http { access_log off;")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		line("%s_temp_path %s/%s;", kind, dir, kind)
	}
	line("server { listen 0.0.0.0:%d ssl; listen [::]:%d ssl;", s.port, s.port)
	chain := id.certFile
	if s.chainFile != "" {
		chain = s.chainFile
	}
	line("ssl_certificate %s; ssl_certificate_key %s;", chain, id.keyFile)
	protocols := "TLSv1 TLSv1.1 TLSv1.2"
	if s.tls13 {
		protocols = "TLSv1.3"
	}
	line("ssl_protocols %s; ssl_ciphers %s; ssl_session_cache shared:all:16m;", protocols, opensslList(s))
	if s.auth == required {
		line("ssl_client_certificate %s; ssl_verify_client on;", l.pki.ca.certFile)
	}
	if s.noTickets {
		line("ssl_session_tickets off;")
	}
	line("default_type text/plain; location / { add_header X-Client \"$ssl_client_s_dn\"; return 200 \"%s\"; } } }", strings.TrimSpace(page))
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	srv, err := l.serve(ctx, s.port, command{name: "nginx", args: []string{"-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log")}, env: env})
	return logged(srv, filepath.Join(dir, "error.log")), err
}

// logged adds what a server writes to a file to what it said.
func logged(s *server, path string) *server {
	if s == nil {
		return nil
	}
	said := s.log
	s.log = func() string {
		text, _ := os.ReadFile(path)
		return said() + string(text)
	}
	return s
}

const apacheModules = "/usr/lib/apache2/modules"

// serveApache starts httpd with mod_ssl in one process. Under /late it asks for the client's
// certificate once the request is known, or for other suites.
func serveApache(ctx context.Context, l *lab, s serving) (*server, error) {
	env, err := opensslEnv(s.off)
	if err != nil {
		return nil, err
	}
	dir := l.path("apache")
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
		return nil, err
	}
	body := filepath.Join(dir, "files", "page.txt")
	id := s.id(l)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, m := range []string{"mpm_event", "authz_core", "alias", "mime", "headers", "socache_shmcb", "ssl"} {
		line("LoadModule %s_module %s/mod_%s.so", m, apacheModules, m)
	}
	line("ServerRoot %s\nServerName %s\nPidFile %s/pid\nDefaultRuntimeDir %s\nErrorLog %s/error.log\nLogLevel ssl:info", dir, serverName, dir, dir, dir)
	line("Listen 0.0.0.0:%d\nListen [::]:%d\nTypesConfig /dev/null\nForceType text/plain", s.port, s.port)
	line("AliasMatch ^/ %s\n<Directory %s/files>\nRequire all granted\n</Directory>", body, dir)
	line("SSLEngine on\nSSLSessionCache shmcb:%s/cache(512000)\nSSLCertificateFile %s\nSSLCertificateKeyFile %s\nSSLCACertificateFile %s", dir, id.certFile, id.keyFile, l.pki.ca.certFile)
	if s.tls13 {
		line("SSLProtocol TLSv1.3")
	} else {
		line("SSLProtocol all -TLSv1.3")
	}
	line("SSLCipherSuite %s\nHeader set X-Client expr=%%{SSL_CLIENT_S_DN}", opensslList(s))
	if s.noTickets {
		line("SSLSessionTickets off")
	}
	switch s.auth {
	case required:
		line("SSLVerifyClient require\nSSLVerifyDepth 2")
	case late:
		line("<Location /late>\nSSLVerifyClient require\nSSLVerifyDepth 2")
		if s.lateSuite != 0 {
			line("SSLCipherSuite %s", lateCipher(s.lateSuite))
		}
		line("</Location>")
	}
	conf := filepath.Join(dir, "httpd.conf")
	for path, content := range map[string]string{conf: b.String(), body: page} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	srv, err := l.serve(ctx, s.port, command{name: "apache2", args: []string{"-X", "-d", dir, "-f", conf}, env: env})
	return logged(srv, filepath.Join(dir, "error.log")), err
}

// lateCipher names a suite for OpenSSL, an ephemeral one included.
func lateCipher(id uint16) string {
	if name, ok := opensslSuites[id]; ok {
		return name
	}
	return opensslEphemeral
}

var statusLine = regexp.MustCompile(`HTTP/1\.[01] \d`)

// visitCurl fetches the path; to resume, twice in one run, over two connections.
func visitCurl(ctx context.Context, l *lab, v visiting) visited {
	if v.resume == byTicket {
		return visited{err: errors.New("curl asks for no tickets")}
	}
	env, err := opensslEnv(v.off)
	if err != nil {
		return visited{err: err}
	}
	cipher, err := opensslCipher(v)
	if err != nil {
		return visited{err: err}
	}
	minor := map[handshake.Version]string{handshake.TLS10: "1.0", handshake.TLS11: "1.1", handshake.TLS12: "1.2", handshake.TLS13: "1.3"}[v.version]
	host := v.to.Addr().String()
	if v.to.Addr().Is6() {
		host = "[" + host + "]"
	}
	url := fmt.Sprintf("https://%s:%d%s", serverName, v.to.Port(), v.path)
	args := []string{"--silent", "--show-error", "--verbose", "--include", "--http1.1", "--header", "Connection: close",
		"--tlsv" + minor, "--tls-max", minor,
		"--ciphers", cipher, "--cacert", l.pki.ca.certFile, "--resolve", fmt.Sprintf("%s:%d:%s", serverName, v.to.Port(), host)}
	if v.certificate {
		args = append(args, "--cert", l.pki.client.certFile, "--key", l.pki.client.keyFile)
	}
	args = append(args, url)
	if v.resume != full {
		args = append(args, url)
	}
	p, err := l.run(ctx, v.host(l), command{name: "curl", args: args, env: env})
	if p == nil {
		return visited{err: err}
	}
	answer := p.stdout.Bytes()
	if all := statusLine.FindAllIndex(answer, -1); v.resume != full && len(all) > 1 {
		answer = answer[all[len(all)-1][0]:] // the second of two
	}
	return visited{
		path:   v.path,
		answer: answer,
		// It speaks of reuse when it only offers a session; one without a certificate was resumed.
		resumed: v.resume != full && bytes.Count(p.stderr.Bytes(), []byte("(IN), TLS handshake, Certificate (11)")) == 1,
		log:     p.said(),
		err:     answered(answer, err),
	}
}
