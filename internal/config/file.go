// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Load reads the file over the defaults. Unknown keys are refused, with their line. Relative paths in
// the file are relative to the file's folder.
func Load(path string) (Settings, error) {
	f, err := os.Open(path)
	if err != nil {
		return Settings{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Settings{}, err
	}
	if len(text) > maxFile {
		return Settings{}, fmt.Errorf("%s: larger than 1 MiB, no configuration", path)
	}
	s, err := parse(path, text)
	if err != nil {
		return Settings{}, err
	}
	s.resolve(filepath.Dir(path))
	return s, nil
}

// parse reads text over the defaults and checks the result. Its errors start with name and line.
func parse(name string, text []byte) (Settings, error) {
	s := Default()
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Settings{}, oneLine(name, err)
	}
	if err := s.Check(); err != nil {
		return Settings{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// oneLine tells a decoder's error in one line, with its place.
func oneLine(name string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, _ := strict.Errors[0].Position()
		return fmt.Errorf("%s:%d: unknown key %q", name, row, strings.Join(strict.Errors[0].Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, column := decode.Position()
		what, _, _ := strings.Cut(strings.TrimPrefix(decode.Error(), "toml: "), " into struct field")
		if key := strings.Join(decode.Key(), "."); key != "" {
			what = key + ": " + what
		}
		return fmt.Errorf("%s:%d:%d: %s", name, row, column, strings.ReplaceAll(what, "\n", " "))
	}
	return fmt.Errorf("%s: %s", name, strings.ReplaceAll(err.Error(), "\n", " "))
}

// resolve makes the paths of the settings relative to dir.
func (s *Settings) resolve(dir string) {
	paths := []*string{&s.KeyLogIn, &s.SessionStore, &s.Output.KeyLog, &s.Output.EVE, &s.Output.PCAPNG}
	for i := range s.Keys {
		k := &s.Keys[i]
		paths = append(paths, &k.Certificate, &k.Key, &k.PassphraseFile)
	}
	for _, p := range paths {
		if *p != "" && *p != "-" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}
