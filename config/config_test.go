package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const examplePath = "../capd.toml.example"

func TestExampleHoldsTheDefaults(t *testing.T) {
	got, err := Load(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Interfaces = []Interface{{Name: "eth0", Recording: want.Recording}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example is\n%s\nand the defaults are\n%s", got.TOML(), want.TOML())
	}
}

// The example need not repeat in its [[interface]] the keys that are at its top.
func TestExampleHasEveryKey(t *testing.T) {
	var doc map[string]any
	if _, err := toml.DecodeFile(examplePath, &doc); err != nil {
		t.Fatal(err)
	}
	var c Config
	var in struct {
		Name    string   `toml:"name"`
		Exclude []string `toml:"exclude"`
	}
	sameKeys(t, "top", doc, &c)
	sameKeys(t, "log", doc["log"].(map[string]any), &c.Log)
	sameKeys(t, "interface", doc["interface"].([]map[string]any)[0], &in)
}

func sameKeys(t *testing.T, table string, got map[string]any, want any) {
	t.Helper()
	wanted := slices.Sorted(maps.Keys(fields(reflect.ValueOf(want).Elem())))
	if has := slices.Sorted(maps.Keys(got)); !slices.Equal(has, wanted) {
		t.Errorf("%s has %q, want %q", table, has, wanted)
	}
}

func TestEveryFieldHasItsOwnKey(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Config](), reflect.TypeFor[Log](), reflect.TypeFor[Interface](),
	} {
		seen := map[string]bool{}
		for _, f := range reflect.VisibleFields(typ) {
			key := f.Tag.Get("toml")
			if f.Anonymous || key == "-" { // "-": no key of the file
				continue
			}
			if !form.MatchString(key) || seen[key] {
				t.Errorf("%s.%s has the key %q", typ.Name(), f.Name, key)
			}
			seen[key] = true
		}
	}
}

func TestInterfacesInherit(t *testing.T) {
	c := mustParse(t, `
		snaplen = 100
		rotate_size = "2GiB"
		[[interface]]
		name = "eth0"
		[[interface]]
		name = "eth1"
		snaplen = 200
		promiscuous = false
	`)
	want := Default()
	want.Snaplen, want.RotateSize = 100, 2*GiB
	second := want.Recording
	second.Snaplen, second.Promiscuous = 200, false
	want.Interfaces = []Interface{{Name: "eth0", Recording: want.Recording}, {Name: "eth1", Recording: second}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%s\nwant\n%s", c.TOML(), want.TOML())
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "\ufeff", "[log]\n"} {
		if c := mustParse(t, text); !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q is\n%s", text, c.TOML())
		}
	}
}

func TestZeroIsNever(t *testing.T) {
	c := mustParse(t, "rotate_size = 0\nrotate_interval = 0\nflush_interval = \"0\"\n[log]\nmax_age = 0\nmax_size = \"0\"")
	if c.RotateSize != 0 || c.RotateInterval != 0 || c.FlushInterval != 0 || c.Log.MaxAge != 0 || c.Log.MaxSize != 0 {
		t.Error(c.TOML())
	}
}

func TestDigest(t *testing.T) {
	a := mustParse(t, "ring_size = \"256MiB\"\nformat = \"pcap\"\n[[interface]]\nname = \"eth0\"\n")
	b := mustParse(t, "format = 'pcap' # old\nring_size = 268435456\ninterface = [{name = \"eth0\", snaplen = 262144}]\n")
	c := mustParse(t, "format = 'pcap'\nring_size = 268435456\ninterface = [{name = \"eth1\"}]\n")
	if a.Digest() != b.Digest() {
		t.Errorf("two files that mean the same have the digests %s and %s", a.Digest(), b.Digest())
	}
	if a.Digest() == c.Digest() || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(a.Digest()) {
		t.Errorf("digests %s and %s", a.Digest(), c.Digest())
	}
}

func TestLookup(t *testing.T) {
	c := mustParse(t, `
		[[interface]]
		name = "eth*"
		exclude = ["eth9", "eth1?"]
		[[interface]]
		name = "e*"
		[[interface]]
		name = "eth3"
		[[interface]]
		name = "any"
	`)
	for name, want := range map[string]string{
		"eth0": "eth*", "eth3": "eth3", "eth9": "e*", "eth10": "e*", "eth1": "eth*", "enp1s0": "e*", "lo": "", "any": "any",
	} {
		got := ""
		if in := c.Lookup(name); in != nil {
			got = in.Name
		}
		if got != want {
			t.Errorf("%s follows %q, want %q", name, got, want)
		}
	}
	if all := (&Interface{Name: "*"}); all.Match(Any) || !all.Match("lo") {
		t.Error("* matches any, or does not match lo")
	}
}

// TestChoose: any name of an interface chooses settings, and the name by which it is recorded.
func TestChoose(t *testing.T) {
	c := mustParse(t, `
		exclude = ["enp9*"]
		[[interface]]
		name = "enp3s0f0np0-port-to-core-a"
		[[interface]]
		name = "enp*"
		exclude = ["eth8", "enp8s0"]
		[[interface]]
		name = "eth*"
		[[interface]]
		name = "eth3"
	`)
	for names, want := range map[string]string{
		"eth0":                            "eth0 eth*",
		"x0 enp1s0 eth0":                  "enp1s0 enp*",
		"eth0 enp1s0":                     "eth0 eth*",
		"eth1 enp3s0f0np0-port-to-core-a": "enp3s0f0np0-port-to-core-a enp3s0f0np0-port-to-core-a",
		"eth3 enp3s0f0np0-port-to-core-a": "eth3 eth3",
		"x0 enp9s0":                       "",
		"eth7 enp9s0":                     "",
		"eth8 enp1s0":                     "eth8 eth*",
		"x0 enp8s0 enp1s0":                "",
		"x0 x1":                           "",
	} {
		got := ""
		if name, in := c.Choose(strings.Fields(names)...); in != nil {
			got = name + " " + in.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", names, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capd.toml")
	if _, err := Load(path); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("snaplen = 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if es, ok := err.(Errors); !ok || len(es) != 1 || es[0].File != path || es[0].Line != 1 {
		t.Errorf("a bad file: %v", err)
	}
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("capd.toml", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}
