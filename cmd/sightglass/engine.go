// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/keylog"
	"github.com/sightglass/sightglass/rsakex"
	"github.com/sightglass/sightglass/session"
)

// engine is what the sessions of all three ways share: keys, resumption secrets, key log.
type engine struct {
	ring    *rsakex.Ring
	store   *rsakex.Store
	keyLog  keylog.Source
	grows   bool // the key log does
	closers []func() error
}

// openEngine reads the keys and opens the files that the settings name. A key log is followed while
// traffic is live, and read whole beside a capture.
func openEngine(e *env, s *config.Settings, live bool) (*engine, error) {
	ring, err := loadRing(e, s.Keys)
	if err != nil {
		return nil, err
	}
	g := &engine{ring: ring}
	if err := g.openStore(s); err != nil {
		return nil, err
	}
	if err := g.openKeyLog(s.KeyLogIn, live); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *engine) openStore(s *config.Settings) error {
	if s.SessionStore == "" {
		g.store = rsakex.NewStore(s.Sessions)
		return nil
	}
	store, err := rsakex.OpenStoreFile(s.SessionStore, g.ring, s.Sessions)
	if err != nil {
		return fmt.Errorf("session store: %w", err)
	}
	g.store = store
	g.closers = append(g.closers, store.Close)
	return nil
}

func (g *engine) openKeyLog(path string, live bool) error {
	switch {
	case path == "":
		return nil
	case live:
		f, err := keylog.Follow(path)
		if err != nil {
			return err
		}
		g.keyLog, g.grows = f, true
		g.closers = append(g.closers, f.Close)
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("key log: %w", err)
	}
	defer f.Close()
	secrets, report, err := keylog.Load(f)
	if err != nil {
		return fmt.Errorf("key log: %s: %w", path, err)
	}
	if secrets.Len() == 0 {
		return fmt.Errorf("key log: %s: no line of an NSS key log in it (%d lines)", path, report.Lines)
	}
	g.keyLog = secrets
	return nil
}

// config returns what sessions are made with.
func (g *engine) config(s *config.Settings, keys rsakex.Decrypter, handler session.Handler) *session.Config {
	return &session.Config{
		Ring:           g.ring,
		Keys:           keys,
		Store:          g.store,
		KeyLog:         g.keyLog,
		KeyLogGrows:    g.grows,
		Handler:        handler,
		MatchPublicKey: s.Match == config.MatchPublicKey,
		MaxHandshake:   int(s.Inline.MaxHandshake),
	}
}

// close closes what was opened, the last first.
func (g *engine) close() error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	g.closers = nil
	return errors.Join(errs...)
}
