package packaging_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/config"
)

// launchdKeys are the keys of launchd.plist(5) that the services may have, with the type of their
// value.
var launchdKeys = map[string]string{
	"Label": "string", "ProgramArguments": "array", "UserName": "string", "GroupName": "string", "RunAtLoad": "bool",
	"KeepAlive": "bool", "ThrottleInterval": "integer", "ExitTimeOut": "integer", "ProcessType": "string", "Umask": "integer",
	"SoftResourceLimits": "dict", "WorkingDirectory": "string", "StandardErrorPath": "string",
	"NumberOfFiles": "integer", "Core": "integer",
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plist reads a property list of dictionaries, strings, numbers, booleans and arrays of strings.
func plist(t *testing.T, path string) map[string]any {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(read(t, path)))
	for {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if s, ok := token.(xml.StartElement); ok && s.Name.Local == "dict" {
			all, err := dictionary(d)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			return all
		}
	}
}

// dictionary reads up to the end of a dict.
func dictionary(d *xml.Decoder) (map[string]any, error) {
	all := map[string]any{}
	for {
		s, err := next(d)
		if err != nil || s == nil {
			return all, err
		}
		var key string
		if s.Name.Local != "key" {
			return nil, fmt.Errorf("%s in the place of a key", s.Name.Local)
		}
		if err := d.DecodeElement(&key, s); err != nil {
			return nil, err
		}
		if s, err = next(d); err != nil || s == nil {
			return nil, fmt.Errorf("%s has no value: %v", key, err)
		}
		v, err := value(d, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if _, twice := all[key]; twice || launchdKeys[key] == "" {
			return nil, fmt.Errorf("key %s is unknown or there twice", key)
		}
		if got := typeOf(v); got != launchdKeys[key] {
			return nil, fmt.Errorf("%s is of type %s, want %s", key, got, launchdKeys[key])
		}
		all[key] = v
	}
}

// next returns the next start element, or nil at an end element.
func next(d *xml.Decoder) (*xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			return &token, nil
		case xml.EndElement:
			return nil, nil
		}
	}
}

func value(d *xml.Decoder, s *xml.StartElement) (any, error) {
	switch s.Name.Local {
	case "string":
		var text string
		return text, d.DecodeElement(&text, s)
	case "integer":
		var n int
		return n, d.DecodeElement(&n, s)
	case "true", "false":
		return s.Name.Local == "true", d.Skip()
	case "array":
		var a struct {
			Strings []string `xml:"string"`
		}
		return a.Strings, d.DecodeElement(&a, s)
	case "dict":
		return dictionary(d)
	}
	return nil, fmt.Errorf("element %s", s.Name.Local)
}

func typeOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case int:
		return "integer"
	case bool:
		return "bool"
	case []string:
		return "array"
	}
	return "dict"
}

func (all property) text(key string) string { s, _ := all[key].(string); return s }

type property map[string]any

