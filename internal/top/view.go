package top

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"capd/internal/control"
	"capd/internal/text"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// The smallest terminal size that has room for all columns and details.
const (
	minWidth  = 80
	minHeight = 24
)

func (m *model) small() bool { return m.width < minWidth || m.height < minHeight }

// View renders the model.
func (m *model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	return v
}

// frame returns at most as many lines as the terminal has. No line is longer than the terminal is
// wide.
func (m *model) frame() string {
	var lines []string
	switch {
	case m.small():
		lines = m.tooSmall()
	case m.help:
		lines = append(helpText(), "", m.alert())
	default:
		lines = m.screen()
	}
	lines = lines[:min(len(lines), max(m.height, 0))]
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return strings.Join(lines, "\n")
}

func (m *model) tooSmall() []string {
	return []string{
		fmt.Sprintf("capd top needs %dx%d,", minWidth, minHeight),
		fmt.Sprintf("this is %dx%d: make", m.width, m.height),
		"it larger. q quits",
		m.alert(),
	}
}

func (m *model) screen() []string {
	lines := append(m.head(), m.alert())
	rows, selected := m.rows()
	details := m.details(rows, selected)
	room := m.height - len(lines) - 1 - len(details) - 2
	lines = append(lines, m.table(rows, selected, room)...)
	lines = append(lines, details...)
	style := plain
	if m.note.bad {
		style = red
	}
	line := ""
	if m.note.text != "" {
		line = " " + text.Clock(m.note.at) + " " + m.note.text
	}
	keys := " s sort (by " + m.sorting.String() + ")  r rotate  h hold 10 min  arrows j k select  ? help  q quit"
	return append(lines, style(cut(line, m.width)), faint(keys))
}

// alert reports that capd does not answer.
func (m *model) alert() string {
	if m.err == nil {
		return ""
	}
	return red(cut(fmt.Sprintf(" no answer since %s (%s), trying again: %s",
		text.Clock(m.answered), text.Duration(m.now.Sub(m.answered)), cause(m.err)), m.width))
}

// head returns the lines about all interfaces together.
func (m *model) head() []string {
	if m.status == nil {
		lines := []string{reverse(left(" capd top", m.width)), "", "", ""}
		if m.err == nil {
			lines[1] = " asking capd ..."
		}
		return lines
	}
	s := m.status
	var now control.Rate
	var all control.Counters
	recorded, held := 0, 0
	for i := range s.Interfaces {
		in := &s.Interfaces[i]
		if in.State == control.Recording {
			recorded++
		}
		held += in.Kept.Held
		now.Packets += in.Rates.Second.Packets
		now.Bytes += in.Rates.Second.Bytes
		now.Lost += in.Rates.Second.Lost
		all.Received += in.Received
		all.Written += in.Written
		all.KernelDropped += in.KernelDropped
		all.CapdDropped += in.CapdDropped
		all.NICDropped += in.NICDropped
	}
	title := fmt.Sprintf(" %s  up %s  recording %d of %s", text.Line(s.Software), text.Duration(s.Time.Sub(s.Start)), recorded, text.Count(len(s.Interfaces), "interface"))
	stamp := text.Second(m.answered) + " "
	lost := fmt.Sprintf("%d lost (%d kernel, %d capd, %d NIC)", all.Lost(), all.KernelDropped, all.CapdDropped, all.NICDropped)
	if all.Lost() > 0 {
		lost = yellow(lost)
	}
	lostNow := text.Metric(now.Lost) + " lost/s"
	if now.Lost > 0 {
		lostNow = red(lostNow)
	}
	return []string{
		reverse(left(title, m.width-len(stamp)) + stamp),
		fmt.Sprintf(" now    %s packets/s  %s  %s", text.Metric(now.Packets), text.BitRate(8*now.Bytes), lostNow),
		fmt.Sprintf(" total  %s received  %s written  %s", text.Metric(float64(all.Received)), text.Metric(float64(all.Written)), lost),
		" disk   " + disk(s.Directories, held),
	}
}

// disk describes the files in the directories, and the space on the fullest file system.
func disk(dirs []control.Directory, held int) string {
	var files int
	var bytes float64
	var fullest *control.Directory
	for i := range dirs {
		d := &dirs[i]
		files += d.Files
		bytes += float64(d.Bytes)
		if d.Total > 0 && (fullest == nil || float64(d.Free)/float64(d.Total) < float64(fullest.Free)/float64(fullest.Total)) {
			fullest = d
		}
	}
	line := fmt.Sprintf("%s, %s, %d held", text.Count(files, "file"), text.Size(bytes), held)
	if fullest == nil {
		return line
	}
	line += fmt.Sprintf("  %s of %s free", text.Size(float64(fullest.Free)), text.Size(float64(fullest.Total)))
	if len(dirs) > 1 {
		line += " on " + text.Line(fullest.Path)
	}
	return line
}

