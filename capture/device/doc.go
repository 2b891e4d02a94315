// Package device holds what the backends of package capture share: the types Device, Handle and
// Batch, and their life cycle, which is the same for all backends.
//
// It is separate from package capture because capture imports the backends, and the backends need
// these types. Other packages use the names that capture exports.
package device
