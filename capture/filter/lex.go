// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"strings"
)

// token is a word or an operator of an expression.
type token struct {
	text string
	at   int  // where it begins, in bytes
	word bool // not an operator
}

// maxExpression bounds an expression, in bytes.
const maxExpression = 16 << 10

// Error says what is wrong with an expression, and where.
type Error struct {
	Expr string
	At   int // bytes from the beginning
	Msg  string
}

// Error returns one line.
func (e *Error) Error() string {
	if e.At >= len(e.Expr) {
		return "filter: " + e.Msg + " at the end"
	}
	return fmt.Sprintf("filter: %s at %q", e.Msg, shorten(e.Expr[e.At:]))
}

func shorten(s string) string {
	const most = 30
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// operators are those of more than a byte, and those of one, in this order.
var operators = []string{"&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "(", ")", "[", "]", "!", "&", "|", "=", "<", ">", "+", "-", "*", "/", "^", ":"}

func lex(expr string) ([]token, error) {
	if len(expr) > maxExpression {
		return nil, &Error{expr, 0, fmt.Sprintf("an expression of more than %d bytes", maxExpression)}
	}
	var tokens []token
	brackets := 0
	for at := 0; at < len(expr); {
		c := expr[at]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			at++
		case wordByte(c, brackets > 0):
			end := at
			for end < len(expr) && wordByte(expr[end], brackets > 0) {
				end++
			}
			tokens = append(tokens, token{expr[at:end], at, true})
			at = end
		default:
			op := operator(expr[at:])
			if op == "" {
				return nil, &Error{expr, at, "a character that has no meaning"}
			}
			switch op {
			case "[":
				brackets++
			case "]":
				brackets--
			}
			tokens = append(tokens, token{op, at, false})
			at += len(op)
		}
	}
	return tokens, nil
}

// wordByte reports whether a byte is of a word. Colons and the like are, but within brackets.
func wordByte(c byte, brackets bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '\\':
		return true
	case c == ':' || c == '/':
		return !brackets
	}
	return c == '-'
}

func operator(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}
