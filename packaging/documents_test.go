package packaging_test

import (
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// links returns the targets of a document's links to other files, without the part after #.
func links(text string) (all []string) {
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		to, _, _ := strings.Cut(m[1], "#")
		if to != "" && !strings.Contains(to, "://") {
			all = append(all, to)
		}
	}
	return all
}

// tree returns the root of the source tree, or skips the test if there is none.
func tree(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("../scripts/test"); err != nil {
		t.Skip("away from the source tree")
	}
	return ".."
}

// documents returns the paths of all documents, relative to the root.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := fs.Glob(os.DirFS(tree(t)), pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 15 {
		t.Fatalf("documents: %q", all)
	}
	return all
}

// TestLinks: the targets of links exist, including their headings.
func TestLinks(t *testing.T) {
	for _, name := range documents(t) {
		text := string(read(t, filepath.Join(tree(t), name)))
		for _, to := range links(text) {
			if _, err := os.Stat(filepath.Join(tree(t), filepath.Dir(name), to)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]*\.md)#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			other := string(read(t, filepath.Join(tree(t), filepath.Dir(name), m[1])))
			if !slices.Contains(anchors(other), m[2]) {
				t.Errorf("%s: %s has no heading #%s", name, m[1], m[2])
			}
		}
	}
}

// anchors returns the names by which links refer to a document's headings.
func anchors(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// TestIndex: docs/README.md lists every document in its directory, and their names use the same
// case.
func TestIndex(t *testing.T) {
	index := links(string(read(t, filepath.Join(tree(t), "docs/README.md"))))
	for _, name := range documents(t) {
		base := filepath.Base(name)
		if filepath.Dir(name) != "docs" || base == "README.md" {
			continue
		}
		if !slices.Contains(index, base) {
			t.Errorf("docs/README.md does not list %s", base)
		}
		if base != strings.ToLower(base) {
			t.Errorf("%s is in another case than the others", name)
		}
	}
}

// TestFuzzTargetsAreListed: SECURITY.md lists exactly the existing fuzz targets.
func TestFuzzTargetsAreListed(t *testing.T) {
	var there []string
	err := filepath.WalkDir(tree(t), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(read(t, name)), -1) {
			there = append(there, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`\bFuzz[A-Z]\w*`).FindAllString(string(read(t, filepath.Join(tree(t), "SECURITY.md"))), -1)
	for _, all := range []*[]string{&there, &listed} {
		slices.Sort(*all)
		*all = slices.Compact(*all)
	}
	if len(there) < 15 || !slices.Equal(there, listed) {
		t.Errorf("there are\n%q, and in SECURITY.md\n%q", there, listed)
	}
}

// TestActionsArePinned: workflows refer to actions by commit, not by tags, which others could move;
// the tag is in a comment.
func TestActionsArePinned(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(tree(t), ".github/workflows/*.yml"))
	if err != nil || len(names) < 2 {
		t.Fatalf("%q, %v", names, err)
	}
	pinned := regexp.MustCompile(`uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, name := range names {
		for line := range strings.Lines(string(read(t, name))) {
			if line = strings.TrimSpace(line); strings.Contains(line, "uses:") && !pinned.MatchString(line) {
				t.Errorf("%s: %s", filepath.Base(name), line)
			}
		}
	}
}

// TestReuse: the example program in README.md can be built in a separate module that replaces capd,
// and works as described.
func TestReuse(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("needs %v", err)
	}
	root, err := filepath.Abs(tree(t))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?ms)^    package main$.*?^    }$`).Find(read(t, filepath.Join(root, "README.md")))
	if m == nil {
		t.Fatal("README.md has no program")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": regexp.MustCompile(`(?m)^    `).ReplaceAllString(string(m), ""),
		"go.mod":  "module example.com/rec\n\ngo 1.26.0\n",
		"go.sum":  string(read(t, filepath.Join(root, "go.sum"))), // all modules are in the cache already
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"mod", "edit", "-require=capd@v0.0.0", "-replace=capd=" + root},
		{"build", "-mod=mod", "-buildvcs=false", "-o", "rec", "."},
	} {
		c := exec.Command("go", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
	}
	c := exec.Command("./rec")
	c.Dir = dir
	c.Stdin = strings.NewReader(string(capture(53, 80, 53)))
	if out, err := c.CombinedOutput(); err != nil || string(out) != "2\n" {
		t.Errorf("it counts %q, %v, want 2", out, err)
	}
}

// capture returns a pcap file with one UDP datagram to each port.
func capture(ports ...uint16) []byte {
	le := binary.LittleEndian
	file := le.AppendUint32(nil, 0xa1b2c3d4)
	file = le.AppendUint32(file, 2|4<<16)
	file = append(file, make([]byte, 8)...)
	file = le.AppendUint32(file, 1<<16)
	file = le.AppendUint32(file, 1) // Ethernet
	for _, port := range ports {
		frame := make([]byte, 60)
		frame[12], frame[14], frame[23] = 0x08, 0x45, 17 // IPv4 without options, UDP
		binary.BigEndian.PutUint16(frame[36:], port)
		file = append(file, make([]byte, 8)...)
		file = le.AppendUint32(file, 60)
		file = le.AppendUint32(file, 60)
		file = append(file, frame...)
	}
	return file
}
