// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"sync/atomic"

	"github.com/sightglass/sightglass/capture/pcapng"
	"github.com/sightglass/sightglass/keylog"
)

// secrets are those that the captures carry with them, and those the user gave.
type secrets struct {
	found *keylog.Secrets // nil: there can be none
	given keylog.Source   // nil: none
	n     atomic.Int64
}

// gatherSecrets reads the files through for their secrets, which may stand behind the packets that
// need them. In a file that can be read only once they count from where they stand.
func gatherSecrets(ctx context.Context, files []pcapng.File, given keylog.Source) *secrets {
	s := &secrets{given: given}
	for _, f := range files {
		if f.Again {
			pcapng.FindSecrets(ctx, f, pcapng.SecretsTLS, s.add)
		} else if s.found == nil {
			s.found = keylog.NewSecrets(0)
		}
	}
	return s
}

func (s *secrets) add(b []byte) {
	if s.found == nil {
		s.found = keylog.NewSecrets(0)
	}
	s.n.Add(int64(s.found.LoadBytes(b).Secrets))
}

func (s *secrets) len() int { return int(s.n.Load()) }

// keyLog returns what sessions ask; nil if there is nothing to ask.
func (s *secrets) keyLog() keylog.Source {
	if s.found == nil {
		return s.given
	}
	return s
}

// Lookup returns the secret with the given label for a client random.
func (s *secrets) Lookup(label keylog.Label, clientRandom []byte) ([]byte, bool) {
	if b, ok := s.found.Lookup(label, clientRandom); ok || s.given == nil {
		return b, ok
	}
	return s.given.Lookup(label, clientRandom)
}

// ByEncryptedPremaster returns the premaster secret whose encrypted form starts with prefix.
func (s *secrets) ByEncryptedPremaster(prefix []byte) ([]byte, bool) {
	if b, ok := s.found.ByEncryptedPremaster(prefix); ok || s.given == nil {
		return b, ok
	}
	return s.given.ByEncryptedPremaster(prefix)
}

// BySessionID returns the master secret of a session.
func (s *secrets) BySessionID(id []byte) ([]byte, bool) {
	if b, ok := s.found.BySessionID(id); ok || s.given == nil {
		return b, ok
	}
	return s.given.BySessionID(id)
}
