package restart

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Limits of a message with descriptors.
const (
	mostFiles   = 253 // SCM_MAX_FD of Linux
	sentFiles   = 64  // of one message, as the other systems take fewer
	mostMessage = 128 << 10
)

// A message carries descriptors over a stream: its length in 4 bytes, then itself as JSON. The descriptors come with its
// first byte. The receiver answers each message with one byte.
type message struct {
	Names []string `json:"names"` // of the descriptors
	Last  bool     `json:"last"`
}

// Send sends the files over a connection.
func Send(conn *net.UnixConn, files []File) error {
	chunks := slices.Collect(slices.Chunk(files, sentFiles))
	for i := 0; i <= len(chunks); i++ { // the last message has no file
		m := message{Names: []string{}, Last: i == len(chunks)}
		var fds []int
		if !m.Last {
			for _, f := range chunks[i] {
				fd, err := duplicate(f.File)
				if err != nil {
					return errors.Join(err, closeFDs(fds))
				}
				m.Names, fds = append(m.Names, f.Name), append(fds, fd)
			}
		}
		err := send(conn, m, fds)
		_ = closeFDs(fds)
		if err != nil {
			return fmt.Errorf("send descriptors: %w", err)
		}
	}
	return nil
}

func send(conn *net.UnixConn, m message, fds []int) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	whole := append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(whole, rights, nil)
	if err == nil && n < len(whole) {
		_, err = conn.Write(whole[n:])
	}
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	return err
}

func closeFDs(fds []int) error {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return nil
}

// Receive returns the files that Send sends.
func Receive(conn *net.UnixConn) ([]File, error) {
	var all []File
	for {
		some, last, err := receive(conn)
		all = append(all, some...)
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		if err != nil {
			CloseAll(all)
			return nil, fmt.Errorf("receive descriptors: %w", err)
		}
		if last {
			return all, nil
		}
	}
}

// receive reads one message.
func receive(conn *net.UnixConn) (files []File, last bool, err error) {
	var fds []int
	defer func() {
		if err != nil {
			_ = closeFDs(fds)
		}
	}()
	text, fds, err := read(conn)
	if err != nil {
		return nil, false, err
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, false, err
	}
	if len(m.Names) != len(fds) {
		return nil, false, fmt.Errorf("%d descriptors came, and their names are %d", len(fds), len(m.Names))
	}
	for i, fd := range fds {
		files = append(files, File{m.Names[i], os.NewFile(uintptr(fd), m.Names[i])})
	}
	return files, m.Last, nil
}

// read reads the text and the descriptors of one message.
func read(conn *net.UnixConn) (text []byte, fds []int, err error) {
	rest, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(mostFiles*4))
	for size := -1; ; {
		n, nOob, flags, _, err := conn.ReadMsgUnix(rest[len(text):], oob)
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		got, parseErr := descriptors(oob[:nOob])
		fds = append(fds, got...)
		if flags&unix.MSG_CTRUNC != 0 {
			err = errors.Join(err, errors.New("more descriptors came than can be taken: raise the limit of open files"))
		}
		if err = errors.Join(err, parseErr); err != nil {
			return nil, fds, err
		}
		text = rest[:len(text)+n]
		switch {
		case size < 0 && len(text) == 4:
			size = int(binary.BigEndian.Uint32(text))
			if size > mostMessage {
				return nil, fds, fmt.Errorf("a message of %d bytes", size)
			}
			rest, text = make([]byte, size), nil
			if size == 0 {
				return nil, fds, nil
			}
		case size >= 0 && len(text) == size:
			return text, fds, nil
		}
	}
}

// descriptors returns those of control messages, closed at exec.
func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range all {
		got, err := unix.ParseUnixRights(&all[i])
		if err != nil {
			continue // something else, such as credentials
		}
		for _, fd := range got {
			unix.CloseOnExec(fd)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
