// Package config defines, defaults and validates capd.toml.
//
// Each setting is one field of Config or of the structs in it. The field's toml tag is its key, and
// its reload tag is its Effect. The settings of Recording may appear twice: at the top of the file
// for all interfaces, and in an [[interface]] for that interface.
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
	DirectionIn   = "in"  // frames that the host receives, or that pass on the wire
	DirectionOut  = "out" // frames that the host sends
)

// Values of Recording.Format.
const (
	FormatPcap      = "pcap"    // with nanoseconds
	FormatPcapMicro = "pcap-us" // with microseconds
	FormatPcapng    = "pcapng"
)

// Values of Recording.FanoutMode.
const (
	FanoutFlow = "flow" // all frames of one flow go to the same ring
	FanoutCPU  = "cpu"  // all frames that one processor received go to the same ring
)

// Values of Recording.Direct.
const (
	DirectAuto = "auto" // O_DIRECT where the file system supports it
	DirectOff  = "off"
)

// Values of Config.Sandbox.
const (
	SandboxAuto = "auto" // as much as the system supports
	SandboxOn   = "on"   // all of it, or an error
	SandboxOff  = "off"
)

// Values of Log.Format.
const (
	LogText = "text"
	LogJSON = "json"
	LogAuto = "auto" // text on a terminal, journal entries under systemd, else JSON
)

// A Config holds the settings of capd.toml, with the defaults filled in.
type Config struct {
	Recording                // for interfaces whose [[interface]] does not override them
	Exclude      []string    `toml:"exclude" reload:"in place"`      // globs of interfaces that no glob of an [[interface]] matches
	StopTimeout  Duration    `toml:"stop_timeout" reload:"in place"` // longest time between the request to stop and the end
	User         string      `toml:"user" reload:"restart"`          // to switch to when started as root; empty: no switch
	Sandbox      string      `toml:"sandbox" reload:"restart"`       // whether capd restricts its own access to the system
	SandboxPaths []string    `toml:"sandbox_paths" reload:"restart"` // absolute directories outside the recordings that hooks may write to
	Retain       Retain      `toml:"retain"`
	Index        Index       `toml:"index"`
	Encrypt      Encrypt     `toml:"encrypt"`
	Seal         Seal        `toml:"seal"`
	Finished     Finished    `toml:"finished"`
	Control      Control     `toml:"control"`
	Log          Log         `toml:"log"`
	Interfaces   []Interface `toml:"interface"`
}

// Recording is how an interface is recorded.
type Recording struct {
	Directory      string   `toml:"directory" reload:"re-open"` // absolute path
	Snaplen        int      `toml:"snaplen" reload:"re-open"`   // number of bytes kept of each frame, at most
	Promiscuous    bool     `toml:"promiscuous" reload:"re-open"`
	Direction      string   `toml:"direction" reload:"re-open"`
	LinkType       string   `toml:"link_type" reload:"re-open"`     // by name; empty: the interface's default
	Filter         string   `toml:"filter" reload:"re-open"`        // pcap-filter(7); empty: every frame
	RingSize       AutoSize `toml:"ring_size" reload:"re-open"`     // of the kernel's ring; a multiple of BlockSize; 0: derived from the link's speed
	BlockSize      Size     `toml:"block_size" reload:"re-open"`    // of one block of the ring; a multiple of 4096
	BlockTimeout   Duration `toml:"block_timeout" reload:"re-open"` // whole milliseconds
	Format         string   `toml:"format" reload:"re-open"`
	RotateSize     Size     `toml:"rotate_size" reload:"in place"`     // 0: never
	RotateInterval Duration `toml:"rotate_interval" reload:"in place"` // 0: never
	SyncInterval   Duration `toml:"sync_interval" reload:"in place"`   // 0: only at a file's end
	FlushInterval  Duration `toml:"flush_interval" reload:"in place"`  // 0: only when a chunk is full
	KeepEmpty      bool     `toml:"keep_empty" reload:"in place"`
	FileMode       FileMode `toml:"file_mode" reload:"re-open"`
	Wait           bool     `toml:"wait" reload:"in place"`
	RetainBytes    Size     `toml:"retain_bytes" reload:"in place"` // of an interface's files; 0: no limit
	RetainAge      Duration `toml:"retain_age" reload:"in place"`
	RetainCount    int      `toml:"retain_count" reload:"in place"`
	PoolSize       AutoSize `toml:"pool_size" reload:"re-open"`  // at least two chunks; 0: derived from the machine's memory
	ChunkSize      Size     `toml:"chunk_size" reload:"re-open"` // a multiple of 4096
	Direct         string   `toml:"direct" reload:"re-open"`
	Fanout         int      `toml:"fanout" reload:"re-open"` // number of rings, each recorded to a file of its own
	FanoutMode     string   `toml:"fanout_mode" reload:"re-open"`
	CPU            int      `toml:"cpu" reload:"re-open"` // for the first ring, the next rings use the following CPUs; -1: any
}

