package config

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// keyLines returns the line of every key and table of a TOML text by its path, such as "log.level" or
// "interface[0].name". It exists because the TOML library reports positions only in its own errors. The
// text must be valid. Keys in inline tables are left out.
func keyLines(text string) map[string]int {
	s := scanner{text: text, line: 1, at: make(map[string]int), arrays: make(map[string]int)}
	s.skip(strings.HasPrefix(text, "\ufeff"), len("\ufeff"))
	for s.blank(); s.pos < len(s.text); s.blank() {
		if s.peek() == '[' {
			s.header()
		} else {
			line := s.line
			s.record(join(s.table, s.key()), line)
			s.value()
		}
	}
	return s.at
}

// join returns the path of a key in a table.
func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// quoted returns one part of a key in the form that paths have.
func quoted(part string) string { return toml.Key{part}.String() }

// A scanner walks through a text. Every method stops at the text's end, and every iteration of a
// loop consumes at least one byte.
type scanner struct {
	text   string
	pos    int
	line   int
	table  string // path of the latest header
	at     map[string]int
	arrays map[string]int // number of [[headers]] by name
}

func (s *scanner) record(path string, line int) {
	if _, ok := s.at[path]; !ok {
		s.at[path] = line
	}
}

// peek returns the byte at pos, or 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

// skip advances by n bytes if ok, and counts their lines. It returns ok.
func (s *scanner) skip(ok bool, n int) bool {
	if ok {
		end := min(s.pos+n, len(s.text))
		s.line += strings.Count(s.text[s.pos:end], "\n")
		s.pos = end
	}
	return ok
}

// until advances to the first of the bytes, or to the end.
func (s *scanner) until(bytes string) {
	n := strings.IndexAny(s.text[s.pos:], bytes)
	if n < 0 {
		n = len(s.text)
	}
	s.skip(true, n)
}

// blank skips white space, line ends and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.skip(true, 1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

// header reads [table] or [[array]].
func (s *scanner) header() {
	line := s.line
	array := strings.HasPrefix(s.text[s.pos:], "[[")
	s.skip(true, 1)
	s.skip(array, 1)
	s.table = ""
	name := s.key()
	s.until("\n")
	if array {
		s.record(name, line)
		n := s.arrays[name]
		s.arrays[name]++
		s.table = fmt.Sprintf("%s[%d]", name, n)
	} else {
		s.table = name
		for array, n := range s.arrays { // the header names a table of the array's last element
			if rest, ok := strings.CutPrefix(name, array+"."); ok {
				s.table = fmt.Sprintf("%s[%d].%s", array, n-1, rest)
			}
		}
	}
	s.record(s.table, line)
}

// key reads a dotted key and skips the = or ] behind it. It records each prefix of the key, which
// is a table, on its first occurrence.
func (s *scanner) key() string {
	path := ""
	for s.pos < len(s.text) {
		switch c := s.peek(); c {
		case '=', ']':
			s.skip(true, 1)
			return path
		case ' ', '\t', '.':
			s.skip(true, 1)
		case '"', '\'':
			start, line := s.pos+1, s.line
			s.str()
			path = s.part(path, s.text[start:max(start, s.pos-1)], line)
		default:
			start, line := s.pos, s.line
			s.until("=]. \t\"'\n")
			s.skip(s.pos == start, 1)
			path = s.part(path, s.text[start:s.pos], line)
		}
	}
	return path
}

func (s *scanner) part(path, name string, line int) string {
	if path != "" && s.table == "" {
		s.record(path, line)
	}
	return join(path, quoted(name))
}

// value skips a value, to the end of its line.
func (s *scanner) value() {
	for depth := 0; s.pos < len(s.text); {
		switch s.peek() {
		case '"', '\'':
			s.str()
			continue
		case '#':
			s.until("\n")
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return
			}
		}
		s.skip(true, 1)
	}
}

// str skips a string of any of the four kinds.
func (s *scanner) str() {
	quote := s.text[s.pos : s.pos+1]
	long := strings.Repeat(quote, 3)
	if !strings.HasPrefix(s.text[s.pos:], long) {
		s.skip(true, 1)
		s.body(quote, quote)
		return
	}
	s.skip(true, len(long))
	s.body(quote, long)
	for range 2 { // a long string may end in quotes that belong to its content
		s.skip(strings.HasPrefix(s.text[s.pos:], quote), 1)
	}
}

// body skips the rest of a string, including the closing quotes.
func (s *scanner) body(quote, end string) {
	for s.pos < len(s.text) {
		if s.skip(strings.HasPrefix(s.text[s.pos:], end), len(end)) {
			return
		}
		escape := quote == `"` && s.peek() == '\\'
		s.skip(escape, 1)
		s.skip(true, 1)
	}
}
