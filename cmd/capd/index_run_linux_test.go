package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"capd/internal/index"
	"capd/internal/testnet"
	"capd/ledger"
	"capd/store"

	"golang.org/x/sys/unix"
)

// TestIndexKeepsPriority: only a process that is there for capd index gets the lowest priority, not one that does more.
func TestIndexKeepsPriority(t *testing.T) {
	before, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := command("index", flowCapture(t)); code != exitFine {
		t.Fatalf("%d, %s", code, errs)
	}
	if after, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || after != before {
		t.Errorf("%d, %v, before %d", after, err, before)
	}
}

// TestIndexWhileRecording: with enabled in [index] each finished file gets a table, whose sums are those of the ledger: new
// files, those of an earlier run without tables, and those of runs that were killed.
func TestIndexWhileRecording(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 9000)
	k := killer{t: t, dir: t.TempDir(), send: testnet.NewSender(t, "v0")}
	k.config = filepath.Join(k.dir, "capd.toml")
	text := fmt.Sprintf(killConfig, k.files(), "pcapng")
	write := func(text string) {
		if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	k.round(300 * time.Millisecond)
	write(strings.Replace(text, "[[interface]]", "[index]\nenabled = true\n[[interface]]", 1))
	k.round(300 * time.Millisecond)
	cmd := k.start()
	k.awaitRecording()
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Signal(os.Interrupt) }()
	with, without := 0, []string{"none yet"}
	for deadline := time.Now().Add(time.Minute); len(without) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no tables: %q", without)
		}
		with, without = k.tables()
	}
	if with < 3 {
		t.Errorf("%d tables", with)
	}
}

// tables returns how many finished files have a table, and which have none. It checks the tables.
func (k *killer) tables() (with int, without []string) {
	k.t.Helper()
	paths, err := index.Files(k.files())
	if err != nil {
		k.t.Fatal(err)
	}
	lines := make(map[string]ledger.Entry)
	for e := range ledger.Read(k.files(), nil) {
		if e.Kind == ledger.KindFile {
			lines[e.Name] = e
		}
	}
	for _, path := range paths {
		name := filepath.Base(path)
		line, known := lines[name]
		if _, err := os.Lstat(path + store.Flows.Ext()); err != nil || !known {
			without = append(without, name)
			continue
		}
		table, err := index.Open(path)
		if err != nil {
			k.t.Fatal(err)
		}
		if s := table.Totals; s.Packets != line.Packets || s.Bytes-s.Cut != line.Bytes || table.Error != "" {
			k.t.Fatalf("%s: %+v; the ledger says %+v", name, table.Source, line)
		}
		table.Close()
		with++
	}
	return with, without
}