// TestLaunchd: the property lists are valid and consistent with install.sh and uninstall.sh.
func TestLaunchd(t *testing.T) {
	installer, remover := string(read(t, "launchd/install.sh")), string(read(t, "launchd/uninstall.sh"))
	for _, label := range []string{"io.capd.capd", "io.capd.bpf"} {
		p := property(plist(t, "launchd/"+label+".plist"))
		if p.text("Label") != label || p["RunAtLoad"] != true {
			t.Errorf("%s: %v", label, p)
		}
		program := strings.Replace(p["ProgramArguments"].([]string)[0], "/usr/local", "$prefix", 1)
		for _, place := range []string{program, filepath.Dir(strings.Replace(p.text("StandardErrorPath"), "/usr/local", "$prefix", 1)), label} {
			if !strings.Contains(installer, place) {
				t.Errorf("%s: install.sh does not make %s", label, place)
			}
		}
		for _, place := range []string{program, label} {
			if !strings.Contains(remover, place) {
				t.Errorf("%s: uninstall.sh leaves %s", label, place)
			}
		}
	}
	p := property(plist(t, "launchd/io.capd.capd.plist"))
	for _, key := range []string{"UserName", "GroupName"} {
		if !strings.Contains(installer, "account="+p.text(key)+"\n") {
			t.Errorf("install.sh does not make %s %s", key, p.text(key))
		}
	}
	if p["KeepAlive"] != true || p["Umask"] != 0o027 {
		t.Errorf("%v", p)
	}
	arguments := p["ProgramArguments"].([]string)
	if file := strings.Replace(arguments[len(arguments)-1], "/usr/local", "$prefix", 1); !strings.Contains(installer, `"$here/capd.toml" `+file) {
		t.Errorf("install.sh does not put a configuration at %s", file)
	}
	c, err := config.Load("launchd/capd.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Directory != p.text("WorkingDirectory") || filepath.Dir(c.Log.File) != filepath.Dir(p.text("StandardErrorPath")) ||
		time.Duration(c.StopTimeout) >= time.Duration(p["ExitTimeOut"].(int))*time.Second {
		t.Errorf("the configuration has %s, %s and %v: %v", c.Directory, c.Log.File, c.StopTimeout, p)
	}
	if b := plistOf(t, "io.capd.bpf")["ProgramArguments"].([]string); b[1] != p.text("GroupName") {
		t.Errorf("the devices are for %s", b[1])
	}
}

func plistOf(t *testing.T, label string) map[string]any {
	t.Helper()
	return plist(t, "launchd/"+label+".plist")
}

// TestPlistIsStrict: plist refuses invalid property lists.
func TestPlistIsStrict(t *testing.T) {
	for _, bad := range []string{
		"<dict><key>KeepAlife</key><true/></dict>", "<dict><key>KeepAlive</key><string>yes</string></dict>",
		"<dict><key>Label</key></dict>", "<dict><string>x</string></dict>", "<dict><key>Label</key><string>x</string>",
		"<dict><key>Label</key><string>x</string><key>Label</key><string>x</string></dict>",
	} {
		d := xml.NewDecoder(strings.NewReader(bad))
		if _, err := next(d); err != nil {
			t.Fatal(err)
		}
		if all, err := dictionary(d); err == nil || err == io.EOF {
			t.Errorf("%s is %v, %v", bad, all, err)
		}
	}
}

// TestScripts: every shell script of the packages is valid, and the rc.d scripts have what their
// systems require.
func TestScripts(t *testing.T) {
	var scripts []string
	for _, pattern := range []string{"launchd/*.sh", "rc.d/*", "scripts/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		scripts = append(scripts, found...)
	}
	for _, path := range scripts {
		if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 && filepath.Dir(path) != "scripts" { // packages set the mode
			t.Errorf("%s can't be run: %v", path, err)
		}
	}
	for system, wants := range map[string][]string{
		"freebsd": {"#!/bin/sh\n", "# PROVIDE: capd\n", "# KEYWORD: shutdown\n", ". /etc/rc.subr\n", "rcvar=capd_enable\n", "\nload_rc_config $name\n", "\nrun_rc_command \"$1\"\n"},
		"netbsd":  {"#!/bin/sh\n", "# PROVIDE: capd\n", ". /etc/rc.subr\n", "\nrcvar=$name\n", "\nload_rc_config $name\n", "\nrun_rc_command \"$1\"\n"},
		"openbsd": {"#!/bin/ksh\n", "\ndaemon=\"/usr/local/bin/capd\"\n", ". /etc/rc.d/rc.subr\n", "\nrc_bg=YES\n", "\nrc_cmd $1\n"},
	} {
		text := string(read(t, "rc.d/capd."+system))
		at := 0
		for _, want := range wants { // in this order
			i := strings.Index(text[at:], want)
			if i < 0 {
				t.Errorf("%s: no %q, or not in its place", system, want)
				continue
			}
			at += i
		}
		if !strings.Contains(text, "run -c ") || !slices.Contains(scripts, "rc.d/capd."+system) {
			t.Errorf("%s does not run capd", system)
		}
	}
}
