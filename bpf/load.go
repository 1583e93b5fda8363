// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

//go:generate go tool bpf2go -tags linux -target bpfel,bpfeb -cc clang -strip llvm-strip -no-global-types steer steer.c -- -mcpu=v3 -Wall -Wextra -Werror
//go:generate go tool bpf2go -tags linux -target bpfel,bpfeb -cc clang -strip llvm-strip -no-global-types shunt shunt.c -- -mcpu=v3 -Wall -Wextra -Werror

// A need is something of the kernel's that a program cannot do without.
type need struct {
	what string // as it is named to people, with the first Linux that has it
	have func() error
}

// steerNeeds and shuntNeeds are asked one by one only when loading failed.
var (
	steerNeeds = []need{
		{"the BPF map type sockmap (Linux 4.14, CONFIG_BPF_STREAM_PARSER)", haveMap(ebpf.SockMap)},
		{"the BPF map type lpm_trie (Linux 4.11)", haveMap(ebpf.LPMTrie)},
		{"bpf_skc_lookup_tcp in tc programs (Linux 5.2)", haveHelper(ebpf.SchedCLS, asm.FnSkcLookupTcp)},
		{"bpf_sk_assign in tc programs (Linux 5.7)", haveHelper(ebpf.SchedCLS, asm.FnSkAssign)},
		{"BPF programs of the type sk_lookup (Linux 5.9)", haveProgram(ebpf.SkLookup)},
	}
	shuntNeeds = []need{
		{"the BPF map type lru_hash (Linux 4.10)", haveMap(ebpf.LRUHash)},
		{"bpf_skb_load_bytes_relative in socket filters (Linux 4.18)",
			haveHelper(ebpf.SocketFilter, asm.FnSkbLoadBytesRelative)},
	}
)

func haveMap(t ebpf.MapType) func() error {
	return func() error { return features.HaveMapType(t) }
}

func haveProgram(t ebpf.ProgramType) func() error {
	return func() error { return features.HaveProgramType(t) }
}

func haveHelper(t ebpf.ProgramType, f asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(t, f) }
}

// load brings a collection into the kernel, as the fields of objects.
func load(what string, spec *ebpf.CollectionSpec, objects any, needs []need) error {
	// Before Linux 5.11 maps and programs count as locked memory. (ebpf/rlimit is not used: it asks the
	// kernel for a map whenever a program begins that imports it, and few runs need one.)
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited) // where it matters and fails, loading tells
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return explain("loading "+what, err, needs)
	}
	return nil
}

// explain makes one line of an error of the kernel's: which privilege is missing, or which feature. An
// error that is of the moment, or of the arguments, stays what it is.
func explain(doing string, err error, needs []need) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w, it takes root or CAP_BPF and CAP_NET_ADMIN (before Linux 5.8 CAP_SYS_ADMIN): %s",
			doing, ErrPrivilege, oneLine(err))
	case !isUnsupported(err):
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, n := range needs {
		if errors.Is(n.have(), ebpf.ErrNotSupported) {
			return fmt.Errorf("%s: %w, it lacks %s", doing, ErrUnsupported, n.what)
		}
	}
	return fmt.Errorf("%s: %w: %s", doing, ErrUnsupported, oneLine(err))
}

// isUnsupported tells a kernel that cannot from one that will not now. The verifier's refusal is a
// kernel's that knows less than those the programs were written for.
func isUnsupported(err error) bool {
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) || errors.Is(err, ebpf.ErrNotSupported) {
		return true
	}
	for _, number := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.E2BIG, errNotSupp} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

// errNotSupp is the kernel's own ENOTSUPP, which slips out to user space here and there.
const errNotSupp = unix.Errno(524)

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