// Retain limits what is kept in each directory, for all interfaces together. Zero is no limit.
type Retain struct {
	Bytes     Size     `toml:"bytes" reload:"in place"`
	Age       Duration `toml:"age" reload:"in place"`        // since a file's begin
	Count     int      `toml:"count" reload:"in place"`      // number of files
	MinFree   Share    `toml:"min_free" reload:"in place"`   // of the file system
	HoldWarn  Share    `toml:"hold_warn" reload:"in place"`  // of held files, from which on capd warns
	KeepBytes Size     `toml:"keep_bytes" reload:"in place"` // the newest files are never deleted while they have at most this size,
	KeepAge   Duration `toml:"keep_age" reload:"in place"`   // or are at most this old,
	KeepCount int      `toml:"keep_count" reload:"in place"` // or are at most this many
}

// Values of Finished.Compress.
const (
	CompressNone = "none"
	CompressZstd = "zstd"
	CompressGzip = "gzip"
)

// Steps that Finished.KeepUntil may name.
const (
	StepIndex    = "index"
	StepCompress = "compress"
	StepHook     = "hook"
	StepSeal     = "seal"
)

// Finished is what capd does with files once they are finished.
type Finished struct {
	Compress string   `toml:"compress" reload:"in place"`
	Level    int      `toml:"level" reload:"in place"`    // of the compression: from 1, the fastest, to 22 for zstd or 9 for gzip
	Seekable bool     `toml:"seekable" reload:"in place"` // zstd files are cut so that parts can be read, as gzip files always are
	Hook     []string `toml:"hook" reload:"in place"`     // absolute path of a program, and its arguments; empty: no hook
	Timeout  Duration `toml:"timeout" reload:"in place"`  // after which a hook is killed
	AtOnce   int      `toml:"at_once" reload:"in place"`  // number of hooks that run at the same time, at most

	KeepUntil []string `toml:"keep_until" reload:"in place"` // steps (StepSeal, StepIndex, StepCompress, StepHook) that must be done before a limit deletes a file
}

// Index says whether capd makes the flow tables of finished files.
type Index struct {
	Enabled bool `toml:"enabled" reload:"in place"`
}

// Encrypt says for whom files are encrypted. Without recipients they are not.
type Encrypt struct {
	Recipients     []string `toml:"recipients" reload:"re-open"`      // public keys of age and ssh
	RecipientsFile string   `toml:"recipients_file" reload:"re-open"` // absolute path of a file with more of them, one a line; empty: none
}

// Enabled reports whether files are encrypted.
func (e *Encrypt) Enabled() bool { return len(e.Recipients) > 0 || e.RecipientsFile != "" }

// Seal says whether what is recorded is sealed: who has the verification key can prove later that nothing was changed.
type Seal struct {
	Enabled bool     `toml:"enabled" reload:"in place"`
	Evolve  Duration `toml:"evolve" reload:"in place"` // after which the key that signs is replaced by the next, and wiped
	Keys    string   `toml:"keys" reload:"restart"`    // absolute path of the directory of the keys
}

// ControlAuto is the value of Control.Socket that lets capd choose the path.
const ControlAuto = "auto"

// Control is where capd reports its state and takes commands.
type Control struct {
	Socket  string `toml:"socket" reload:"restart"`  // absolute path, ControlAuto, or empty: no socket
	Group   string `toml:"group" reload:"restart"`   // of the socket, a name or number; empty: the group of the process
	Metrics string `toml:"metrics" reload:"restart"` // host:port for metrics over TCP; empty: none
}

