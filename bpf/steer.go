// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// SteerConfig is how a Steer is made. What can change while it runs has methods of its own.
type SteerConfig struct {
	// Mark is set on packets that were handed over, in the bits of MarkMask; the others are left.
	// Mark must not be zero, and have no bits beside MarkMask. MarkMask zero is all bits.
	Mark, MarkMask uint32
	Rules          Rules
	// DropWithoutListener lets nothing pass that the rules take: while no listener is there to take
	// it, before the first SetListeners and where the program outlives its process, it is dropped, and
	// connections that began without the box are reset. Otherwise both pass.
	DropWithoutListener bool
	// PinPath is a directory on a BPF file system (below /sys/fs/bpf, as a rule), made if it is
	// missing. About is pinned there, and with DropWithoutListener, which needs it, what outlives the
	// process. If it is empty, nothing is.
	PinPath string
	// Instance tells programs apart that steer on the same interfaces: small letters, digits and
	// hyphens, 24 at most. Two processes of one instance take each other's place, so the caller sees
	// to it that there is one only.
	Instance string
	// About is for whoever lists the Instances, while the process runs and after it was killed; MaxAbout
	// bytes at most.
	About string
	// Attachment is how the program is tied to interfaces.
	Attachment Attachment
	// OnError takes what goes wrong later on, when interfaces or addresses change. It is called from
	// one goroutine of the Steer's, and may be nil.
	OnError func(error)
}

// A Steer is a steering program in the kernel, of the network namespace of the thread that called
// NewSteer. Its methods may be called from any goroutine, in any namespace.
type Steer struct {
	cfg     SteerConfig
	objects steerObjects
	trie    *ebpf.MapSpec // of which each generation is one
	home    namespace
	pins    pinFiles
	lookup  link.Link

	mu       sync.Mutex
	rules    Rules
	own      []netip.Prefix
	numbers  numbering
	attached map[string]*attachment
	others   bool // what is not attached by name is attached, too
	closed   bool

	stopWatch func()
}

