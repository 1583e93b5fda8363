// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// SummaryOptions say what a summary shows. The zero value shows nothing.
type SummaryOptions struct {
	Lines    bool           // a line for each flow as it ends
	Table    bool           // a table at the end
	Colour   bool           // see Coloured
	Location *time.Location // of the times in lines; nil: local
}

// Summary tells people what became of the flows.
type Summary struct {
	base
	opt SummaryOptions

	mu      sync.Mutex // taken once a flow, at its end
	total   int
	read    int
	partial int
	unread  int
	bytes   [2]uint64
	gaps    uint64
	causes  map[session.Outcome]map[session.Cause]int
	servers map[string]*certCount
	clients map[string]*certCount
	keys    map[string]int
}

// certCount counts the flows of one certificate.
type certCount struct {
	subject string
	flows   int
	read    int
	proven  int
	key     string
}

// maxCounted bounds the certificates and keys that a summary tells apart; the rest share a line.
const maxCounted = 1000

// NewSummary returns a summary on out.
func NewSummary(out *Output, opt SummaryOptions) *Summary {
	if opt.Location == nil {
		opt.Location = time.Local
	}
	s := &Summary{
		opt: opt,
		causes: map[session.Outcome]map[session.Cause]int{
			session.OutcomeUnread: {}, session.OutcomePartial: {},
		},
		servers: map[string]*certCount{}, clients: map[string]*certCount{}, keys: map[string]int{},
	}
	s.base = base{name: "summary", q: out.start(summaryShape{s: s})}
	return s
}

// summaryShape puts the table at the end, whatever the order of the lines.
type summaryShape struct {
	plain
	s *Summary
}

func (h summaryShape) tail(dst []byte) []byte {
	if !h.s.opt.Table {
		return dst
	}
	return h.s.appendTable(dst)
}

// Event counts flows as they end.
func (s *Summary) Event(e *session.Event) {
	if e.Kind != session.KindEnd {
		return
	}
	s.count(e.Flow)
	if s.opt.Lines {
		line := s.appendLine(nil, e.Flow, e.Time)
		s.q.put(nanos(e.Time), e.Flow.ID, 0, line, nil, nil)
	}
}

func (s *Summary) count(f *session.Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	switch f.Outcome {
	case session.OutcomeRead:
		s.read++
	case session.OutcomePartial:
		s.partial++
		s.causes[f.Outcome][f.Cause]++
	default:
		s.unread++
		s.causes[session.OutcomeUnread][f.Cause]++
	}
	for side := range s.bytes {
		s.bytes[side] += f.Plaintext[side]
		s.gaps += f.Gaps[side]
	}
	countCertificate(s.servers, f.ServerChain, f, false)
	countCertificate(s.clients, f.ClientChain, f, f.ClientProven)
	if f.KeySource != "" && (len(s.keys) < maxCounted || s.keys[f.KeySource] > 0) {
		s.keys[f.KeySource]++
	}
}

func countCertificate(m map[string]*certCount, chain [][]byte, f *session.Flow, proven bool) {
	if len(chain) == 0 {
		return
	}
	cert := parseCertificate(chain[0])
	id := string(cert.sha1[:])
	c := m[id]
	if c == nil {
		if len(m) >= maxCounted {
			id, cert.subject = "", "(others)"
		}
		if c = m[id]; c == nil {
			c = &certCount{subject: cert.subject}
			m[id] = c
		}
	}
	c.flows++
	if f.Outcome != session.OutcomeUnread {
		c.read++
	}
	if proven {
		c.proven++
	}
	if f.KeySource != "" {
		c.key = f.KeySource
	}
}

// appendLine appends the line of a flow that ended.
func (s *Summary) appendLine(dst []byte, f *session.Flow, t time.Time) []byte {
	dst = paint(dst, s.opt.Colour, colourFaint, t.In(s.opt.Location).Format("15:04:05.000"))
	dst = append(dst, "  "...)
	dst = paint(dst, s.opt.Colour, outcomeColour(f.Outcome), fmt.Sprintf("%-7s", f.Outcome))
	dst = fmt.Appendf(dst, "  %21s → %-21s", f.Client, f.Server)
	if f.TLS && f.Version != 0 {
		dst = fmt.Appendf(dst, "  %s %s", f.Version, handshake.SuiteName(f.Suite))
	}
	if f.ServerName != "" {
		dst = appendSafe(append(dst, "  "...), f.ServerName)
	}
	if f.Outcome != session.OutcomeUnread {
		dst = fmt.Appendf(dst, "  %s up, %s down", size(f.Plaintext[0]), size(f.Plaintext[1]))
	}
	dst = appendClient(dst, f)
	if f.Cause != session.CauseNone {
		dst = s.appendCause(append(dst, "  "...), f)
	}
	return append(dst, '\n')
}

