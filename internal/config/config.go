// SPDX-License-Identifier: Apache-2.0

// Package config knows the program's settings: their names, their defaults and what makes sense
// together, whether they come from a TOML file or from flags. It refuses to know what they do.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sightglass/sightglass/session"
)

// Settings is everything that can be configured. The zero value is not usable; start from Default.
type Settings struct {
	Keys         []Key  `toml:"key"`
	Match        Choice `toml:"match"`         // leaf or public-key
	KeyLogIn     string `toml:"keylog-in"`     // an NSS key log to read, growing or not
	SessionStore string `toml:"session-store"` // resumption secrets between runs
	Sessions     int    `toml:"sessions"`      // sessions remembered for resumption

	Inline Inline            `toml:"inline"`
	Policy map[string]string `toml:"policy"` // cause to action
	Sniff  Sniff             `toml:"sniff"`
	Output Output            `toml:"output"`
}

// Key names the files of one certificate and its private key. One of Certificate and Key may be
// empty: a PKCS #12 file or a PEM bundle in Key holds both.
type Key struct {
	Certificate    string `toml:"certificate"`
	Key            string `toml:"key"`
	PassphraseFile string `toml:"passphrase-file"`
}

// Inline is what only the inline proxy needs.
type Inline struct {
	Interfaces []string       `toml:"interfaces"` // transparent: where clients' packets come in
	Ports      Ports          `toml:"ports"`
	Include    []netip.Prefix `toml:"include"` // only servers in these networks; empty: all
	Exclude    []netip.Prefix `toml:"exclude"` // never servers in these
	Listen     string         `toml:"listen"`
	To         string         `toml:"to"` // fixed upstream
	WhenDown   Choice         `toml:"when-down"`
	Steer      Choice         `toml:"steer"`

	Nice             int      `toml:"nice"`       // of the loops' threads, of all if they stand back; 0: as it was started
	KeepAwake        bool     `toml:"keep-awake"` // no processor sleeps deeply amid handshakes
	Workers          int      `toml:"workers"`    // for the private key; 0: one a processor
	DialTimeout      Duration `toml:"dial-timeout"`
	HandshakeTimeout Duration `toml:"handshake-timeout"`
	IdleTimeout      Duration `toml:"idle-timeout"` // 0: none
	DrainTimeout     Duration `toml:"drain-timeout"`
	MaxFlows         int      `toml:"max-flows"`
	MaxHandshake     Size     `toml:"max-handshake"`
}

// Sniff is what only the live capture needs.
type Sniff struct {
	Interfaces []string `toml:"interfaces"`
	Filter     string   `toml:"filter"`
	Snaplen    Size     `toml:"snaplen"`
	RingSize   Size     `toml:"ring-size"`
	Fanout     int      `toml:"fanout"` // sockets an interface; 0: one a processor
	Shunt      bool     `toml:"shunt"`
	Promisc    bool     `toml:"promiscuous"`
}

// Output is what comes out, and where.
type Output struct {
	KeyLog     string   `toml:"keylog"`
	EVE        string   `toml:"eve"`
	PCAPNG     string   `toml:"pcapng"`
	Follow     bool     `toml:"follow"`
	PCAPOverIP string   `toml:"pcap-over-ip"`
	Mirror     string   `toml:"mirror"`
	RotateSize Size     `toml:"rotate-size"`
	RotateTime Duration `toml:"rotate-time"`
	Metrics    string   `toml:"metrics"`
}

// The words of the choices.
const (
	MatchLeaf      Choice = "leaf"
	MatchPublicKey Choice = "public-key"

	WhenDownForward Choice = "forward"
	WhenDownDrop    Choice = "drop"

	SteerAuto     Choice = "auto"
	SteerNFTables Choice = "nftables"
	SteerEBPF     Choice = "ebpf"
)

// DefaultNice is the priority of a relay that may take it.
const DefaultNice = -10

// Default returns the settings of a program that was told nothing.
func Default() Settings {
	return Settings{
		Match:    MatchLeaf,
		Sessions: 1 << 17,
		Inline: Inline{
			WhenDown:         WhenDownForward,
			Steer:            SteerAuto,
			Nice:             DefaultNice,
			KeepAwake:        true,
			DialTimeout:      Duration(10 * time.Second),
			HandshakeTimeout: Duration(30 * time.Second),
			DrainTimeout:     Duration(5 * time.Second),
			MaxFlows:         1 << 16,
			MaxHandshake:     256 << 10,
		},
		Sniff: Sniff{Snaplen: 256 << 10, RingSize: 64 << 20, Promisc: true},
	}
}

// Check finds settings that make no sense, whatever way in they are for.
func (s *Settings) Check() error {
	if err := s.Match.check("match", string(MatchLeaf), string(MatchPublicKey)); err != nil {
		return err
	}
	for i, k := range s.Keys {
		if k.Certificate == "" && k.Key == "" {
			return fmt.Errorf("key %d: neither certificate nor key is named", i+1)
		}
	}
	if s.Sessions < 1 || s.Sessions > 1<<26 {
		return fmt.Errorf("sessions: %d is not between 1 and %d", s.Sessions, 1<<26)
	}
	if _, err := s.SessionPolicy(); err != nil {
		return err
	}
	if err := s.Output.check(); err != nil {
		return err
	}
	if err := s.Inline.check(); err != nil {
		return err
	}
	return s.Sniff.check()
}