// NewSteer loads the program with its rules. Until Attach it sees no packet.
func NewSteer(cfg SteerConfig) (*Steer, error) {
	if cfg.MarkMask == 0 {
		cfg.MarkMask = ^uint32(0)
	}
	spec, err := cfg.spec()
	if err != nil {
		return nil, err
	}
	s := &Steer{
		cfg:      cfg,
		trie:     spec.Maps[steerMapRules].InnerMap,
		numbers:  newNumbering(),
		attached: make(map[string]*attachment),
	}
	if s.pins, err = pinsOf(cfg.PinPath, cfg.Instance); err != nil {
		return nil, err
	}
	if s.home, err = currentNamespace(); err != nil {
		return nil, err
	}
	if err := load("the steering program", spec, &s.objects, steerNeeds); err != nil {
		return nil, errors.Join(err, s.home.close())
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// check refuses what makes no sense.
func (cfg *SteerConfig) check() error {
	if cfg.Mark == 0 || cfg.Mark&^cfg.MarkMask != 0 {
		return fmt.Errorf("steering mark %#x does not fit the mask %#x", cfg.Mark, cfg.MarkMask)
	}
	switch {
	case !ValidInstance(cfg.Instance):
		return fmt.Errorf("steering instance %q: small letters, digits and hyphens only, 24 at most", cfg.Instance)
	case len(cfg.About) > MaxAbout:
		return fmt.Errorf("description of a steering instance of %d bytes, more than %d", len(cfg.About), MaxAbout)
	case cfg.DropWithoutListener && cfg.PinPath == "":
		return errors.New("steering that drops without a listener needs a path to be pinned at")
	}
	return cfg.Rules.check()
}

// spec is the program with all that is constant set. It touches nothing of the kernel's.
func (cfg *SteerConfig) spec() (*ebpf.CollectionSpec, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	spec, err := loadSteer()
	if err != nil {
		return nil, err
	}
	drop := uint32(0)
	if cfg.DropWithoutListener {
		drop = 1
	}
	for name, value := range map[string]uint32{
		steerVarMark:                cfg.Mark,
		steerVarMarkMask:            cfg.MarkMask,
		steerVarHashSeed:            rand.Uint32(),
		steerVarDropWithoutListener: drop,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s of the steering program: %w", name, err)
		}
	}
	return spec, nil
}

// start fills in the first generation of the rules and ties the program to the namespace.
func (s *Steer) start() error {
	var err error
	if s.stopWatch, err = s.watch(); err != nil {
		return err
	}
	if err := s.pins.tell(s.cfg.About); err != nil {
		return err
	}
	if err := s.SetRules(s.cfg.Rules); err != nil {
		return err
	}
	s.lookup, err = link.AttachNetNs(s.home.fd(), s.objects.SteerListener)
	if err != nil {
		return explain("attaching the steering program to the network namespace", err, steerNeeds)
	}
	return nil
}

// SetRules puts other rules in the place of those that are in force, in one step: each packet is
// judged by the old ones or by the new. Connections that the box has stay with it. A rule that stays
// keeps its count. On an error nothing has changed.
func (s *Steer) SetRules(rules Rules) error {
	if err := rules.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(rules, s.own)
}

// setOwn takes the addresses of the box, sorted.
func (s *Steer) setOwn(own []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(own, s.own) {
		return nil
	}
	return s.replace(s.rules, own)
}

// Tell puts another text in the place of SteerConfig.About.
func (s *Steer) Tell(about string) error {
	if len(about) > MaxAbout {
		return fmt.Errorf("description of a steering instance of %d bytes, more than %d", len(about), MaxAbout)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	return s.pins.tell(about)
}

// replace puts a new generation in force. When the kernel has taken it no packet that was judged by
// the old one is on its way any more, so the numbers that only the old one had are free.
func (s *Steer) replace(rules Rules, own []netip.Prefix) error {
	if s.closed {
		return errClosed
	}
	numbers := s.numbers.begin()
	trie, err := s.fill(rules.generation(own, numbers.number))
	if err != nil {
		return err
	}
	defer func() { _ = trie.Close() }()
	if err := s.objects.Rules.Put(uint32(0), trie); err != nil {
		return fmt.Errorf("replacing the steering rules: %w", err)
	}
	s.rules, s.own = rules, own
	for _, n := range s.numbers.commit(numbers) {
		if err := s.clear(n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Steer) fill(g generation) (*ebpf.Map, error) {
	trie, err := ebpf.NewMap(s.trie.Copy())
	if err != nil {
		return nil, fmt.Errorf("making the steering rules: %w", err)
	}
	for key, value := range g {
		if err := trie.Put(key, value); err != nil {
			return nil, errors.Join(fmt.Errorf("filling the steering rules: %w", err), trie.Close())
		}
	}
	return trie, nil
}

var errClosed = errors.New("the steering program was closed")

// Close ends the steering: interfaces are detached, and everything passes. With DropWithoutListener the
// program stays on them, and drops what it would steer once the listeners are closed.
func (s *Steer) Close() error { return s.close(s.cfg.DropWithoutListener) }

// Remove is Close, and nothing stays.
func (s *Steer) Remove() error { return s.close(false) }

func (s *Steer) close(stay bool) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	attached := s.attached
	s.attached = nil
	s.mu.Unlock()
	if s.stopWatch != nil {
		s.stopWatch()
	}
	var errs []error
	for _, a := range attached {
		errs = append(errs, s.home.do(func() error { return a.end(stay) }))
	}
	if !stay {
		errs = append(errs, s.pins.remove())
	}
	if s.lookup != nil {
		errs = append(errs, s.lookup.Close())
	}
	errs = append(errs, s.objects.Close(), s.home.close())
	return errors.Join(errs...)
}

// A numbering gives rules the numbers of their counters.
type numbering struct {
	used map[ruleID]uint32
	free []uint32
}

func newNumbering() numbering {
	n := numbering{used: make(map[ruleID]uint32)}
	for i := uint32(ruleNumbers - 1); i > 0; i-- {
		n.free = append(n.free, i)
	}
	return n
}

// A renumbering is the numbering of the next generation, while that is being made.
type renumbering struct {
	old   map[ruleID]uint32
	used  map[ruleID]uint32
	spare []uint32
}

func (n *numbering) begin() *renumbering {
	return &renumbering{old: n.used, used: make(map[ruleID]uint32), spare: slices.Clone(n.free)}
}

// number keeps the number of a rule that has one. Each rule is asked for once, so maxRules sees to it
// that there are enough.
func (r *renumbering) number(id ruleID) uint32 {
	n, ok := r.old[id]
	if !ok {
		n = r.spare[len(r.spare)-1]
		r.spare = r.spare[:len(r.spare)-1]
	}
	r.used[id] = n
	return n
}

// commit makes the next generation's numbers those in use, and returns those that became free.
func (n *numbering) commit(r *renumbering) (freed []uint32) {
	for id, number := range r.old {
		if _, stays := r.used[id]; !stays {
			freed = append(freed, number)
		}
	}
	n.used, n.free = r.used, append(r.spare, freed...)
	return freed
}

// kernelBefore reports whether the running kernel is older than a release of Linux.
func kernelBefore(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
