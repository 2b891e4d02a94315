package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"capd/config"
)

// unit is that of the service that packages install.
const unit = "capd.service"

// metrics adds whether metrics can be served over TCP, here and as the service.
func metrics(c *Checker, cfg *config.Config) {
	address := cfg.Control.Metrics
	if address == "" {
		return
	}
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	const hint = "frames are recorded all the same, and the address is tried again"
	if l, err := net.Listen("tcp", address); err == nil {
		_ = l.Close()
	} else if !errors.Is(err, syscall.EADDRINUSE) { // that may be the capd that runs
		c.add(Warn, "control", hint, "control.metrics = %q: %v", cfg.Control.Metrics, err)
	}
	if forbidden := forbids(unitProperties()); forbidden != "" {
		c.add(Warn, "control", "leave control.metrics empty for the service, and enable capd-metrics.socket: docs/service.md",
			"control.metrics = %q: started as %s capd may not listen there (%s)", cfg.Control.Metrics, unit, forbidden)
	}
}

// unitProperties returns what systemd knows of the service, as systemctl show prints
// it; empty where there is no systemd.
func unitProperties() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "-p", "LoadState,RestrictAddressFamilies,IPAddressDeny,IPAddressAllow,FileDescriptorStoreMax", unit).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// parseProperties returns the properties of a unit by name.
func parseProperties(text string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		all[key] = value
	}
	return all
}

// A ring outlives its process with its state and the memory of its frames, each a descriptor in the service
// manager's store. New recorders take over from the present ones at a reload, and both are in the store then.
const (
	filesOfRing   = 3
	reloadDoubles = 2
)

// outlives says whether the service manager keeps what so many rings leave over a restart of the service, of which
// properties are given. It says nothing where there is no such service, or no such property (before systemd 219).
func outlives(c *Checker, properties string, rings int) {
	all := parseProperties(properties)
	most, err := strconv.Atoi(all["FileDescriptorStoreMax"])
	if err != nil || all["LoadState"] != "loaded" || rings == 0 {
		return
	}
	needed := filesOfRing * rings
	of := fmt.Sprintf("%s needs %d stored descriptors, and %d for a reload; its FileDescriptorStoreMax is %d", unit, needed, reloadDoubles*needed, most)
	hint := fmt.Sprintf("systemctl edit %s: FileDescriptorStoreMax=%d in [Service], and a restart, which is the last to lose frames", unit, reloadDoubles*needed)
	switch {
	case most < needed:
		c.add(Warn, "restart", hint, "a restart loses frames: %s", of)
	case most < reloadDoubles*needed:
		c.add(Warn, "restart", hint, "a restart after a reload may lose frames: %s", of)
	default:
		c.add(OK, "restart", "", "a restart loses no frame: %s", of)
	}
}

// forbids returns the setting of a unit, of which properties are given, that keeps it
// from listening on TCP; empty if none does.
func forbids(properties string) string {
	all := parseProperties(properties)
	families := all["RestrictAddressFamilies"]
	listed := strings.Contains(" "+strings.TrimPrefix(families, "~")+" ", " AF_INET ")
	switch {
	case all["LoadState"] != "loaded":
		return ""
	case families != "" && listed == strings.HasPrefix(families, "~"):
		return "RestrictAddressFamilies"
	case strings.Contains(all["IPAddressDeny"], "0.0.0.0/0") && all["IPAddressAllow"] == "":
		return "IPAddressDeny"
	}
	return ""
}
