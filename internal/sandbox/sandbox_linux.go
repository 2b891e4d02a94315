package sandbox

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

func enter(p Policy) (Report, error) {
	var r Report
	if err := control(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return r, fmt.Errorf("set no_new_privs: %w", err)
	}
	left, err := dropCapabilities(p.NetAdmin)
	if err != nil {
		return r, err
	}
	r.Capabilities = left.names()
	version, err := landlocksys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return r, ErrUnsupported
	}
	if err := landlock.V9.BestEffort().RestrictPaths(p.rules()...); err != nil {
		return r, fmt.Errorf("restrict files: %w", err)
	}
	r.Landlock = version
	return r, nil
}

// rules returns the Landlock rules. They exclude ioctls on devices, and renames between
// directories.
func (p Policy) rules() []landlock.Rule {
	var all []landlock.Rule
	for _, path := range p.Read {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			all = append(all, landlock.RODirs(path).WithResolveUnix())
		} else if err == nil {
			all = append(all, landlock.ROFiles(path))
		}
	}
	for _, path := range p.Write {
		if _, err := os.Stat(path); err == nil {
			all = append(all, landlock.RWDirs(path))
		}
	}
	for _, path := range p.Files {
		all = append(all, landlock.RWFiles(path).IgnoreIfMissing())
	}
	return all
}
