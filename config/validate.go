package config

import (
	"cmp"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSnaplen is the largest capture length in bytes that libpcap and
	// Wireshark read (MAXIMUM_SNAPLEN).
	maxSnaplen = 262144

	// page is the alignment in bytes that the kernel's ring and O_DIRECT require.
	page = 4 * KiB

	// overhead is an upper bound of what a ring block or a file adds to its only frame: the headers
	// of the block and the frame in a ring; the blocks of the section, the interface and its
	// statistics in a file.
	overhead = 4 * KiB

	maxBlock = 1 * GiB // PACKET_RX_RING counts a block in a signed int
	maxRing  = 64 * GiB

	minChunk  = 512 * KiB // smaller writes are dominated by their fixed cost
	minChunks = 2         // one to fill while one is written

	maxFile   = 180  // of a name in that of a file, escaped: 255 less the time, the number and all endings
	maxFanout = 64   // more than any machine can use
	maxHooks  = 64   // hooks must leave most of the machine to the recording
	maxCPU    = 1023 // CPU_SETSIZE - 1 in sched.h
)

// MinBlocks is the least number of blocks of a ring: one to fill, one to read, and two for a burst.
const MinBlocks = 4

// Validate returns Errors with all mistakes in the settings, or nil. Unlike Parse it requires an
// interface: it runs after the command line was read, which may name one.
func (c *Config) Validate() error {
	errs := c.check()
	if len(c.Interfaces) == 0 {
		errs = append(errs, &Error{Key: "interface", Reason: "no interface to record",
			Hint: `add [[interface]] and name = "eth0"`})
	}
	if !c.encrypts() {
		errs = append(errs, &Error{Key: "encrypt", Reason: "files were to be encrypted, and nobody is known for whom"}) // ReadRecipients was not called
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// check is Validate for settings to which the command line may still add an interface.
func (c *Config) check() Errors {
	top := checker{}
	top.recording(&c.Recording)
	top.globs("exclude", c.Exclude)
	top.expect(c.StopTimeout > 0, "stop_timeout", c.StopTimeout,
		"must be above 0: frames in memory need time to reach the disk", `write "10s"`)
	top.daemon(c)
	retain := checker{table: "retain", prefix: "retain."}
	retain.retain(&c.Retain)
	top.errs = append(top.errs, retain.errs...)
	finished := checker{table: "finished", prefix: "finished."}
	finished.finished(c)
	top.errs = append(top.errs, finished.errs...)
	encrypt := checker{table: "encrypt", prefix: "encrypt."}
	encrypt.encrypt(c)
	top.errs = append(top.errs, encrypt.errs...)
	seal := checker{table: "seal", prefix: "seal."}
	seal.seal(&c.Seal)
	top.errs = append(top.errs, seal.errs...)
	control := checker{table: "control", prefix: "control."}
	control.control(&c.Control)
	top.errs = append(top.errs, control.errs...)
	log := checker{table: "log", prefix: "log."}
	log.log(&c.Log)
	errs := append(top.errs, log.errs...)
	seen := make(map[string]int)
	for i := range c.Interfaces {
		errs = append(errs, c.checkInterface(i, seen, top.errs)...)
	}
	return errs
}

// checkInterface leaves out mistakes that the interface inherits from the top level, because they
// are reported there.
func (c *Config) checkInterface(i int, seen map[string]int, inherited Errors) Errors {
	in := &c.Interfaces[i]
	k := checker{table: tableName(i), prefix: interfacePrefix(in.Name, i)}
	first, twice := seen[in.Name]
	k.expect(!twice, "name", in.Name, "must not be named twice", fmt.Sprintf("merge it with interface %d", first+1))
	if !twice && in.Name != "" { // an empty name is reported by itself
		seen[in.Name] = i
	}
	k.name(in)
	k.exclude(in)
	own := checker{table: k.table, prefix: k.prefix}
	own.recording(&in.Recording)
	for _, e := range own.errs {
		reported := func(t *Error) bool {
			return k.prefix+t.Key == e.Key && t.Value == e.Value && t.Reason == e.Reason
		}
		if !slices.ContainsFunc(inherited, reported) {
			k.errs = append(k.errs, e)
		}
	}
	return k.errs
}

// A checker collects the mistakes of one table.
type checker struct {
	table  string // its path, see keyLines
	prefix string // put before keys in messages
	errs   Errors
}

// expect records a mistake in the key unless ok. others are keys that the rule depends on too: the
// mistake may be on their lines.
func (k *checker) expect(ok bool, key string, value any, reason, hint string, others ...string) {
	if ok {
		return
	}
	e := &Error{Key: k.prefix + key, Value: literal(value), Reason: reason, Hint: hint}
	for _, name := range append([]string{key}, others...) {
		e.paths = append(e.paths, join(k.table, name))
	}
	if k.table != "" {
		e.paths = append(e.paths, k.table, "interface") // the last one is for a list in one line
	}
	k.errs = append(k.errs, e)
}

func (k *checker) oneOf(key, value string, choices ...string) {
	quoted := make([]string, len(choices))
	for i, c := range choices {
		quoted[i] = strconv.Quote(c)
	}
	hint := ""
	if near := Nearest(value, choices); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	k.expect(slices.Contains(choices, value), key, value, "must be one of "+strings.Join(quoted, ", "), hint)
}

func (k *checker) recording(r *Recording) {
	k.path("directory", r.Directory)
	k.expect(1 <= r.Snaplen && r.Snaplen <= maxSnaplen, "snaplen", r.Snaplen,
		"must be 1 to 262144 bytes, the most that Wireshark reads", "262144 keeps whole frames")
	k.oneOf("direction", r.Direction, DirectionBoth, DirectionIn, DirectionOut)
	k.expect(!strings.ContainsFunc(r.LinkType, notInLinkType), "link_type", r.LinkType,
		`must be the name of a link type, as "EN10MB", or empty for the interface's own`, "capd interfaces lists them")
	k.oneOf("format", r.Format, FormatPcap, FormatPcapMicro, FormatPcapng)
	k.oneOf("direct", r.Direct, DirectAuto, DirectOff)
	k.expect(1 <= r.Fanout && r.Fanout <= maxFanout, "fanout", r.Fanout, "must be a number of rings, 1 to 64", "")
	k.oneOf("fanout_mode", r.FanoutMode, FanoutFlow, FanoutCPU)
	k.expect(-1 <= r.CPU && r.CPU <= maxCPU, "cpu", r.CPU, "must be a CPU's number, 0 to 1023, or -1 for any", "")
	k.ring(r)
	k.files(r)
	k.memory(r)
}

func (k *checker) ring(r *Recording) {
	frame := Size(clamp(r.Snaplen, 1, maxSnaplen))
	fits := page <= r.BlockSize && r.BlockSize <= maxBlock && r.BlockSize%page == 0
	k.expect(fits, "block_size", r.BlockSize,
		"must be a multiple of 4096 bytes, the page size, and at most 1GiB", nearestMultiple(min(r.BlockSize, maxBlock), page, page))
	if fits {
		k.expect(r.BlockSize >= frame+overhead, "block_size", r.BlockSize,
			fmt.Sprintf("is too small for a frame of snaplen %d bytes and its headers", frame),
			fmt.Sprintf("at least %s, or a smaller snaplen", roundUp(frame+overhead, page)), "snaplen")
		ring := Size(r.RingSize)
		k.expect(r.RingSize == 0 || ring%r.BlockSize == 0 && ring/r.BlockSize >= MinBlocks && ring <= maxRing,
			"ring_size", ring,
			fmt.Sprintf("must be a multiple of block_size (%s), at least %d blocks and at most 64GiB", r.BlockSize, MinBlocks),
			nearestMultiple(min(ring, maxRing), r.BlockSize, MinBlocks*r.BlockSize), "block_size")
	}
	wait := time.Duration(r.BlockTimeout)
	k.expect(time.Millisecond <= wait && wait <= time.Minute && wait%time.Millisecond == 0, "block_timeout", r.BlockTimeout,
		"must be whole milliseconds, 1ms to 1m: the kernel counts in milliseconds", `60 to 100 ms is good`)
}

func (k *checker) files(r *Recording) {
	frame := Size(clamp(r.Snaplen, 1, maxSnaplen))
	k.expect(r.RotateSize == 0 || r.RotateSize >= frame+overhead, "rotate_size", r.RotateSize,
		fmt.Sprintf("must be 0 (never) or hold a frame of snaplen %d bytes and its headers", frame),
		fmt.Sprintf("at least %s", roundUp(frame+overhead, page)), "snaplen")
	k.expect(r.RotateInterval == 0 || r.RotateInterval >= Duration(time.Second), "rotate_interval", r.RotateInterval,
		"must be 0 (never) or at least 1s, which is what file names can tell apart", "")
	k.expect(r.RotateInterval < Duration(time.Second) || time.Duration(r.RotateInterval)%time.Second == 0, "rotate_interval", r.RotateInterval,
		"must be whole seconds, as the times in file names are", "")
	k.limit("retain_bytes", int64(r.RetainBytes), r.RetainBytes)
	k.limit("retain_age", int64(r.RetainAge), r.RetainAge)
	k.limit("retain_count", int64(r.RetainCount), r.RetainCount)
	k.expect(r.SyncInterval == 0 || r.SyncInterval >= Duration(100*time.Millisecond), "sync_interval", r.SyncInterval,
		"must be at least 100ms, or 0 for a sync only at a file's end", "")
	k.expect(r.FlushInterval == 0 || r.FlushInterval >= Duration(10*time.Millisecond), "flush_interval", r.FlushInterval,
		"must be 0 (only when a chunk is full) or at least 10ms: every flush is a write to the disk", "")
	k.expect(r.FileMode <= 0o777 && r.FileMode&0o600 == 0o600, "file_mode", r.FileMode,
		"must be 0600 to 0777: capd reads and writes its files itself", `write "0640" or "0600"`)
}

func (k *checker) memory(r *Recording) {
	fits := r.ChunkSize >= minChunk && r.ChunkSize <= maxBlock && r.ChunkSize%page == 0
	k.expect(fits, "chunk_size", r.ChunkSize,
		"must be a multiple of 4096 bytes, which O_DIRECT requires, and 512KiB to 1GiB",
		nearestMultiple(min(r.ChunkSize, maxBlock), page, minChunk))
	if pool := Size(r.PoolSize); fits && pool != 0 {
		k.expect(pool/r.ChunkSize >= minChunks && pool <= maxRing, "pool_size", pool,
			fmt.Sprintf(`must be "auto" or at least %d chunks of chunk_size (%s), one to fill while one is written, and at most 64GiB`,
				minChunks, r.ChunkSize),
			fmt.Sprintf("at least %s", minChunks*r.ChunkSize), "chunk_size")
	}
}

func (k *checker) retain(r *Retain) {
	k.limit("bytes", int64(r.Bytes), r.Bytes)
	k.limit("age", int64(r.Age), r.Age)
	k.limit("count", int64(r.Count), r.Count)
	k.limit("keep_bytes", int64(r.KeepBytes), r.KeepBytes)
	k.limit("keep_age", int64(r.KeepAge), r.KeepAge)
	k.limit("keep_count", int64(r.KeepCount), r.KeepCount)
	k.expect(0 <= r.MinFree.Bytes && 0 <= r.MinFree.Percent && r.MinFree.Percent < 100, "min_free", r.MinFree,
		"must be 0% to below 100% of the file system, or a size", "")
	k.expect(0 <= r.HoldWarn.Bytes && 0 <= r.HoldWarn.Percent && r.HoldWarn.Percent <= 100, "hold_warn", r.HoldWarn,
		"must be 0% to 100%, or a size", "")
	k.expect(r.Bytes == 0 || r.KeepBytes <= r.Bytes, "keep_bytes", r.KeepBytes, "must not exceed bytes", "", "bytes")
	k.expect(r.Age == 0 || r.KeepAge <= r.Age, "keep_age", r.KeepAge, "must not exceed age", "", "age")
	k.expect(r.Count == 0 || r.KeepCount <= r.Count, "keep_count", r.KeepCount, "must not exceed count", "", "count")
}

func (k *checker) finished(c *Config) {
	f := &c.Finished
	k.oneOf("compress", f.Compress, CompressNone, CompressZstd, CompressGzip)
	maxLevel := 22
	if f.Compress == CompressGzip {
		maxLevel = 9
	}
	k.expect(1 <= f.Level && f.Level <= maxLevel, "level", f.Level, fmt.Sprintf("must be 1, the fastest, to %d", maxLevel), "", "compress")
	if len(f.Hook) > 0 {
		k.expect(filepath.IsAbs(f.Hook[0]), "hook", f.Hook, "must begin with the absolute path of a program: it is run without a shell", "")
	}
	k.expect(f.Timeout >= Duration(time.Second), "timeout", f.Timeout, "must be at least 1s", "")
	k.expect(1 <= f.AtOnce && f.AtOnce <= maxHooks, "at_once", f.AtOnce, "must be 1 to 64", "")
	for _, step := range f.KeepUntil {
		k.oneOf("keep_until", step, StepSeal, StepIndex, StepCompress, StepHook)
		k.expect(step != StepSeal || c.Seal.Enabled, "keep_until", step,
			"no file is sealed: all would stay for ever", `set enabled in [seal], or take "seal" out`)
		k.expect(step != StepIndex || c.Index.Enabled, "keep_until", step,
			"no flow tables are made: all files would stay for ever", `set enabled in [index], or take "index" out`)
		k.expect(step != StepCompress || f.Compress != CompressNone, "keep_until", step,
			"no file is compressed: all would stay for ever", `set compress, or take "compress" out`, "compress")
		k.expect(step != StepHook || len(f.Hook) > 0, "keep_until", step,
			"there is no hook: all files would stay for ever", `set hook, or take "hook" out`, "hook")
	}
}

func (k *checker) daemon(c *Config) {
	k.expect(!strings.ContainsFunc(c.User, notInUser), "user", c.User,
		"must be a user's name, without spaces and colons", `write "capd"`)
	k.oneOf("sandbox", c.Sandbox, SandboxAuto, SandboxOn, SandboxOff)
	for _, path := range c.SandboxPaths {
		k.path("sandbox_paths", path)
	}
}

// notInUser reports whether passwd(5) forbids r in a user's name.
func notInUser(r rune) bool { return r <= ' ' || r == ':' || r == '/' || r == 0x7f }

// maxSocket is the longest path in bytes that fits on every system with its terminating zero
// (sun_path in sys/un.h).
const maxSocket = 103

func (k *checker) control(c *Control) {
	if c.Socket != "" && c.Socket != ControlAuto {
		k.expect(filepath.IsAbs(c.Socket) && !strings.ContainsRune(c.Socket, 0) && len(c.Socket) <= maxSocket, "socket", c.Socket,
			fmt.Sprintf("must be an absolute path of at most %d bytes, \"auto\", or empty for none", maxSocket), "")
	}
	if c.Metrics != "" {
		_, port, err := net.SplitHostPort(c.Metrics)
		n, err2 := strconv.Atoi(port)
		k.expect(err == nil && err2 == nil && 0 <= n && n <= 65535, "metrics", c.Metrics,
			"must be an address and a port, or empty for none", `write "127.0.0.1:9469", or "0.0.0.0:9469" for all addresses`)
	}
}

func (k *checker) seal(s *Seal) {
	k.expect(s.Evolve >= Duration(time.Second), "evolve", s.Evolve, "must be at least 1s", `write "15m"`)
	k.path("keys", s.Keys)
}

func (k *checker) limit(key string, n int64, value any) {
	k.expect(n >= 0, key, value, "must not be negative", "0 is no limit")
}

func (k *checker) log(l *Log) {
	k.oneOf("level", l.Level, "debug", "info", "warn", "error")
	k.oneOf("format", l.Format, LogText, LogJSON, LogAuto)
	if l.File != "" {
		k.path("file", l.File)
	}
	k.expect(l.MaxSize >= 0, "max_size", l.MaxSize, "must not be negative", "0 is no limit")
	k.expect(l.MaxAge >= 0, "max_age", l.MaxAge, "must not be negative", "0 is no limit")
	k.expect(l.MaxBackups >= 0, "max_backups", l.MaxBackups, "must not be negative", "0 is no limit")
}

func (k *checker) path(key, value string) {
	k.expect(filepath.IsAbs(value) && !strings.ContainsRune(value, 0), key, value,
		"must be an absolute path: a daemon's working directory is not defined", "")
}

func (k *checker) name(in *Interface) {
	reason, hint := "", ""
	switch {
	case in.Name == "":
		reason, hint = "must name an interface", `"eth0", a glob as "eth*", or "any"`
	case in.LogGroup():
	case in.Name == "." || in.Name == ".." || strings.ContainsFunc(in.Name, notInName):
		reason = "interface names have no slash, colon, space or control character"
	case in.Glob() && badGlob(in.Name):
		reason, hint = "is not a valid glob", `* is any characters, ? is one, [a-c] one of these`
	case !in.Glob() && len(in.Name) > maxName():
		reason = fmt.Sprintf("is %d bytes, and interface names have at most %d", len(in.Name), maxName())
	case !in.Glob() && escaped(in.Name) > maxFile:
		reason = "is too long for the names of files, where each byte that is not plain takes three"
	}
	k.expect(reason == "", "name", in.Name, reason, hint)
}

// maxName is the most bytes of an interface's name.
func maxName() int {
	if runtime.GOOS == "linux" {
		return 127 // ALTIFNAMSIZ - 1 in linux/if.h, of an alternative name
	}
	return 15 // IFNAMSIZ - 1 in net/if.h
}

// escaped is how many bytes a name has in that of a file, at most (see package store).
func escaped(name string) (n int) {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("_+@=-.", c) >= 0:
			n++
		default:
			n += 3
		}
	}
	return n
}

