package remote

import (
	"os/exec"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for address, want := range map[string]Host{
		"ssh://sensor":                    {Name: "sensor"},
		"ssh://sensor/":                   {Name: "sensor"},
		"ssh://root@sensor:2222/var/capd": {"root", "sensor", "2222", "/var/capd"},
		"ssh://[::1]:22/a%20b":            {"", "::1", "22", "/a b"},
		"ssh://[fe80::1%25eth0]":          {Name: "fe80::1%eth0"},
	} {
		h, err := Parse(address)
		if err != nil || h != want {
			t.Errorf("%s: %+v, %v", address, h, err)
		}
		if again, err := Parse(h.String()); err != nil || again != h {
			t.Errorf("%s is spelt %s: %+v, %v", address, h.String(), again, err)
		}
	}
}

// TestQuote: shells read words as they were. csh has no way to quote the end of a line that others read alike.
func TestQuote(t *testing.T) {
	words := []string{"a b", "", "it's", `\`, `\\`, `a\'b`, "$HOME `id` $(id)", "!!", "*?[x]{a,b}", "~", "#", "a;b&c|d<e>f", "ü±", `"`, "-n", "%s", "=x"}
	for _, shell := range []string{"sh", "dash", "bash", "zsh", "ksh", "tcsh", "fish"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		out, err := exec.Command(shell, "-c", Quote(append([]string{"printf", "<%s>"}, words...)...)).CombinedOutput()
		if want := "<" + strings.Join(words, "><") + ">"; err != nil || string(out) != want {
			t.Errorf("%s: %v, %s, want %s", shell, err, out, want)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add("Welcome\n{\n  \"a\": 1\n}\nbye\n", 3)
	f.Add("{\"error\":\"x\"}\r\nmore", 1)
	f.Add("{\n{\n}", 100)
	f.Fuzz(func(t *testing.T, s string, n int) {
		read := func(n int) (said []string, object string, err error) {
			l := Lines{Say: func(line string) { said = append(said, line) }}
			for rest := s; rest != ""; {
				m := min(max(n, 1), len(rest))
				if _, err := l.Write([]byte(rest[:m])); err != nil {
					t.Fatal(err)
				}
				rest = rest[m:]
			}
			l.Close()
			var v any
			return said, string(l.object), l.Decode(&v)
		}
		said, object, err := read(n)
		all, whole, err2 := read(len(s))
		if strings.Join(said, "\n") != strings.Join(all, "\n") || object != whole || (err == nil) != (err2 == nil) {
			t.Errorf("%q %q %v, in pieces of %d %q %q %v", all, whole, err2, n, said, object, err)
		}
	})
}

func TestLines(t *testing.T) {
	for text, want := range map[string]string{
		"Welcome\n{\n  \"a\": 1\n}\nbye\n":      "Welcome bye",
		"{\"a\":1}\nbye":                        "bye",
		"{\n  \"a\": [\n    {\n    }\n  ]\n}\n": "",
	} {
		var said []string
		l := Lines{Say: func(line string) { said = append(said, line) }}
		_, _ = l.Write([]byte(text))
		l.Close()
		var v struct{ A any }
		if err := l.Decode(&v); err != nil || v.A == nil || strings.Join(said, " ") != want {
			t.Errorf("%q: %v, %v, %q", text, err, v, said)
		}
	}
	l := Lines{Say: func(string) {}}
	_, _ = l.Write([]byte("{\n" + strings.Repeat(strings.Repeat("x", 2<<20)+"\n", 20)))
	if err := l.Decode(new(any)); err == nil || len(l.object)+len(l.line) > mostObject+mostLine {
		t.Errorf("%v, %d bytes are kept", err, len(l.object))
	}
}
