package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
)

// MaxFile is the largest file in bytes that Parse reads: enough for thousands of interfaces.
const MaxFile = 256 << 10

// Load reads the file, fills in defaults and validates the settings. Mistakes in the file are
// Errors.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1)) // limited, because the path may be a device by mistake
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Parse reads the text of a file, fills in defaults and validates the settings. name is used in
// messages only. It returns Errors with all mistakes, or with the first one if it is a mistake in
// TOML's syntax. A text that names no interface is valid.
func Parse(name string, text []byte) (*Config, error) {
	if len(text) > MaxFile {
		return nil, Errors{{File: name, Reason: fmt.Sprintf("is over %d bytes, too large for a configuration", MaxFile)}}
	}
	var doc map[string]any
	if _, err := toml.Decode(string(text), &doc); err != nil {
		return nil, Errors{syntaxError(name, string(text), err)}
	}
	d := decoder{cfg: Default()}
	d.document(doc)
	errs := d.errs
	for _, e := range d.cfg.check() {
		if !d.errs.covers(e.paths[0]) {
			errs = append(errs, e)
		}
	}
	if len(errs) == 0 {
		return d.cfg, nil
	}
	errs.locate(name, string(text))
	return nil, errs
}

func syntaxError(name, text string, err error) *Error {
	e := &Error{File: name, Reason: err.Error()}
	if p, ok := errors.AsType[toml.ParseError](err); ok {
		// At the text's end, the library reports line 0.
		start := min(max(p.Position.Start, 0), len(text))
		e.Line = max(p.Position.Line, 1+strings.Count(text[:start], "\n"))
		e.Column, e.Reason = p.Position.Col, strings.TrimSuffix(p.Message, ".")
		if p.LastKey != "" {
			e.Hint = "the last key read is " + clip(p.LastKey)
		}
	}
	e.Reason = strings.Map(printable, e.Reason) // the reason may quote the text
	return e
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

// covers reports whether the errors include a mistake in the key. The key then holds a default, which
// must not be reported as a mistake.
func (e Errors) covers(path string) bool {
	return slices.ContainsFunc(e, func(one *Error) bool { return len(one.paths) > 0 && one.paths[0] == path })
}

// locate sets the file and the lines of the errors, and sorts them by line.
func (e Errors) locate(name, text string) {
	at := keyLines(text)
	for _, one := range e {
		one.File = name
		for _, path := range one.paths {
			if line, ok := at[path]; ok {
				one.Line = line
				break
			}
		}
	}
	slices.SortStableFunc(e, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
}

// A decoder stores a document in cfg. It does so itself because the library stops at the first
// value of a wrong type, and all of them should be reported.
type decoder struct {
	cfg  *Config
	errs Errors
}

func (d *decoder) document(doc map[string]any) {
	// The top of the file comes first, because interfaces inherit from it.
	top := maps.Clone(doc)
	delete(top, "control")
	delete(top, "log")
	delete(top, "retain")
	delete(top, "finished")
	delete(top, "encrypt")
	delete(top, "seal")
	delete(top, "interface")
	d.table("", "", top, d.cfg)
	for name, dst := range map[string]any{"log": &d.cfg.Log, "retain": &d.cfg.Retain, "index": &d.cfg.Index, "encrypt": &d.cfg.Encrypt, "seal": &d.cfg.Seal, "finished": &d.cfg.Finished, "control": &d.cfg.Control} {
		if value, ok := doc[name]; ok {
			if table, ok := value.(map[string]any); ok {
				d.table(name, name+".", table, dst)
			} else {
				d.wrong(name, name, value, "must be a table", "write ["+name+"] on a line of its own")
			}
		}
	}
	if list, ok := doc["interface"]; ok {
		d.interfaces(list)
	}
}

func (d *decoder) interfaces(list any) {
	v := reflect.ValueOf(list) // []any or []map[string]any, depending on the syntax
	if v.Kind() != reflect.Slice {
		d.wrong("interface", "interface", list, "must be a list of tables", "write [[interface]], with two brackets")
		return
	}
	for i := range v.Len() {
		table, ok := v.Index(i).Interface().(map[string]any)
		if !ok {
			d.wrong("interface", "interface", v.Index(i).Interface(), "must be a table", "write [[interface]]")
			continue
		}
		in := Interface{Recording: d.cfg.Recording}
		name, _ := table["name"].(string)
		d.table(tableName(i), interfacePrefix(name, i), table, &in)
		d.cfg.Interfaces = append(d.cfg.Interfaces, in)
	}
}

// table decodes the table with that path into the struct that dst points to.
func (d *decoder) table(path, prefix string, table map[string]any, dst any) {
	known := fields(reflect.ValueOf(dst).Elem())
	for _, key := range slices.Sorted(maps.Keys(table)) {
		here := join(path, quoted(key))
		field, ok := known[key]
		if !ok {
			d.unknown(here, path, prefix, key, slices.Sorted(maps.Keys(known)))
			continue
		}
		if want, err := assign(field, table[key]); err != nil {
			d.wrong(here, prefix+key, table[key], want, err.Error())
		} else if want != "" {
			d.wrong(here, prefix+key, table[key], want, "")
		}
	}
}

// wrong records that the key has a value of a wrong type.
func (d *decoder) wrong(path, key string, value any, want, hint string) {
	d.errs = append(d.errs, &Error{Key: key, Value: literal(value), Reason: want, Hint: hint, paths: []string{path}})
}

func (d *decoder) unknown(here, table, prefix, key string, known []string) {
	e := &Error{Key: prefix + clip(quoted(key)), Reason: "unknown key", paths: []string{here, table, "interface"}}
	if home := homeOf(key); home != "" {
		e.Hint = "it belongs " + home
	} else if near := Nearest(key, known); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
	d.errs = append(d.errs, e)
}

// homeOf returns where the key would be allowed, or "".
func homeOf(key string) string {
	var c Config
	var in Interface
	for _, home := range []struct {
		table any
		place string
	}{
		{&c, "at the top of the file, above all tables"},
		{&c.Log, "in [log]"},
		{&c.Retain, "in [retain]"},
		{&c.Index, "in [index]"},
		{&c.Encrypt, "in [encrypt]"},
		{&c.Seal, "in [seal]"},
		{&c.Finished, "in [finished]"},
		{&c.Control, "in [control]"},
		{&in, "in [[interface]]"},
	} {
		if _, ok := fields(reflect.ValueOf(home.table).Elem())[key]; ok {
			return home.place
		}
	}
	return ""
}

// fields returns pointers to the struct's fields by their keys. Fields of an embedded struct are
// included.
func fields(v reflect.Value) map[string]any {
	m := make(map[string]any)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch key := f.Tag.Get("toml"); {
		case f.Anonymous:
			maps.Copy(m, fields(v.Field(i)))
		case key != "-":
			m[key] = v.Field(i).Addr().Interface()
		}
	}
	return m
}

// assign sets the variable that dst points to. If it cannot, it returns what is wanted, and an
// error if it has details.
func assign(dst, value any) (want string, err error) {
	ok := false
	switch dst := dst.(type) {
	case *bool:
		*dst, ok = keep(*dst, value)
		want = "must be true or false"
	case *string:
		*dst, ok = keep(*dst, value)
		want = "must be a string in quotes"
	case *int:
		var n int64
		n, ok = keep(int64(*dst), value)
		*dst, ok = int(n), ok && int64(int(n)) == n
		want = "must be a whole number without quotes"
	case *[]string:
		*dst, ok = stringsOf(value)
		want = `must be a list of strings, as ["a", "b"]`
	case *Size:
		want = `must be a size, as "64MiB"`
		ok, err = assignText(dst, value)
		if n, number := value.(int64); number {
			*dst, ok = Size(n), true
		}
	case *AutoSize:
		want = `must be a size, as "64MiB", or "auto"`
		ok, err = assignText(dst, value)
		if n, number := value.(int64); number {
			*dst, ok = AutoSize(n), n != 0
		}
	case *Duration:
		want = `must be a duration, as "90s", "1h30m" or "7d"`
		ok, err = assignText(dst, value)
		if n, number := value.(int64); number {
			ok, err = true, dst.UnmarshalText(strconv.AppendInt(nil, n, 10))
		}
	case *Share:
		want = `must be a size, as "10GiB", or a part, as "5%"`
		ok, err = assignText(dst, value)
		if n, number := value.(int64); number {
			*dst, ok = Share{Bytes: Size(n)}, true
		}
	case *FileMode:
		want = `must be an octal number in quotes, as "0640"`
		ok, err = assignText(dst, value)
	}
	if ok && err == nil {
		return "", nil
	}
	return want, err
}

// keep returns the value if it has the type T, else the old one.
func keep[T any](old T, value any) (T, bool) {
	if v, ok := value.(T); ok {
		return v, true
	}
	return old, false
}

func assignText(dst encoding.TextUnmarshaler, value any) (bool, error) {
	text, ok := value.(string)
	if !ok {
		return false, nil
	}
	return true, dst.UnmarshalText([]byte(text))
}

func stringsOf(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	var all []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, true
}

// literal returns the value in TOML's syntax, or a description if that would be long.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(clip(v))
	case time.Time:
		return "a date"
	case fmt.Stringer:
		return strconv.Quote(v.String())
	case bool, int, int64, float64:
		return fmt.Sprint(v)
	case []string:
		return clip(`["` + strings.Join(v, `", "`) + `"]`)
	case map[string]any:
		return "a table"
	}
	if reflect.ValueOf(value).Kind() == reflect.Slice {
		return "a list"
	}
	return "a value of another type"
}
