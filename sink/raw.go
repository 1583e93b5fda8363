// SPDX-License-Identifier: Apache-2.0

package sink

import "github.com/sightglass/sightglass/session"

// Raw writes the plaintext and nothing else: of both sides, in the order in which it was said. What was
// lost is not there, and nothing tells the flows apart.
type Raw struct {
	base
}

// rawPiece bounds one record, in bytes: that of TLS is no larger (RFC 5246, Section 6.2.1).
const rawPiece = 16 << 10

// NewRaw returns a writer of plaintext on out.
func NewRaw(out *Output) *Raw { return &Raw{base{name: "raw", q: out.start(plain{})}} }

// Event writes the data of KindData.
func (r *Raw) Event(e *session.Event) {
	if e.Kind != session.KindData {
		return
	}
	for b := e.Data; len(b) > 0; {
		piece := b[:min(len(b), rawPiece)]
		b = b[len(piece):]
		r.q.put(nanos(e.Time), e.Flow.ID, 0, piece, nil, nil)
	}
}
