// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"flag"
	"net"
	"os"
	"time"
)

// serveTLS is a server for scripts: serve [flags] ADDRESSFILE. It writes its address to the file and
// answers until it is ended, or for a minute.
func serveTLS(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	kind := flags.String("kind", "rsa", "rsa or ecdhe")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair("server.pem", "server.key")
	if err != nil {
		return err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}
	if *kind == "ecdhe" {
		cfg.CipherSuites = append(cfg.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	if err := os.WriteFile(flags.Arg(0)+".tmp", []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(flags.Arg(0)+".tmp", flags.Arg(0)); err != nil {
		return err
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			tls.Server(c, cfg).Handshake()
		}()
	}
}
