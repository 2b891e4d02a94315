package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"capd/config"

	"github.com/spf13/cobra"
)

// defaultConfig is read when neither -c nor -i is given.
const defaultConfig = "/etc/capd/capd.toml"

// settings are the flags that say what to record and how. They override the
// configuration for one run.
type settings struct {
	file       string
	interfaces []string
	exclude    []string
	directory  string
	size       config.Size
	interval   config.Duration
	ring       config.AutoSize
	format     string
	snaplen    int
	linkType   string
	wait       bool
	keep       keepFlag
	compress   string
	filter     string // the arguments of the command
	log        struct{ format, level string }
}

// bind adds the flags to a command.
func (s *settings) bind(cmd *cobra.Command) {
	def := config.Default()
	s.size, s.interval, s.ring = def.RotateSize, def.RotateInterval, def.RingSize
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&s.file, "config", "c", "", "read settings from `FILE` (default "+defaultConfig+" without -i)")
	f.StringArrayVarP(&s.interfaces, "interface", "i", nil, "record `NAME`: an interface, a glob such as 'eth*', any, or nflog:N (group N of the packet filter's logs); may repeat")
	f.StringArrayVarP(&s.exclude, "exclude", "x", nil, "exclude `NAME`, an interface or a glob, from the globs of -i; may repeat")
	f.StringVarP(&s.directory, "directory", "d", def.Directory, "write files into `DIR`")
	f.Var(&s.size, "rotate-size", "finish a file at `SIZE`; 0: never")
	f.Var(&s.interval, "rotate-interval", "finish a file at multiples of `TIME`, in UTC; 0: never")
	f.Var(&s.keep, "keep", "delete the oldest files of an interface, of earlier runs too, beyond `LIMIT`: a number of files, a size or an age, as 10, 20GiB or 7d; may repeat")
	f.StringVar(&s.compress, "compress", def.Finished.Compress, "compress finished files as `HOW`: zstd, gzip or none; without a value, zstd")
	f.Lookup("compress").NoOptDefVal = config.CompressZstd
	f.StringVar(&s.format, "format", def.Format, "`FORMAT` of the files: pcapng, pcap, or pcap-us, which is pcap with microseconds")
	f.IntVar(&s.snaplen, "snaplen", def.Snaplen, "keep at most `N` bytes of a frame")
	f.StringVarP(&s.linkType, "link-type", "y", "", "record with the link type `NAME`, one that capd interfaces lists (default the interface's own)")
	f.Var(&s.ring, "ring-size", "memory of `SIZE` in which the kernel keeps frames for capd; auto: by the speed of the link")
	f.BoolVar(&s.wait, "wait", false, "wait for an interface that is missing")
	f.StringVar(&s.log.level, "log-level", def.Log.Level, "log from `LEVEL` on: debug, info, warn or error")
	f.StringVar(&s.log.format, "log-format", def.Log.Format, "`FORMAT` of the log: text, json or auto, which is text on a terminal and entries in the journal")
}

// arguments takes the arguments, which are a filter, and refuses what was meant as something else.
func (s *settings) arguments(cmd *cobra.Command, args []string) error {
	s.filter = strings.Join(args, " ")
	if len(args) > 0 && cmd.Flags().Changed("compress") && slices.Contains([]string{config.CompressNone, config.CompressZstd, config.CompressGzip}, args[0]) {
		return usageError{fmt.Errorf("%s: write --compress=%s", cmd.Name(), args[0])}
	}
	return forgottenInterface(cmd.Name(), s.interfaces, args)
}

// load returns the configuration that the flags ask for, validated.
func (s *settings) load(cmd *cobra.Command) (*config.Config, error) {
	cfg, err := s.base()
	if err != nil {
		return nil, err
	}
	if len(s.interfaces) > 0 {
		s.choose(cfg)
	}
	if err := s.override(cmd, cfg); err != nil {
		return nil, err
	}
	if err := cfg.ReadRecipients(); err != nil {
		return nil, err
	}
	if len(cfg.Interfaces) == 0 {
		return cfg, nil // what needs one says so
	}
	return cfg, cfg.Validate()
}

// base returns the configuration without flags.
func (s *settings) base() (*config.Config, error) {
	file := s.file
	if file == "" {
		if len(s.interfaces) > 0 {
			return config.Default(), nil
		}
		file = defaultConfig
	}
	cfg, err := config.Load(file)
	if s.file == "" && errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	var bad config.Errors
	if err != nil && !errors.As(err, &bad) {
		return nil, fmt.Errorf("read configuration: %w", &configError{err, file})
	}
	return cfg, err
}

// choose puts the interfaces of the command line in the place of the
// configuration's, with the settings that it has for them.
func (s *settings) choose(cfg *config.Config) {
	var chosen []config.Interface
	for _, name := range s.interfaces {
		i := config.Interface{Name: name, Recording: cfg.Recording}
		if known := cfg.Lookup(name); known != nil {
			i = *known
			i.Name = name
		} else {
			i.Wait = s.wait // a name just typed is more likely a slip
		}
		chosen = append(chosen, i)
	}
	cfg.Interfaces = chosen
}

// override sets what flags were given for.
func (s *settings) override(cmd *cobra.Command, cfg *config.Config) error {
	dir, err := filepath.Abs(s.directory)
	if err != nil {
		return fmt.Errorf("directory %s: %w", s.directory, err)
	}
	all := []*config.Recording{&cfg.Recording}
	for i := range cfg.Interfaces {
		all = append(all, &cfg.Interfaces[i].Recording)
	}
	cfg.Exclude = append(cfg.Exclude, s.exclude...)
	given := cmd.Flags().Changed
	for _, r := range all {
		set(given("directory"), &r.Directory, dir)
		set(given("rotate-size"), &r.RotateSize, s.size)
		set(given("rotate-interval"), &r.RotateInterval, s.interval)
		set(given("format"), &r.Format, s.format)
		set(given("snaplen"), &r.Snaplen, s.snaplen)
		set(given("link-type"), &r.LinkType, s.linkType)
		set(given("ring-size"), &r.RingSize, s.ring)
		set(given("wait"), &r.Wait, s.wait)
		set(s.keep.count > 0, &r.RetainCount, s.keep.count)
		set(s.keep.size > 0, &r.RetainBytes, s.keep.size)
		set(s.keep.age > 0, &r.RetainAge, s.keep.age)
		set(s.filter != "", &r.Filter, s.filter)
	}
	set(given("compress"), &cfg.Finished.Compress, s.compress)
	set(given("log-level"), &cfg.Log.Level, s.log.level)
	set(given("log-format"), &cfg.Log.Format, s.log.format)
	return nil
}

func set[T any](given bool, to *T, value T) {
	if given {
		*to = value
	}
}

// A configError is returned for a file of settings that can't be read.
type configError struct {
	error
	file string // as it was named
}

func (e *configError) Unwrap() error { return e.error }

// Hints says what to do about it.
func (e *configError) Hints() []string {
	_, number := strconv.Atoi(e.file)
	switch {
	case errors.Is(e, fs.ErrNotExist) && number == nil:
		return []string{"-c names the file of the configuration; run --count " + e.file + " ends after that many frames"}
	case errors.Is(e, fs.ErrNotExist):
		return []string{"-c names the file; capd.toml.example is one with every key"}
	case errors.Is(e, syscall.EISDIR):
		return []string{"-c names a file, not a directory"}
	case errors.Is(e, fs.ErrPermission):
		return []string{fmt.Sprintf("this is user %d: the file must be readable for it", os.Geteuid())}
	}
	return nil
}
