package afpacket

import (
	"os"
	"testing"

	"capd/internal/testnet"
)

func TestMain(m *testing.M) { os.Exit(testnet.MainAsRoot(m)) }
