package check

import (
	"context"
	"errors"
	"net"
	"os/exec"
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
	out, err := exec.CommandContext(ctx, "systemctl", "show", "-p", "LoadState,RestrictAddressFamilies,IPAddressDeny,IPAddressAllow", unit).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// forbids returns the setting of a unit, of which properties are given, that keeps it
// from listening on TCP; empty if none does.
func forbids(properties string) string {
	all := make(map[string]string)
	for line := range strings.Lines(properties) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		all[key] = value
	}
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