// SessionPolicy returns the policy, defaults included.
func (s *Settings) SessionPolicy() (session.Policy, error) {
	policy := session.DefaultPolicy()
	names := make([]string, 0, len(s.Policy))
	for name := range s.Policy {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		cause, err := session.ParseCause(name)
		if err != nil {
			return policy, fmt.Errorf("policy: %w", err)
		}
		action, err := session.ParseAction(s.Policy[name])
		if err != nil {
			return policy, fmt.Errorf("policy for %s: %w", name, err)
		}
		policy[cause] = action
	}
	return policy, nil
}

// Transparent says that clients dial their servers, not this program.
func (in *Inline) Transparent() bool { return in.To == "" }

// CheckRun says what is missing to run inline.
func (in *Inline) CheckRun() error {
	switch {
	case in.To == "" && len(in.Interfaces) == 0:
		return fmt.Errorf("inline needs --interface (transparent) or --listen and --to (fixed upstream)")
	case in.To == "" && in.Ports.Empty():
		return fmt.Errorf("inline needs --port: which ports to take, such as 443,8443, or any")
	case in.To != "" && in.Listen == "":
		return fmt.Errorf("--to needs --listen: the address that clients connect to")
	}
	return nil
}

func (in *Inline) check() error {
	if err := in.WhenDown.check("when-down", string(WhenDownForward), string(WhenDownDrop)); err != nil {
		return err
	}
	if err := in.Steer.check("steer", string(SteerAuto), string(SteerNFTables), string(SteerEBPF)); err != nil {
		return err
	}
	if in.To != "" && len(in.Interfaces) > 0 {
		return fmt.Errorf("interfaces (transparent) and to (fixed upstream) exclude each other")
	}
	if in.Listen != "" {
		if err := checkAddress("listen", in.Listen, true); err != nil {
			return err
		}
	}
	if in.To != "" {
		if err := checkAddress("to", in.To, false); err != nil {
			return err
		}
	}
	if in.Nice < -20 || in.Nice > 19 {
		return fmt.Errorf("nice: %d is not between -20 and 19", in.Nice)
	}
	if in.Workers < 0 || in.Workers > 4096 {
		return fmt.Errorf("workers: %d is not between 0 and 4096", in.Workers)
	}
	if in.MaxFlows < 1 {
		return fmt.Errorf("max-flows: %d is not at least 1", in.MaxFlows)
	}
	if in.MaxHandshake < 16<<10 || in.MaxHandshake > 16<<20 {
		return fmt.Errorf("max-handshake: not between 16KiB and 16MiB")
	}
	if in.DialTimeout == 0 || in.HandshakeTimeout == 0 {
		return fmt.Errorf("dial-timeout and handshake-timeout may not be zero")
	}
	return nil
}

func (s *Sniff) check() error {
	if s.Snaplen < 64 || s.Snaplen > 1<<20 {
		return fmt.Errorf("snaplen: not between 64 bytes and 1MiB")
	}
	if s.RingSize < 1<<20 || s.RingSize > 16<<30 {
		return fmt.Errorf("ring-size: not between 1MiB and 16GiB")
	}
	if s.Fanout < 0 || s.Fanout > 256 {
		return fmt.Errorf("fanout: %d is not between 0 and 256", s.Fanout)
	}
	return nil
}

func (o *Output) check() error {
	toStdout := 0
	for _, file := range []string{o.KeyLog, o.EVE, o.PCAPNG} {
		if file == "-" {
			toStdout++
		}
	}
	if o.Follow {
		toStdout++
	}
	if toStdout > 1 {
		return fmt.Errorf("only one output can have standard output (-, and follow)")
	}
	if (o.RotateSize > 0 || o.RotateTime > 0) && o.EVE == "" && o.PCAPNG == "" {
		return fmt.Errorf("rotate-size and rotate-time need a file to rotate: eve or pcapng")
	}
	if o.RotateSize > 0 && o.RotateSize < 64<<10 {
		return fmt.Errorf("rotate-size: less than 64KiB would make a file a packet")
	}
	if o.RotateTime > 0 && o.RotateTime < Duration(time.Second) {
		return fmt.Errorf("rotate-time: less than a second")
	}
	if o.PCAPOverIP != "" {
		if err := checkAddress("pcap-over-ip", o.PCAPOverIP, true); err != nil {
			return err
		}
	}
	if o.Metrics != "" {
		return checkAddress("metrics", o.Metrics, true)
	}
	return nil
}

// checkAddress checks the form HOST:PORT; a listener's host may be empty.
func checkAddress(name, addr string, listen bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" || host == "" && !listen {
		return fmt.Errorf("%s: %q is not an address such as 192.0.2.1:443 or [::]:15443", name, addr)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 && !listen {
		return fmt.Errorf("%s: %q has no valid port", name, addr)
	}
	return nil
}