func (k *checker) exclude(in *Interface) {
	k.expect(len(in.Exclude) == 0 || in.Glob(), "exclude", in.Exclude,
		"applies to a glob, and name is not a glob", "remove it", "name")
	k.globs("exclude", in.Exclude)
}

func (k *checker) globs(key string, globs []string) {
	for _, glob := range globs {
		k.expect(glob != "" && !strings.ContainsFunc(glob, notInName) && !badGlob(glob), key, glob,
			"is neither an interface nor a glob", `* is any characters, ? is one, [a-c] one of these`)
	}
}

// LogGroup reports whether the name stands for what rules of Linux's packet filter log to a group, as "nflog:5".
func (i *Interface) LogGroup() bool {
	digits, ok := strings.CutPrefix(i.Name, "nflog:")
	n, err := strconv.ParseUint(digits, 10, 16)
	return ok && err == nil && strconv.FormatUint(n, 10) == digits
}

// notInName reports whether the kernel refuses r in an interface's name (dev_valid_name).
func notInName(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f }

// notInLinkType reports whether r occurs in no link type's name.
func notInLinkType(r rune) bool {
	return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '_')
}

func badGlob(glob string) bool {
	_, err := path.Match(glob, "")
	return err != nil
}

// nearestMultiple is the hint for a size that is not a multiple: the multiples around it.
func nearestMultiple(size, of, least Size) string {
	if size <= least {
		return fmt.Sprintf("at least %s", least)
	}
	down := size / of * of
	if down == size {
		return ""
	}
	return fmt.Sprintf("write %s or %s", strconv.Quote(down.String()), strconv.Quote((down + of).String()))
}

func roundUp(size, of Size) Size { return (size + of - 1) / of * of }

func clamp[T cmp.Ordered](x, least, most T) T { return max(least, min(x, most)) }

func tableName(i int) string { return fmt.Sprintf("interface[%d]", i) }

func interfacePrefix(name string, i int) string {
	if name == "" {
		return fmt.Sprintf("interface %d: ", i+1)
	}
	return fmt.Sprintf("interface %s: ", strconv.Quote(clip(name)))
}
