// Package extcap spells what Wireshark and its tools ask of a program in their folder for extcaps: sentences of a word and values
// in braces, a line each.
package extcap

import (
	"fmt"
	"io"
	"strings"
)

// An Interface is an entry of Wireshark's list.
type Interface struct {
	Name    string // that its tools take behind -i
	Display string // that people read
}

// A LinkType is what an interface may have.
type LinkType struct {
	Number  int
	Name    string
	Display string
}

// A Kind is what may be entered into a field.
type Kind string

// The kinds that are used.
const (
	Text   Kind = "string"
	Number Kind = "unsigned"
	Switch Kind = "boolflag" // the flag is passed, without a value, if it is on
)

// A Field is one of the dialog for an interface, and the flag that it is passed as.
type Field struct {
	Flag        string // with its dashes
	Display     string
	Kind        Kind
	Tooltip     string
	Default     string // which is passed if nothing else is entered
	Placeholder string
	Group       string // of the dialog
}

// A sentence gathers a line.
type sentence struct{ strings.Builder }

// value adds a value, but no empty one. What would end it is left out: sentences have no way to spell it.
func (s *sentence) value(name, value string) {
	value = strings.Map(func(r rune) rune {
		if strings.ContainsRune("{}", r) || r < ' ' {
			return -1
		}
		return r
	}, value)
	if value != "" {
		fmt.Fprintf(s, "{%s=%s}", name, value)
	}
}

// Fits reports whether a name can be spelt.
func Fits(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return strings.ContainsRune("{}", r) || r <= ' ' })
}

// WriteInterfaces answers --extcap-interfaces.
func WriteInterfaces(w io.Writer, version string, all []Interface) error {
	var s sentence
	s.WriteString("extcap ")
	s.value("version", version)
	s.value("display", "capd")
	s.WriteByte('\n')
	for _, i := range all {
		s.WriteString("interface ")
		s.value("value", i.Name)
		s.value("display", i.Display)
		s.WriteByte('\n')
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// WriteLinkTypes answers --extcap-dlts.
func WriteLinkTypes(w io.Writer, all []LinkType) error {
	var s sentence
	for _, l := range all {
		fmt.Fprintf(&s, "dlt {number=%d}", l.Number)
		s.value("name", l.Name)
		s.value("display", l.Display)
		s.WriteByte('\n')
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// WriteFields answers --extcap-config.
func WriteFields(w io.Writer, all []Field) error {
	var s sentence
	for i, f := range all {
		fmt.Fprintf(&s, "arg {number=%d}", i)
		s.value("call", f.Flag)
		s.value("display", f.Display)
		s.value("type", string(f.Kind))
		s.value("tooltip", f.Tooltip)
		s.value("placeholder", f.Placeholder)
		s.value("default", f.Default)
		s.value("group", f.Group)
		s.WriteByte('\n')
	}
	_, err := io.WriteString(w, s.String())
	return err
}
