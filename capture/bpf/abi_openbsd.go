//go:build amd64 || arm64

package bpf

import (
	"unsafe"

	"capd/capture/device"

	"golang.org/x/sys/unix"
)

func native() abi { return openbsd() }

// This compiles only if the numbers equal those of golang.org/x/sys: otherwise an index is not 0.
var (
	_ = [1]bool{}[biocGetLen^unix.BIOCGBLEN]
	_ = [1]bool{}[biocSetLen^unix.BIOCSBLEN]
	_ = [1]bool{}[biocSetFilter^unix.BIOCSETF]
	_ = [1]bool{}[biocPromisc^unix.BIOCPROMISC]
	_ = [1]bool{}[biocGetDLT^unix.BIOCGDLT]
	_ = [1]bool{}[biocImmediate^unix.BIOCIMMEDIATE]
	_ = [1]bool{}[biocVersion^unix.BIOCVERSION]
	_ = [1]bool{}[openbsdSetIf^unix.BIOCSETIF]
	_ = [1]bool{}[openbsdTimeout^unix.BIOCSRTIMEOUT]
	_ = [1]bool{}[openbsdStats^unix.BIOCGSTATS]
	_ = [1]bool{}[openbsdSetDLT^unix.BIOCSDLT]
	_ = [1]bool{}[openbsdDLTs^unix.BIOCGDLTLIST]
	_ = [1]bool{}[openbsdDirFilt^unix.BIOCSDIRFILT]
	_ = [1]bool{}[openbsdLock^unix.BIOCLOCK]
	_ = [1]bool{}[sizeProgram^unix.SizeofBpfProgram]
	_ = [1]bool{}[sizeVersion^unix.SizeofBpfVersion]
	_ = [1]bool{}[sizeStat^unix.SizeofBpfStat]
	_ = [1]bool{}[sizeTimeval^unsafe.Sizeof(unix.Timeval{})]
	_ = [1]bool{}[24^unix.SizeofBpfHdr]
	_ = [1]bool{}[(2*openbsdWord)^unsafe.Offsetof(unix.BpfHdr{}.Caplen)]
	_ = [1]bool{}[(2*openbsdWord+4)^unsafe.Offsetof(unix.BpfHdr{}.Datalen)]
	_ = [1]bool{}[(2*openbsdWord+8)^unsafe.Offsetof(unix.BpfHdr{}.Hdrlen)]
	_ = [1]bool{}[8^unsafe.Offsetof(unix.BpfProgram{}.Insns)]
	_ = [1]bool{}[unsafe.Sizeof(device.Instruction{})^unix.SizeofBpfInsn]
	_ = [1]bool{}[(nameLen+1)^unix.IFNAMSIZ]
)
