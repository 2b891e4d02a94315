package device

import "runtime"

// privilege returns hints on how to get the privilege to open a device.
func privilege() []string {
	if runtime.GOOS != "linux" {
		return []string{"sudo capd run ..., or access to /dev/bpf* for the user"}
	}
	return []string{
		"recording needs the capability CAP_NET_RAW. Any one of these gives it:",
		"  sudo capd run ...",
		"  sudo setcap cap_net_raw+ep /path/to/capd",
		"  AmbientCapabilities=CAP_NET_RAW in a systemd unit with User=",
	}
}
