package watch

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"capd/internal/decode"
)

func TestAppendASCII(t *testing.T) {
	text := "a\\u0001 é \u202e \U0001f600 \x7f\u009b"
	in, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	out := appendASCII(nil, in)
	var back string
	if err := json.Unmarshal(out, &back); err != nil || back != text {
		t.Errorf("%v: %q from %q", err, back, out)
	}
	if bytes.ContainsFunc(out, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q", out)
	}
}

// TestDocumented: docs/watch.md has every member of the object.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/watch.md")
	if err != nil {
		t.Skip("away from the source tree")
	}
	names := append(members(reflect.TypeFor[packetJSON](), ""), members(reflect.TypeFor[decode.Frame](), "")...)
	for _, name := range names {
		if !bytes.Contains(doc, []byte("| `"+name+"` |")) {
			t.Errorf("docs/watch.md has no member %s", name)
		}
	}
	if len(names) < 50 || !slices.Contains(names, "tcp.flags") {
		t.Errorf("%q", names)
	}
}

// members are the names of a structure's members in JSON, with those of the
// structures in it.
func members(s reflect.Type, prefix string) []string {
	var all []string
	for i := range s.NumField() {
		f := s.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		all = append(all, prefix+name)
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == s.PkgPath() {
			all = append(all, members(inner, prefix+name+".")...)
		}
	}
	return all
}
