package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

const (
	mostLine   = 1 << 20  // bytes of a line; the rest is dropped
	mostObject = 16 << 20 // bytes of an object
)

// Lines parts what the other side prints: the first JSON object, which begins with a line of its own, and lines of text before and
// after it, as ssh and files of the shell there print them.
type Lines struct {
	Say func(line string) // is called with each line that is none of the object's

	line   []byte
	object []byte
	state  objectState
}

// An objectState is how far the object has come.
type objectState int

const (
	objectAwaited objectState = iota
	objectBegun
	objectWhole
	objectTooLarge
)

// ErrNoObject is returned by Decode if none came.
var ErrNoObject = errors.New("no answer came")

// Write takes bytes of any length.
func (l *Lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		b = rest
		l.line = append(l.line, part[:min(len(part), mostLine-len(l.line))]...)
		if ended {
			l.end()
		}
	}
	return n, nil
}

// end takes the line that was read.
func (l *Lines) end() {
	line := strings.TrimSuffix(string(l.line), "\r")
	l.line = l.line[:0]
	first := l.state == objectAwaited && strings.HasPrefix(line, "{")
	if !first && l.state != objectBegun {
		if line != "" && l.state != objectTooLarge {
			l.Say(line)
		}
		return
	}
	l.state = objectBegun
	l.object = append(append(l.object, line...), '\n')
	switch {
	case len(l.object) > mostObject:
		l.state, l.object = objectTooLarge, nil
	case line == "}", first && strings.HasSuffix(line, "}"):
		l.state = objectWhole
	}
}

// Close takes a last line that has no end. Nothing more may be written.
func (l *Lines) Close() {
	if len(l.line) > 0 {
		l.end()
	}
}

// Decode decodes the object.
func (l *Lines) Decode(v any) error {
	switch l.state {
	case objectTooLarge:
		return errors.New("the answer is larger than 16 MiB")
	case objectWhole:
		return json.Unmarshal(l.object, v)
	}
	return ErrNoObject
}
