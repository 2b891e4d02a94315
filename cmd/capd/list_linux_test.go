package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"capd/internal/inventory"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"capd/writer"

	"github.com/klauspost/compress/zstd"
)

// noon is when the recorded directory begins.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// odd is the name of an interface that a terminal would take amiss.
const odd = "e\n\x1b[31m"

// A recordedDir is a directory with a file in every state, as capd leaves them.
type recordedDir struct {
	t      *testing.T
	path   string
	ledger *ledger.Ledger
}

// record records minutes of one file each, of 10, 20, 30 and so on packets, and
// returns their paths. Of the first one the kernel drops 3.
func (d *recordedDir) record(iface string, begin time.Time, minutes int, ledger bool) []string {
	ended := make(chan writer.File, minutes+1)
	w := d.writer(iface, begin, ended)
	packets := make([]pcap.Packet, 10*minutes)
	for m := range minutes {
		at := begin.Add(time.Duration(m)*time.Minute + time.Second)
		w.Tick(at, at.Sub(begin))
		for i := range packets {
			packets[i] = pcap.Packet{Data: make([]byte, 60), Length: 60, Sec: uint32(at.Unix()), Nsec: uint32(i)}
		}
		w.Write(packets[:10*(m+1)])
	}
	end := begin.Add(time.Duration(minutes) * time.Minute)
	w.Tick(end, end.Sub(begin))
	d.must(w.Close(context.Background()))
	close(ended)
	var paths []string
	for f := range ended {
		d.must(f.Err)
		paths = append(paths, f.Path)
		if ledger {
			d.must(d.ledger.Append(f.Entry()))
		}
	}
	return paths
}

func (d *recordedDir) writer(iface string, begin time.Time, ended chan<- writer.File) *writer.Writer {
	contents, err := store.ReadContents(d.path)
	d.must(err)
	w, err := writer.New(writer.Options{
		Directory: d.path, RotateInterval: time.Minute, FlushInterval: time.Second, NoDirect: true,
		PoolSize: 64 << 10, ChunkSize: 8 << 10, Sequence: contents.Last[store.Lane{Interface: iface}],
		Header:   pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: iface},
		Drops:    func() writer.Drops { return writer.Drops{Kernel: 3} },
		Finished: func(f writer.File) { ended <- f },
	})
	d.must(err)
	w.Tick(begin, 0)
	return w
}

func (d *recordedDir) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// crash leaves a file as a recorder does that ends before its time, or as a bad
// disk does.
func (d *recordedDir) crash(path string, change func(b []byte) []byte) {
	b, err := os.ReadFile(path)
	d.must(err)
	d.must(os.WriteFile(path+store.Partial, change(b), 0o640))
	d.must(os.Remove(path))
}

// recorded makes the directory. It is being recorded into until stop is called.
func recorded(t *testing.T) (path string, stop func()) {
	d := &recordedDir{t: t, path: t.TempDir()}
	lock, err := store.LockDirectory(d.path)
	d.must(err)
	d.ledger, err = ledger.Open(d.path, ledger.Options{})
	d.must(err)
	d.must(d.ledger.Append(ledger.Entry{Kind: ledger.KindStart}))
	d.record("older", noon.Add(-time.Hour), 1, false)
	files := d.record("eth0", noon, 8, true)
	d.crash(files[6], func(b []byte) []byte { return b[:len(b)-150] })
	d.crash(files[7], func(b []byte) []byte { copy(b[2000:], bytes.Repeat([]byte{0xff}, 200)); return b })
	dir, err := store.Open(d.path)
	d.must(err)
	mended, err := writer.Recover(dir, nil, nil)
	d.must(err)
	for _, r := range mended {
		d.must(r.Err)
		d.must(d.ledger.Append(r.Entries(ledger.Entry{})...))
	}
	d.must(os.WriteFile(files[1]+".hold", nil, 0o640))
	d.compress(files[2])
	d.compress(files[3])
	d.must(os.WriteFile(files[3]+".hold", nil, 0o640))
	d.must(os.Remove(files[4])) // by hand
	d.must(os.Remove(files[5]))
	d.must(d.ledger.Append(ledger.Entry{Kind: ledger.KindDeleted, Name: filepath.Base(files[5]), Interface: "eth0", Limit: "bytes"}))
	d.record(odd, noon, 1, true)
	for _, name := range []string{"\x1b[2Jfile\n.pcapng", "foreign.pcapng", filepath.Base(files[4]) + ".tmp"} {
		d.must(os.WriteFile(filepath.Join(d.path, name), nil, 0o640))
	}
	d.must(os.Mkdir(filepath.Join(d.path, "dir-20260102T120000Z-000001.pcapng"), 0o750))
	w := d.writer("eth0", noon.Add(time.Hour), make(chan writer.File, 1))
	w.Write([]pcap.Packet{{Data: make([]byte, 60), Length: 60, Sec: uint32(noon.Add(time.Hour).Unix())}})
	w.Tick(noon.Add(time.Hour+time.Second), time.Second)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if all, _ := filepath.Glob(filepath.Join(d.path, "*"+store.Partial)); len(all) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no file is being written")
		}
	}
	return d.path, func() {
		d.must(errors.Join(d.ledger.Close(), lock.Release()))
		t.Cleanup(func() { _ = w.Close(context.Background()) })
	}
}

