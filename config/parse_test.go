package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// Each text has exactly the mistakes listed with it.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "\nsnaplne = 5", `capd.toml:2: snaplne: unknown key; did you mean snaplen?`},
		{"unknown key of another style", `ring-size = 5`, `capd.toml:1: ring-size: unknown key; did you mean ring_size?`},
		{"unknown key in capitals", `SNAPLEN = 5`, `capd.toml:1: SNAPLEN: unknown key; did you mean snaplen?`},
		{"unknown key like no other", `"ä b" = 5`, `capd.toml:1: "ä b": unknown key`},
		{"unknown table", "\n[logs]\nlevel = 'info'", `capd.toml:2: logs: unknown key; did you mean log?`},
		{"key of another table", "[log]\nsnaplen = 5",
			`capd.toml:2: log.snaplen: unknown key; it belongs at the top of the file, above all tables`},
		{"key of the log", "\nlevel = 'info'", `capd.toml:2: level: unknown key; it belongs in [log]`},
		{"key of an interface", "\nname = 'eth0'", `capd.toml:2: name: unknown key; it belongs in [[interface]]`},
		{"unknown key of an interface", "[[interface]]\nname='a'\n[[interface]]\nname='b'\nfoo_bar = 1",
			`capd.toml:5: interface "b": foo_bar: unknown key`},
		{"one bracket", "[interface]\nname = 'eth0'",
			`capd.toml:1: interface = a table: must be a list of tables; write [[interface]], with two brackets`},
		{"interfaces by name", "interface = ['eth0']", `capd.toml:1: interface = "eth0": must be a table; write [[interface]]`},
		{"no table", "log = 'info'", `capd.toml:1: log = "info": must be a table; write [log] on a line of its own`},
		{"string for a number", `snaplen = "5"`, `capd.toml:1: snaplen = "5": must be a whole number without quotes`},
		{"fraction for a number", `cpu = 1.5`, `capd.toml:1: cpu = 1.5: must be a whole number without quotes`},
		{"string for a boolean", `wait = "yes"`, `capd.toml:1: wait = "yes": must be true or false`},
		{"number for a string", "[log]\nlevel = 3", `capd.toml:2: log.level = 3: must be a string in quotes`},
		{"list for a string", `format = ["pcap"]`, `capd.toml:1: format = a list: must be a string in quotes`},
		{"date for a size", `ring_size = 2026-01-01`,
			`capd.toml:1: ring_size = a date: must be a size, as "64MiB", or "auto"`},
		{"bad unit", `ring_size = "64M"`,
			`capd.toml:1: ring_size = "64M": must be a size, as "64MiB", or "auto"; write 64MiB (powers of 1024) or 64MB (powers of 1000)`},
		{"no unit", `rotate_interval = 60`,
			`capd.toml:1: rotate_interval = 60: must be a duration, as "90s", "1h30m" or "7d"; no unit after 60; write 60s for seconds`},
		{"mode without quotes", `file_mode = 0o640`, `capd.toml:1: file_mode = 416: must be an octal number in quotes, as "0640"`},
		{"mode not octal", `file_mode = "0680"`,
			`capd.toml:1: file_mode = "0680": must be an octal number in quotes, as "0640"; it is not an octal number`},
		{"mode with more", `file_mode = "4755"`,
			`capd.toml:1: file_mode = "4755": must be 0600 to 0777: capd reads and writes its files itself; write "0640" or "0600"`},
		{"exclude", "[[interface]]\nname='e*'\nexclude=['eth0', 3]", `capd.toml:3: interface "e*": exclude = a list: must be a list of strings, as ["a", "b"]`},
		{"inline interface", "a = 1\ninterface = [{name = 'eth0', snaplen = 0}]",
			`capd.toml:1: a: unknown key
			capd.toml:2: interface "eth0": snaplen = 0: must be 1 to 262144 bytes, the most that Wireshark reads; 262144 keeps whole frames`},
		{"syntax", "snaplen = 5\nformat = pcap\n",
			`capd.toml:2:10: expected value but found "pcap" instead; the last key read is format`},
		{"syntax at the end", "a = 1\n\"\\", "capd.toml:2:2: invalid escape in string '\\\ufffd'"},
		{"twice", "snaplen = 5\nsnaplen = 6\n", `capd.toml:2:13: Key 'snaplen' has already been defined; the last key read is snaplen`},
		{"several at once", "snaplen = 0\nfrmat = 'pcap'\n\n[[interface]]\nname = 'eth0'\nwait = 1\n[log]\nlevel = 'inf'",
			`capd.toml:1: snaplen = 0: must be 1 to 262144 bytes, the most that Wireshark reads; 262144 keeps whole frames
			capd.toml:2: frmat: unknown key; did you mean format?
			capd.toml:6: interface "eth0": wait = 1: must be true or false
			capd.toml:8: log.level = "inf": must be one of "debug", "info", "warn", "error"; did you mean "info"?`},
		{"name of a wrong type", "[[interface]]\nname = 3\n[[interface]]\nname = 4",
			`capd.toml:2: interface 1: name = 3: must be a string in quotes
			capd.toml:4: interface 2: name = 4: must be a string in quotes`},
		{"too long", strings.Repeat("#", MaxFile+1), `capd.toml: is over 262144 bytes, too large for a configuration`},
	} {
		t.Run(c.name, func(t *testing.T) { mistakes(t, c.text, c.want) })
	}
}

