// Package config defines, defaults and validates capd.toml.
//
// A setting has one home, a field of Config or of the structs in it, whose toml
// tag is its key, and whose reload tag is its Effect. The settings of Recording are read twice: at the top of the
// file for all interfaces, and in an [[interface]] for that one.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Any is the interface name that stands for all interfaces together.
const Any = "any"

// Values of Recording.Direction.
const (
	DirectionBoth = "both"
	DirectionIn   = "in"  // received by the host, or seen on the wire
	DirectionOut  = "out" // sent by the host
)

// Values of Recording.Format.
const (
	FormatPcap   = "pcap"
	FormatPcapng = "pcapng"
)

// Values of Recording.FanoutMode.
const (
	FanoutFlow = "flow" // frames of one flow stay together
	FanoutCPU  = "cpu"  // frames that one processor received stay together
)

// Values of Recording.Direct.
const (
	DirectAuto = "auto" // O_DIRECT where the file system has it
	DirectOff  = "off"
)

// Values of Config.Sandbox.
const (
	SandboxAuto = "auto" // what the system has of it
	SandboxOn   = "on"   // all of it, or an error
	SandboxOff  = "off"
)

// Values of Log.Format.
const (
	LogText = "text"
	LogJSON = "json"
	LogAuto = "auto" // text on a terminal, entries of its own in the journal, else JSON
)

// A Config is what capd.toml says, with the defaults filled in.
type Config struct {
	Recording                // for interfaces that do not say otherwise
	Exclude      []string    `toml:"exclude" reload:"in place"`      // globs of interfaces that no glob takes
	StopTimeout  Duration    `toml:"stop_timeout" reload:"in place"` // most time between the order to stop and the end
	User         string      `toml:"user" reload:"restart"`          // to become after the start as root; empty is none
	Sandbox      string      `toml:"sandbox" reload:"restart"`       // whether capd gives up what it does not need
	SandboxPaths []string    `toml:"sandbox_paths" reload:"restart"` // absolute directories that hooks may write into besides
	Retain       Retain      `toml:"retain"`
	Finished     Finished    `toml:"finished"`
	Control      Control     `toml:"control"`
	Log          Log         `toml:"log"`
	Interfaces   []Interface `toml:"interface"`
}

// Recording is how an interface is recorded.
type Recording struct {
	Directory      string   `toml:"directory" reload:"re-open"` // absolute path
	Snaplen        int      `toml:"snaplen" reload:"re-open"`   // most bytes kept of a frame
	Promiscuous    bool     `toml:"promiscuous" reload:"re-open"`
	Direction      string   `toml:"direction" reload:"re-open"`
	LinkType       string   `toml:"link_type" reload:"re-open"`     // by name; empty is what the interface has by itself
	Filter         string   `toml:"filter" reload:"re-open"`        // pcap-filter(7); empty takes every frame
	RingSize       Size     `toml:"ring_size" reload:"re-open"`     // of the kernel's ring, a multiple of BlockSize
	BlockSize      Size     `toml:"block_size" reload:"re-open"`    // of one block of the ring, a multiple of 4096
	BlockTimeout   Duration `toml:"block_timeout" reload:"re-open"` // whole milliseconds
	Format         string   `toml:"format" reload:"re-open"`
	RotateSize     Size     `toml:"rotate_size" reload:"in place"`     // 0 is never
	RotateInterval Duration `toml:"rotate_interval" reload:"in place"` // 0 is never
	SyncInterval   Duration `toml:"sync_interval" reload:"in place"`   // 0 is only at a file's end
	FlushInterval  Duration `toml:"flush_interval" reload:"in place"`  // 0 is only when a chunk is full
	KeepEmpty      bool     `toml:"keep_empty" reload:"in place"`
	FileMode       FileMode `toml:"file_mode" reload:"re-open"`
	Wait           bool     `toml:"wait" reload:"in place"`
	RetainBytes    Size     `toml:"retain_bytes" reload:"in place"` // of an interface's files; 0 is no limit
	RetainAge      Duration `toml:"retain_age" reload:"in place"`
	RetainCount    int      `toml:"retain_count" reload:"in place"`
	PoolSize       AutoSize `toml:"pool_size" reload:"re-open"`  // at least two chunks; 0 is by the machine's memory
	ChunkSize      Size     `toml:"chunk_size" reload:"re-open"` // a multiple of 4096
	Direct         string   `toml:"direct" reload:"re-open"`
	Fanout         int      `toml:"fanout" reload:"re-open"` // rings, and files at a time
	FanoutMode     string   `toml:"fanout_mode" reload:"re-open"`
	CPU            int      `toml:"cpu" reload:"re-open"` // -1 is any; of the first ring, the others have those that follow
}

// Retain bounds what is kept in each directory, whatever the interface. Zero is
// no limit.
type Retain struct {
	Bytes     Size     `toml:"bytes" reload:"in place"`
	Age       Duration `toml:"age" reload:"in place"`        // of a file's begin
	Count     int      `toml:"count" reload:"in place"`      // of files
	MinFree   Share    `toml:"min_free" reload:"in place"`   // of the file system
	KeepBytes Size     `toml:"keep_bytes" reload:"in place"` // the newest files up to this are never deleted,
	KeepAge   Duration `toml:"keep_age" reload:"in place"`   // nor those younger than this,
	KeepCount int      `toml:"keep_count" reload:"in place"` // nor this many
}

