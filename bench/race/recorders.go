//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Settings for all recorders that have such options.
const (
	snaplen  = "262144"
	ringMiB  = 128
	noRotate = 1 << 40 // bytes: larger than any file of a race
)

// A recorder is a participant.
type recorder struct {
	Name    string
	Version string
	path    string
	end     os.Signal // the signal that ends it
	command func(path, dir string, rotate int64, cpu int) []string
	beside  func(ctx context.Context, dir string) // runs during injection; nil: nothing
	parent  bool                                  // it starts other processes: its CPU time is read before it ends, without theirs
	woken   bool                                  // it needs frames to end; its CPU time is read before
	rings   int                                   // if more than one, each has files of its own
}

// recorders lists all known recorders. Their rings have 128 MiB in total, except that daemonlogger
// keeps libpcap's default of 2 MiB. capd writes its default format, pcapng; files of the others are
// pcap with nanoseconds if the recorder supports that.
func recorders() []recorder {
	return []recorder{
		{Name: "capd", end: os.Interrupt, command: capdCommand},
		{Name: "capd-pcap", end: os.Interrupt, command: capdPcapCommand},
		{Name: "capd-fanout4", end: os.Interrupt, command: fanoutCommand, rings: fanoutRings},
		// capd with all its background work, which should make no difference.
		{Name: "capd-kept", end: os.Interrupt, command: keptCommand, parent: true},
		{Name: "capd-polled", end: os.Interrupt, command: polledCommand, beside: poll100},
		{Name: "tcpdump", end: os.Interrupt, command: tcpdumpCommand},
		{Name: "dumpcap", end: os.Interrupt, command: dumpcapCommand},
		{Name: "netsniff-ng", end: os.Interrupt, command: netsniffCommand},
		{Name: "daemonlogger", end: os.Interrupt, command: daemonloggerCommand},
		// An interrupted stenotype 1.0.1 closes its file when a write to it completes. Without frames
		// there is none, and it waits forever in io_getevents(2).
		{Name: "stenotype", end: os.Interrupt, command: stenotypeCommand, woken: true},
	}
}

// capdCommand changes from capd's defaults only what all recorders have: files are never rotated,
// unless all are, and the ring has 128 MiB.
func capdCommand(path, dir string, rotate int64, _ int) []string {
	return []string{path, "run", "-i", watched, "-d", dir, "--rotate-size", mebibytes(rotate) + "MiB",
		"--rotate-interval", "0", "--ring-size", mebibytes(ringMiB<<20) + "MiB"}
}

func capdPcapCommand(path, dir string, rotate int64, cpu int) []string {
	return append(capdCommand(path, dir, rotate, cpu), "--format", "pcap")
}

// fanoutRings is the number of rings of fanoutCommand, which together have the size of the others'.
const fanoutRings = 4

func fanoutCommand(path, dir string, rotate int64, _ int) []string {
	return configured(path, dir, rotate, ringMiB/fanoutRings, fmt.Sprintf("fanout = %d\n", fanoutRings))
}

// keptCommand sets limits, and compresses finished files, of which there are some only with
// -rotate-size.
func keptCommand(path, dir string, rotate int64, _ int) []string {
	return configured(path, dir, rotate, ringMiB, `retain_count = 1000000
[retain]
bytes = "100TiB"
age = "365d"
min_free = "1%"
[finished]
compress = "zstd"
`)
}

// polledCommand sets a known path for the socket.
func polledCommand(path, dir string, rotate int64, _ int) []string {
	return configured(path, dir, rotate, ringMiB, fmt.Sprintf("[control]\nsocket = %q\n", socketIn(dir)))
}

func socketIn(dir string) string { return filepath.Join(dir, "s") }

// configured is capdCommand with a configuration file that contains more, and rings of that many
// MiB. If the file can't be written, capd reports it as missing.
func configured(path, dir string, rotate int64, ring int, more string) []string {
	config := filepath.Join(dir, "race.toml")
	_ = os.WriteFile(config, fmt.Appendf(nil, `directory = %q
rotate_size = "%sMiB"
rotate_interval = "0"
ring_size = "%dMiB"
%s
[[interface]]
name = %q
`, dir, mebibytes(rotate), ring, more, watched), 0o600)
	return []string{path, "run", "-c", config}
}

// poll100 requests the status and metrics a hundred times per second.
func poll100(ctx context.Context, dir string) {
	var d net.Dialer
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socketIn(dir))
	}}}
	defer c.CloseIdleConnections()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://capd/"+[]string{"v1/status", "metrics"}[n%2], nil)
		if err != nil {
			return
		}
		if answer, err := c.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	}
}

func tcpdumpCommand(path, dir string, rotate int64, _ int) []string {
	args := []string{path, "-i", watched, "-n", "-s", snaplen, "-B", strconv.Itoa(ringMiB << 10),
		"--time-stamp-precision=nano", "-Z", "root", "-w", dir + "/race.pcap"}
	if rotate < noRotate {
		args = append(args, "-C", strconv.FormatInt(max(1, rotate/1_000_000), 10))
	}
	return args
}

