// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lock is what one live process of an instance holds: a socket with a name, which the kernel gives
// back when the process ends. It is in the network namespace, like the rules that it stands for. Who
// connects to it is told what the instance catches.
type lock struct {
	ln      *net.UnixListener
	serving sync.WaitGroup

	mu    sync.Mutex
	claim string
}

const (
	instanceLocks = "@sightglass/steering/"
	portLocks     = "@sightglass/steering-port/"
	// maxClaim bounds what is read from another process, in bytes.
	maxClaim = 1 << 20
	// claimTimeout bounds how long that takes.
	claimTimeout = time.Second
)

var errLocked = errors.New("locked by a live process")

// lockInstance takes the lock of an instance.
func lockInstance(name string) (*lock, error) { return takeLock(instanceLocks + name) }

// lockPort takes the lock of a listeners' port, and with it of the routing table of that number.
func lockPort(port uint16) (*lock, error) { return takeLock(portLocks + strconv.Itoa(int(port))) }

func takeLock(name string) (*lock, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, errLocked
	}
	if err != nil {
		return nil, fmt.Errorf("taking the lock %s: %w", strings.TrimPrefix(name, "@"), err)
	}
	l := &lock{ln: ln}
	l.serving.Go(l.serve)
	return l, nil
}

// serve tells each who connects the claim.
func (l *lock) serve() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(claimTimeout))
		l.mu.Lock()
		text := l.claim
		l.mu.Unlock()
		_, _ = io.WriteString(c, text)
		_ = c.Close()
	}
}

// tell sets what is told from now on.
func (l *lock) tell(c claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claim = c.text(maxClaim)
}

// release gives the lock back. There may be none.
func (l *lock) release() {
	if l != nil {
		_ = l.ln.Close()
		l.serving.Wait()
	}
}

// claims returns what the live instances of this network namespace catch. One that does not say, as
// it has only begun or is stopped, is known by its name only.
func claims() ([]claim, error) {
	f, err := os.Open("/proc/thread-self/net/unix")
	if err != nil {
		return nil, fmt.Errorf("looking for other instances: %w", err)
	}
	defer func() { _ = f.Close() }()
	seen := make(map[string]bool)
	var all []claim
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		name, ours := strings.CutPrefix(line[strings.LastIndexByte(line, ' ')+1:], instanceLocks)
		if !ours || !validInstance(name) || seen[name] {
			continue
		}
		seen[name] = true
		c, _ := ask(name)
		c.Instance = name
		all = append(all, c)
	}
	return all, lines.Err()
}

// ask has a live instance say what it catches.
func ask(name string) (claim, bool) {
	c, err := net.DialTimeout("unix", instanceLocks+name, claimTimeout)
	if err != nil {
		return claim{}, false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(claimTimeout))
	text, err := io.ReadAll(io.LimitReader(c, maxClaim))
	if err != nil {
		return claim{}, false
	}
	return parseClaim(string(text))
}
