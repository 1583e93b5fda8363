// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sightglass/sightglass/internal/config"
)

// settingFlags are the flags that set what a configuration file can set, too. A flag notes what it
// does to the settings, so that it can be done over those of a file, whichever came first on the
// command line.
type settingFlags struct {
	flags    *pflag.FlagSet
	defaults config.Settings
	given    []func(*config.Settings)
	keys     keyFlags
	file     string
}

func newSettingFlags(flags *pflag.FlagSet) *settingFlags {
	return &settingFlags{flags: flags, defaults: config.Default()}
}

// settings returns the file's settings, or the defaults, with the flags over them, checked.
func (b *settingFlags) settings() (config.Settings, error) {
	s := config.Default()
	if b.file != "" {
		var err error
		if s, err = config.Load(b.file); err != nil {
			return s, err
		}
	}
	for _, apply := range b.given {
		apply(&s)
	}
	if len(b.keys.items) > 0 {
		keys, err := b.keys.pairs()
		if err != nil {
			return s, err
		}
		s.Keys = keys
	}
	if err := s.Check(); err != nil {
		return s, usageError{err}
	}
	return s, nil
}

// setting is one such flag.
type setting struct {
	kind  string // shown in the help
	text  string // the default, shown in the help
	isSet bool
	set   func(text string, first bool) error
}

func (v *setting) String() string { return v.text }
func (v *setting) Type() string   { return v.kind }

func (v *setting) Set(text string) error {
	first := !v.isSet
	v.isSet = true
	return v.set(text, first)
}

func (b *settingFlags) add(name, short, usage string, v *setting) *pflag.Flag {
	return b.flags.VarPF(v, name, short, usage)
}

// text adds a flag of words.
func (b *settingFlags) text(name, short, kind, usage string, field func(*config.Settings) *string) {
	b.add(name, short, usage, &setting{kind: kind, text: *field(&b.defaults), set: func(text string, _ bool) error {
		b.given = append(b.given, func(s *config.Settings) { *field(s) = text })
		return nil
	}})
}

// choice adds a flag that is one word of a few.
func (b *settingFlags) choice(name, kind, usage string, field func(*config.Settings) *config.Choice) {
	b.add(name, "", usage, &setting{kind: kind, text: string(*field(&b.defaults)), set: func(text string, _ bool) error {
		b.given = append(b.given, func(s *config.Settings) { *field(s) = config.Choice(text) })
		return nil
	}})
}

// list adds a flag whose values add up; given at all, it replaces the file's. A value may hold several,
// separated by commas.
func (b *settingFlags) list(name, short, kind, usage string, field func(*config.Settings) *[]string) {
	b.add(name, short, usage, &setting{kind: kind, set: func(text string, first bool) error {
		b.given = append(b.given, func(s *config.Settings) {
			if first {
				*field(s) = nil
			}
			*field(s) = append(*field(s), strings.Split(text, ",")...)
		})
		return nil
	}})
}

// number adds a flag of a whole number.
func (b *settingFlags) number(name, usage string, field func(*config.Settings) *int) {
	def := ""
	if n := *field(&b.defaults); n != 0 {
		def = strconv.Itoa(n)
	}
	b.add(name, "", usage, &setting{kind: "N", text: def, set: func(text string, _ bool) error {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("not a whole number")
		}
		b.given = append(b.given, func(s *config.Settings) { *field(s) = n })
		return nil
	}})
}

// boolean adds a flag that is on when it is there.
func (b *settingFlags) boolean(name, short, usage string, field func(*config.Settings) *bool) {
	f := b.add(name, short, usage, &setting{kind: "bool", text: strconv.FormatBool(*field(&b.defaults)), set: func(text string, _ bool) error {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("neither true nor false")
		}
		b.given = append(b.given, func(s *config.Settings) { *field(s) = on })
		return nil
	}})
	f.NoOptDefVal = "true"
}

// unit is what knows its own text: sizes, durations, sets of ports, networks.
type unit[T any] interface {
	*T
	encoding.TextUnmarshaler
}

// measured adds a flag of such a type.
func measured[T any, P unit[T]](b *settingFlags, name, kind, usage string, field func(*config.Settings) *T) {
	def := ""
	var zero T
	value := *field(&b.defaults)
	if m, ok := any(value).(encoding.TextMarshaler); ok && fmt.Sprint(value) != fmt.Sprint(zero) {
		text, _ := m.MarshalText()
		def = string(text)
	}
	b.add(name, "", usage, &setting{kind: kind, text: def, set: func(text string, _ bool) error {
		var v T
		if err := P(&v).UnmarshalText([]byte(text)); err != nil {
			return err
		}
		b.given = append(b.given, func(s *config.Settings) { *field(s) = v })
		return nil
	}})
}

// measuredList adds a flag of several values of such a type.
func measuredList[T any, P unit[T]](b *settingFlags, name, kind, usage string, field func(*config.Settings) *[]T) {
	b.add(name, "", usage, &setting{kind: kind, set: func(text string, first bool) error {
		var list []T
		for item := range strings.SplitSeq(text, ",") {
			var v T
			if err := P(&v).UnmarshalText([]byte(item)); err != nil {
				return err
			}
			list = append(list, v)
		}
		b.given = append(b.given, func(s *config.Settings) {
			if first {
				*field(s) = nil
			}
			*field(s) = append(*field(s), list...)
		})
		return nil
	}})
}