func dumpcapCommand(path, dir string, rotate int64, _ int) []string {
	args := []string{path, "-i", watched, "-s", snaplen, "-B", strconv.Itoa(ringMiB), "-q", "-P", "-w", dir + "/race.pcap"}
	if rotate < noRotate {
		args = append(args, "-b", "filesize:"+strconv.FormatInt(max(1, rotate/1000), 10))
	}
	return args
}

// netsniffCommand writes with scatter-gather, which is netsniff-ng's default and its fastest mode.
// -A leaves the machine's socket limits unchanged.
func netsniffCommand(path, dir string, rotate int64, cpu int) []string {
	args := []string{path, "--in", watched, "--silent", "--magic", "0xa1b23c4d", "--ring-size", "128MiB",
		"--bind-cpu", strconv.Itoa(cpu), "--notouch-irq", "--no-sock-mem"}
	if rotate < noRotate {
		// --overwrite makes the names numbers: names with the time in seconds would overwrite each
		// other.
		return append(args, "--out", dir, "--interval", mebibytes(rotate)+"MiB", "--overwrite", "100000000")
	}
	return append(args, "--out", dir+"/race.pcap")
}

// daemonloggerCommand: the names have the time in seconds, so that files overwrite each other with
// a small rotate size at a high rate.
func daemonloggerCommand(path, dir string, rotate int64, _ int) []string {
	return []string{path, "-i", watched, "-l", dir, "-n", "race.pcap", "-S", snaplen,
		"-s", strconv.FormatInt(rotate, 10), "-p", "race.pid", "-P", dir}
}

// stenotypeCommand writes no indexes, like the other recorders. Its files have at least 2 MiB, and
// no more writes may be under way than fit into one.
func stenotypeCommand(path, dir string, rotate int64, _ int) []string {
	rotate = max(rotate, 2<<20)
	return []string{path, "--aiops=" + mebibytes(min(rotate, ringMiB<<20)), "--iface=" + watched, "--dir=" + dir, "--threads=1", "--blocks=" + strconv.Itoa(ringMiB),
		"--no_index", "--blockage_sec=1", "--fileage_sec=86400", "--filesize_mb=" + mebibytes(min(rotate, stenotypeMost)),
		"--preallocate_file_mb=" + mebibytes(min(rotate, stenotypeMost)), "--uid=root", "--gid=root", "--seccomp=none"}
}

// stenotypeDir is the directory of stenotype's first thread.
const stenotypeDir = "PKT0"

// prepareDir creates the directories that stenotype expects.
func prepareDir(dir string) error {
	return errors.Join(os.Mkdir(filepath.Join(dir, stenotypeDir), 0o755), os.Mkdir(filepath.Join(dir, "IDX0"), 0o755))
}

// stenotypeMost is the largest file size in bytes: stenotype requires less than 4 GiB.
const stenotypeMost = 4 << 30

func mebibytes(n int64) string { return strconv.FormatInt(max(1, n>>20), 10) }

// find returns the named recorders that are installed, and the names of those that are not. NAME=PATH
// is another build of the recorder, so that builds race in turn; its name in the report is NAME:FILE.
func find(names []string, capd string) (here []recorder, absent []string, err error) {
	known := recorders()
	for _, name := range names {
		name, path, other := strings.Cut(name, "=")
		i := index(known, name)
		if i < 0 {
			return nil, nil, fmt.Errorf("no recorder %q", name)
		}
		r := known[i]
		switch {
		case other:
			if r.path, err = exec.LookPath(path); err != nil {
				return nil, nil, fmt.Errorf("recorder %s: %w", name, err)
			}
			r.Name += ":" + filepath.Base(path)
		case isCapd(name):
			r.path = capd
		default:
			r.path, _ = exec.LookPath(name)
		}
		if r.path == "" {
			absent = append(absent, name)
			continue
		}
		r.Version = version(r)
		here = append(here, r)
	}
	return here, absent, nil
}

// isCapd reports whether the name is one of capd's variants.
func isCapd(name string) bool {
	name, _, _ = strings.Cut(name, ":")
	return name == "capd" || strings.HasPrefix(name, "capd-")
}

func index(known []recorder, name string) int {
	for i, r := range known {
		if r.Name == name {
			return i
		}
	}
	return -1
}

// dotted matches the first version number.
var dotted = regexp.MustCompile(`[0-9]+\.[0-9]+`)

// version asks the recorder for its version, or reads it from capd's binary.
func version(r recorder) string {
	kind, _, _ := strings.Cut(r.Name, ":")
	if kind == "stenotype" {
		return "without a version of its own"
	}
	if isCapd(r.Name) {
		info, err := buildinfo.ReadFile(r.path)
		if err != nil {
			return ""
		}
		return info.Main.Version + " " + info.GoVersion
	}
	flag := "--version"
	if kind == "daemonlogger" {
		flag = "-v" // prints the version and exits; there are no long options
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, r.path, flag)
	text, _ := c.CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if dotted.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
