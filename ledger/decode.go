package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A decoder decodes one line after the other.
type decoder struct {
	entry  Entry // the last line
	fields []decoded
}

// A decoded is a field of the decoder's entry.
type decoded struct {
	key   string
	value any    // see field.in
	text  string // the last text: a line that repeats it needs no new memory
}

func newDecoder() *decoder {
	d := &decoder{fields: make([]decoded, len(fields))}
	for i := range fields {
		d.fields[i] = decoded{key: fields[i].key, value: fields[i].in(&d.entry)}
	}
	return d
}

// decode decodes a line without its newline into the entry.
func (d *decoder) decode(line []byte) error {
	if !d.decodeWritten(line) {
		d.entry = Entry{}
		if err := json.Unmarshal(line, &d.entry); err != nil {
			return err
		}
	}
	if d.entry.Version != Version {
		return fmt.Errorf("version %d of the format is unknown", d.entry.Version)
	}
	if d.entry.Kind == "" {
		return errors.New("no kind")
	}
	return nil
}

// decodeWritten decodes a line that is spelled as AppendLine spells it: known
// keys in their order, no spaces, no escapes, no nested values. It reports
// whether the line is one; encoding/json has to decode the others. It is ten
// times as fast, and a ledger has a line for each file of a long time.
func (d *decoder) decodeWritten(b []byte) bool {
	d.entry = Entry{}
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return false
	}
	b = b[1:]
	next := 0 // the field that may come next
	for {
		key, rest, ok := cutString(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		rest = rest[1:]
		for next < len(d.fields) && d.fields[next].key != string(key) {
			next++
		}
		if next == len(d.fields) {
			return false
		}
		f := &d.fields[next]
		next++
		var value []byte
		if rest[0] == '"' {
			value, rest, ok = cutString(rest)
			ok = ok && f.setText(value)
		} else {
			end := 0
			for rest[end] != ',' && rest[end] != '}' { // b ends with one
				end++
			}
			value, rest = rest[:end], rest[end:]
			ok = f.setLiteral(value)
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

// cutString cuts a string of printable ASCII without escapes off b.
func cutString(b []byte) (s, rest []byte, ok bool) {
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

// setText sets a field whose value is a string.
func (f *decoded) setText(value []byte) bool {
	switch v := f.value.(type) {
	case *string:
		if f.text != string(value) {
			f.text = string(value)
		}
		*v = f.text
		return true
	case *time.Time:
		return v.UnmarshalText(value) == nil
	}
	return false
}

// setLiteral sets a field whose value is a number or true. It refuses zeros:
// they are left out of lines.
func (f *decoded) setLiteral(value []byte) bool {
	if v, ok := f.value.(*bool); ok {
		*v = string(value) == "true"
		return *v
	}
	digits := value
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return false
	}
	var err error
	switch v := f.value.(type) {
	case *uint64:
		*v, err = strconv.ParseUint(string(value), 10, 64)
	case *int64:
		*v, err = strconv.ParseInt(string(value), 10, 64)
	case *int:
		*v, err = strconv.Atoi(string(value))
	default:
		return false
	}
	return err == nil
}
