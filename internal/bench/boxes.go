// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sightglass/sightglass/internal/nettest"
)

// box is a program between the client and the server.
type box struct {
	name  string
	way   int
	start func(*bench) (*child, error) // nil: no program
	reads bool                         // it writes a digest of the plaintext
	seals bool                         // it ends the TLS connection and begins another
	awake bool                         // the machine's processors do not sleep meanwhile
}

// boxLife bounds the life of a box.
const boxLife = 5 * time.Minute

var (
	directBox     = &box{name: "no box", way: wayDirect}
	sightglassBox = &box{name: "sightglass", way: waySightglass, start: startSightglass, reads: true}
	haproxyBox    = &box{name: "HAProxy", way: wayHAProxy, start: startHAProxy(wayHAProxy, haproxySplice)}
	awakeBox      = &box{name: "HAProxy, processors kept awake", way: wayHAProxy, start: startHAProxy(wayHAProxy, haproxySplice), awake: true}
	copyingBox    = &box{name: "HAProxy, copying", way: wayHAProxy, start: startHAProxy(wayHAProxy, haproxyCopy)}
	nginxBox      = &box{name: "nginx", way: wayNginx, start: startNginx(wayNginx, nginxForward)}
	nginxSeals    = &box{name: "nginx terminating", way: wayNginxTerminate, start: startNginx(wayNginxTerminate, nginxTerminate), seals: true}
	terminateBox  = &box{name: "HAProxy terminating", way: wayTerminate, start: startHAProxy(wayTerminate, haproxyTerminate), seals: true}
)

const digestFile = "digest"

// startSightglass starts the program under test, transparent, writing EVE, as it would be run.
func startSightglass(b *bench) (*child, error) {
	l := b.lab
	if err := l.unsteer(); err != nil {
		return nil, err
	}
	out, err := os.Create(l.file("eve.json"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(b.sightglass, "inline", "--interface", nettest.BoxClientLink, "--port", ports(waySightglass),
		"--listen", "0.0.0.0:15443", "--cert", l.file(serverCert), "--key", l.file(serverKey), "--eve", "-")
	cmd.Env = append(os.Environ(), "SIGHTGLASS_DIGEST="+l.file(digestFile))
	cmd.Env = append(cmd.Env, b.profile()...)
	cmd.Stdout = out
	c, err := l.start(l.Box, boxLife, cmd)
	if err != nil {
		return nil, err
	}
	return c, c.says(b.ctx, "transparent on")
}

// ports are those of a way.
func ports(way int) string { return fmt.Sprintf("%d-%d", port(way, 0), port(way, 999)) }

// listening waits until a box takes connections.
func (b *bench) listening(c *child, port uint16) error {
	ctx, stop := context.WithTimeout(b.ctx, startBound)
	defer stop()
	go func() {
		select {
		case <-c.proc.Done():
			stop()
		case <-ctx.Done():
		}
	}()
	if err := b.lab.Box.WaitListening(ctx, port); err != nil {
		return c.wrap(err)
	}
	return c.alive()
}

const haproxyHead = `global
    maxconn @FLOWS@
    maxpipes 200
    ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2
    ssl-default-server-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2
    tune.ssl.default-dh-param 2048
defaults
    mode tcp
    timeout connect 10s
    timeout client 300s
    timeout server 300s
`

// haproxySplice forwards without a look, the client's address kept, and lets the kernel splice.
const haproxySplice = `
frontend in
    bind 0.0.0.0:@LISTENER@ transparent
    option splice-auto
    default_backend out
backend out
    option splice-auto
    source 0.0.0.0 usesrc clientip
    server any 0.0.0.0:0
`

// haproxyCopy forwards by copies of its own.
var haproxyCopy = strings.ReplaceAll(haproxySplice, "    option splice-auto\n", "")

// haproxyTerminate ends TLS and begins it anew, with RSA key exchange on both legs and resumption on none. It
// checks whom it has before it, as sightglass does.
const haproxyTerminate = `
frontend in
    bind 0.0.0.0:@LISTENER@ transparent ssl crt @BOTH@ ciphers @CIPHERS@ no-tls-tickets
    default_backend out
backend out
    source 0.0.0.0 usesrc clientip
    server any 0.0.0.0:0 ssl verify required ca-file @BEHIND@ verifyhost @NAME@ ciphers @CIPHERS@ no-ssl-reuse no-tls-tickets
`

// fill completes the configuration of a program that listens.
func (l *lab) fill(config string, listener uint16, more ...string) string {
	return strings.NewReplacer(append([]string{
		"@LISTENER@", fmt.Sprint(listener), "@CERT@", l.file(serverCert), "@KEY@", l.file(serverKey), "@BOTH@", l.file(bothFile),
		"@BEHIND@", l.file(behindCert), "@NAME@", behindName, "@CIPHERS@", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0",
	}, more...)...).Replace(config)
}

func startHAProxy(way int, config string) func(*bench) (*child, error) {
	return func(b *bench) (*child, error) {
		listener := uint16(port(way, 900))
		config := b.lab.fill(haproxyHead+config, listener, "@FLOWS@", fmt.Sprint(b.flows))
		file := b.lab.file(fmt.Sprintf("haproxy-%d.cfg", way))
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := b.lab.steer(way, listener); err != nil {
			return nil, err
		}
		c, err := b.lab.start(b.lab.Box, boxLife, exec.Command("haproxy", "-db", "-f", file))
		if err != nil {
			return nil, err
		}
		return c, b.listening(c, listener)
	}
}

// steerScript leads what goes a way to a transparent listener.
const steerScript = unsteerScript + `
nft -f - <<END
table ip bench {
  chain pre {
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto tcp socket transparent 1 meta mark set 1 accept
    iifname "@LINK@" tcp dport @PORTS@ tproxy to :@LISTENER@ meta mark set 1 accept
  }
}
END
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
`

// unsteerScript takes that back, if there is something: no program's packets shall pass the rules of one that ran before.
const unsteerScript = `set -e
nft -f - <<END
table ip bench
delete table ip bench
END
ip rule del fwmark 1 lookup 100 2>/dev/null || :
ip route flush table 100 2>/dev/null || :
`

func (l *lab) steer(way int, listener uint16) error {
	return l.script(strings.NewReplacer("@LINK@", nettest.BoxClientLink, "@PORTS@", ports(way), "@LISTENER@", fmt.Sprint(listener)).
		Replace(steerScript))
}

func (l *lab) unsteer() error { return l.script(unsteerScript) }

// script runs a script in the box.
func (l *lab) script(script string) error {
	c, err := l.start(l.Box, 10*time.Second, exec.Command("sh", "-c", script))
	if err != nil {
		return err
	}
	return c.wait()
}
