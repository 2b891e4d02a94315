// Package device has what all backends of package capture share: the types by
// which callers know a device, its handles and their batches, and the life of
// those three, which so is the same whatever brings the frames.
//
// It is a package of its own because capture imports the backends and they
// need these types. Only backends import it: everybody else uses the names that
// capture gives them.
package device
