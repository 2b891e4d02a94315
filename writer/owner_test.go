package writer

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"capd/pcap"
)

// TestRootSalvagesForOwner: what root salvages in the directory of another user is
// that user's.
func TestRootSalvagesForOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	const uid, gid = 12345, 12346
	dir := t.TempDir()
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Skipf("no other users here: %v", err)
	}
	path := filepath.Join(dir, "a.pcap")
	torn := append(pcap.NewEncoder(pcap.Header{Format: pcap.PCAP, LinkType: pcap.LinkTypeEthernet, Snaplen: 100}).Header(), 1, 2, 3)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	to := SalvagedPath(path)
	if _, err := Salvage(path, to, nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if own := info.Sys().(*syscall.Stat_t); own.Uid != uid || own.Gid != gid {
		t.Errorf("%s is of %d:%d", to, own.Uid, own.Gid)
	}
}
