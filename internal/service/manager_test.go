package service

import (
	"fmt"
	"testing"
	"time"

	"capd/internal/daemon"
)

func TestDescribe(t *testing.T) {
	s := reporter{}
	now := time.Now()
	all := []daemon.Status{
		{Interface: "eth0", Lane: 1, State: daemon.Recording, Received: 1000, Bytes: 100_000},
		{Interface: "eth0", Lane: 2, State: daemon.Recording},
		{Interface: "eth1", State: daemon.Waiting},
	}
	if got := s.describe(all, now); got != "eth0 recording; eth1 waiting; lost 0 of 1000 packets" {
		t.Error(got)
	}
	all[0].Received, all[0].Bytes, all[0].KernelDropped = 6000, 1_350_000, 7
	if got := s.describe(all, now.Add(5*time.Second)); got !=
		"eth0 recording; eth1 waiting; 1k packets/s, 2 Mbit/s; lost 7 of 6000 packets, 7 of these in the last 5s" {
		t.Error(got)
	}
	if got := states(nil); got != "no interface" {
		t.Error(got)
	}
	for n := range 4 {
		all = append(all, daemon.Status{Interface: fmt.Sprintf("tap%d", n), State: daemon.Down})
	}
	if got := states(all); got != "eth0 recording; 4 interfaces down; eth1 waiting" {
		t.Error(got)
	}
}
