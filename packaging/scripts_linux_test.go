package packaging_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// script runs a command in a folder. It returns the output and the exit code.
func script(t *testing.T, dir string, env []string, args ...string) (out string, code int) {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	b, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestSteps: scripts/test lists its steps, and runs only those that are named.
func TestSteps(t *testing.T) {
	root := tree(t)
	out, code := script(t, root, nil, "./scripts/test", "-l")
	for _, step := range []string{"tools", "format", "vet", "test", "fuzz", "cross"} {
		if !regexp.MustCompile(`(?m)^` + step + ` `).MatchString(out) {
			t.Errorf("-l lists no %s:\n%s", step, out)
		}
	}
	if code != 0 {
		t.Errorf("-l: exit code %d", code)
	}
	if out, code := script(t, root, nil, "./scripts/test", "-h"); code != 0 || !strings.Contains(out, "./scripts/test -l") {
		t.Errorf("-h: exit code %d\n%s", code, out)
	}
	if out, code := script(t, root, nil, "./scripts/test", "format", "nonsense"); code != 2 || !strings.Contains(out, "no step nonsense") {
		t.Errorf("an unknown step: exit code %d\n%s", code, out)
	}
	out, code = script(t, root, nil, "./scripts/test", "format")
	if steps := regexp.MustCompile(`(?m)^== (\w+)`).FindAllString(out, -1); code != 0 || !slices.Equal(steps, []string{"== format", "== passed"}) {
		t.Errorf("format: exit code %d\n%s", code, out)
	}
}

// TestNarrowedStep: packages are tested in their modules, and the last line of the output names the
// step that failed.
func TestNarrowedStep(t *testing.T) {
	root := copyTree(t, "scripts/test", "go.mod")
	for name, text := range map[string]string{
		"good/a.go":         "package good\n",
		"bad/a.go":          "package bad\n\nvar x int = \"\"\n",
		"nested/go.mod":     "module capd/nested\n\ngo 1.26.0\n",
		"nested/bad/bad.go": "package bad\n\nvar x int = \"\"\n",
	} {
		write(t, filepath.Join(root, name), text)
	}
	for args, want := range map[string]string{
		"./good":              "== passed",
		"./good ./nested/bad": "== FAILED: vet",
		"./nested/bad":        "== FAILED: vet",
		"./bad":               "== FAILED: vet",
		"":                    "== FAILED: vet",
	} {
		out, code := script(t, root, nil, append([]string{"./scripts/test", "vet"}, strings.Fields(args)...)...)
		if !strings.HasPrefix(lastLine(out), want) || (code == 0) != (want == "== passed") {
			t.Errorf("vet %s: exit code %d, want %s\n%s", args, code, want, out)
		}
	}
}

// TestToolsCannotBeInstalled: if a required tool can't be installed, scripts/test stops before
// other steps.
func TestToolsCannotBeInstalled(t *testing.T) {
	root := copyTree(t, "scripts/test", "go.mod")
	bin := t.TempDir() // contains only the tools that the script itself needs
	for _, name := range []string{"bash", "awk", "cat", "cut", "dirname", "find", "go", "grep", "id", "mktemp", "rm", "sed", "sort", "tee", "tr"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("needs %v", err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	calls := filepath.Join(bin, "calls")
	for name, body := range map[string]string{
		"apt-get": `echo "$*" >>` + calls + `; case "$*" in *install*) echo "E: no such package"; exit 100; esac`,
		"sudo":    `shift; exec "$@"`, // sudo -n
		"install": "exit 0",           // replaces the command that would keep services from starting on this machine
	} {
		write(t, filepath.Join(bin, name), "#!"+filepath.Join(bin, "bash")+"\n"+body+"\n")
	}
	out, code := script(t, root, []string{"PATH=" + bin, "CI=1"}, "./scripts/test")
	if !strings.HasPrefix(lastLine(out), "== FAILED: tools") || code != 1 || strings.Contains(out, "== format") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if !strings.Contains(out, "can't be installed here: gcc") {
		t.Errorf("it does not say what is missing:\n%s", out)
	}
	if output := string(read(t, calls)); !strings.Contains(output, "DPkg::Lock::Timeout=") || !strings.Contains(output, "tshark") {
		t.Errorf("apt-get was run with %s", output)
	}
}

// copyTree copies files of the tree to a new folder; by default, all files that git tracks.
func copyTree(t *testing.T, names ...string) string {
	t.Helper()
	from, to := tree(t), t.TempDir()
	if len(names) == 0 {
		if _, err := os.Stat(filepath.Join(from, ".git")); err != nil {
			t.Skip("away from a checkout")
		}
		listed := command(t, "git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
		names = strings.Split(strings.TrimSuffix(string(listed), "\x00"), "\x00")
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue // deleted, but not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, name), string(b))
	}
	return to
}

// write creates an executable file and its folder.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestRelease builds a release of a temporary repository, and checks the cases that scripts/release
// refuses.
func TestRelease(t *testing.T) {
	repository := copyTree(t)
	identity := []string{"-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}
	git := func(args ...string) {
		t.Helper()
		command(t, "git", slices.Concat([]string{"-C", repository}, identity, args)...)
	}
	m := regexp.MustCompile(`(?m)^const release = "(.*)"$`).FindSubmatch(read(t, filepath.Join(repository, "cmd/capd/version.go")))
	if m == nil {
		t.Fatal("cmd/capd/version.go has no release")
	}
	version := string(m[1])
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "all")
	git("tag", "v99.0.0")
	release := func(args ...string) (string, int) {
		t.Helper()
		return script(t, repository, []string{"FORMATS=deb"}, append([]string{"./scripts/release"}, args...)...)
	}
	refused := func(why string, args ...string) {
		t.Helper()
		if out, code := release(args...); code != 1 || !strings.Contains(out, why) {
			t.Errorf("scripts/release %q: exit code %d, want 1 and %q\n%s", args, code, why, out)
		}
	}
	refused("newest release in CHANGELOG.md is "+version, "-n", "v99.0.0")
	refused("there is no tag v"+version, "v"+version)
	git("tag", "-d", "v99.0.0")
	git("tag", "v"+version)
	write(t, filepath.Join(repository, "new"), "")
	refused("there are uncommitted changes", "v"+version)
	if err := os.Remove(filepath.Join(repository, "new")); err != nil {
		t.Fatal(err)
	}
	if out, code := release(); code != 2 || !strings.Contains(out, "./scripts/release [-n]") {
		t.Errorf("without a tag: exit code %d\n%s", code, out)
	}

	// The tag is built even if the folder is at a later commit.
	write(t, filepath.Join(repository, "cmd/capd/version.go"), "not Go")
	git("commit", "-q", "-a", "-m", "later")
	if out, code := release("v"+version, "amd64"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	dist := filepath.Join(repository, "dist/v"+version)
	name := "capd_" + version + "_amd64.deb"
	if sums := string(read(t, filepath.Join(dist, "SHA256SUMS"))); !strings.HasSuffix(sums, "  "+name+"\n") || strings.Count(sums, "\n") != 1 {
		t.Errorf("SHA256SUMS: %s", sums)
	}
	if out, code := script(t, dist, nil, "sha256sum", "--strict", "-c", "SHA256SUMS"); code != 0 {
		t.Error(out)
	}
	if got := strings.TrimSpace(string(command(t, "dpkg-deb", "-f", filepath.Join(dist, name), "Version"))); got != version {
		t.Errorf("the package's version is %s", got)
	}
	refused("is not empty", "v"+version)

	// The version constant was not updated.
	write(t, filepath.Join(repository, "CHANGELOG.md"), "## 99.0.0, 2126-01-02\n")
	git("checkout", "-q", "HEAD^", "cmd/capd/version.go")
	git("commit", "-q", "-a", "-m", "next")
	git("tag", "v99.0.0")
	refused("capd version says "+version+"+", "-n", "v99.0.0")
}
