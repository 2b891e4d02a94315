package control

import (
	"fmt"

	"capd/internal/text"
)

// A Level is the severity of a status, for monitoring systems.
type Level int

// Levels. The numbers are the exit codes of monitoring plugins.
const (
	OK       Level = 0 // everything is recorded
	Warning  Level = 1 // frames were lost or capd did not run since the last look, frames may not reach capd, an interface is waited for, or limits yield to a step
	Critical Level = 2 // an interface is down or can't be opened, its disk fails, or capd does not answer
)

func (l Level) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL"}[l]
}

// Judge returns the level of a status, and one phrase for each problem. It considers losses since
// Looked.
func (s *Status) Judge() (level Level, wrong []string) {
	note := func(l Level, format string, args ...any) {
		level = max(level, l)
		wrong = append(wrong, fmt.Sprintf(format, args...))
	}
	running := 0
	for i := range s.Interfaces {
		iface := &s.Interfaces[i]
		if iface.State != Ended {
			running++
		}
		switch iface.State {
		case Waiting:
			if iface.Why != "" {
				note(Critical, "%q can't be opened: %s", iface.Name, iface.Why)
			} else {
				note(Warning, "%q is not there", iface.Name)
			}
		case Down:
			note(Critical, "%q is down", iface.Name)
		case Suspended:
			note(Critical, "%q can't be written to %s", iface.Name, iface.Directory)
		}
		switch {
		case iface.XDP != "" && iface.State != Ended:
			note(Warning, "%q: %s, is attached: frames may not reach capd", iface.Name, iface.XDP)
		case iface.XDPUntil.After(s.Looked):
			note(Warning, "%q: an XDP program was attached until %s: frames may not have reached capd", iface.Name, text.Second(iface.XDPUntil))
		}
		if iface.Unread.After(s.Looked) {
			note(Warning, "%q was removed at %s before all frames were read: how many are lost is unknown", iface.Name, text.Second(iface.Unread))
		}
		if iface.LastLoss.After(s.Looked) {
			note(Warning, "%q lost frames, or parts of them (%d by the kernel, %d by capd, %d by the interface, %d cut as too large since the start)",
				iface.Name, iface.KernelDropped, iface.CapdDropped, iface.NICDropped, iface.Oversized)
		}
	}
	for i := range s.Directories {
		d := &s.Directories[i]
		if d.Problem != "" {
			note(Critical, "%q: %s", d.Path, d.Problem)
		}
		for _, w := range d.Waiting {
			if w.Kept > 0 {
				note(Warning, "%q is over its limit %s: %d files stay until step %s has succeeded", d.Path, w.Limit, w.Kept, w.Step)
			}
		}
		if d.Pause.End.After(s.Looked) {
			note(Warning, "nothing was recorded into %q from %s to %s: capd did not run",
				d.Path, text.Second(d.Pause.Begin), text.Second(d.Pause.End))
		}
	}
	if running == 0 {
		note(Warning, "no interface to record")
	}
	return level, wrong
}
