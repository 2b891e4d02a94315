package main

import (
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// TestVersionOf: a tag's build says the release alone, any other its commit.
func TestVersionOf(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for _, c := range []struct {
		name, main, want string
		settings         []debug.BuildSetting
	}{
		{"the tag", "v" + release, release, []debug.BuildSetting{revision}},
		{"the tag and changes", "v" + release + "+dirty", release + "+0123456789ab.modified", []debug.BuildSetting{revision, modified}},
		{"a clone without tags", "v0.0.0-20260102030405-0123456789ab", release + "+0123456789ab", []debug.BuildSetting{revision}},
		{"a later commit", "v99.0.1-0.20260102030405-0123456789ab", release + "+0123456789ab", []debug.BuildSetting{revision}},
		{"no repository", "(devel)", release + "+devel", nil},
		{"a test", "", release + "+devel", nil},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.main}, Settings: c.settings}
		if got := versionOf(info); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestRelease: it is the newest one that the change log has a date for.
func TestRelease(t *testing.T) {
	needTree(t)
	text, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+\S*), \d{4}-\d\d-\d\d$`).FindSubmatch(text)
	if m == nil || string(m[1]) != release {
		t.Errorf("the newest release in CHANGELOG.md is %q, and here %s", m, release)
	}
}

// TestVersionFlag: it prints what the command prints.
func TestVersionFlag(t *testing.T) {
	var outputs []string
	for _, word := range []string{"version", "--version"} {
		var stdout, stderr strings.Builder
		if code := run(t.Context(), []string{word}, &stdout, &stderr, nil); code != exitFine || stderr.Len() > 0 {
			t.Errorf("capd %s: exit code %d, %s", word, code, stderr.String())
		}
		outputs = append(outputs, stdout.String())
	}
	if outputs[0] != outputs[1] || !strings.HasPrefix(outputs[0], "capd "+version()+" go") {
		t.Errorf("%q", outputs)
	}
}
