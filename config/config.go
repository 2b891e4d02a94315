// Package config defines, defaults and validates capd.toml.
//
// A setting has one home, a field of Config or of the structs in it, whose toml
// tag is its key. The settings of Recording are read twice: at the top of the
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
	StopTimeout  Duration    `toml:"stop_timeout"`  // most time between the order to stop and the end
	User         string      `toml:"user"`          // to become after the start as root; empty is none
	Sandbox      string      `toml:"sandbox"`       // whether capd gives up what it does not need
	SandboxPaths []string    `toml:"sandbox_paths"` // absolute directories that hooks may write into besides
	Retain       Retain      `toml:"retain"`
	Finished     Finished    `toml:"finished"`
	Log          Log         `toml:"log"`
	Interfaces   []Interface `toml:"interface"`
}

// Recording is how an interface is recorded.
type Recording struct {
	Directory      string   `toml:"directory"` // absolute path
	Snaplen        int      `toml:"snaplen"`   // most bytes kept of a frame
	Promiscuous    bool     `toml:"promiscuous"`
	Direction      string   `toml:"direction"`
	Filter         string   `toml:"filter"`        // pcap-filter(7); empty takes every frame
	RingSize       Size     `toml:"ring_size"`     // of the kernel's ring, a multiple of BlockSize
	BlockSize      Size     `toml:"block_size"`    // of one block of the ring, a multiple of 4096
	BlockTimeout   Duration `toml:"block_timeout"` // whole milliseconds
	Format         string   `toml:"format"`
	RotateSize     Size     `toml:"rotate_size"`     // 0 is never
	RotateInterval Duration `toml:"rotate_interval"` // 0 is never
	FlushInterval  Duration `toml:"flush_interval"`  // 0 is only when a chunk is full
	KeepEmpty      bool     `toml:"keep_empty"`
	FileMode       FileMode `toml:"file_mode"`
	Wait           bool     `toml:"wait"`
	RetainBytes    Size     `toml:"retain_bytes"` // of an interface's files; 0 is no limit
	RetainAge      Duration `toml:"retain_age"`
	RetainCount    int      `toml:"retain_count"`
	PoolSize       Size     `toml:"pool_size"`  // at least two chunks
	ChunkSize      Size     `toml:"chunk_size"` // a multiple of 4096
	Direct         string   `toml:"direct"`
	Fanout         int      `toml:"fanout"` // rings, and files at a time
	FanoutMode     string   `toml:"fanout_mode"`
	CPU            int      `toml:"cpu"` // -1 is any; of the first ring, the others have those that follow
}

// Retain bounds what is kept in each directory, whatever the interface. Zero is
// no limit.
type Retain struct {
	Bytes     Size     `toml:"bytes"`
	Age       Duration `toml:"age"`        // of a file's begin
	Count     int      `toml:"count"`      // of files
	MinFree   Share    `toml:"min_free"`   // of the file system
	KeepBytes Size     `toml:"keep_bytes"` // the newest files up to this are never deleted,
	KeepAge   Duration `toml:"keep_age"`   // nor those younger than this,
	KeepCount int      `toml:"keep_count"` // nor this many
}

// Values of Finished.Compress.
const (
	CompressNone = "none"
	CompressZstd = "zstd"
	CompressGzip = "gzip"
)

// Finished is what is done with files once they are finished.
type Finished struct {
	Compress string   `toml:"compress"`
	Level    int      `toml:"level"`   // of the compression, from the fastest, 1, to 22 for zstd or 9 for gzip
	Hook     []string `toml:"hook"`    // absolute path of a program, and its arguments; empty is none
	Timeout  Duration `toml:"timeout"` // after which a hook is killed
	AtOnce   int      `toml:"at_once"` // most hooks at a time
}

// Log is where and how capd tells of itself.
type Log struct {
	Level      string   `toml:"level"` // debug, info, warn or error
	Format     string   `toml:"format"`
	File       string   `toml:"file"`        // absolute path; empty is standard error
	MaxSize    Size     `toml:"max_size"`    // of File until it is rotated; 0 is never
	MaxAge     Duration `toml:"max_age"`     // of rotated files; 0 is no limit
	MaxBackups int      `toml:"max_backups"` // rotated files; 0 is no limit
	Compress   bool     `toml:"compress"`    // rotated files
}

// An Interface names what to record. Its Recording holds resolved values: what
// its [[interface]] does not set is what the top of the file says.
type Interface struct {
	Name    string   `toml:"name"`    // of an interface, a glob (path.Match), or Any
	Exclude []string `toml:"exclude"` // globs that Name, a glob, must not take
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
			PoolSize:       32 * MiB,
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
	takes := func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	}
	return takes(i.Name) && !slices.ContainsFunc(i.Exclude, takes)
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
