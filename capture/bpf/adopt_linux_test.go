package bpf

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"capd/capture/device"
)

// A successive is a device that one process has after the other.
type successive struct {
	t      *testing.T
	k      *fakeKernel
	config device.Config
	file   *os.File
	sent   int
	*opened
	*device.Handle
}

// everySuccessive runs the test for each system in a synctest bubble.
func everySuccessive(t *testing.T, test func(s *successive)) {
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		synctest.Test(t, func(t *testing.T) {
			s := &successive{t: t, k: newKernel(t, k.abi)}
			s.config = device.Config{Interface: "en0", BlockSize: 1 << 16, RingSize: 1 << 20, BlockTimeout: 20, Account: new(device.Account)}
			d, err := s.k.openDevice(s.config)
			if err != nil {
				t.Fatal(err)
			}
			s.opened, s.Handle = d, mustAttach(t, d)
			if s.file, err = d.File(); err != nil {
				t.Fatal(err)
			}
			test(s)
			_ = s.opened.Close()
			_ = s.file.Close()
			time.Sleep(time.Second)
			if s.k.isOpen() || len(s.k.opened()) > 0 {
				t.Error("a device is still open")
			}
		})
	})
}

func (s *successive) send(n int) {
	s.k.receive(device.In, numbered(s.sent, n)...)
	s.sent += n
}

// end ends a process in order, and returns the frames that it had yet to read.
func (s *successive) end() [][]byte {
	s.t.Helper()
	if err := s.Suspend(); err != nil {
		s.t.Fatal(err)
	}
	all, err := readFrames(s.t, s.Handle, -1)
	if !errors.Is(err, device.ErrClosed) {
		s.t.Errorf("%v, want ErrClosed", err)
	}
	if err := s.opened.Close(); err != nil {
		s.t.Error(err)
	}
	return all
}

// adopt does what Adopt does on a real system.
func (s *successive) adopt(c device.Config, f *os.File) (*opened, error) {
	d := new(opened)
	var err error
	d.Device, err = device.Adopt(c, f, device.Position{}, func(c device.Config, f *os.File, _ device.Position) (*device.Device, error) {
		if d.src, err = adoptOn(s.k, s.k.abi, c, f); err != nil {
			return nil, err
		}
		return d.src.device(), nil
	})
	return d, err
}

// begin begins the next process.
func (s *successive) begin() {
	s.t.Helper()
	d, err := s.adopt(s.config, s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.opened, s.Handle = d, mustAttach(s.t, d)
}

// TestBPFAdopted: a process returns what it has taken from the kernel, and the next one goes on with the frame
// behind that.
func TestBPFAdopted(t *testing.T) {
	everySuccessive(t, func(s *successive) {
		for round := range 6 {
			from := s.sent
			s.send(30)
			if round%2 == 0 {
				time.Sleep(time.Second) // now they are in the process's buffers
			}
			before := s.end()
			s.send(40)
			s.begin()
			s.send(10 * (round % 3))
			after, err := readFrames(t, s.Handle, s.sent-from-len(before))
			if err != nil {
				t.Error(err)
			}
			wantFrames(s.t, slices.Concat(before, after), numbered(from, s.sent-from))
			wantStats(s.t, s.Handle, len(after), 0)
		}
		if times := s.Layout().Resolution; times != time.Duration(s.k.record.tick) && s.k.os != "freebsd" || s.k.os == "freebsd" && times != 1 {
			s.t.Errorf("times are taken to be in units of %v", times)
		}
	})
}

// TestBPFAdoptedFull: frames that find the kernel's buffers full while nobody reads are counted by the next process,
// once.
func TestBPFAdoptedFull(t *testing.T) {
	everySuccessive(t, func(s *successive) {
		burst := func() {
			for range 8 {
				s.k.receive(device.In, bytes.Repeat([]byte{'y'}, 30_000))
			}
		}
		burst()
		first := len(s.end())
		counted, err := s.Stats()
		if err != nil || counted.Received != uint64(first)+counted.Dropped {
			s.t.Errorf("%+v, %v after %d frames", counted, err, first)
		}
		burst()
		if again, _ := s.Stats(); again != counted {
			s.t.Errorf("%+v after the end, and %+v before", again, counted)
		}
		s.begin()
		time.Sleep(time.Second)
		second := len(s.end())
		wantStats(s.t, s.Handle, second, 16-first-int(counted.Dropped)-second)
	})
}

// TestBPFAdoptRefused: what can't be taken over is refused with its reason, and stays as it is.
func TestBPFAdoptRefused(t *testing.T) {
	everySuccessive(t, func(s *successive) {
		unfit := func(property string, c device.Config, f *os.File) {
			s.t.Helper()
			var u *device.UnfitError
			if d, err := s.adopt(c, f); !errors.As(err, &u) || u.Property != property {
				s.t.Errorf("%v, %v: want %s", d, err, property)
			}
		}
		s.send(20)
		before := s.end()
		c := s.config
		c.Interface = "en1"
		unfit("interface", c, s.file)
		c = s.config
		c.LinkType = "RAW"
		unfit("link type", c, s.file)
		none, err := os.Open(os.DevNull)
		if err != nil {
			s.t.Fatal(err)
		}
		defer none.Close()
		unfit("descriptor", s.config, none)
		for name, change := range map[string]func(c *device.Config){
			"account": func(c *device.Config) { c.Account = nil },
			"unused":  func(c *device.Config) { c.Account = new(device.Account) },
			"gate":    func(c *device.Config) { c.Gated = true },
			"any":     func(c *device.Config) { c.Interface = device.Any },
		} {
			c := s.config
			change(&c)
			if d, err := s.adopt(c, s.file); !errors.Is(err, errors.ErrUnsupported) {
				s.t.Errorf("%s: %v, %v", name, d, err)
			}
		}
		s.begin()
		after, err := readFrames(s.t, s.Handle, 20-len(before))
		if err != nil {
			s.t.Error(err)
		}
		wantFrames(s.t, slices.Concat(before, after), numbered(0, 20))
		s.end()
		s.k.remove("en0")
		s.k.mu.Lock()
		s.k.links["en0"] = linkState{index: 9, up: true} // another one of the name
		s.k.mu.Unlock()
		if d, err := s.adopt(s.config, s.file); !errors.Is(err, device.ErrNoInterface) {
			s.t.Errorf("%v, %v: the interface is gone", d, err)
		}
	})
}
