// SPDX-License-Identifier: Apache-2.0

//go:build linux

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/sightglass/sightglass/internal/nettest"
)

// box is the program itself, as a process in the box's namespace. Its keys reach it through pipes:
// none is ever in a file.
type box struct {
	process *nettest.Process
	stderr  lines
	follow  buffer // what it shows to people
	eve     buffer // what it writes for programs
	readers sync.WaitGroup
	ends    []*os.File
}

// startBox starts inline and waits until it takes connections.
func startBox(ctx context.Context, path string, host *nettest.Namespace, p *peers) (*box, error) {
	b := &box{stderr: lines{ready: make(chan struct{})}}
	cmd := exec.Command(path, "inline", "--interface", nettest.BoxClientLink, "--port", "any",
		"--cert", "/dev/fd/3", "--key", "/dev/fd/4", "--eve", "/dev/fd/5", "--follow")
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.Stdout, cmd.Stderr = &b.follow, &b.stderr
	for _, content := range [][]byte{p.certPEM, p.keyPEM} {
		r, err := filled(content)
		if err != nil {
			return nil, errors.Join(err, b.closeEnds())
		}
		b.ends = append(b.ends, r)
		cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	}
	eveRead, eveWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, b.closeEnds())
	}
	b.ends = append(b.ends, eveWrite)
	cmd.ExtraFiles = append(cmd.ExtraFiles, eveWrite)
	b.readers.Go(func() {
		defer eveRead.Close()
		_, _ = io.Copy(&b.eve, eveRead)
	})
	if b.process, err = host.Start(cmd); err != nil {
		err = errors.Join(err, b.closeEnds())
		b.readers.Wait()
		return nil, err
	}
	if err := b.closeEnds(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	select {
	case <-b.stderr.ready:
		return b, nil
	case <-b.process.Done():
		return nil, errors.Join(fmt.Errorf("the box did not start: %s", b.stderr.String()), b.close())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("the box was not ready in time: %s", b.stderr.String()), b.close())
	}
}

// filled returns a pipe that holds content, which must fit into it.
func filled(content []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// closeEnds gives up this process's copies of what the box holds now.
func (b *box) closeEnds() error {
	var errs []error
	for _, f := range b.ends {
		errs = append(errs, f.Close())
	}
	b.ends = nil
	return errors.Join(errs...)
}

// stop ends the box in order.
func (b *box) stop(ctx context.Context) error {
	if err := b.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-b.process.Done():
	case <-ctx.Done():
		return fmt.Errorf("the box did not end: %s", b.stderr.String())
	}
	b.readers.Wait()
	if err := b.process.Wait(); err != nil {
		return fmt.Errorf("the box ended with %w: %s", err, b.stderr.String())
	}
	return nil
}

// close ends the box however it is.
func (b *box) close() error {
	b.process.Kill()
	b.readers.Wait()
	return nil
}

// eveEvent is what the demo wants of an EVE line.
type eveEvent struct {
	Type       string `json:"event_type"`
	SourceIP   string `json:"src_ip"`
	SourcePort uint16 `json:"src_port"`
	TLS        struct {
		Client struct {
			Subject string `json:"subject"`
		} `json:"client"`
	} `json:"tls"`
	Sightglass struct {
		Outcome  string `json:"outcome"`
		Cause    string `json:"cause"`
		Verified bool   `json:"client_certificate_verified"`
	} `json:"sightglass"`
}

// events reads what the box wrote.
func (b *box) events() ([]eveEvent, error) {
	var all []eveEvent
	for line := range bytes.Lines(b.eve.Bytes()) {
		var e eveEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("EVE: %w in %q", err, line)
		}
		all = append(all, e)
	}
	return all, nil
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// Bytes returns a copy of what was written.
func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// lines is a buffer that tells when the box says that it is ready.
type lines struct {
	buffer
	once  sync.Once
	ready chan struct{}
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	n, err := l.buffer.Write(p)
	if bytes.Contains(l.Bytes(), []byte("transparent on")) {
		l.once.Do(func() { close(l.ready) })
	}
	return n, err
}

// String returns the lines as one.
func (l *lines) String() string {
	return strings.ReplaceAll(strings.TrimSpace(string(l.Bytes())), "\n", "; ")
}
