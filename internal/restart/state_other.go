//go:build !linux

package restart

import (
	"errors"
	"os"
	"sync/atomic"

	"capd/capture"
	"capd/config"
	"capd/store"
	"capd/writer"
)

// memory is nothing where no descriptor of a ring and no memory without a file can be given away.
type memory struct{ file *os.File }

type header struct {
	tries              atomic.Uint64
	chunks             int64
	group, follows     [groupLen]byte
	over, left, ringed atomic.Uint64
	link               int64
}

func newMemory(store.Lane, *config.Interface, int, string, string) (*memory, error) {
	return nil, errors.ErrUnsupported
}
func mapState(*os.File) (*memory, error)          { return nil, errors.ErrUnsupported }
func (*memory) header() *header                   { return new(header) }
func (*memory) account() *capture.Account         { return nil }
func (*memory) lane() store.Lane                  { return store.Lane{} }
func (*memory) journal() (*writer.Journal, error) { return nil, errors.ErrUnsupported }
func (*memory) close()                            {}
func (*memory) isState() bool                     { return false }
func (*memory) check() (*config.Interface, error) { return nil, errors.ErrUnsupported }

func newSeenMemory() (*os.File, *seenMemory, error) { return nil, nil, errors.ErrUnsupported }
func mapSeen(*os.File) (*seenMemory, error)         { return nil, errors.ErrUnsupported }
func unmapSeen(*seenMemory)                         {}
