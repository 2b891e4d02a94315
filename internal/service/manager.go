package service

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"capd/internal/daemon"
	"capd/internal/notify"
	"capd/internal/text"
)

// statusEvery is how often the service manager gets a new status.
const statusEvery = 5 * time.Second

// A reporter tells the service manager how the daemon does.
type reporter struct {
	manager *notify.Manager
	daemon  *daemon.Daemon
	log     *slog.Logger
	outlast *outlast
	stop    time.Duration // most time that the end takes
	last    daemon.Status // sum, as of at
	at      time.Time
	suspect bool // the daemon seemed stuck at the last look
	stuck   bool // and at the one before: the watchdog is not fed
}

// run reports until the daemon has ended.
func (r *reporter) run(stopping, ended <-chan struct{}) {
	if r.manager == nil {
		return
	}
	every := statusEvery
	if w := r.manager.Watchdog(); w > 0 {
		every = min(every, w/4)
	}
	tick := time.NewTicker(min(every, time.Second)) // the first look is soon
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tick.Reset(every)
			r.look(time.Now())
		case <-stopping:
			r.manager.Stopping()
			r.manager.Extend(r.stop)
			r.manager.Status("Finishing files")
			<-ended
			return
		case <-ended:
			r.manager.Stopping()
			return
		}
	}
}

// look reports the status, and feeds the watchdog unless the daemon is stuck.
func (r *reporter) look(now time.Time) {
	all := r.daemon.Status()
	r.manager.Status(r.describe(all, now))
	w := r.manager.Watchdog()
	if w == 0 {
		return
	}
	// One look is not enough: a recorder that the disk held up until just now may
	// not have gone on yet.
	err := r.daemon.Stuck(w/2, 10*w)
	stuck := err != nil && r.suspect
	r.suspect = err != nil
	if stuck != r.stuck {
		r.stuck = stuck
		if stuck {
			r.log.Error("stuck: the watchdog will restart capd", "error", err)
		} else {
			r.log.Warn("no longer stuck")
		}
	}
	if !stuck {
		r.manager.Alive()
	}
}

// describe is one line on how it goes, with the rates since the last.
func (r *reporter) describe(all []daemon.Status, now time.Time) string {
	t := daemon.Sum(all)
	took := now.Sub(r.at).Seconds()
	packets, bytes := float64(t.Received-r.last.Received)/took, float64(t.Bytes-r.last.Bytes)/took
	lost := t.KernelDropped + t.Dropped
	fresh := lost - min(lost, r.last.KernelDropped+r.last.Dropped) // frames on their way may turn out to be written
	rated := !r.at.IsZero() && took > 0
	r.last, r.at = t, now
	line := states(all)
	if rated {
		line += fmt.Sprintf("; %s packets/s, %s", text.Metric(packets), text.BitRate(bytes*8))
	}
	line += fmt.Sprintf("; lost %d of %d packets", lost, t.Received)
	if rated && fresh > 0 {
		line += fmt.Sprintf(", %d of these in the last %s", fresh, text.Duration(text.Seconds(took)))
	}
	if r.outlast.lacks() {
		line += "; a restart will cost frames"
	}
	return line
}

// states names the interfaces by their state, each once.
func states(all []daemon.Status) string {
	by := make(map[daemon.State][]string)
	for _, s := range all {
		if name := text.Name(s.Interface); s.State != daemon.Ended && !slices.Contains(by[s.State], name) {
			by[s.State] = append(by[s.State], name)
		}
	}
	var parts []string
	for _, state := range []daemon.State{daemon.Recording, daemon.Suspended, daemon.Down, daemon.Waiting} {
		if names := by[state]; len(names) > 3 {
			parts = append(parts, fmt.Sprintf("%d interfaces %s", len(names), state))
		} else if len(names) > 0 {
			parts = append(parts, strings.Join(names, ", ")+" "+string(state))
		}
	}
	if len(parts) == 0 {
		return "no interface"
	}
	return strings.Join(parts, "; ")
}
