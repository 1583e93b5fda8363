// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/sightglass/sightglass/handshake"
	"github.com/sightglass/sightglass/session"
)

// FollowOptions say how a conversation is shown.
type FollowOptions struct {
	Colour bool // see Coloured
	Hex    bool // show text too as hexadecimal
}

// Follow shows the conversations as they go on: lines of the client behind ">", of the server
// behind "<". What is not text is a hex dump. Nothing that a peer sends reaches the terminal but
// graphic characters.
type Follow struct {
	base
	opt   FollowOptions
	flows FlowTable[followFlow]
	bufs  sync.Pool // of *[]byte
}

// followFlow is what Follow remembers of a flow.
type followFlow struct {
	clock  clock
	named  bool
	open   [2]bool // the side's last line is not complete
	last   handshake.Side
	offset [2]uint64
}

// The tags of Follow's records.
const (
	followSide      = 1 // the server's
	followData      = 2 // lines of a side, else a line about the flow
	followContinues = 4 // goes on in the side's incomplete line
)

// followPiece bounds what one record is made of, in bytes of plaintext: escaped or dumped it fits
// a chunk.
const followPiece = 4 << 10

// NewFollow returns a display on out.
func NewFollow(out *Output, opt FollowOptions) *Follow {
	f := &Follow{opt: opt}
	f.bufs.New = func() any { return new([]byte) }
	f.base = base{name: "follow", q: out.start(&followShape{colour: opt.Colour})}
	return f
}

// Event shows plaintext, and what becomes of the flow.
func (f *Follow) Event(e *session.Event) {
	switch e.Kind {
	case session.KindEstablished, session.KindData, session.KindGap, session.KindReset, session.KindEnd:
	default:
		return
	}
	s := f.flows.Get(e.Flow.ID)
	if s == nil {
		if e.Kind == session.KindReset {
			return
		}
		s = new(followFlow)
		f.flows.Put(e.Flow.ID, s)
	}
	switch e.Kind {
	case session.KindEstablished:
		f.name(e, s)
	case session.KindData:
		f.data(e, s)
	case session.KindGap:
		f.note(e, s, fmt.Sprintf("%d bytes of the %s are lost", e.Lost, e.Side))
	case session.KindReset:
		f.note(e, s, fmt.Sprintf("reset by the %s", e.Side))
	case session.KindEnd:
		f.flows.Remove(e.Flow.ID)
		f.end(e, s)
	}
}

// name shows who talks, once a handshake is complete or data comes.
func (f *Follow) name(e *session.Event, s *followFlow) {
	s.named = true
	flow := e.Flow
	line := fmt.Appendf(nil, "%s → %s", flow.Client, flow.Server)
	if flow.ServerName != "" {
		line = appendSafe(append(line, "  "...), flow.ServerName)
	}
	if flow.TLS && !e.Clear {
		line = fmt.Appendf(line, "  %s %s", flow.Version, handshake.SuiteName(flow.Suite))
	}
	f.note(e, s, string(appendClient(line, flow)))
}

// note shows a line about the flow.
func (f *Follow) note(e *session.Event, s *followFlow, text string) {
	s.open = [2]bool{}
	line := paint(nil, f.opt.Colour, colourBold, fmt.Sprintf("── flow %d  %s", e.Flow.ID, text))
	f.q.put(s.clock.at(e.Time), e.Flow.ID, 0, line, []byte{'\n'}, nil)
}

func (f *Follow) end(e *session.Event, s *followFlow) {
	flow := e.Flow
	text := "ended"
	if !s.named {
		text = fmt.Sprintf("%s → %s", flow.Client, flow.Server)
		if flow.ServerName != "" {
			text += string(appendSafe([]byte("  "), flow.ServerName))
		}
	}
	switch flow.Outcome {
	case session.OutcomeUnread:
		text += ", not read: " + flow.Cause.String()
	case session.OutcomePartial:
		text += ", read in part: " + flow.Cause.String()
	}
	if flow.Detail != "" && flow.Cause != session.CauseNone {
		text += string(appendSafe([]byte(": "), flow.Detail))
	}
	f.note(e, s, text)
}

// data shows plaintext, in pieces of bounded size. It allocates nothing once the flow is named.
func (f *Follow) data(e *session.Event, s *followFlow) {
	if !s.named {
		f.name(e, s)
	}
	if s.last != e.Side {
		s.open, s.last = [2]bool{}, e.Side
	}
	bufp := f.bufs.Get().(*[]byte)
	buf := *bufp
	binary := f.opt.Hex || isBinary(e.Data)
	for b := e.Data; len(b) > 0; {
		piece := b[:min(len(b), followPiece)]
		if !binary {
			piece = b[:textPiece(b)]
		}
		b = b[len(piece):]
		tag := uint32(followData) | uint32(e.Side)
		if buf = buf[:0]; binary {
			buf = f.appendHex(buf, e.Side, s.offset[e.Side], piece)
			s.open[e.Side] = false
		} else {
			if s.open[e.Side] {
				tag |= followContinues
			}
			buf = f.appendText(buf, e.Side, piece)
			s.open[e.Side] = piece[len(piece)-1] != '\n'
		}
		s.offset[e.Side] += uint64(len(piece))
		f.q.put(s.clock.at(e.Time), e.Flow.ID, tag, buf, nil, nil)
	}
	*bufp = buf[:0]
	f.bufs.Put(bufp)
}

