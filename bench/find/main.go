//go:build linux

// Find measures how long it takes to get one flow out of many capture files: with capd extract and flow tables, and without
// them, with tcpdump and with tshark; to know that an address is in none of them; and to get a minute with editcap. It makes the files, takes them out of the page cache before each measurement, and checks
// that each tool has found all packets.
//
//	go run -C bench ./find -files 100 -size 16MiB
//	go run -C bench ./find -dir /mnt/xfs/set -files 1000 -size 100MiB -bases 20 -flows 10000 -drop -tools extract,absent -keep
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "find:", err)
		}
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	capd  string
	dir   string
	files int
	size  size
	flows int
	parts int
	bases int
	drop  bool
	runs  int
	tools string
	keep  bool
}

// A size is a number of bytes.
type size int64

// Set reads a size in bytes, KiB, MiB or GiB.
func (s *size) Set(text string) error {
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, found := strings.CutSuffix(text, unit); found {
			v, err := strconv.ParseInt(n, 10, 32)
			*s = size(v << (10 * (i + 1)))
			return err
		}
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*s = size(v)
	return err
}

// String spells the size in MiB.
func (s *size) String() string { return fmt.Sprintf("%.1f MiB", float64(*s)/(1<<20)) }

func run(args []string, stdout, stderr io.Writer) error {
	o := options{size: 16 << 20}
	fs := flag.NewFlagSet("find", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.capd, "capd", "", "capd `FILE` to measure; empty: built from the source")
	fs.StringVar(&o.dir, "dir", "", "make the set in `DIR`, or use the one that is there; empty: a temporary directory")
	fs.IntVar(&o.files, "files", 100, "capture files")
	fs.Var(&o.size, "size", "`SIZE` of each, as 16MiB")
	fs.IntVar(&o.flows, "flows", 2000, "other flows of each file")
	fs.IntVar(&o.parts, "parts", 1, "files among which the 100 packets of the flow are divided")
	fs.IntVar(&o.bases, "bases", 0, "write so many files, of which the others are copies that share blocks (XFS, Btrfs); 0: write all")
	fs.BoolVar(&o.drop, "drop", false, "before each measurement drop all inodes and names that the kernel caches, too")
	fs.IntVar(&o.runs, "runs", 3, "times that each tool is measured, in turn; the median counts")
	fs.StringVar(&o.tools, "tools", "extract,absent,scan,tcpdump,tshark,editcap", "tools to measure")
	fs.BoolVar(&o.keep, "keep", false, "keep the set")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.files < 1 || o.size < 1<<20 || o.parts < 1 || o.parts > min(o.files, flowPackets) || o.runs < 1 {
		return errors.New("too small a set")
	}
	work, err := os.MkdirTemp("", "capd-find-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if o.capd == "" {
		o.capd = filepath.Join(work, "capd")
		if text, err := exec.Command("go", "build", "-C", "..", "-o", o.capd, "./cmd/capd").CombinedOutput(); err != nil {
			return fmt.Errorf("build capd: %w: %s", err, text)
		}
	}
	if o.dir == "" {
		o.dir = filepath.Join(work, "set")
	}
	paths, err := makeSet(&o)
	if err != nil {
		return err
	}
	if !o.keep && filepath.Dir(o.dir) != work {
		defer func() {
			for _, p := range paths {
				os.Remove(p)
			}
		}()
	}
	return measure(&o, paths, stdout)
}
