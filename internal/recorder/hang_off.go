//go:build !capd_hang

package recorder

func hang(string) {}
