//go:build !capd_hang

package daemon

func hang(string) {}
