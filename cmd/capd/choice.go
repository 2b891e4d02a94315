package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"capd/capture"
	"capd/internal/text"

	"github.com/spf13/cobra"
)

// timesHelp is in the help of each command that takes times.
const timesHelp = `Times are 14:03 or 14:03:27 (today), yesterday, yesterday 14:03, 2026-11-27
(its begin), 2026-11-27 14:03, 2026-11-27T14:03:27.5Z, seconds since 1970 as
1795788207, or how long ago: 90m, -2h or 7d. They are in the local time zone
unless they end in Z, UTC or an offset as +01:00; TZ=UTC sets another. What is
printed is in UTC, and the times that were asked for are in their own zone.`

// A moment is a flag whose value is a time; the zero one is none.
type moment struct {
	time.Time
	written string
}

// Set reads the time. Empty text is none.
func (m *moment) Set(s string) error {
	if s == "" {
		*m = moment{}
		return nil
	}
	t, err := text.ParseTime(s, time.Now())
	*m = moment{t, s}
	return err
}

// String returns what was written.
func (m *moment) String() string { return m.written }

// Type names the type in the usage of flags.
func (m *moment) Type() string { return "time" }

// bounds are the flags that choose a time.
type bounds struct{ since, until moment }

func (b *bounds) bind(cmd *cobra.Command, since string) {
	cmd.Flags().Var(&b.since, "since", since)
	cmd.Flags().Var(&b.until, "until", "only what was recorded up to `TIME`")
}

// A choice is which recordings are meant.
type choice struct {
	place
	bounds
	iface string
}

func (c *choice) bind(cmd *cobra.Command) {
	c.place.bind(cmd)
	c.bounds.bind(cmd, "only what was recorded from `TIME` on")
	cmd.Flags().StringVar(&c.iface, "interface", "", "only what was recorded of `NAME`, or of that interface by another of its names")
}

// names returns the names that the interface may be recorded by, on this
// system: what was asked for, and then its other names. Without an interface it
// is one empty name.
func (c *choice) names() []string { return otherNames(c.iface) }

// otherNames returns the name of an interface, and then its other ones.
func otherNames(name string) []string {
	names := []string{name}
	all, _ := capture.Interfaces() // without a list the name stands alone
	for i := range all {
		if all[i].Named(name) {
			names = append(names, slices.DeleteFunc(all[i].Names(), func(other string) bool { return other == name })...)
		}
	}
	return names
}

// clockAlone is a time of today, whatever the zone.
var clockAlone = regexp.MustCompile(`^\s*\d\d?:`)

// check refuses bounds between which nothing can lie.
func (b *bounds) check(cmd *cobra.Command) error {
	since, until := &b.since, &b.until
	switch {
	case !since.IsZero() && !until.IsZero() && !since.Before(until.Time):
		return usageError{fmt.Errorf("%s: --since %s is not before --until %s", cmd.Name(), text.Zoned(since.Time), text.Zoned(until.Time))}
	case since.After(time.Now()) && clockAlone.MatchString(since.written):
		return usageError{fmt.Errorf("%s: --since %s is still to come: write 'yesterday %s'", cmd.Name(), text.Zoned(since.Time), since.written)}
	}
	return nil
}

// String says how the times that were asked for were understood; it is empty without any.
func (b *bounds) String() string {
	switch {
	case !b.since.IsZero() && !b.until.IsZero():
		return fmt.Sprintf("asked for %s to %s", text.Zoned(b.since.Time), text.Zoned(b.until.Time))
	case !b.since.IsZero():
		return fmt.Sprintf("asked for %s and later", text.Zoned(b.since.Time))
	case !b.until.IsZero():
		return fmt.Sprintf("asked for times before %s", text.Zoned(b.until.Time))
	}
	return ""
}

// print prints String on a line.
func (b *bounds) print(w io.Writer) {
	if s := b.String(); s != "" {
		fmt.Fprintln(w, s)
	}
}