// Log is where and how capd logs.
type Log struct {
	Level      string   `toml:"level" reload:"in place"` // debug, info, warn or error
	Format     string   `toml:"format" reload:"restart"`
	File       string   `toml:"file" reload:"restart"`        // absolute path; empty: standard error
	MaxSize    Size     `toml:"max_size" reload:"restart"`    // size at which File is rotated; 0: never
	MaxAge     Duration `toml:"max_age" reload:"restart"`     // of rotated files; 0: no limit
	MaxBackups int      `toml:"max_backups" reload:"restart"` // number of rotated files; 0: no limit
	Compress   bool     `toml:"compress" reload:"restart"`    // whether rotated files are compressed
}

// An Interface names what to record. Its Recording holds resolved values: settings that its
// [[interface]] leaves out have the value from the top of the file.
type Interface struct {
	Name    string   `toml:"name" reload:"in place"`    // of an interface, a glob (path.Match), or Any
	Exclude []string `toml:"exclude" reload:"in place"` // globs of interfaces that Name, if it is a glob, does not match
	Recording

	// Recipients are all public keys that files are encrypted for; none: they are not encrypted. No key of the file has them:
	// Config.ReadRecipients sets them.
	Recipients []string `toml:"-"`
}

// Default returns the settings of an empty capd.toml. It names no interface.
func Default() *Config {
	return &Config{
		Recording: Recording{
			Directory:      "/var/lib/capd",
			Snaplen:        maxSnaplen,
			Promiscuous:    true,
			Direction:      DirectionBoth,
			BlockSize:      1 * MiB,
			BlockTimeout:   Duration(100 * time.Millisecond),
			Format:         FormatPcapng, // pcapng carries loss counts and directions
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
		Retain:      Retain{HoldWarn: Share{Percent: 50}},
		Seal:        Seal{Evolve: Duration(15 * time.Minute), Keys: "/var/lib/capd-seal"},
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

// WritesDirectly reports whether an interface that is recorded into the directory may be written past the page cache.
func (c *Config) WritesDirectly(dir string) bool {
	return slices.ContainsFunc(c.Interfaces, func(i Interface) bool { return i.Directory == dir && i.Direct != DirectOff })
}

// Lookup returns the settings for the interface of that name: those of the [[interface]] with
// exactly that name, else of the first whose glob matches, else nil.
func (c *Config) Lookup(name string) *Interface {
	_, in := c.Choose(name)
	return in
}

// Choose returns the settings for an interface that has all these names, and the one of them that
// it is recorded by: the first that an [[interface]] has exactly, else the first that a glob
// matches. An exclude that takes any of the names keeps globs from the interface. Without settings
// both are zero.
func (c *Config) Choose(names ...string) (string, *Interface) {
	for _, name := range names {
		for i := range c.Interfaces {
			if c.Interfaces[i].Name == name {
				return name, &c.Interfaces[i]
			}
		}
	}
	excluded := func(globs []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return takes(globs, name) })
	}
	if excluded(c.Exclude) {
		return "", nil
	}
	for _, name := range names {
		for i := range c.Interfaces {
			if in := &c.Interfaces[i]; in.Match(name) && !excluded(in.Exclude) {
				return name, in
			}
		}
	}
	return "", nil
}

// Match reports whether the name is the interface's, or is matched by its glob and by none of its
// Exclude globs. No glob matches Any.
func (i *Interface) Match(name string) bool {
	if !i.Glob() || name == Any {
		return i.Name == name
	}
	return takes([]string{i.Name}, name) && !takes(i.Exclude, name)
}

// takes reports whether one of the globs matches the name.
func takes(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// Glob reports whether Name is a pattern, not the name of one interface.
func (i *Interface) Glob() bool { return strings.ContainsAny(i.Name, `*?[\`) }

// TOML returns the settings in canonical form: a capd.toml with every key in a fixed order, from
// which Parse gets the same settings.
func (c *Config) TOML() string {
	var b strings.Builder
	enc := toml.NewEncoder(&b)
	enc.Indent = ""
	_ = enc.Encode(c) // fails only on types that TOML lacks; Config has none of them
	return b.String()
}

// Digest returns the SHA-256 of TOML in hexadecimal. Files with the same meaning have the same
// digest.
func (c *Config) Digest() string {
	sum := sha256.Sum256([]byte(c.TOML()))
	return hex.EncodeToString(sum[:])
}
