package service

import (
	"log/slog"

	"capd/internal/daemon"
	"capd/internal/notify"
	"capd/internal/restart"
)

// survivors takes over what the recorders of the process before have left with
// the service manager, where this process leaves the same.
func survivors(m *notify.Manager, inherited notify.Files, log *slog.Logger) daemon.Restart {
	if most, known := m.StoreMax(); m == nil || known && most == 0 {
		return daemon.Restart{}
	}
	var files []restart.File
	for name, all := range inherited {
		for _, one := range all {
			files = append(files, restart.File{Name: name, File: one})
		}
	}
	r := daemon.Restart{Keeper: m}
	r.States, r.Seen, r.Refused = restart.Inherit(m, files, log)
	return r
}
