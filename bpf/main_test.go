// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Freeing BPF programs by the thousand at once is what some kernels take badly. So the tests load a
// collection once each and run it many times; together they load fewer than 40 programs.

// The test binary is also the processes that some tests need: those that are killed, and those that
// have few privileges.
const roleVariable = "SIGHTGLASS_BPF_TEST_ROLE"

var roles = map[string]func() error{
	"load":  loadBoth,
	"steer": steerUntilKilled,
}

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// inRole is the test binary as another process. It is executed by way of proc, so that its place in the
// file system need not be open to whom it runs as.
func inRole(role string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// supported ends the test where the kernel refuses for want of privilege or a feature; in CI that is a
// failure.
func supported(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case (errors.Is(err, ErrPrivilege) || errors.Is(err, ErrUnsupported)) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func loadBoth() error {
	s, err := NewSteer(SteerConfig{Mark: 1})
	if err == nil {
		err = s.Close()
	}
	h, herr := NewShunt(16)
	if herr == nil {
		herr = h.Close()
	}
	return errors.Join(err, herr)
}

// TestPrivileges loads with the least capabilities, and with too few.
func TestPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed in CI")
		}
		t.Skip("root is needed to give up privileges")
	}
	run := func(capabilities ...uintptr) string {
		cmd := inRole("load")
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		cmd.SysProcAttr.AmbientCaps = capabilities
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := run(unix.CAP_BPF, unix.CAP_NET_ADMIN); out != "" {
		t.Errorf("with CAP_BPF and CAP_NET_ADMIN: %s", out)
	}
	out := run()
	const missing = ": not permitted, it takes root or CAP_BPF and CAP_NET_ADMIN (before Linux 5.8 CAP_SYS_ADMIN): "
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, what := range []string{"loading the steering program", "loading the shunting filter"} {
		if len(lines) != 2 || !strings.HasPrefix(lines[i], what+missing) {
			t.Errorf("without any capability: got\n%swant %s%s…", out, what, missing)
		}
	}
}

func TestExplain(t *testing.T) {
	there := need{"what is there", func() error { return nil }}
	unsure := need{"what cannot be probed", func() error { return unix.EPERM }}
	lacking := need{"something (Linux 9.9)", func() error { return fmt.Errorf("probe: %w", ebpf.ErrNotSupported) }}
	for _, test := range []struct {
		err       error
		is, isNot error
	}{
		{unix.EPERM, ErrPrivilege, ErrUnsupported},
		{unix.EINVAL, ErrUnsupported, ErrPrivilege},
		{unix.EOPNOTSUPP, ErrUnsupported, ErrPrivilege},
		{errNotSupp, ErrUnsupported, ErrPrivilege},
		{unix.ENOMEM, unix.ENOMEM, ErrUnsupported},
		{unix.EBUSY, unix.EBUSY, ErrPrivilege},
	} {
		err := explain("doing", fmt.Errorf("deep down: %w", test.err), []need{there, unsure})
		if !errors.Is(err, test.is) || errors.Is(err, test.isNot) {
			t.Errorf("%v: got %v", test.err, err)
		}
	}
	err := explain("doing", fmt.Errorf("two\nlines: %w", unix.EINVAL), []need{there, unsure, lacking})
	if want := "doing: not supported by this kernel, it lacks something (Linux 9.9)"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	err = explain("doing", fmt.Errorf("two\nlines: %w", unix.EINVAL), nil)
	if want := "doing: not supported by this kernel: two lines: invalid argument"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := explain("doing", nil, nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}
