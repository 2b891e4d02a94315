package filter

import (
	"fmt"
	"net/netip"
	"strings"
)

// A kind is the type of a token.
type kind uint8

const (
	tokEOF    kind = iota
	tokWord        // a keyword or a sign; text is its standard spelling
	tokNumber      // 80, 0x50, 0120, or a named constant
	tokName        // any other word, and every word after a backslash
	tokIPv4        // two to four numbers separated by dots
	tokIPv6
	tokMAC
	tokARCnet // $ and a byte in hexadecimal
)

// A token is a piece of the expression.
type token struct {
	kind kind
	off  int    // offset of its start in the expression
	end  int    // offset of its end
	text string // keywords in their standard spelling: "and" for "&&"
	num  uint32
}

// isHex reports whether c is a hexadecimal digit.
func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlnum(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }

// prefixLen returns how many bytes at the start of s satisfy ok.
func prefixLen(s string, ok func(byte) bool) int {
	for i := range len(s) {
		if !ok(s[i]) {
			return i
		}
	}
	return len(s)
}

// lex returns the token at the offset, skipping white space before it. If several kinds of token
// match, the longest match is used.
func lex(s string, off int) (token, error) {
	off += prefixLen(s[off:], func(c byte) bool { return strings.IndexByte(" \t\r\n", c) >= 0 })
	rest := s[off:]
	if rest == "" {
		return token{kind: tokEOF, off: off, end: off}, nil
	}
	t := token{off: off}
	word := wordLen(rest)
	for _, m := range []struct {
		kind kind
		n    int
	}{
		{tokName, word}, {tokIPv6, ipv6Len(rest)}, {tokIPv4, ipv4Len(rest)},
		{tokNumber, numberLen(rest)}, {tokMAC, macLen(rest)},
	} {
		// On a tie, the later kind is used: 10.1 is an address rather than a name.
		if m.n > 0 && m.n >= len(t.text) {
			t.kind, t.text = m.kind, rest[:m.n]
		}
	}
	if n := brokenMACLen(rest); n > len(t.text) {
		hint := "an Ethernet address has 6 bytes, as in 00:1b:44:11:3a:b7"
		if strings.Contains(rest[:n], "::") {
			hint = "an IPv6 address has :: only once"
		}
		return t, &SyntaxError{off, fmt.Sprintf("%q is not an address", clip(rest[:n])), hint}
	}
	t.end = off + len(t.text)
	switch t.kind {
	case tokNumber:
		return t, parseNumber(&t)
	case tokIPv6:
		if _, err := netip.ParseAddr(t.text); err != nil {
			return t, &SyntaxError{off, fmt.Sprintf("%q is not an IPv6 address", clip(t.text)), ""}
		}
		return t, nil
	case tokName:
		if n, ok := constant(t.text); ok {
			t.kind, t.num = tokNumber, n
		} else if k, ok := keyword(t.text); ok {
			t.kind, t.text = tokWord, k
		}
		return t, nil
	case tokEOF:
		return lexSign(rest, off)
	}
	return t, nil
}

// lexSign returns the token at the start of rest, which begins with neither a letter nor a digit.
func lexSign(rest string, off int) (token, error) {
	t := token{kind: tokWord, off: off}
	for _, sign := range []string{"&&", "||", ">=", "<=", "!=", "==", "<<", ">>"} {
		if strings.HasPrefix(rest, sign) {
			t.text, t.end = sign, off+len(sign)
			if k, ok := keyword(sign); ok {
				t.text = k
			}
			return t, nil
		}
	}
	t.end = off + 1
	switch c := rest[0]; {
	case strings.IndexByte("+-*/%:[]<>()&|^=", c) >= 0:
		t.text = rest[:1]
	case c == '!':
		t.text = "not"
	case c == '\\':
		n := 1 + prefixLen(rest[1:], func(c byte) bool { return strings.IndexByte(" !()\n\t", c) < 0 })
		if n == 1 {
			return t, &SyntaxError{off, "nothing follows the backslash", `a backslash goes before a name, as in \tcp`}
		}
		t.kind, t.text, t.end = tokName, rest[1:n], off+n
	case c == '$' && len(rest) > 1 && isHex(rest[1]):
		t.kind, t.text = tokARCnet, rest[:1+min(2, prefixLen(rest[1:], isHex))]
		t.end = off + len(t.text)
	default:
		r := []rune(rest[:min(len(rest), 4)])[0]
		return t, &SyntaxError{off, fmt.Sprintf("unexpected character %q", r), ""}
	}
	return t, nil
}

