package daemon

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"capd/capture"
	"capd/config"
	"capd/pcap"
)

// TestToolsOpenFiles: common tools open every finished file, and a partial one
// at any moment, without a warning.
func TestToolsOpenFiles(t *testing.T) {
	for _, format := range []string{config.FormatPcap, config.FormatPcapMicro, config.FormatPcapng} {
		onFake(t, func(t *testing.T, n network) {
			v1 := n.add("v1")
			r := newRig(t, n, func(c *config.Config) {
				c.Format, c.Snaplen = format, 1000
				c.ChunkSize, c.PoolSize = 512*config.KiB, config.AutoSize(config.MiB)
			}, "v1", capture.Any)
			r.start(r.options())
			sent := uint64(0)
			for i := range uint64(4) {
				sent += 300 + 17*i
				for k := range 300 + 17*i {
					v1.Send(appendFrame(nil, 1, i<<32+k*100+7)[:60])
				}
				r.await("flush", func() bool {
					w := r.status("v1").Writer
					return w.Accepted == sent && w.Written == sent
				})
				verifyTools(t, []string{r.status("v1").Writer.File})
				if i%2 == 1 {
					r.d.Rotate()
					r.await("rotation", func() bool { return r.status("v1").Writer.Files == i/2+1 })
				}
			}
			r.end()
			if files := r.files("v1"); len(files) != 2 {
				t.Errorf("files %v", files)
			}
			verifyTools(t, append(r.files("v1"), r.files(capture.Any)...))
		})
	}
}

// verifyTools opens files with common tools, which must not warn and must find
// the same number of packets.
func verifyTools(t *testing.T, paths []string) {
	t.Helper()
	for _, path := range paths {
		count := 0
		walk(t, []string{path}, func(pcap.Packet) { count++ })
		for _, tool := range [][]string{
			{"tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.number"},
			{"tcpdump", "-n", "-r", path, "-t", "-q"},
			{"capinfos", "-M", path},
		} {
			if _, err := exec.LookPath(tool[0]); err != nil {
				t.Skip("needs " + tool[0])
			}
			var out, errs bytes.Buffer
			cmd := exec.Command(tool[0], tool[1:]...)
			// Not as root, since tcpdump run by root changes to another user.
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Cloneflags:  syscall.CLONE_NEWUSER,
					UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
					GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
				}
			}
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			// tcpdump warns for every cooked file that names of interfaces may
			// be another machine's.
			complaint := slices.DeleteFunc(strings.Split(strings.TrimSpace(errs.String()), "\n"), func(line string) bool {
				return line == "" || strings.HasPrefix(line, "reading from file") || strings.HasPrefix(line, "Running as user") ||
					line == "Warning: interface names might be incorrect"
			})
			if err != nil || len(complaint) > 0 {
				t.Errorf("%s of %s: %v %q", tool[0], path, err, complaint)
			}
			if lines := bytes.Count(out.Bytes(), []byte("\n")); tool[0] != "capinfos" && lines < count {
				t.Errorf("%s of %s: %d packets, want %d", tool[0], path, lines, count)
			}
		}
	}
}
