// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// maxLines bounds the story of one flow; the rest is counted.
const maxLines = 200

// Stories is a session.Handler that tells each flow's story as the flow ends.
type Stories struct {
	w      io.Writer
	choose func(*session.Flow) bool

	mu    sync.Mutex
	flows map[uint64]*story
	told  int
	err   error
}

// NewStories writes to w the stories of the flows that choose accepts when they end; nil chooses all.
func NewStories(w io.Writer, choose func(*session.Flow) bool) *Stories {
	return &Stories{w: w, choose: choose, flows: map[uint64]*story{}}
}

// Told returns how many stories were told, and the first error of the writer.
func (s *Stories) Told() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told, s.err
}

// Event takes one event of any flow.
func (s *Stories) Event(e *session.Event) {
	st := s.story(e)
	st.event(e)
	if e.Kind != session.KindEnd {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, e.Flow.ID)
	if s.choose != nil && !s.choose(e.Flow) {
		return
	}
	s.told++
	if _, err := io.WriteString(s.w, st.text(e.Flow)); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *Stories) story(e *session.Event) *story {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.flows[e.Flow.ID]
	if st == nil {
		st = &story{start: e.Flow.Start}
		s.flows[e.Flow.ID] = st
	}
	return st
}

// story is one flow's; it is only touched by that flow's events.
type story struct {
	start   time.Time
	lines   []string
	omitted int
	shown   bool    // the server's certificate, in the present handshake
	spoke   [2]bool // a direction has shown application data
	clear   [2]bool
	client  string // what was said of the client's certificate
}

func (st *story) say(t time.Time, format string, args ...any) {
	if len(st.lines) == maxLines {
		st.omitted++
		return
	}
	at := t.Sub(st.start).Seconds()
	st.lines = append(st.lines, fmt.Sprintf("  %9.3f s  %s", at, fmt.Sprintf(format, args...)))
}

func (st *story) event(e *session.Event) {
	switch e.Kind {
	case session.KindOpen:
		st.say(e.Time, "The connection was opened.")
	case session.KindHello:
		st.hello(e)
	case session.KindEstablished:
		st.established(e)
	case session.KindData:
		st.data(e)
	case session.KindGap:
		st.say(e.Time, "%d bytes of the %v are missing here.", e.Lost, e.Side)
	case session.KindAlert:
		st.alert(e)
	case session.KindFin:
		st.say(e.Time, "The %v ended its direction.", e.Side)
	case session.KindReset:
		st.say(e.Time, "The %v broke the connection (RST).", e.Side)
	}
}

// hello tells what both hellos said, and which certificates came.
func (st *story) hello(e *session.Event) {
	f := e.Flow
	what := "The client"
	if f.Handshakes > 0 {
		what = "In a new handshake on the same connection, the client"
	}
	offer := fmt.Sprintf("%s offered %v", what, f.ClientHelloVersion)
	if f.ServerName != "" {
		offer += " for " + name(f.ServerName)
	}
	st.say(e.Time, "%s.", offer)
	if f.Version != 0 {
		st.say(e.Time, "The server chose %v, %s%s.", f.Version, handshake.SuiteName(f.Suite), extras(f))
	}
	st.shown = false
	if f.Resumed != session.ResumedNot {
		st.say(e.Time, "It resumed an earlier session (%v): no certificate, no key exchange.", f.Resumed)
	}
	st.server(e, "It")
	if f.KeySource != "" {
		st.say(e.Time, "%s fits: the premaster secret can be opened.", name(f.KeySource))
	}
}

func extras(f *session.Flow) string {
	var words []string
	add := func(on bool, word string) {
		if on {
			words = append(words, word)
		}
	}
	add(f.EMS, "extended master secret")
	add(f.EtM, "encrypt-then-MAC")
	add(f.Compressed, "DEFLATE")
	add(f.ALPN != "", "ALPN "+name(f.ALPN))
	if len(words) == 0 {
		return ""
	}
	return ", with " + strings.Join(words, ", ")
}

