package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// parseLine parses a line without its end into the entry, which may hold the
// line before: texts that are the same need no new memory.
func (e *Entry) parseLine(line []byte) error {
	before := *e
	*e = Entry{}
	if !e.parsePlain(line, &before) {
		*e = Entry{}
		if err := json.Unmarshal(line, e); err != nil {
			return err
		}
	}
	if e.Version != Version {
		return fmt.Errorf("version %d of the format is unknown", e.Version)
	}
	if e.Kind == "" {
		return errors.New("no kind")
	}
	return nil
}

// parsePlain parses a line as AppendLine writes it: no spaces, escapes, unknown
// keys or nested values. It reports whether it could; if not, encoding/json
// has the word. It is ten times as fast, and a ledger has a line for each file
// of a long time.
func (e *Entry) parsePlain(b []byte, before *Entry) bool {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return false
	}
	b = b[1:]
	for {
		key, rest, ok := plainString(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		rest = rest[1:]
		var value []byte
		if rest[0] == '"' {
			value, rest, ok = plainString(rest)
			ok = ok && e.setText(string(key), value, before)
		} else {
			end := 0
			for rest[end] != ',' && rest[end] != '}' { // b ends with one
				end++
			}
			value, rest = rest[:end], rest[end:]
			ok = e.setNumber(string(key), value)
		}
		switch {
		case !ok || len(rest) == 0:
			return false
		case rest[0] == '}':
			return len(rest) == 1
		case rest[0] != ',':
			return false
		}
		b = rest[1:]
	}
}

// plainString cuts a string without escapes off b.
func plainString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[1:i], b[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

func (e *Entry) setText(key string, value []byte, before *Entry) bool {
	if t := e.timeOf(key); t != nil {
		return t.UnmarshalText(value) == nil
	}
	switch key {
	case "kind":
		e.Kind = again(before.Kind, value)
	case "name":
		e.Name = string(value)
	case "interface":
		e.Interface = again(before.Interface, value)
	case "link":
		e.Link = again(before.Link, value)
	case "clock":
		e.Clock = again(before.Clock, value)
	case "reason":
		e.Reason = again(before.Reason, value)
	case "cause":
		e.Cause = Cause(value)
	case "limit":
		e.Limit = string(value)
	case "why":
		e.Why = string(value)
	case "into":
		e.Into = string(value)
	case "software":
		e.Software = string(value)
	case "boot":
		e.Boot = string(value)
	case "config":
		e.Config = string(value)
	default:
		return false
	}
	return true
}

// again returns the text: the one before, if it is the same.
func again[S ~string](before S, text []byte) S {
	if string(before) == string(text) {
		return before
	}
	return S(text)
}

func (e *Entry) timeOf(key string) *time.Time {
	switch key {
	case "time":
		return &e.Time
	case "begin":
		return &e.Begin
	case "end":
		return &e.End
	case "first":
		return &e.First
	case "last":
		return &e.Last
	}
	return nil
}

func (e *Entry) setNumber(key string, value []byte) bool {
	if key == "clean" && string(value) == "true" {
		e.Clean = true
		return true
	}
	if len(value) == 0 || value[0] == '0' || value[0] == '+' { // left out, or not JSON
		return false
	}
	if n := e.countOf(key); n != nil {
		var err error
		*n, err = strconv.ParseUint(string(value), 10, 64)
		return err == nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		return false
	}
	switch key {
	case "v":
		e.Version = int(n)
	case "cut":
		e.Cut = n
	case "offset":
		e.Offset = n
	case "pid":
		e.PID = int(n)
	default:
		return false
	}
	return int64(int(n)) == n
}

func (e *Entry) countOf(key string) *uint64 {
	switch key {
	case "packets":
		return &e.Packets
	case "bytes":
		return &e.Bytes
	case "size":
		return &e.Size
	case "received":
		return &e.Received
	case "filtered":
		return &e.Filtered
	case "kernel_dropped":
		return &e.KernelDropped
	case "capd_dropped":
		return &e.CapdDropped
	case "freezes":
		return &e.Freezes
	case "nic_dropped":
		return &e.NICDropped
	case "truncated":
		return &e.Truncated
	case "not_summed":
		return &e.NotSummed
	case "inversions":
		return &e.Inversions
	case "frames":
		return &e.Frames
	case "lines":
		return &e.Lines
	}
	return nil
}
