// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sightglass/sightglass/bpf"
)

// programs is steering by programs in the kernel.
type programs struct {
	*base
	steer *bpf.Steer
}

func newEBPF(b *base) *programs { return &programs{base: b} }

// errNoEBPF is in errors that say that eBPF is not for this kernel, or not for this process.
var errNoEBPF = errors.New("eBPF cannot be used here")

// unable is an error that is also others, which its text need not repeat.
type unable struct {
	error
	also []error
}

func (u *unable) Unwrap() []error { return append(u.also, u.error) }

// explainEBPF tells the errors for which there is another way.
func explainEBPF(err error) error {
	switch {
	case errors.Is(err, bpf.ErrPrivilege):
		return &unable{err, []error{errNoEBPF, ErrPrivilege}}
	case errors.Is(err, bpf.ErrUnsupported):
		return &unable{err, []error{errNoEBPF, ErrUnsupported}}
	}
	return err
}

func (p *programs) setUp() error {
	if err := p.load(); err != nil {
		return explainEBPF(err)
	}
	// First the routing: without it the kernel drops what is handed over.
	if err := p.route(); err != nil {
		return err
	}
	if err := p.attach(); err != nil {
		return explainEBPF(err)
	}
	p.own().program = false // this one took its place
	return p.settle()
}

// load makes the program, which is not in the packets' way yet.
func (p *programs) load() (err error) {
	cfg := bpf.SteerConfig{
		Mark:       p.cfg.Mark,
		MarkMask:   p.cfg.MarkMask,
		Instance:   p.cfg.Instance,
		Rules:      programRules(p.cfg.Rules.list()),
		Attachment: p.cfg.Attachment,
		OnError:    p.cfg.OnError,
	}
	if p.cfg.WhenDown == Drop {
		if err := checkPinPath(p.cfg.PinPath); err != nil {
			return err
		}
		cfg.DropWithoutListener, cfg.PinPath = true, p.cfg.PinPath
		cfg.About = p.claim(&p.cfg.Rules).text(bpf.MaxAbout)
	}
	if p.steer, err = bpf.NewSteer(cfg); err != nil {
		return err
	}
	var listeners []syscall.Conn
	for _, ln := range p.cfg.Listeners {
		c, ok := ln.(syscall.Conn)
		if !ok {
			return fmt.Errorf("%v is no listener of Listen's", ln.Addr())
		}
		listeners = append(listeners, c)
	}
	return p.steer.SetListeners(listeners...)
}

// attach puts the program in the packets' way. Of an earlier process's that drops one that drops takes
// the place without a gap; beside one that does not it would go on dropping.
func (p *programs) attach() error {
	if p.cfg.WhenDown == Forward && p.own().program {
		if err := bpf.RemoveSteering(p.cfg.Instance, p.cfg.PinPath); err != nil {
			return err
		}
	}
	for _, name := range p.cfg.Interfaces {
		if err := p.steer.Attach(name, bpf.TowardsClients); err != nil {
			return err
		}
	}
	return p.steer.AttachOthers()
}

// checkPinPath says whether what is to outlive the process can.
func checkPinPath(path string) error {
	at := path
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	for errors.Is(err, unix.ENOENT) && at != "/" {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	if err == nil && uint32(st.Type) != unix.BPF_FS_MAGIC {
		return &unable{
			fmt.Errorf("%s is not on a BPF file system, where a program must stay to drop (mount -t bpf bpf /sys/fs/bpf)", path),
			[]error{errNoEBPF, ErrUnsupported},
		}
	}
	if err == nil {
		err = unix.Access(at, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return &unable{
			fmt.Errorf("%s, where a program must stay to drop, is not for this process to write: %w", path, err),
			[]error{errNoEBPF},
		}
	}
	return nil
}

// programRules are the rules as bpf has them. All have the same ports: a server on another port is
// neither caught nor counted as left out.
func programRules(rules []Rule) bpf.Rules {
	var all bpf.Rules
	for _, r := range rules {
		var ports bpf.Ports
		for _, p := range r.Ports {
			ports = append(ports, bpf.PortRange(p))
		}
		all.Servers = append(all.Servers, bpf.Rule{Network: r.Network, Ports: ports, Exclude: r.Exclude})
	}
	return all
}

// undo takes back what setUp has done: what is half done must not drop anything.
func (p *programs) undo() error {
	return p.close(func() error { return p.takeDown((*bpf.Steer).Remove) })
}

// Close implements Steering.
func (p *programs) Close() error {
	return p.close(func() error {
		if p.cfg.WhenDown == Drop {
			return p.steer.Close() // it drops by itself when its listeners are gone
		}
		return p.takeDown((*bpf.Steer).Close)
	})
}

// takeDown ends the program before the routing, without which nothing that it hands over arrives.
func (p *programs) takeDown(end func(*bpf.Steer) error) error {
	var err error
	if p.steer != nil {
		err = end(p.steer)
	}
	return errors.Join(err, p.unroute())
}

// Kind implements Steering.
func (p *programs) Kind() string { return "ebpf" }

// SetRules implements Steering.
func (p *programs) SetRules(rules Rules) error {
	if err := rules.check(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	if err := p.checkOthers(&rules); err != nil {
		return err
	}
	if err := p.tell(&rules); err != nil {
		return err
	}
	if err := p.steer.SetRules(programRules(rules.list())); err != nil {
		_ = p.tell(&p.cfg.Rules)
		return err
	}
	p.cfg.Rules = rules
	return nil
}

// tell lets others know what is caught, also when this process has ended if that is to be dropped then.
func (p *programs) tell(rules *Rules) error {
	c := p.claim(rules)
	p.lock.tell(c)
	if p.cfg.WhenDown == Forward {
		return nil
	}
	return p.steer.Tell(c.text(bpf.MaxAbout))
}

// Stats implements Steering.
func (p *programs) Stats() (Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Stats{}, errClosed
	}
	s, err := p.steer.Stats()
	if err != nil {
		return Stats{}, err
	}
	st := Stats{Caught: s.New.Packets + s.Cookies.Packets, Established: s.Established.Packets + s.ICMP.Packets}
	if p.cfg.WhenDown == Drop {
		st.Dropped = s.NoListener.Packets
	}
	for i, rule := range p.cfg.Rules.list() {
		st.Rules = append(st.Rules, RuleStats{Rule: rule, Connections: s.Rules[i].Connections})
	}
	return st, nil
}