// compress does what capd does with a finished file.
func (d *recordedDir) compress(path string) {
	b, err := os.ReadFile(path)
	d.must(err)
	h, err := os.Create(path + ".zst")
	d.must(err)
	z, err := zstd.NewWriter(h)
	d.must(err)
	_, err = z.Write(b)
	d.must(errors.Join(err, z.Close(), h.Close(), os.Remove(path)))
	info, err := os.Stat(path + ".zst")
	d.must(err)
	d.must(d.ledger.Append(ledger.Entry{
		Kind: ledger.KindCompressed, Name: filepath.Base(path), Into: path + ".zst", Tally: ledger.Tally{Size: uint64(info.Size())},
	}))
}

// unsteady are sizes that are not the test's matter: of compressed files, of the
// one that is being written, and of all.
var unsteady = regexp.MustCompile(`(?m)[0-9.]+ (?:B|KiB)(?: +((?:compressed|recording).*))?$`)

func TestList(t *testing.T) {
	dir, stop := recorded(t)
	code, out, errs := capd("list", dir)
	if code != 0 || errs != "" {
		t.Fatalf("%d: %s", code, errs)
	}
	if strings.ContainsRune(out, 0x1b) {
		t.Errorf("an escape sequence: %q", out)
	}
	golden(t, "list.golden", unsteady.ReplaceAllString(out, "SIZE  $1"))
	stop()
	if _, out, _ := capd("list", dir); strings.Contains(out, "recording") || !strings.Contains(out, "unfinished") {
		t.Errorf("after the end:\n%s", out)
	}
}

// golden compares with a file of testdata; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
	}
}

// A document is what list --json prints, field by field.
type document struct {
	Directory string           `json:"directory"`
	Files     []map[string]any `json:"files"`
	Missing   int              `json:"missing"`
	Broken    int              `json:"broken"`
}

func listJSON(t *testing.T, args ...string) document {
	t.Helper()
	var d document
	code, out, errs := capd(append([]string{"list", "--json"}, args...)...)
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || code != 0 {
		t.Fatalf("%v: %d: %v: %s", args, code, err, errs)
	}
	return d
}

// TestListJSON: scripts get what the table has, and docs/list.md has the name of
// every field, and no other.
func TestListJSON(t *testing.T) {
	dir, stop := recorded(t)
	defer stop()
	d := listJSON(t, dir)
	if d.Directory != dir || d.Missing != 1 || d.Broken != 0 || len(d.Files) != 9 {
		t.Fatalf("%+v", d)
	}
	states := make(map[string]int)
	fields := map[string]bool{"directory": true, "files": true, "missing": true, "broken": true, "lane": true}
	for _, f := range d.Files {
		states[f["state"].(string)]++
		for k := range f {
			fields[k] = true
		}
	}
	want := map[string]int{"finished": 5, "compressed": 2, "recording": 1, "damaged": 1}
	if !maps.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	first := d.Files[2]
	if first["name"] != "eth0-20260102T120000Z-000001.pcapng" || first["packets"] != 10.0 || first["lost"] != 3.0 || first["kernel_dropped"] != 3.0 ||
		first["bytes"] != 600.0 || first["begin"] != "2026-01-02T12:00:00Z" || first["end"] != "2026-01-02T12:01:00Z" || first["clean"] != true ||
		first["reason"] != "interval" || first["held"] != false {
		t.Errorf("the first file of eth0: %v", first)
	}
	if _, ok := d.Files[0]["packets"]; ok {
		t.Errorf("a file that no line speaks of has packets: %v", d.Files[0])
	}
	needTree(t)
	text, err := os.ReadFile("../../docs/list.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_]+`(?:, `[a-z_]+`)*) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, name := range strings.Split(row[1], ", ") {
			documented[strings.Trim(name, "`")] = true
		}
	}
	if !maps.Equal(fields, documented) {
		t.Errorf("fields %v, and documented are %v", slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(documented)))
	}
}

