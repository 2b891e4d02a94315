//go:build unix && !linux

package finish

import (
	"os/exec"
	"syscall"
)

func idleDisk(int) error { return nil }

func idle() {}

func dropPrivilege() error { return nil }

func separate() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitExit(cmd *exec.Cmd) { _ = cmd.Wait() }

func killMarked(string) int { return 0 }
