// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pcapng

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What comes through a pipe is read as far as it goes, and when the context ends nobody waits for more.
func TestOpenUntilContextEnds(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	named, err := os.OpenFile(fifo, os.O_RDWR, 0) // opens at once
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	stdin, unnamed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unnamed.Close()
	defer stdin.Close()
	defer func(was *os.File) { os.Stdin = was }(os.Stdin)
	os.Stdin = stdin

	for path, w := range map[string]*os.File{fifo: named, Stdin: unnamed} {
		t.Run(path, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if _, err := w.Write(little().section().iface(1, 0).enhanced(0, 1, "a packet", 8).Bytes()); err != nil {
				t.Fatal(err)
			}
			in, err := File{Path: path}.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			var p Packet
			buf := make([]byte, MinBuffer)
			for err = in.Next(&p); err == ErrFill; err = in.Next(&p) {
				in.Fill(buf, false)
			}
			if err != nil || string(p.Data) != "a packet" {
				t.Fatalf("%q, %v", p.Data, err)
			}
			go cancel() // in the read that follows, or before
			if packets, err := readAll(in.Reader, false); len(packets) > 0 || !errors.Is(err, context.Canceled) {
				t.Fatalf("%d packets, %v", len(packets), err)
			}
			if _, err := (File{Path: path}).Open(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("opened after the end: %v", err)
			}
			if name, err := (File{Path: path}).Spool(ctx); name != "" || !errors.Is(err, context.Canceled) {
				t.Errorf("spooled after the end: %q, %v", name, err)
			}
		})
	}
}