// wordLen returns the length of the name at the start of s: letters and digits; between them also
// -, _ and dots; and possibly a final dot.
func wordLen(s string) int {
	if !isAlnum(s[0]) {
		return 0
	}
	n := prefixLen(s, func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' })
	for n > 1 && (s[n-1] == '-' || s[n-1] == '_') {
		n--
	}
	return n
}

// numberLen returns the length of the number at the start of s, decimal,
// octal or hexadecimal.
func numberLen(s string) int {
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && isHex(s[2]) {
		return 2 + prefixLen(s[2:], isHex)
	}
	return prefixLen(s, isDigit)
}

// ipv4Len returns the length of two to four numbers, separated by dots, at the start of s.
func ipv4Len(s string) int {
	end, n := 0, 0
	for range 4 {
		d := numberLen(s[n:])
		if d == 0 {
			break
		}
		n += d
		end = n
		if n == len(s) || s[n] != '.' {
			break
		}
		n++
	}
	if strings.IndexByte(s[:end], '.') < 0 {
		return 0
	}
	return end
}

// ipv6Len returns the length of the longest prefix of s that has the form of an IPv6 address.
func ipv6Len(s string) int {
	const longest = 8*4 + 7 + 16
	n := prefixLen(s[:min(len(s), longest)], func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
	if strings.IndexByte(s[:n], ':') < 0 {
		return 0
	}
	for ; n >= 2; n-- {
		if isIPv6(s[:n]) {
			return n
		}
	}
	return 0
}

// isIPv6 reports whether s has the form of an IPv6 address: eight groups of up to four digits, of
// which :: may stand for one or more, and an IPv4 address for the last two. The IPv4 address's
// numbers may be out of range.
func isIPv6(s string) bool {
	before, after, short := strings.Cut(s, "::")
	n, v4, ok := ipv6Groups(before)
	if !ok || short && v4 {
		return false
	}
	if !short {
		return n == 8
	}
	m, _, ok := ipv6Groups(after)
	return ok && n+m <= 7
}

// ipv6Groups counts the 16-bit groups in s, and reports whether the last two
// are written as an IPv4 address.
func ipv6Groups(s string) (n int, v4, ok bool) {
	if s == "" {
		return 0, false, true
	}
	groups := strings.Split(s, ":")
	for i, g := range groups {
		switch {
		case len(g) > 0 && len(g) <= 4 && prefixLen(g, isHex) == len(g):
			n++
		case i == len(groups)-1 && strings.Count(g, ".") == 3 && ipv4Len(g) == len(g):
			return n + 2, true, true
		default:
			return 0, false, false
		}
	}
	return n, false, true
}

// macLen returns the length of the Ethernet address at the start of s: six bytes separated by one
// of : - . or three groups of four digits separated by dots, or twelve digits.
func macLen(s string) int {
	best := 0
	for _, sep := range []byte(":-.") {
		best = max(best, groupsLen(s, 6, 1, 2, sep))
	}
	best = max(best, groupsLen(s, 3, 4, 4, '.'))
	if len(s) >= 12 && prefixLen(s[:12], isHex) == 12 {
		best = max(best, 12)
	}
	return best
}

// groupsLen returns the length of count groups, each of least to most hexadecimal digits, separated
// by sep, at the start of s.
func groupsLen(s string, count, least, most int, sep byte) int {
	n := 0
	for i := range count {
		if i > 0 {
			if n == len(s) || s[n] != sep {
				return 0
			}
			n++
		}
		d := prefixLen(s[n:min(len(s), n+most)], isHex)
		if d < least {
			return 0
		}
		n += d
	}
	return n
}

// brokenMACLen returns the length of what looks like the start of an Ethernet address, at the start
// of s, and ends in a colon.
func brokenMACLen(s string) int {
	n, end := 0, 0
	for groups := 1; ; groups++ {
		d := prefixLen(s[n:min(len(s), n+2)], isHex)
		if d == 0 {
			return end
		}
		n += d
		c := prefixLen(s[n:], func(c byte) bool { return c == ':' })
		if c == 0 {
			return end
		}
		n += c
		if groups > 1 {
			end = n
		}
	}
}

// parseNumber parses the token's text and sets its number.
func parseNumber(t *token) error {
	s, base := t.text, uint64(10)
	if len(s) > 1 && s[0] == '0' {
		s, base = s[1:], 8
		if s[0]|0x20 == 'x' {
			s, base = s[1:], 16
		}
	}
	n := uint64(0)
	for _, c := range []byte(s) {
		d := uint64(c - '0')
		if !isDigit(c) {
			d = uint64(c|0x20-'a') + 10
		}
		if d >= base {
			return &SyntaxError{t.off, fmt.Sprintf("%s is not an octal number", clip(t.text)), "a number that starts with 0 is octal"}
		}
		if n = n*base + d; n > 1<<32-1 {
			return &SyntaxError{t.off, fmt.Sprintf("the number %s does not fit in 32 bits", clip(t.text)), ""}
		}
	}
	t.num = uint32(n)
	return nil
}

// clip shortens text for messages.
func clip(s string) string {
	if len(s) > 40 {
		return s[:37] + "..."
	}
	return s
}
