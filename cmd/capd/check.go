package main

import (
	"capd/capture"
	"capd/config"
	"capd/internal/daemon"
	"capd/pcap"
	"capd/store"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Levels of a finding.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

// A finding is one line of a check.
type finding struct {
	Level   string `json:"level"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

func newCheck() *cobra.Command {
	var s settings
	var asJSON, selfTest bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [-i NAME]... [-d DIR] [EXPRESSION]",
		Short: "Prove all that run needs, without recording",
		Long: `Prove that the configuration can be recorded: its keys, what they name, the
directories, the interfaces and the permissions. Each line is ok, warn or fail; the exit code is
1 if one is fail. --json prints an array of objects with level, subject, text
and, where there is one, hint.

With --self-test, prove instead that capturing works on this system: capd sends
datagrams to itself over loopback for two seconds, captures them, and compares
every byte and the counters. It needs the privilege that recording needs.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.filter = strings.Join(args, " ")
			if selfTest && (len(args) > 0 || len(s.interfaces) > 0 || s.file != "") {
				return usageError{errors.New("check: --self-test is of loopback, without any -i, -c or EXPRESSION")}
			}
			c := &checker{}
			if selfTest {
				c.selfTest(cmd.Context())
			} else if cfg, err := s.load(cmd); err != nil {
				c.refuse("configuration", err)
			} else {
				c.check(cfg)
			}
			if err := c.print(cmd.OutOrStdout(), asJSON); err != nil {
				return err
			}
			if c.failed() {
				return errReported
			}
			return nil
		},
	}
	s.bind(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&selfTest, "self-test", false, "capture own datagrams on loopback and compare them")
	return cmd
}

// A checker collects findings.
type checker struct{ found []finding }

func (c *checker) add(level, subject, hint, format string, args ...any) {
	c.found = append(c.found, finding{level, subject, fmt.Sprintf(format, args...), hint})
}

// refuse adds what run would say of the error.
func (c *checker) refuse(subject string, err error) {
	hint := strings.Join(hints(err), "\n")
	for line := range strings.Lines(err.Error()) {
		c.add(levelFail, subject, hint, "%s", strings.TrimSuffix(line, "\n"))
		hint = ""
	}
}

func (c *checker) failed() bool {
	return slices.ContainsFunc(c.found, func(f finding) bool { return f.Level == levelFail })
}