// TestListChooses: times and interfaces.
func TestListChooses(t *testing.T) {
	dir, stop := recorded(t)
	defer stop()
	for args, want := range map[string]string{
		"--interface older":                "older1",
		"--interface nope":                 "",
		"--until 2026-01-02T11:30:00Z":     "older1",
		"--since 2026-01-02T12:06:00.500Z": "older1 eth07 eth08 eth09", // nobody knows how far the first one reaches
		"--interface eth0 --since 2026-01-02T12:01:30Z --until 2026-01-02T12:02:30Z": "eth02 eth03",
		"--interface eth0 --since 2026-01-02T12:01:00Z --until 2026-01-02T12:02:00Z": "eth02",
		"--interface eth0 --since 2026-01-02T14:00:00Z":                              "eth09", // it goes on
	} {
		var got []string
		for _, f := range listJSON(t, append(strings.Fields(args), dir)...).Files {
			n, _, err := store.Parse(f["name"].(string))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(n.Interface, n.Sequence))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", args, got, want)
		}
	}
	for args, want := range map[string]string{
		"--since yesteryear": "neither a time",
		"--json --print0":    "two ways",
		dir + " " + dir:      "unexpected argument",
		dir + "/nothing":     "name the directory that capd records into",
		"/dev/null":          "name the directory that capd records into",
		"--interface= /root": "this is user",
	} {
		if code, _, errs := capd(append([]string{"list"}, strings.Fields(args)...)...); (code == 0 || !strings.Contains(errs, want)) && (args != "--interface= /root" || os.Geteuid() != 0) {
			t.Errorf("%s: %d, %s", args, code, errs)
		}
	}
}

// TestListMerge: what --print0 prints is what mergecap takes, and all of it.
func TestListMerge(t *testing.T) {
	for _, tool := range []string{"xargs", "mergecap", "capinfos"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	dir, stop := recorded(t)
	defer stop()
	code, out, _ := capd("list", "--print0", "--since", "2026-01-02T12:00:00Z", dir)
	if code != 0 {
		t.Fatal(code)
	}
	paths := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if len(paths) != 7 || !slices.IsSortedFunc(paths[2:], strings.Compare) {
		t.Fatalf("%q", paths)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil || info.Size() == 0 {
			t.Errorf("%q: %v", p, err)
		}
	}
	all := filepath.Join(t.TempDir(), "all.pcapng")
	merge := exec.Command("xargs", "-0", "-x", "-n", "100000", "mergecap", "-w", all)
	merge.Stdin = strings.NewReader(out)
	if b, err := merge.CombinedOutput(); strings.Contains(string(b), "isn't a capture file in a format") {
		t.Skipf("needs a mergecap that reads zstd: %s", b)
	} else if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	b, err := exec.Command("capinfos", "-Mc", all).CombinedOutput()
	const packets = 3*10 + 20 + 30 + 40 + 69 // two files are compressed
	if err != nil || !regexp.MustCompile(fmt.Sprintf(`(?m)^Number of packets: +%d$`, packets)).Match(b) {
		t.Fatalf("%v: %s, want %d", err, b, packets)
	}
}

// TestListOption: a directory whose name begins with a dash makes no options.
func TestListOption(t *testing.T) {
	var b bytes.Buffer
	printPaths(&b, &inventory.Listing{Directory: "-w", Files: []*inventory.File{{Name: "a", State: inventory.Finished}, {Name: "b", State: inventory.Recording}}})
	if b.String() != "./-w/a\x00" {
		t.Errorf("%q", b.String())
	}
}

// TestListTexts: what is not in the recorded directory.
func TestListTexts(t *testing.T) {
	var b bytes.Buffer
	l := &inventory.Listing{Missing: 2, Broken: 1, Files: []*inventory.File{
		{Name: "a", State: inventory.Unfinished, Contents: &inventory.Contents{Packets: 1, Reason: ledger.ReasonError}},
		{Name: "b", State: inventory.Finished, Held: true, Contents: &inventory.Contents{Reason: ledger.ReasonSalvaged}},
	}}
	if err := printListing(&b, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  unfinished, unclean       a\n", "  finished, held, salvaged  b\n", "2 files, 1 packet, ? lost, 0 B\n",
		"2 files of the ledger not there", "1 line of the ledger can't be read\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	b.Reset()
	if err := printListing(&b, &inventory.Listing{}); err != nil || b.String() != "0 files, 0 packets, 0 lost, 0 B\n" {
		t.Errorf("%v: %s", err, &b)
	}
}
