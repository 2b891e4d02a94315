//go:build amd64 || arm64

package bpf

import (
	"unsafe"

	"capd/capture/device"

	"golang.org/x/sys/unix"
)

func native() abi { return freebsd() }

// This compiles only if the numbers equal those of golang.org/x/sys: otherwise an index is not 0.
var (
	_ = [1]bool{}[biocGetLen^unix.BIOCGBLEN]
	_ = [1]bool{}[biocSetLen^unix.BIOCSBLEN]
	_ = [1]bool{}[biocSetFilter^unix.BIOCSETF]
	_ = [1]bool{}[biocPromisc^unix.BIOCPROMISC]
	_ = [1]bool{}[biocGetDLT^unix.BIOCGDLT]
	_ = [1]bool{}[biocImmediate^unix.BIOCIMMEDIATE]
	_ = [1]bool{}[biocVersion^unix.BIOCVERSION]
	_ = [1]bool{}[freebsdSetIf^unix.BIOCSETIF]
	_ = [1]bool{}[freebsdTimeout^unix.BIOCSRTIMEOUT]
	_ = [1]bool{}[freebsdStats^unix.BIOCGSTATS]
	_ = [1]bool{}[freebsdSetDLT^unix.BIOCSDLT]
	_ = [1]bool{}[freebsdNewFilter^unix.BIOCSETFNR]
	_ = [1]bool{}[freebsdDLTs^unix.BIOCGDLTLIST]
	_ = [1]bool{}[freebsdDirection^unix.BIOCSDIRECTION]
	_ = [1]bool{}[freebsdLock^unix.BIOCLOCK]
	_ = [1]bool{}[freebsdStamp^unix.BIOCSTSTAMP]
	_ = [1]bool{}[freebsdNanotime^unix.BPF_T_NANOTIME]
	_ = [1]bool{}[sizeProgram^unix.SizeofBpfProgram]
	_ = [1]bool{}[sizeVersion^unix.SizeofBpfVersion]
	_ = [1]bool{}[sizeStat^unix.SizeofBpfStat]
	_ = [1]bool{}[sizeTimeval^unsafe.Sizeof(unix.Timeval{})]
	_ = [1]bool{}[32^unix.SizeofBpfHdr]
	_ = [1]bool{}[(2*freebsdWord)^unsafe.Offsetof(unix.BpfHdr{}.Caplen)]
	_ = [1]bool{}[(2*freebsdWord+4)^unsafe.Offsetof(unix.BpfHdr{}.Datalen)]
	_ = [1]bool{}[(2*freebsdWord+8)^unsafe.Offsetof(unix.BpfHdr{}.Hdrlen)]
	_ = [1]bool{}[8^unsafe.Offsetof(unix.BpfProgram{}.Insns)]
	_ = [1]bool{}[unsafe.Sizeof(device.Instruction{})^unix.SizeofBpfInsn]
	_ = [1]bool{}[(nameLen+1)^unix.IFNAMSIZ]
)
