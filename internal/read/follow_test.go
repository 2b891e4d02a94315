package read

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"capd/pcap"
)

// followed reads packets of a file with these bytes behind two of them, which
// nobody finishes, for a minute.
func followed(t *testing.T, behind []byte) (packets int, took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := recordFile(pcap.PCAPNG, 60, 60)
		path := filepath.Join(t.TempDir(), "x.pcapng.partial")
		if err := os.WriteFile(path, append(b, behind...), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err2 := os.Open(path)
		if err2 != nil {
			t.Fatal(err2)
		}
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		rd, err2 := pcap.NewReader(newFollower(ctx, &content{File: h}))
		for ; err2 == nil; packets++ {
			_, err2 = rd.Next()
		}
		packets--
		took, err = time.Since(begun), err2
	})
	return packets, took, err
}

// TestFollowWaits: what may become a record is waited for, as long as it takes,
// and what can't become one only for a while.
func TestFollowWaits(t *testing.T) {
	for name, behind := range map[string][]byte{"nothing": nil, "the beginning of a block": {6, 0, 0, 0, 60}, "zeros": make([]byte, 5000)} {
		if n, took, err := followed(t, behind); n != 2 || took != time.Minute || err != io.EOF {
			t.Errorf("%s: %d packets in %v, %v", name, n, took, err)
		}
	}
	n, took, err := followed(t, bytes.Repeat([]byte{0xee}, 5000))
	if n != 2 || took < followPatience || took > followPatience+time.Second || !errors.As(err, new(*pcap.CorruptError)) {
		t.Errorf("damage: %d packets in %v, %v", n, took, err)
	}
}
