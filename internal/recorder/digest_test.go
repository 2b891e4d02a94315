package recorder

import (
	"testing"
	"time"

	"capd/seal"
	"capd/writer"
)

// TestDigest: files are digested while they are recorded, if that is asked for.
func TestDigest(t *testing.T) {
	for _, asked := range []bool{true, false} {
		inBubble(t, func(s *stand) {
			link := s.sys.Add("eth0")
			s.look()
			var files []writer.File
			d := writer.NewDigester()
			a := s.recorder(eth0, func(c *Config) {
				finished := c.Finished
				c.Finished = func(f writer.File) {
					finished(f)
					files = append(files, f)
				}
				if asked {
					c.Digest = func() *writer.Digester { return d }
				}
			}).run()
			a.state(Recording)
			for i := range 3 {
				send(link, i*1000, i*1000+1000)
				a.accepted(uint64(i*1000 + 1000))
				a.Rotate()
				time.Sleep(time.Second)
			}
			st := a.end()
			for i := range files {
				switch got, err := seal.DigestFile(files[i].Path); {
				case asked != (files[i].Digest != nil):
					t.Errorf("%+v", files[i])
				case asked && (err != nil || got != *files[i].Digest):
					t.Errorf("%v, on the disk %v: %v", files[i].Digest, got, err)
				}
			}
			if len(files) != 3 || asked != (st.Writer.Digests == 3) || st.Writer.Undigested != 0 {
				t.Errorf("%d files: %+v", len(files), st.Writer)
			}
			s.hold(0, 3000)
		})
	}
}
