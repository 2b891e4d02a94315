package web

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"os"
)

// maxPageBytes is what the page may have in all.
const maxPageBytes = 150 << 10

// TestVendored: what is not ours in the page is as its README says, and the page is small.
func TestVendored(t *testing.T) {
	readme, err := os.ReadFile("page/vendor/README")
	if err != nil {
		t.Fatal(err)
	}
	total, found := 0, 0
	err = fs.WalkDir(embedded, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(embedded, path)
		if err != nil {
			return err
		}
		total += len(b)
		if _, name, ok := strings.Cut(path, "/vendor/"); ok && name != "LICENSE" {
			found++
			if sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(b), name); !strings.Contains(string(readme), sum) {
				t.Errorf("page/vendor/README lacks %s", sum)
			}
		}
		return nil
	})
	if err != nil || found != 2 || total > maxPageBytes {
		t.Errorf("%d vendored files, %d bytes in all; %v", found, total, err)
	}
}

// TestPageIsRelative: the page works below any path, and has nothing inline that its policy would refuse.
func TestPageIsRelative(t *testing.T) {
	b, err := fs.ReadFile(embedded, "page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(b), -1) {
		if strings.HasPrefix(m[1], "/") || strings.Contains(m[1], ":") {
			t.Errorf("%s is not relative", m[1])
		}
	}
	for _, bad := range []string{"style=", "<style", "onclick", "<script>"} {
		if strings.Contains(string(b), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, name := range []string{"app.js", "api.js", "tables.js", "timeline.js", "time.js"} {
		b, err := fs.ReadFile(embedded, "page/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if bad := regexp.MustCompile(`innerHTML|document\.write|eval\(|"/v1|https?://[^w]`).Find(b); bad != nil {
			t.Errorf("%s has %s", name, bad)
		}
	}
}