// details returns the lines about the selected interface.
func (m *model) details(rows []*control.Interface, selected int) []string {
	rule := func(line string) string {
		return line + strings.Repeat(string(m.glyphs.rule), max(0, m.width-ansi.StringWidth(line)))
	}
	if len(rows) == 0 {
		return []string{rule("")}
	}
	in := rows[selected]
	at := m.status.Time
	last := "never"
	if !in.LastLoss.IsZero() {
		last = text.Duration(at.Sub(in.LastLoss)) + " ago"
	}
	lines := []string{
		rule(fmt.Sprintf("%c%c %s: %s since %s (%s) ", m.glyphs.rule, m.glyphs.rule,
			text.Line(in.Name), text.Line(in.State), text.Second(in.Since), text.Duration(at.Sub(in.Since)))),
		" file   " + written(in),
		fmt.Sprintf(" frames %d received, %d written, %d pending; %s", in.Received, in.Written, in.Pending, text.Size(float64(in.Bytes))),
		fmt.Sprintf(" lost   %d by the kernel, %d by capd, %d by the interface; last: %s",
			in.KernelDropped, in.CapdDropped, in.NICDropped, last),
	}
	if in.NICDiscarded > 0 {
		lines = append(lines, fmt.Sprintf(" no loss %d that the interface's statistics call dropped, recorded or not", in.NICDiscarded))
	}
	if in.XDP != "" {
		lines = append(lines, yellow(" XDP    "+text.Line(in.XDP)+": frames that it takes do not reach capd"))
	}
	return append(lines,
		left(" ring   "+fill(&in.Ring)+fmt.Sprintf(", full %dx", in.Freezes), 43)+" writes "+latency(&in.Writes),
		left(" pool   "+fill(&in.Pool)+fmt.Sprintf(", waited %dx", in.Waits), 43)+" syncs  "+latency(&in.Syncs),
		" kept   "+kept(&in.Kept, at),
	)
}

func fill(f *control.Fill) string {
	return fmt.Sprintf("%s high %s of %s", text.Percent(f.Now), text.Percent(f.High), text.Size(float64(f.Size)))
}

// written returns the names of the files being written.
func written(in *control.Interface) string {
	line := "none yet, in " + text.Line(in.Directory)
	if n := len(in.Files); n > 0 {
		line = text.Line(filepath.Base(in.Files[0]))
		if n > 1 {
			line += fmt.Sprintf(" and %d more", n-1)
		}
		line += " in " + text.Line(in.Directory)
	}
	if in.Failures > 0 {
		return red(text.Count(in.Failures, "file")+" failed") + "; " + line
	}
	return line
}

func latency(l *control.Latency) string {
	r := l.Recent()
	return fmt.Sprintf("med %s p99 %s max %s", text.Latency(r.Median), text.Latency(r.P99), text.Latency(l.Max))
}

// kept describes the interface's files, and how far back they will reach.
func kept(k *control.Kept, now time.Time) string {
	line := fmt.Sprintf("%s, %s, %d held", text.Count(k.Files, "file"), text.Size(float64(k.Bytes)), k.Held)
	if !k.Oldest.IsZero() {
		line += fmt.Sprintf(", oldest %s", text.Duration(now.Sub(k.Oldest)))
	}
	return line + "; " + k.Forecast()
}

func helpText() []string {
	return []string{
		reverse(" capd top: keys "),
		"",
		"  up k / down j   select an interface; its details are below the table",
		"  s               sort by name, by rate, by loss",
		"  r               rotate the selected interface: end its file, begin a new one",
		"  h               hold the files of the last 10 minutes, of all interfaces:",
		"                  limits leave them until capd release",
		"  ctrl-z          suspend, until fg",
		"  q, ctrl-c       quit; capd goes on recording",
		"  ?, esc          back",
		"",
		reverse(" capd top: columns "),
		"",
		"  PKT/S BIT/S     received in the last second",
		"  RATE, LOSS      the last minute, now at the right; each row has a scale of its",
		"                  own; nothing is drawn where capd did not answer",
		"  LOST            frames lost since capd's start; red: some in this minute",
		"  RING, POOL      how full the kernel's queue is, and capd's memory",
		"  WRITE           99 of 100 writes to the disk took no longer",
		"  REACH           how far back files will reach at this rate; -: not limited,",
		"                  ?: no rate is known yet",
	}
}