func mistakes(t *testing.T, text, want string) {
	t.Helper()
	want = strings.ReplaceAll(want, "\t", "")
	c, err := Parse("capd.toml", []byte(text))
	if err == nil {
		t.Fatalf("no mistake found in\n%s", text)
	}
	if c != nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("%T holds no *Error", err)
	}
}

func TestLines(t *testing.T) {
	const text = `# comment = 1
a = 1
"b c" = "x # no = comment \" ["
'd' = '''
e = "in a string" \'''''
f = [ # comment ]
  "]", '[',
  { g = 1 },
]
h = """
i = 1\"""
j = 2""""" # j = 3
[k]
l.m = 1
[n.o]
p=1
[[q]] # r
r = 1
[[q]]
r = 2
[q.s]
t = 1
  [ u . "v w" ]
x = 1979-05-27T07:32:00Z
`
	want := map[string]int{
		"a": 2, `"b c"`: 3, "d": 4, "f": 6, "h": 10, "k": 13, "k.l.m": 14, "n": 15, "n.o": 15, "n.o.p": 16, "q": 17, "q[0]": 17, "q[0].r": 18,
		"q[1]": 19, "q[1].r": 20, "q[1].s": 21, "q[1].s.t": 22, "u": 23, `u."v w"`: 23, `u."v w".x`: 24,
	}
	for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n"), "\ufeff" + text} {
		var doc map[string]any
		if _, err := toml.Decode(text, &doc); err != nil {
			t.Fatal(err)
		}
		if got := keyLines(text); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"snaplne", "snaplen", 2}, {"a", "a", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "snaplen = 0", Default().TOML(), "[[interface]]\nname = 'eth*'\nexclude = ['eth9']\nsnaplen = 5",
		"interface = [{name = \"a\"},\n3]", "[log]\nlevel = 3", "log.level = 'debug'", "\ufeff[interface]", "\"\" = 1",
		"a = '''\n''''' # b", "a = \"\"\"\\\"\"\"\"", "ring_size = 9223372036854775807\nblock_size = '1GiB'", "a.b.c = {d = [1, {e = 2}]}",
		"block_size = -9223372036854775808\nchunk_size = 0\npool_size = -1", "[[a]]\n[a.b]\nc = 1", "cpu = 1e400", "\"\\", "a = inf\nb = nan",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("capd.toml", text)
		if err != nil {
			all, ok := err.(Errors)
			if !ok || len(all) == 0 || c != nil {
				t.Fatalf("%T %v with %v", err, err, c)
			}
			known(t, string(text), all)
			return
		}
		again, err := Parse("canonical", []byte(c.TOML()))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.TOML())
		}
		if c.Digest() != again.Digest() {
			t.Fatalf("%s\nbecame\n%s", c.TOML(), again.TOML())
		}
		if len(c.Interfaces) > 0 && c.Validate() != nil {
			t.Fatal(c.Validate())
		}
	})
}

// known fails unless each mistake has a position and a reason. An unknown top-level key that needs
// no quotes must be in the line that the error names.
func known(t *testing.T, text string, all Errors) {
	t.Helper()
	split := strings.Split(text, "\n")
	for _, e := range all {
		if e.Reason == "" || e.File == "" || strings.ContainsAny(e.Error(), "\x00\n") || e.Line < 0 || e.Line > len(split) {
			t.Fatalf("%#v in %q", e, text)
		}
		if e.Reason == "unknown key" && len(e.paths) > 1 && e.paths[1] == "" && !strings.ContainsAny(e.paths[0], "\"") && len(e.paths[0]) < 50 {
			if e.Line == 0 || !strings.Contains(split[e.Line-1], e.paths[0]) && !strings.Contains(text, "\\") {
				t.Fatalf("%v\n%q", e, text)
			}
		}
	}
}

func TestCanonicalFormIsRead(t *testing.T) {
	c := mustParse(t, "directory = '/a b/\"ö\\'\nwait = false\n[[interface]]\nname='e*'\nexclude=['eth0','x?']\nfile_mode='0600'\n[log]\nfile='/x'")
	again := mustParse(t, c.TOML())
	if !reflect.DeepEqual(c, again) {
		t.Errorf("%s\nbecame\n%s", c.TOML(), again.TOML())
	}
}
