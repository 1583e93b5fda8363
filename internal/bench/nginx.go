// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// nginxHead makes one process of nginx, whose clock is the box's.
const nginxHead = `daemon off;
master_process off;
user root;
pid @DIR@/nginx.pid;
error_log stderr crit;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections @CONNECTIONS@; }
stream {
    proxy_bind $remote_addr transparent;
    tcp_nodelay on;
`

// nginxServer forwards without a look, the client's address kept. nginx has no transparent listeners, so
// connections are redirected to it, and it is told where they went. Both legs of a connection are then known to
// the same translation of addresses, which has no room for thousands in a row: nginx is only sent in bulk.
const nginxServer = `    server { listen 0.0.0.0:@PORT@; proxy_pass @SERVER@; }
`

// nginxTerminate ends TLS and begins it anew, as haproxyTerminate does.
const nginxTerminate = `    server {
        listen 0.0.0.0:@PORT@ ssl;
        ssl_certificate @CERT@; ssl_certificate_key @KEY@; ssl_protocols TLSv1.2;
        ssl_ciphers AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0; ssl_session_tickets off;
        proxy_pass @SERVER@;
        proxy_ssl on; proxy_ssl_protocols TLSv1.2; proxy_ssl_session_reuse off;
        proxy_ssl_ciphers AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0;
    }
`

func startNginx(b *bench) (*child, error) {
	config := strings.NewReplacer("@DIR@", b.lab.dir, "@CONNECTIONS@", fmt.Sprint(2*b.flows)).Replace(nginxHead)
	for kind, server := range map[int]string{portTLS: nginxServer, portPlain: nginxServer, portWeak: nginxTerminate} {
		config += strings.NewReplacer("@PORT@", fmt.Sprint(port(wayNginx, kind)), "@SERVER@", b.lab.address(wayNginx, kind),
			"@CERT@", b.lab.file(serverCert), "@KEY@", b.lab.file(serverKey)).Replace(server)
	}
	file := b.lab.file("nginx.conf")
	if err := os.WriteFile(file, []byte(config+"}\n"), 0o600); err != nil {
		return nil, err
	}
	if err := b.lab.redirect(wayNginx); err != nil {
		return nil, err
	}
	c, err := start(b.lab.Box, boxLife, exec.Command("nginx", "-c", file))
	if err != nil {
		return nil, err
	}
	return c, b.listening(c, uint16(port(wayNginx, portTLS)))
}
