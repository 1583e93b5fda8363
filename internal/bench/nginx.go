// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nginxConfig has a process for each processor, as HAProxy has a thread.
const nginxConfig = `daemon off;
worker_processes auto;
user root;
pid @DIR@/nginx.pid;
error_log stderr crit;
load_module ` + nginxModule + `;
events { worker_connections @CONNECTIONS@; }
stream {
    proxy_bind $remote_addr transparent;
    tcp_nodelay on;
    server {
        listen 0.0.0.0:@LISTENER@@MORE@
        proxy_pass $server_addr:$server_port;
    }
}
`

const nginxModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

const (
	// nginxForward forwards without a look, the client's address kept.
	nginxForward = ";"
	// nginxTerminate ends TLS and begins it anew, as haproxyTerminate does.
	nginxTerminate = ` ssl;
        ssl_certificate @CERT@; ssl_certificate_key @KEY@; ssl_protocols TLSv1.2;
        ssl_ciphers @CIPHERS@; ssl_session_tickets off;
        proxy_ssl on; proxy_ssl_protocols TLSv1.2; proxy_ssl_session_reuse off; proxy_ssl_ciphers @CIPHERS@;
        proxy_ssl_verify on; proxy_ssl_trusted_certificate @BEHIND@; proxy_ssl_name @NAME@;`
)

func startNginx(way int, more string) func(*bench) (*child, error) {
	return func(b *bench) (*child, error) {
		l := b.lab
		listener := uint16(port(way, 900))
		config := strings.ReplaceAll(nginxConfig, "@MORE@", more)
		config = l.fill(config, listener, "@DIR@", l.dir, "@CONNECTIONS@", fmt.Sprint(2*b.flows))
		file := l.file(fmt.Sprintf("nginx-%d.conf", way))
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := l.steer(way, listener); err != nil {
			return nil, err
		}
		socket, err := l.transparent(listener)
		if err != nil {
			return nil, err
		}
		defer socket.Close()
		// nginx cannot make its listener transparent, but it takes one over, as of a predecessor.
		cmd := exec.Command("nginx", "-c", file)
		cmd.ExtraFiles = []*os.File{socket}
		cmd.Env = append(os.Environ(), "NGINX=3;")
		c, err := l.start(l.Box, boxLife, cmd)
		if err != nil {
			return nil, err
		}
		// What one process accepts the other would wait for, with all its connections. os/exec has undone this.
		if err := unix.SetNonblock(int(socket.Fd()), true); err != nil {
			return c, err
		}
		return c, c.alive()
	}
}

// transparent listens in the box, for connections to any address. nginx would not know tproxy.Listen's socket
// for its own, which takes IPv6, too.
func (l *lab) transparent(port uint16) (*os.File, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
		if cerr != nil {
			return cerr
		}
		return os.NewSyscallError("setsockopt", err)
	}}
	var socket *os.File
	err := l.Box.Do(func() error {
		ln, err := config.Listen(context.Background(), "tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			return err
		}
		defer ln.Close()
		socket, err = ln.(*net.TCPListener).File()
		return err
	})
	return socket, err
}