func certificate(der []byte) string {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return "a certificate that cannot be parsed"
	}
	return fmt.Sprintf("%s (%s, until %s), issued by %s", name(c.Subject.String()), publicKey(c),
		c.NotAfter.UTC().Format(time.DateOnly), name(c.Issuer.String()))
}

// server tells of the server's certificate once it is there: where the key exchange is not RSA's, and
// in TLS 1.3, it comes after the judgement.
func (st *story) server(e *session.Event, who string) {
	if chain := e.Flow.ServerChain; !st.shown && len(chain) > 0 && e.Flow.Resumed == session.ResumedNot {
		st.shown = true
		st.say(e.Time, "%s presented %s.", who, certificate(chain[0]))
	}
}

func (st *story) established(e *session.Event) {
	f := e.Flow
	st.server(e, "The server")
	if len(f.ClientChain) > 0 {
		proof := "without a proof that was seen"
		if f.ClientProven {
			proof = "and proved to hold its key"
		}
		// A renegotiation leaves it standing, and then it was not presented again.
		if text := certificate(f.ClientChain[0]) + ", " + proof; text != st.client {
			st.client = text
			st.say(e.Time, "The client presented %s.", text)
		}
	}
	st.say(e.Time, "Both Finished messages were right: from here on both directions are read.")
}

func (st *story) data(e *session.Event) {
	seen := &st.spoke[e.Side]
	if e.Clear {
		seen = &st.clear[e.Side]
	}
	if *seen {
		return
	}
	*seen = true
	switch {
	case e.Clear:
		st.say(e.Time, "The %v spoke in the clear: %q.", e.Side, head(e.Data))
	case e.Early:
		st.say(e.Time, "The %v sent early data: %q.", e.Side, head(e.Data))
	default:
		st.say(e.Time, "The %v's first application data: %q.", e.Side, head(e.Data))
	}
}

// head is the first line of data, not long.
func head(b []byte) string {
	const most = 60
	short := b[:min(len(b), most)]
	for i, c := range short {
		if c == '\r' || c == '\n' {
			return string(short[:i])
		}
	}
	if len(b) > most {
		return string(short) + "…"
	}
	return string(short)
}

func (st *story) alert(e *session.Event) {
	who := "The " + e.Side.String()
	if e.Injected {
		who = "Sightglass, to both peers,"
	}
	st.say(e.Time, "%s sent the alert %v.", who, e.Alert)
}

// text is the whole story.
func (st *story) text(f *session.Flow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Flow %d: %v to %v, %s\n", f.ID, f.Client, f.Server, f.Start.UTC().Format("2006-01-02 15:04:05.000 MST"))
	for _, line := range st.lines {
		b.WriteString(line + "\n")
	}
	if st.omitted > 0 {
		fmt.Fprintf(&b, "  … and %d more events.\n", st.omitted)
	}
	fmt.Fprintf(&b, "  Client to server %d bytes (%d of plaintext), server to client %d (%d).\n",
		f.Bytes[handshake.Client], f.Plaintext[handshake.Client], f.Bytes[handshake.Server], f.Plaintext[handshake.Server])
	b.WriteString(ending(f))
	b.WriteString("\n")
	return b.String()
}

func ending(f *session.Flow) string {
	if f.Cause == session.CauseNone {
		if f.Detail != "" {
			return "  Read: " + name(f.Detail) + ".\n"
		}
		return "  Read, from the first protected byte to the last.\n"
	}
	text := fmt.Sprintf("  Outcome: %v, %v", f.Outcome, f.Cause)
	if f.Detail != "" {
		text += ": " + name(f.Detail)
	}
	a := For(f.Cause)
	text += "\n  Why: " + a.Why + "\n  What to do: " + a.Do + "\n"
	if f.Action != session.ActionNone {
		text += fmt.Sprintf("  The policy's action was: %v.\n", f.Action)
	}
	return text
}
