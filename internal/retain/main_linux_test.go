package retain

import (
	"os"
	"testing"

	"capd/internal/testdisk"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := testdisk.MainAsRoot(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}
