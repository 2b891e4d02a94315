package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/config"
	"capd/internal/testnet"

	"github.com/spf13/pflag"
)

// TestForeignFlags: flags of other recorders are answered with capd's own.
func TestForeignFlags(t *testing.T) {
	for args, want := range map[string]string{
		"run -i lo -G 60":                 "--rotate-interval 60s",
		"run -i lo -C 100":                "--rotate-size 100MB",
		"run -i lo -W 10":                 "--keep 10",
		"run -i lo -b filesize:1000":      "--rotate-size SIZE",
		"run -i lo -a duration:10":        "--duration TIME",
		"run -i lo -w x.pcap":             "run names its files itself",
		"run -i lo -s 96":                 "--snaplen BYTES",
		"run -i lo -B 4096":               "--ring-size SIZE",
		"run -i lo -nn":                   "leave it out: capd looks no names up",
		"run -i lo -p":                    "promiscuous = false",
		"run -i lo -Z root":               "user in capd.toml",
		"run -i lo -z gzip":               "--compress does without one",
		"run -i lo -U":                    "flush_interval",
		"run -r x.pcap":                   "capd watch -r FILE",
		"check -i lo -G 60":               "--rotate-interval 60s",
		"run -i lo --immediate-mode":      "block_timeout",
		"run -i lo -c 100":                "run --count 100 ends after that many frames",
		"run --intreface lo":              "did you mean --interface?",
		"list --snice 1h":                 "did you mean --since?",
		"hold --lst 1h":                   "did you mean --last?",
		"-i lo":                           "flags stand behind a command, as in capd run -i eth0",
		"lsit":                            `did you mean "list"?`,
		"run lo":                          "capd: hint: write capd run -i lo\n",
		"run any":                         "capd: hint: write capd run -i any\n",
		"run -i any lo any tcp|port|(80)": "capd: hint: write capd run -i any -i lo -i any tcp port '(80)'\n",
		"check lo":                        "capd: hint: write capd check -i lo\n",
		"run -i lo --compress gzip":       "write --compress=gzip",
		"run -i lo --keep 0":              "keep one file at least",
		"run -i lo --keep 5M":             "a number of files, as 10, a size, as 20GiB, or an age, as 7d",
		"run --log-format text -i lo --compress=lz4": `must be one of "none", "zstd", "gzip"`,
	} {
		code, _, errs := capd(strings.Fields(strings.ReplaceAll(args, "|", " "))...)
		if code == exitFine || !strings.Contains(errs, want) {
			t.Errorf("capd %s: exit %d, no %q in\n%s", args, code, want, errs)
		}
	}
}

// TestForeignFlagsAreForeign: none is a flag of run.
func TestForeignFlagsAreForeign(t *testing.T) {
	cmd := newRun(nil)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, name := range []string{f.Name, f.Shorthand} {
			if what, ok := foreign[name]; ok && name != "" {
				t.Errorf("%s is a flag, and not %q", name, what)
			}
		}
	})
}

// TestInterfaceAsWord: an interface whose name is a word of the filter's language is no mistake.
func TestInterfaceAsWord(t *testing.T) {
	testnet.Veth(t, "tcp", "v1", 1500)
	if err := forgottenInterface("run", nil, []string{"tcp", "port", "80"}); err != nil {
		t.Error(err)
	}
	if err := forgottenInterface("run", nil, []string{"v1"}); err == nil {
		t.Error("v1 is taken as a filter")
	}
}

// TestKeepFlags: --keep and --compress set what the configuration calls retention and compression.
func TestKeepFlags(t *testing.T) {
	var s settings
	cmd := newRoot(nil)
	cmd.ResetFlags()
	s.bind(cmd)
	dir := t.TempDir()
	args := []string{"-i", "lo", "-d", dir, "--keep", "10", "--keep", "20GiB", "--keep", "7d", "--compress"}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	cfg, err := s.load(cmd)
	if err != nil {
		t.Fatal(err)
	}
	r := cfg.Interfaces[0].Recording
	if r.RetainCount != 10 || r.RetainBytes != 20*config.GiB || time.Duration(r.RetainAge) != 7*24*time.Hour || cfg.Finished.Compress != config.CompressZstd {
		t.Errorf("%+v, %+v", r, cfg.Finished)
	}
}

// TestKeepCompressed: a run by hand keeps as many files as it was told, compressed.
func TestKeepCompressed(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir := t.TempDir()
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xb5
	s := testnet.NewSender(t, "v0")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "-i", "v1", "-d", dir, "--keep", "2", "--compress", "--rotate-interval", "1s"}, io.Discard, io.Discard, nil)
	}()
	deadline := time.Now().Add(60 * time.Second)
	for {
		s.Send(frame)
		names, err := filepath.Glob(filepath.Join(dir, "v1-*.pcapng.zst"))
		if err != nil {
			t.Fatal(err)
		}
		first, err := filepath.Glob(filepath.Join(dir, "v1-*-000001.pcapng*"))
		if err != nil {
			t.Fatal(err)
		}
		// The first ones are gone, the newest ones are here.
		third, _ := filepath.Glob(filepath.Join(dir, "v1-*-000003.pcapng*"))
		if len(third) > 0 && len(first) == 0 && len(names) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q, %q", names, first)
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if code := <-ended; code != exitFine {
		t.Errorf("exit %d", code)
	}
}

// TestCompletions: shells are offered interfaces, capture files and directories where they belong.
func TestCompletions(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	const files, dirs = "\npcap\npcapng\n", ":16\n" // cobra's word for directories alone
	for args, want := range map[string]string{
		"run -i |v":           "\nv0\n",
		"run --interface |a":  "\nany\n",
		"check -i |v":         "\nv0\n",
		"watch -i |v":         "\nv0\n",
		"list --interface |v": "\nv0\n",
		"hold --interface |v": "\nv0\n",
		"rotate |v":           "\nv0\n",
		"watch -r |":          files,
		"filter -r |":         files,
		"salvage |":           files,
		"run -d |":            dirs,
		"list |":              dirs,
		"ledger |":            dirs,
		"run -c |":            "\ntoml\n",
		"run --format |":      "\npcap\npcap-us\npcapng\n",
		"run --compress=|":    "\nzstd\n",
		"run --log-level |":   "\nwarn\n",
	} {
		line, last, _ := strings.Cut(args, "|")
		code, out, errs := capd(append(append([]string{"__complete"}, strings.Fields(line)...), last)...)
		if i := strings.Index(line, "="); i > 0 { // the value stands in the same word
			code, out, errs = capd("__complete", "run", strings.Fields(line)[1]+last)
		}
		if code != exitFine || !strings.Contains("\n"+out, want) {
			t.Errorf("%s: exit %d, no %q in\n%s%s", args, code, want, out, errs)
		}
	}
}
