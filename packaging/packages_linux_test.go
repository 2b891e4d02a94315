// Package packaging_test builds the packages and tests them.
package packaging_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"capd/config"

	"github.com/klauspost/compress/zstd"
)

// newer is the version of the package for upgrades.
const newer = "v99.0.0"

// made are the paths of built packages by format.
type made map[string]string

// build runs scripts/package into a new directory.
func build(t *testing.T, env ...string) made {
	t.Helper()
	if _, err := os.Stat("../scripts/package"); err != nil {
		t.Skip("away from the source tree")
	}
	for _, command := range []string{"go", "bash"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("needs %v", err)
		}
	}
	dir := t.TempDir()
	// Private modes of the source files must not get into the package.
	c := exec.Command("sh", "-c", "umask 077; exec ../scripts/package -o "+dir+" "+runtime.GOARCH)
	c.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH=1735689600"), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("scripts/package: %v\n%s", err, out)
	}
	all := made{}
	for format, pattern := range map[string]string{"deb": "*.deb", "rpm": "*.rpm", "apk": "*.apk", "archlinux": "*.pkg.tar.zst"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) == 1 {
			all[format] = found[0]
		}
	}
	return all
}

// command runs a tool, or skips the test if it is missing.
func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	var errs bytes.Buffer
	c := exec.Command(name, args...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", c, err, out, errs.String())
	}
	return out
}

// An entry is a file in a package.
type entry struct {
	tar.Header
	data []byte
}

// unpack reads a tar archive. The names in the result begin with a slash.
func unpack(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all["/"+strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")] = entry{*h, data}
	}
}

// TestPackages checks the contents of the packages.
func TestPackages(t *testing.T) {
	packages := build(t)
	if len(packages) != 4 {
		t.Fatalf("made %v", packages)
	}
	t.Run("reproducible", func(t *testing.T) { testReproducible(t, packages) })
	t.Run("deb", func(t *testing.T) { testDeb(t, packages["deb"]) })
	t.Run("lintian", func(t *testing.T) {
		args := []string{"--fail-on", "error", packages["deb"]}
		if os.Geteuid() == 0 {
			args = append([]string{"--allow-root"}, args...)
		}
		command(t, "lintian", args...)
	})
	t.Run("rpm", func(t *testing.T) { testRPM(t, packages["rpm"]) })
	t.Run("apk", func(t *testing.T) {
		r, err := gzip.NewReader(bytes.NewReader(read(t, packages["apk"])))
		if err != nil {
			t.Fatal(err)
		}
		holds(t, unpack(t, r), "/usr/bin/capd", "/etc/capd/capd.toml", "/usr/share/zsh/site-functions/_capd", "/usr/lib/wireshark/extcap/capd")
	})
	t.Run("archlinux", func(t *testing.T) {
		r, err := zstd.NewReader(bytes.NewReader(read(t, packages["archlinux"])))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		all := unpack(t, r)
		holds(t, all, "/usr/bin/capd", "/usr/share/licenses/capd/LICENSE", "/usr/lib/wireshark/extcap/capd")
		if !bytes.Contains(all["/.INSTALL"].data, []byte("post_upgrade")) || !bytes.Contains(all["/.PKGINFO"].data, []byte("backup = etc/capd/capd.toml")) {
			t.Errorf("no post_upgrade, or a configuration that is overwritten: %s", all["/.PKGINFO"].data)
		}
	})
}

func holds(t *testing.T, all map[string]entry, names ...string) {
	t.Helper()
	for _, name := range names {
		if len(all[name].data) == 0 {
			t.Errorf("no %s", name)
		}
	}
}

func testReproducible(t *testing.T, first made) {
	for format, path := range build(t) {
		if filepath.Base(path) != filepath.Base(first[format]) || !bytes.Equal(read(t, path), read(t, first[format])) {
			t.Errorf("built twice, two different packages: %s", filepath.Base(path))
		}
	}
}

// debLibraries are where Wireshark looks, by Go's name of the architecture.
var debLibraries = map[string]string{"amd64": "/usr/lib/x86_64-linux-gnu", "arm64": "/usr/lib/aarch64-linux-gnu"}

