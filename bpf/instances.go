// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An Instance is a steering program that is, or was, set up in a network namespace. Whether its process
// lives is not known here.
type Instance struct {
	// Name is SteerConfig.Instance.
	Name string
	// About is SteerConfig.About, if it was pinned.
	About string
	// Interfaces are those that the program stays on when its process ends.
	Interfaces []string
}

// maxInstanceName bounds an instance's name, in bytes.
const maxInstanceName = 24

// ValidInstance reports whether an instance may have this name: small letters, digits and hyphens, or none.
func ValidInstance(name string) bool {
	return len(name) <= maxInstanceName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// MaxAbout bounds SteerConfig.About, in bytes.
const MaxAbout = 1024

// Instances lists, for the current thread's network namespace, what is pinned under pinPath and what
// has filters on interfaces, by name.
func Instances(pinPath string) ([]Instance, error) {
	found := make(map[string]*Instance)
	of := func(name string) *Instance {
		if found[name] == nil {
			found[name] = &Instance{Name: name}
		}
		return found[name]
	}
	p, err := pinsOf(pinPath, "")
	if err != nil {
		return nil, err
	}
	if err := p.list(of); err != nil {
		return nil, err
	}
	if err := listFilters(of); err != nil {
		return nil, err
	}
	var all []Instance
	for _, i := range found {
		slices.Sort(i.Interfaces)
		i.Interfaces = slices.Compact(i.Interfaces)
		all = append(all, *i)
	}
	slices.SortFunc(all, func(a, b Instance) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func listFilters(of func(string) *Instance) error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing the interfaces: %w", err)
	}
	for _, l := range links {
		filters, err := steerFilters(l.Attrs().Index)
		if err != nil {
			return err
		}
		for name := range filters {
			i := of(strings.TrimPrefix(name, filterPrefix))
			i.Interfaces = append(i.Interfaces, l.Attrs().Name)
		}
	}
	return nil
}

// RemoveSteering removes all that a process of an instance, which does not run any more, left in the
// current thread's network namespace. That nothing is there is no error.
func RemoveSteering(instance, pinPath string) error {
	p, err := pinsOf(pinPath, instance)
	if err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing the interfaces: %w", err)
	}
	errs := []error{p.remove()}
	for _, l := range links {
		errs = append(errs, removeFilter(l.Attrs().Index, filterPrefix+instance))
	}
	return errors.Join(errs...)
}

// pinFiles are the files of an instance on the BPF file system: one for each link, and what the instance
// says of itself. Each network namespace has a directory of its own.
type pinFiles struct {
	dir      string // empty: nothing is pinned
	instance string
}

const (
	aboutPrefix = "about_"
	linkPrefix  = "link_"
)

// pinsOf is for the current thread's network namespace.
func pinsOf(path, instance string) (pinFiles, error) {
	if path == "" {
		return pinFiles{}, nil
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return pinFiles{}, fmt.Errorf("identifying the network namespace: %w", err)
	}
	return pinFiles{filepath.Join(path, fmt.Sprintf("net-%d", st.Ino)), instance}, nil
}

// The file system keeps dots for itself, and interfaces have no colons in their names.
var dots, colons = strings.NewReplacer(".", ":"), strings.NewReplacer(":", ".")

func (p pinFiles) link(name string) string {
	if p.dir == "" {
		return ""
	}
	return filepath.Join(p.dir, linkPrefix+p.instance+"_"+dots.Replace(name))
}

func (p pinFiles) about() string {
	if p.dir == "" {
		return ""
	}
	return filepath.Join(p.dir, aboutPrefix+p.instance)
}

// pin puts a link or a map into a file.
func (p pinFiles) pin(what interface{ Pin(string) error }, file string) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("pinning in %s: %w", p.dir, err)
	}
	err := what.Pin(file)
	if err == nil {
		return nil
	}
	var st unix.Statfs_t
	if unix.Statfs(p.dir, &st) == nil && uint32(st.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf", p.dir)
	}
	return fmt.Errorf("pinning %s: %w", file, err)
}

// tell pins what the instance says of itself.
func (p pinFiles) tell(about string) error {
	if p.dir == "" {
		return nil
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "about", Type: ebpf.Array, KeySize: 4, ValueSize: MaxAbout, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("making the instance's description: %w", err)
	}
	defer func() { _ = m.Close() }()
	text := make([]byte, MaxAbout)
	copy(text, about)
	if err := m.Put(uint32(0), text); err != nil {
		return fmt.Errorf("writing the instance's description: %w", err)
	}
	if err := removePin(p.about()); err != nil {
		return err
	}
	return p.pin(m, p.about())
}

// list adds what is pinned of all instances.
func (p pinFiles) list(of func(string) *Instance) error {
	if p.dir == "" {
		return nil
	}
	files, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing what is pinned: %w", err)
	}
	for _, f := range files {
		if name, ok := strings.CutPrefix(f.Name(), aboutPrefix); ok {
			if of(name).About, err = readAbout(filepath.Join(p.dir, f.Name())); err != nil {
				return err
			}
		}
		if name, ok := strings.CutPrefix(f.Name(), linkPrefix); ok {
			instance, interfaceName, _ := strings.Cut(name, "_")
			i := of(instance)
			i.Interfaces = append(i.Interfaces, colons.Replace(interfaceName))
		}
	}
	return nil
}

func readAbout(file string) (string, error) {
	m, err := ebpf.LoadPinnedMap(file, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return "", fmt.Errorf("opening an instance's description: %w", err)
	}
	defer func() { _ = m.Close() }()
	var text []byte
	if err := m.Lookup(uint32(0), &text); err != nil {
		return "", fmt.Errorf("reading an instance's description: %w", err)
	}
	return string(bytes.TrimRight(text, "\x00")), nil
}

// remove removes the instance's files, and the directory with the last of all.
func (p pinFiles) remove() error {
	if p.dir == "" {
		return nil
	}
	files, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing what is pinned: %w", err)
	}
	var errs []error
	for _, f := range files {
		if f.Name() == aboutPrefix+p.instance || strings.HasPrefix(f.Name(), linkPrefix+p.instance+"_") {
			errs = append(errs, removePin(filepath.Join(p.dir, f.Name())))
		}
	}
	_ = os.Remove(p.dir) // fails while it is not empty
	return errors.Join(errs...)
}

func removePin(file string) error {
	if file == "" {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what is pinned: %w", err)
	}
	return nil
}
