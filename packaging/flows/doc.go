// Package flows tests that DuckDB reads flow tables as docs/flows.md says. It is a module of its own, because DuckDB is large
// and needs cgo.
package flows