// textPiece returns how much of b makes one piece: never half a character or line end.
func textPiece(b []byte) int {
	if len(b) <= followPiece {
		return len(b)
	}
	n := followPiece
	if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
		return i + 1
	}
	for n > followPiece-4 && b[n]&0xc0 == 0x80 {
		n--
	}
	return n
}

// isBinary says that b shows better as a hex dump: it has a NUL, or more than a tenth of it is
// neither graphic nor space.
func isBinary(b []byte) bool {
	bad := 0
	for _, c := range b[:min(len(b), followPiece)] {
		switch {
		case c == 0:
			return true
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f:
			bad++
		}
	}
	if bad*10 <= min(len(b), followPiece) {
		return false
	}
	// Other scripts are many bytes over 0x7f, but sound UTF-8.
	return !mostlyText(b[:min(len(b), followPiece)])
}

func (f *Follow) colourOf(side handshake.Side) string { return sideColour(f.opt.Colour, side) }

func sideColour(on bool, side handshake.Side) string {
	switch {
	case !on:
		return colourNone
	case side == handshake.Client:
		return colourCyan
	default:
		return colourGreen
	}
}

// appendText appends lines; the mark of the first is the shape's.
func (f *Follow) appendText(dst []byte, side handshake.Side, b []byte) []byte {
	for first := true; len(b) > 0; first = false {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		b = rest
		if !first {
			dst = append(dst, sideMark(side)...)
		}
		if whole {
			line = bytes.TrimSuffix(line, []byte{'\r'})
		}
		dst = appendColoured(dst, f.colourOf(side), line)
		if whole {
			dst = append(dst, '\n')
		}
	}
	return dst
}

func sideMark(side handshake.Side) string {
	if side == handshake.Client {
		return "> "
	}
	return "< "
}

// appendColoured appends text, tabs as they are, in a colour.
func appendColoured(dst []byte, colour string, b []byte) []byte {
	if colour != colourNone && len(b) > 0 {
		dst = append(append(append(dst, "\x1b["...), colour...), 'm')
	}
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\t')
		if n < 0 {
			n = len(b)
		}
		dst = appendSafe(dst, b[:n])
		if b = b[n:]; len(b) > 0 {
			dst, b = append(dst, '\t'), b[1:]
		}
	}
	if colour != colourNone {
		dst = append(dst, "\x1b[0m"...)
	}
	return dst
}

// appendHex appends a hex dump of 16 bytes a line; the mark of the first is the shape's.
func (f *Follow) appendHex(dst []byte, side handshake.Side, offset uint64, b []byte) []byte {
	for first := true; len(b) > 0; first = false {
		row := b[:min(len(b), 16)]
		b = b[len(row):]
		if !first {
			dst = append(dst, sideMark(side)...)
		}
		for shift := 28; shift >= 0; shift -= 4 {
			dst = append(dst, lowerHex[offset>>shift&15])
		}
		offset += uint64(len(row))
		dst = append(dst, ' ')
		if c := f.colourOf(side); c != colourNone {
			dst = append(append(append(dst, "\x1b["...), c...), 'm')
		}
		dst = appendHexRow(dst, row)
		if f.opt.Colour {
			dst = append(dst, "\x1b[0m"...)
		}
		dst = append(dst, '\n')
	}
	return dst
}

func appendHexRow(dst, row []byte) []byte {
	for i := range 16 {
		if i%8 == 0 {
			dst = append(dst, ' ')
		}
		if i < len(row) {
			dst = append(dst, lowerHex[row[i]>>4], lowerHex[row[i]&15], ' ')
		} else {
			dst = append(dst, "   "...)
		}
	}
	dst = append(dst, " |"...)
	for _, c := range row {
		if c < ' ' || c >= 0x7f {
			c = '.'
		}
		dst = append(dst, c)
	}
	return append(dst, '|')
}

// followShape joins the records of many flows: it marks lines, completes those that another flow
// or side interrupts, and says which flow goes on.
type followShape struct {
	plain
	colour bool
	flow   uint64
	open   bool // the last line is not complete
}

func (s *followShape) before(dst []byte, r record, first bool) []byte {
	same := r.flow == s.flow && !first
	continues := same && s.open && r.tag&followContinues != 0
	if s.open && !continues {
		dst = append(dst, '\n')
	}
	if r.tag&followData != 0 && !continues {
		if !same {
			dst = paint(dst, s.colour, colourFaint, fmt.Sprintf("── flow %d", r.flow))
			dst = append(dst, '\n')
		}
		dst = append(dst, sideMark(handshake.Side(r.tag&followSide))...)
	}
	s.flow = r.flow
	s.open = len(r.data) > 0 && r.data[len(r.data)-1] != '\n'
	return dst
}

func (s *followShape) tail(dst []byte) []byte {
	if s.open {
		return append(dst, '\n')
	}
	return dst
}
