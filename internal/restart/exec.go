package restart

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// passedEnv says to a program that takes the place of this one what it inherits: the id of the process, a colon, and the
// descriptor of a manifest.
const passedEnv = "CAPD_PASSED"

// A manifest lists what a program passes to the one in its place.
type manifest struct {
	Files []passedFile    `json:"files"`
	More  json.RawMessage `json:"more"`
}

type passedFile struct {
	Name string `json:"name"`
	FD   int    `json:"fd"`
}

// Exec makes the process go on as another program, which gets the files and more from Passed. It returns only with an
// error; nothing has changed then. The calling goroutine's thread execs: it is the one whose capabilities count.
func Exec(program string, args []string, files []File, more any) error {
	m := manifest{Files: []passedFile{}}
	var err error
	if m.More, err = json.Marshal(more); err != nil {
		return err
	}
	var fds []int
	defer func() { _ = closeFDs(fds) }()
	for _, f := range files {
		fd, err := duplicate(f.File)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		m.Files = append(m.Files, passedFile{f.Name, fd})
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	list, err := newMemory("capd-passed", 0)
	if err != nil {
		return err
	}
	defer list.Close()
	if _, err := list.WriteAt(text, 0); err != nil {
		return err
	}
	at, err := duplicate(list)
	if err != nil {
		return err
	}
	fds = append(fds, at)
	syscall.ForkLock.Lock() // no other program may get them
	defer syscall.ForkLock.Unlock()
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d:%d", passedEnv, os.Getpid(), at))
	return fmt.Errorf("exec %s: %w", program, syscall.Exec(program, args, env))
}

// Passed returns what the program in whose place this one is has passed; ok is false if there was none. More is decoded
// into the value.
func Passed(more any) (files []File, ok bool, err error) {
	pid, fd, _ := strings.Cut(os.Getenv(passedEnv), ":")
	_ = os.Unsetenv(passedEnv)
	at, err := strconv.Atoi(fd)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil, false, nil
	}
	unix.CloseOnExec(at)
	list := os.NewFile(uintptr(at), "manifest")
	defer list.Close()
	text, err := io.ReadAll(io.NewSectionReader(list, 0, 1<<30))
	var m manifest
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil {
		err = json.Unmarshal(m.More, more)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read what the program before has passed: %w", err)
	}
	for _, f := range m.Files {
		unix.CloseOnExec(f.FD)
		files = append(files, File{f.Name, os.NewFile(uintptr(f.FD), f.Name)})
	}
	return files, true, nil
}