func testDeb(t *testing.T, deb string) {
	all := unpack(t, bytes.NewReader(command(t, "dpkg-deb", "--fsys-tarfile", deb)))
	extcap := debLibraries[runtime.GOARCH] + "/wireshark/extcap/capd"
	holds(t, all, "/usr/bin/capd", "/etc/capd/capd.toml", extcap,
		"/usr/lib/systemd/system/capd.service", "/usr/lib/systemd/system/capd@.service", "/usr/lib/systemd/system/capd-metrics.socket",
		"/usr/lib/sysusers.d/capd.conf", "/usr/lib/tmpfiles.d/capd.conf",
		"/usr/share/man/man8/capd.8.gz", "/usr/share/man/man5/capd.toml.5.gz", "/usr/share/man/man5/capd-ledger.5.gz",
		"/usr/share/bash-completion/completions/capd", "/usr/share/fish/vendor_completions.d/capd.fish", "/usr/share/zsh/vendor-completions/_capd",
		"/usr/share/capd/capd.rules.yml", "/usr/share/capd/grafana.json",
		"/usr/share/doc/capd/copyright", "/usr/share/doc/capd/modules.txt", "/usr/share/doc/capd/capd.toml.example", "/usr/share/doc/capd/docs/ledger.md")
	for name, e := range all {
		want := int64(0o644)
		if e.Typeflag == tar.TypeDir || name == "/usr/bin/capd" || name == extcap {
			want = 0o755
		}
		if e.Uname != "root" || e.Gname != "root" || e.Mode&0o7777 != want {
			t.Errorf("%s is %s:%s %o", name, e.Uname, e.Gname, e.Mode)
		}
		if name == "/var" || strings.HasPrefix(name, "/var/") {
			t.Errorf("%s is the package's, which purge deletes", name)
		}
	}
	for name, e := range all {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, link := range links(string(e.data)) {
			if to := path.Join(path.Dir(name), link); len(all[to].data) == 0 {
				t.Errorf("%s links to %s, which is not installed", name, link)
			}
		}
	}
	program(t, all["/usr/bin/capd"].data, all["/usr/share/doc/capd/modules.txt"].data, string(command(t, "dpkg-deb", "-f", deb, "Version")))
	if got := string(command(t, "dpkg-deb", "-I", deb, "conffiles")); got != "/etc/capd/capd.toml\n" {
		t.Errorf("configuration files: %q", got)
	}
	for _, shell := range []string{"/usr/share/bash-completion/completions/capd", "/usr/share/zsh/vendor-completions/_capd"} {
		if !bytes.Contains(all[shell].data, []byte("capd")) || bytes.Contains(all[shell].data, []byte("/tmp")) {
			t.Errorf("%s is no completion of capd", shell)
		}
	}
}

// program checks the binary: it is static, stripped, and without paths of the build machine;
// modules lists all modules that it contains.
func program(t *testing.T, data, modules []byte, version string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if f.Section(".interp") != nil || f.Section(".dynamic") != nil {
		t.Error("the program is not static")
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Error("the program is not stripped")
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(filepath.Dir(wd)+"/")) {
		t.Error("the program has paths of the builder")
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range info.Deps {
		if !bytes.Contains(modules, []byte("\t"+dep.Path+"\t"+dep.Version+"\t")) {
			t.Errorf("modules.txt has no %s %s", dep.Path, dep.Version)
		}
	}
	if len(info.Deps) < 5 {
		t.Errorf("%d modules", len(info.Deps))
	}
	reported := installed(t, data)
	release, commit, _ := strings.Cut(reported, "+")
	want := regexp.MustCompile(`^` + regexp.QuoteMeta(release) + `$`)
	if commit != "" {
		want = regexp.MustCompile(`^` + regexp.QuoteMeta(release) + `\+git\d+$`)
	}
	if version = strings.TrimSpace(version); !want.MatchString(version) {
		t.Errorf("the program says that it is %s, the package %s", reported, version)
	}
}

// installed returns the version that the program reports.
func installed(t *testing.T, program []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capd")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(command(t, path, "--version")))
	if len(words) != 4 || words[0] != "capd" {
		t.Fatalf("capd --version: %q", words)
	}
	return words[1]
}

func testRPM(t *testing.T, path string) {
	list := strings.Fields(string(command(t, "rpm", "-qlp", path)))
	for _, want := range []string{
		"/usr/bin/capd", "/etc/capd/capd.toml", "/usr/lib/systemd/system/capd.service",
		"/usr/share/man/man8/capd.8.gz", "/usr/share/zsh/site-functions/_capd", "/usr/share/capd/capd.rules.yml",
		"/usr/lib64/wireshark/extcap/capd",
	} {
		if !slices.Contains(list, want) {
			t.Errorf("rpm -qlp has no %s: %q", want, list)
		}
	}
	if got := string(command(t, "rpm", "-qp", "--configfiles", path)); got != "/etc/capd/capd.toml\n" {
		t.Errorf("configuration files: %q", got)
	}
	for _, phase := range []string{"postinstall", "preuninstall", "postuninstall"} {
		if !strings.Contains(string(command(t, "rpm", "-qp", "--scripts", path)), phase+" scriptlet") {
			t.Errorf("no %s", phase)
		}
	}
}

// TestShippedConfiguration: the packages' configuration is valid, and has the defaults except for
// the settings that it contains.
func TestShippedConfiguration(t *testing.T) {
	got, err := config.Load("capd.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Retain.MinFree = got.Retain.MinFree
	want.Interfaces = []config.Interface{{Name: "eth0", Recording: want.Recording}}
	if got.TOML() != want.TOML() {
		t.Errorf("it is\n%s\nand the defaults are\n%s", got.TOML(), want.TOML())
	}
}