func (c *checker) print(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(c.found)
	}
	for _, f := range c.found {
		if _, err := fmt.Fprintf(w, "%-5s %s: %s\n", f.Level, quoted(f.Subject), f.Text); err != nil {
			return err
		}
		for line := range strings.Lines(f.Hint) {
			fmt.Fprintf(w, "      hint: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}

func (c *checker) check(cfg *config.Config) {
	if len(cfg.Interfaces) == 0 {
		c.refuse("configuration", daemon.ErrNoInterfaces)
		return
	}
	c.add(levelOK, "configuration", "", "interfaces by %s, digest %.12s", plural(uint64(len(cfg.Interfaces)), "name"), cfg.Digest())
	c.daemon(cfg)
	dirs := make(map[string]config.FileMode)
	for i := range cfg.Interfaces {
		dirs[cfg.Interfaces[i].Directory] = cfg.Interfaces[i].FileMode
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		c.directory(dir, dirs[dir], cfg)
	}
	all, err := capture.Interfaces()
	if err != nil {
		c.refuse("interfaces", err)
		return
	}
	c.memory(daemon.Memory(cfg, all))
	for i := range cfg.Interfaces {
		c.entry(&cfg.Interfaces[i], all)
	}
}

// memory says what rings and pools take, of what there is.
func (c *checker) memory(taken, total int64) {
	level, hint, of := levelOK, "", ""
	if total > 0 {
		of = " of " + bytesText(uint64(total))
		if taken > total/2 {
			level, hint = levelWarn, "set ring_size and pool_size lower, or record fewer interfaces"
		}
	}
	c.add(level, "memory", hint, "rings and pools take %s%s", bytesText(uint64(taken)), of)
}

// directory does in the directory what recording does.
func (c *checker) directory(dir string, mode config.FileMode, cfg *config.Config) {
	subject := "directory " + dir
	space, err := store.Prove(dir, fs.FileMode(mode))
	if err != nil {
		c.refuse(subject, err)
		return
	}
	lock, err := store.LockDirectory(dir)
	switch {
	case errors.Is(err, store.ErrInUse):
		c.add(levelWarn, subject, strings.Join(hints(err), "\n"), "%v", err)
	case err != nil:
		c.refuse(subject, err)
		return
	default:
		_ = lock.Release()
	}
	contents, err := store.ReadContents(dir)
	if err != nil {
		c.refuse(subject, err)
		return
	}
	how := "writes go past the page cache"
	if !space.Direct {
		how = "writes go through the page cache"
	}
	c.add(levelOK, subject, "", "create, write, rename and delete work; %s, %s free of %s, %s; %s", space.FileSystem,
		bytesText(space.Free), bytesText(space.Total), how, plural(uint64(contents.Files), "finished file"))
	if n := len(contents.Partials); n > 0 {
		c.add(levelWarn, subject, "run finishes what is whole of them", "%s of an earlier run, such as %s",
			plural(uint64(n), "unfinished file"), contents.Partials[0])
	}
	c.sizing(dir, cfg, space)
	if space.Free < 1<<30 {
		c.add(levelWarn, subject, "", "less than 1 GiB is free")
	}
}

// entry looks at the interfaces of one [[interface]].
func (c *checker) entry(i *config.Interface, all []capture.Interface) {
	if i.Name == capture.Any {
		c.open(capture.Interface{Name: capture.Any, LinkType: pcap.LinkTypeLinuxSLL2}, i)
		return
	}
	found := false
	for _, link := range all {
		if i.Match(link.Name) {
			found = true
			c.link(link, i)
		}
	}
	if found {
		return
	}
	if i.Wait {
		c.add(levelWarn, i.Name, "run waits for it", "no such interface")
		return
	}
	names := []string{}
	for _, link := range all {
		names = append(names, link.Name)
	}
	c.refuse(i.Name, &daemon.MissingError{Name: i.Name, There: names})
}

// link looks at one interface and its driver.
func (c *checker) link(link capture.Interface, i *config.Interface) {
	if !c.open(link, i) {
		return
	}
	if !link.Up {
		c.add(levelWarn, link.Name, "run waits until it is up: "+bringUp(link.Name), "is down")
	} else if !link.Running {
		c.add(levelWarn, link.Name, "", "has no carrier")
	}
	details, err := capture.Inspect(link.Name)
	if err != nil {
		c.add(levelWarn, link.Name, "", "driver: %v", err)
		return
	}
	if len(details.Enlarging) > 0 {
		c.add(levelWarn, link.Name, "to record frames as they are on the wire: ethtool -K "+link.Name+" gro off lro off tso off gso off",
			"offloads make frames larger than the wire's: %s", strings.Join(details.Enlarging, ", "))
	}
	switch {
	case details.ClockIndex >= 0 && details.Hardware:
		c.add(levelOK, link.Name, "", "time is the system clock's; the NIC has a clock too, /dev/ptp%d", details.ClockIndex)
	default:
		c.add(levelOK, link.Name, "", "time is the system clock's; the NIC has none for received frames")
	}
}

// bringUp is the command that does it.
func bringUp(name string) string {
	if runtime.GOOS == "linux" {
		return "ip link set " + name + " up"
	}
	return "ifconfig " + name + " up"
}

// open proves the permission and the ring's memory. It reports success.
func (c *checker) open(link capture.Interface, i *config.Interface) bool {
	if !c.filter(link, i) {
		return false
	}
	dev, err := capture.Open(capture.Config{
		Interface: link.Name, Snaplen: i.Snaplen, Promiscuous: i.Promiscuous, LinkType: i.LinkType,
		RingSize: int(i.RingSize), BlockSize: int(i.BlockSize), BlockTimeout: int(time.Duration(i.BlockTimeout) / time.Millisecond),
	})
	if err != nil {
		c.refuse(link.Name, err)
		return false
	}
	defer dev.Close()
	h, err := dev.Attach()
	if err != nil {
		c.refuse(link.Name, err)
		return false
	}
	defer h.Close()
	text := fmt.Sprintf("opens; link type %s, %s", h.LinkType(), h.Mode())
	if link.MTU > 0 {
		text += fmt.Sprintf(", MTU %d", link.MTU)
	}
	switch got := dev.RingSize(); {
	case h.Mode() == capture.ModeSocket:
		c.add(levelWarn, link.Name, "the kernel gives no ring: expect losses at high rates", "%s", text)
	case h.Mode() == capture.ModeRing && got < int(i.RingSize):
		c.add(levelWarn, link.Name, "memory is short: set ring_size lower, or free some", "%s; ring of %s instead of %s", text, bytesText(uint64(got)), i.RingSize)
	default:
		c.add(levelOK, link.Name, "", "%s, buffer of %s", text, config.Size(got))
	}
	for _, w := range dev.Warnings() {
		c.add(levelWarn, link.Name, "", "%s", w)
	}
	return true
}

// filter compiles the interface's filter and says what it does. It reports
// success.
func (c *checker) filter(link capture.Interface, i *config.Interface) bool {
	if i.Filter == "" {
		return true
	}
	chosen, err := daemon.LinkType(i.LinkType, link.LinkType)
	if err != nil {
		c.refuse(link.Name, err)
		return false
	}
	p, err := daemon.Compile(i.Filter, chosen)
	switch {
	case err != nil:
		c.refuse(link.Name, err)
		return false
	case p.NeverMatches():
		c.add(levelFail, link.Name, "nothing would be recorded", "filter %q can never match", i.Filter)
		return false
	case p.AlwaysMatches():
		c.add(levelWarn, link.Name, "", "filter %q lets every frame pass", i.Filter)
	default:
		c.add(levelOK, link.Name, "", "filter %q is %d instructions", i.Filter, len(p.Instructions))
	}
	return true
}
