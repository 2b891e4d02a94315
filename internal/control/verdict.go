package control

import "fmt"

// A Level is the severity of a status, for monitoring systems.
type Level int

// Levels. The numbers are the exit codes of monitoring plugins.
const (
	OK       Level = 0 // everything is recorded
	Warning  Level = 1 // frames were lost since the looker's last request, an interface does not exist, or keep_until protects files from limits
	Critical Level = 2 // an interface is down, its disk fails, or capd does not answer
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
			note(Warning, "%q is not there", iface.Name)
		case Down:
			note(Critical, "%q is down", iface.Name)
		case Suspended:
			note(Critical, "%q can't be written to %s", iface.Name, iface.Directory)
		}
		if iface.LastLoss.After(s.Looked) {
			note(Warning, "%q lost frames (%d by the kernel, %d by capd, %d by the interface since the start)",
				iface.Name, iface.KernelDropped, iface.CapdDropped, iface.NICDropped)
		}
	}
	for i := range s.Directories {
		d := &s.Directories[i]
		for _, w := range d.Waiting {
			if w.Kept > 0 {
				note(Warning, "%q is over its limit %s: %d files stay until step %s has succeeded", d.Path, w.Limit, w.Kept, w.Step)
			}
		}
	}
	if running == 0 {
		note(Warning, "no interface to record")
	}
	return level, wrong
}
