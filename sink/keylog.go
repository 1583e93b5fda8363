// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"math"
	"time"

	"github.com/sightglass/sightglass/session"
)

// KeyLog writes an NSS key log: each line opens one connection in Wireshark.
type KeyLog struct {
	base
}

// NewKeyLog returns a key log on out.
func NewKeyLog(out *Output) *KeyLog {
	return &KeyLog{base{name: "keylog", q: out.start(plain{})}}
}

// Event writes the lines of KindSecrets.
func (k *KeyLog) Event(e *session.Event) {
	if e.Kind == session.KindSecrets {
		k.q.put(nanos(e.Time), e.Flow.ID, 0, e.Data, nil, nil)
	}
}

// nanos returns t in nanoseconds since 1970, 0 for the zero time and times out of range.
func nanos(t time.Time) int64 {
	const limit = math.MaxInt64/1_000_000_000 - 1
	if s := t.Unix(); s < -limit || s > limit {
		return 0
	}
	return t.UnixNano()
}