func outcomeColour(o session.Outcome) string {
	switch o {
	case session.OutcomeRead:
		return colourGreen
	case session.OutcomePartial:
		return colourYellow
	default:
		return colourRed
	}
}

// appendClient appends who the client is, if it said so.
func appendClient(dst []byte, f *session.Flow) []byte {
	if len(f.ClientChain) == 0 {
		return dst
	}
	dst = append(dst, "  client "...)
	dst = appendSafe(dst, parseCertificate(f.ClientChain[0]).subject)
	if !f.ClientProven {
		dst = append(dst, " (unproven)"...)
	}
	return dst
}

func (s *Summary) appendCause(dst []byte, f *session.Flow) []byte {
	dst = paint(dst, s.opt.Colour, outcomeColour(f.Outcome), f.Cause.String())
	if f.Action != session.ActionNone {
		dst = fmt.Appendf(dst, " (%s)", f.Action)
	}
	if f.Detail != "" {
		dst = appendSafe(append(dst, ": "...), f.Detail)
	}
	return dst
}

// appendTable appends what became of all flows.
func (s *Summary) appendTable(dst []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nFlows\t%6d\n", s.total)
	if s.total > 0 {
		s.tableOutcomes(w)
	}
	w.Flush()
	s.tableCertificates(&b, "Server certificates", s.servers, func(c *certCount) string {
		if c.key != "" {
			return "opened by " + string(appendSafe(nil, c.key))
		}
		return ""
	})
	s.tableCertificates(&b, "Client certificates", s.clients, func(c *certCount) string {
		if c.proven == c.flows {
			return "proven"
		}
		return fmt.Sprintf("proven in %d", c.proven)
	})
	s.tableKeys(&b)
	for line := range strings.Lines(b.String()) {
		dst = append(append(dst, strings.TrimRight(line, " \n")...), '\n')
	}
	return dst
}

func (s *Summary) tableOutcomes(w *tabwriter.Writer) {
	fmt.Fprintf(w, "  read\t%6d\t%s from clients, %s from servers\n",
		s.read, size(s.bytes[0]), size(s.bytes[1]))
	if s.partial > 0 {
		lost := ""
		if s.gaps > 0 {
			lost = size(s.gaps) + " lost"
		}
		fmt.Fprintf(w, "  read in part\t%6d\t%s\n", s.partial, lost)
		tableCauses(w, s.causes[session.OutcomePartial])
	}
	if s.unread > 0 {
		fmt.Fprintf(w, "  not read\t%6d\t\n", s.unread)
		tableCauses(w, s.causes[session.OutcomeUnread])
	}
}

// tableCauses lists the causes, the most frequent first.
func tableCauses(w *tabwriter.Writer, m map[session.Cause]int) {
	causes := slices.SortedFunc(maps.Keys(m), func(a, b session.Cause) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
	for _, c := range causes {
		fmt.Fprintf(w, "    %s\t%6d\t\n", c, m[c])
	}
}

func (s *Summary) tableCertificates(b *strings.Builder, title string, m map[string]*certCount, note func(*certCount) string) {
	if len(m) == 0 {
		return
	}
	ids := slices.SortedFunc(maps.Keys(m), func(x, y string) int {
		return cmp.Or(cmp.Compare(m[y].flows, m[x].flows), cmp.Compare(m[x].subject, m[y].subject),
			cmp.Compare(x, y))
	})
	const shown = 20
	fmt.Fprintf(b, "\n%s\n", title)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, id := range ids[:min(len(ids), shown)] {
		c := m[id]
		name := string(appendSafe(nil, cut(c.subject, 60)))
		if id != "" {
			name += "  sha1 " + string(appendColonHex(nil, []byte(id[:4]), lowerHex)) + "…"
		}
		fmt.Fprintf(w, "  %s\t%6d %s\t%d read\t%s\n", name, c.flows, plural(c.flows, "flow"), c.read, note(c))
	}
	w.Flush()
	if n := len(ids) - shown; n > 0 {
		fmt.Fprintf(b, "  … and %d more\n", n)
	}
}

func (s *Summary) tableKeys(b *strings.Builder) {
	if len(s.keys) == 0 {
		return
	}
	fmt.Fprint(b, "\nKeys\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		fmt.Fprintf(w, "  %s\topened %d %s\n", appendSafe(nil, k), s.keys[k], plural(s.keys[k], "flow"))
	}
	w.Flush()
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// size writes a number of bytes for people, with at most four significant digits.
func size(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for ; f >= 999.5 && unit < 5; unit++ {
		f /= 1000
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, " kMGTP"[unit])
	}
	return fmt.Sprintf("%.0f %cB", f, " kMGTP"[unit])
}
