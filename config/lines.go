package config

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// lines returns the line of every key and table of a TOML text by its path, as
// "log.level" or "interface[0].name": the library tells positions in its own
// errors only. The text must be valid. Keys in inline tables are left out.
func lines(text string) map[string]int {
	s := scanner{text: text, line: 1, at: make(map[string]int), arrays: make(map[string]int)}
	s.take(strings.HasPrefix(text, "\ufeff"), len("\ufeff"))
	for s.blank(); s.pos < len(s.text); s.blank() {
		if s.peek() == '[' {
			s.header()
		} else {
			line := s.line
			s.note(join(s.table, s.key()), line)
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

// quoted returns one part of a key as paths have it.
func quoted(part string) string { return toml.Key{part}.String() }

// A scanner walks a text. All its steps end at the text's end, and each one of
// a loop gets on by a byte at least.
type scanner struct {
	text   string
	pos    int
	line   int
	table  string // path of the last header
	at     map[string]int
	arrays map[string]int // how many [[headers]] of that name
}

func (s *scanner) note(path string, line int) {
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

// take steps over n bytes if ok, and counts their lines.
func (s *scanner) take(ok bool, n int) bool {
	if ok {
		end := min(s.pos+n, len(s.text))
		s.line += strings.Count(s.text[s.pos:end], "\n")
		s.pos = end
	}
	return ok
}

// until steps to the first of the bytes, or to the end.
func (s *scanner) until(bytes string) {
	n := strings.IndexAny(s.text[s.pos:], bytes)
	if n < 0 {
		n = len(s.text)
	}
	s.take(true, n)
}

// blank steps over white space, line ends and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.take(true, 1)
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
	s.take(true, 1)
	s.take(array, 1)
	s.table = ""
	name := s.key()
	s.until("\n")
	if array {
		s.note(name, line)
		n := s.arrays[name]
		s.arrays[name]++
		s.table = fmt.Sprintf("%s[%d]", name, n)
	} else {
		s.table = name
		for array, n := range s.arrays { // a table of the array's last element
			if rest, ok := strings.CutPrefix(name, array+"."); ok {
				s.table = fmt.Sprintf("%s[%d].%s", array, n-1, rest)
			}
		}
	}
	s.note(s.table, line)
}

// key reads a dotted key and steps over the = or ] behind it. Each prefix of
// the key is a table of its own, first met here.
func (s *scanner) key() string {
	path := ""
	for s.pos < len(s.text) {
		switch c := s.peek(); c {
		case '=', ']':
			s.take(true, 1)
			return path
		case ' ', '\t', '.':
			s.take(true, 1)
		case '"', '\'':
			start, line := s.pos+1, s.line
			s.str()
			path = s.part(path, s.text[start:max(start, s.pos-1)], line)
		default:
			start, line := s.pos, s.line
			s.until("=]. \t\"'\n")
			s.take(s.pos == start, 1)
			path = s.part(path, s.text[start:s.pos], line)
		}
	}
	return path
}

func (s *scanner) part(path, name string, line int) string {
	if path != "" && s.table == "" {
		s.note(path, line)
	}
	return join(path, quoted(name))
}

// value steps over a value, to the end of its line.
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
		s.take(true, 1)
	}
}

// str steps over a string of any of the four kinds.
func (s *scanner) str() {
	quote := s.text[s.pos : s.pos+1]
	long := strings.Repeat(quote, 3)
	if !strings.HasPrefix(s.text[s.pos:], long) {
		s.take(true, 1)
		s.body(quote, quote)
		return
	}
	s.take(true, len(long))
	s.body(quote, long)
	for range 2 { // a long string may end in quotes of its own
		s.take(strings.HasPrefix(s.text[s.pos:], quote), 1)
	}
}

// body steps over the rest of a string, with the quotes that end it.
func (s *scanner) body(quote, end string) {
	for s.pos < len(s.text) {
		if s.take(strings.HasPrefix(s.text[s.pos:], end), len(end)) {
			return
		}
		escape := quote == `"` && s.peek() == '\\'
		s.take(escape, 1)
		s.take(true, 1)
	}
}