// Values of Finished.Compress.
const (
	CompressNone = "none"
	CompressZstd = "zstd"
	CompressGzip = "gzip"
)

// Steps that Finished.KeepUntil may name.
const (
	StepCompress = "compress"
	StepHook     = "hook"
)

// Finished is what is done with files once they are finished.
type Finished struct {
	Compress string   `toml:"compress" reload:"in place"`
	Level    int      `toml:"level" reload:"in place"`   // of the compression, from the fastest, 1, to 22 for zstd or 9 for gzip
	Hook     []string `toml:"hook" reload:"in place"`    // absolute path of a program, and its arguments; empty is none
	Timeout  Duration `toml:"timeout" reload:"in place"` // after which a hook is killed
	AtOnce   int      `toml:"at_once" reload:"in place"` // most hooks at a time

	KeepUntil []string `toml:"keep_until" reload:"in place"` // steps without which no limit deletes a file: StepCompress, StepHook
}

// ControlAuto is the value of Control.Socket that leaves the path to capd.
const ControlAuto = "auto"

// Control is where capd tells how it goes, and takes orders.
type Control struct {
	Socket  string `toml:"socket" reload:"restart"`  // absolute path, ControlAuto, or empty: none
	Group   string `toml:"group" reload:"restart"`   // of the socket, a name or number; empty is the process's own
	Metrics string `toml:"metrics" reload:"restart"` // host:port for metrics over TCP; empty is none
}

// Log is where and how capd logs.
type Log struct {
	Level      string   `toml:"level" reload:"in place"` // debug, info, warn or error
	Format     string   `toml:"format" reload:"restart"`
	File       string   `toml:"file" reload:"restart"`        // absolute path; empty is standard error
	MaxSize    Size     `toml:"max_size" reload:"restart"`    // of File until it is rotated; 0 is never
	MaxAge     Duration `toml:"max_age" reload:"restart"`     // of rotated files; 0 is no limit
	MaxBackups int      `toml:"max_backups" reload:"restart"` // rotated files; 0 is no limit
	Compress   bool     `toml:"compress" reload:"restart"`    // rotated files
}

// An Interface names what to record. Its Recording holds resolved values: what
// its [[interface]] does not set is what the top of the file says.
type Interface struct {
	Name    string   `toml:"name" reload:"in place"`    // of an interface, a glob (path.Match), or Any
	Exclude []string `toml:"exclude" reload:"in place"` // globs that Name, a glob, must not take
	Recording
}

// Default returns the settings of an empty capd.toml. It names no interface.
func Default() *Config {
	return &Config{
		Recording: Recording{
			Directory:      "/var/lib/capd",
			Snaplen:        maxSnaplen,
			Promiscuous:    true,
			Direction:      DirectionBoth,
			RingSize:       128 * MiB,
			BlockSize:      1 * MiB,
			BlockTimeout:   Duration(100 * time.Millisecond),
			Format:         FormatPcapng, // it carries loss counts and directions
			RotateSize:     1 * GiB,
			RotateInterval: Duration(time.Hour),
			FlushInterval:  Duration(time.Second),
			FileMode:       0o640,
			Wait:           true,
			ChunkSize:      4 * MiB,
			Direct:         DirectAuto,
			Fanout:         1,
			FanoutMode:     FanoutFlow,
			CPU:            -1,
		},
		StopTimeout: Duration(10 * time.Second),
		Sandbox:     SandboxAuto,
		Finished: Finished{
			Compress: CompressNone,
			Level:    1,
			Timeout:  Duration(5 * time.Minute),
			AtOnce:   1,
		},
		Control: Control{Socket: ControlAuto},
		Log: Log{
			Level:      "info",
			Format:     LogAuto,
			MaxSize:    100 * MiB,
			MaxAge:     30 * day,
			MaxBackups: 5,
		},
	}
}

// Lookup returns the settings for the interface of that name: those of the
// [[interface]] that names it, else of the first whose glob takes it, else nil.
func (c *Config) Lookup(name string) *Interface {
	for i := range c.Interfaces {
		if c.Interfaces[i].Name == name {
			return &c.Interfaces[i]
		}
	}
	if takes(c.Exclude, name) {
		return nil
	}
	for i := range c.Interfaces {
		if c.Interfaces[i].Match(name) {
			return &c.Interfaces[i]
		}
	}
	return nil
}

// Match reports whether the name is the interface's, or is taken by its glob
// and by none of its Exclude globs. No glob takes Any.
func (i *Interface) Match(name string) bool {
	if !i.Glob() || name == Any {
		return i.Name == name
	}
	return takes([]string{i.Name}, name) && !takes(i.Exclude, name)
}

// takes reports whether one of the globs does.
func takes(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// Glob reports whether the name is a pattern and not an interface's own.
func (i *Interface) Glob() bool { return strings.ContainsAny(i.Name, `*?[\`) }

// TOML returns the settings in their canonical form: a capd.toml with every key
// in a fixed order, which Parse reads back to the same settings.
func (c *Config) TOML() string {
	var b strings.Builder
	enc := toml.NewEncoder(&b)
	enc.Indent = ""
	_ = enc.Encode(c) // fails on types that TOML does not have, and Config has none
	return b.String()
}

// Digest returns the SHA-256 of TOML in hexadecimal. It is the same for two
// files that mean the same.
func (c *Config) Digest() string {
	sum := sha256.Sum256([]byte(c.TOML()))
	return hex.EncodeToString(sum[:])
}
