package decode

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

const maxText = 255 // bytes of one text from the wire that are shown

// printable is the way of every text from the wire to a person: what could move
// the cursor, turn the direction of writing, or is no text is escaped.
func printable(b []byte) string { return string(appendPrintable(nil, b)) }

func appendPrintable(dst, b []byte) []byte {
	cut := len(b) > maxText
	if cut {
		b = b[:maxText]
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1 || r < 0x20 || r == 0x7f:
			dst = append(dst, '\\', 'x', hexDigits[b[0]>>4], hexDigits[b[0]&15])
			n = 1
		case r == '\\':
			dst = append(dst, `\\`...)
		case r < utf8.RuneSelf || unicode.IsPrint(r) && !unicode.Is(unicode.Mn, r):
			dst = append(dst, b[:n]...)
		default:
			dst = append(dst, strconv.QuoteRuneToASCII(r)[1:]...)
			dst = dst[:len(dst)-1]
		}
		b = b[n:]
	}
	if cut {
		dst = append(dst, "..."...)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// hexBytes shows bytes that are no text.
func hexBytes(b []byte) string {
	cut := len(b) > 64
	if cut {
		b = b[:64]
	}
	dst := make([]byte, 0, 2*len(b)+3)
	for _, x := range b {
		dst = append(dst, hexDigits[x>>4], hexDigits[x&15])
	}
	if cut {
		dst = append(dst, "..."...)
	}
	return string(dst)
}

// cString is what is before the first zero byte.
func cString(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// AppendHex appends the bytes in hexadecimal and as text, 16 a line, each line
// with its offset and a newline.
func AppendHex(dst, data []byte) []byte {
	for i := 0; i < len(data); i += 16 {
		row := data[i:min(i+16, len(data))]
		dst = append(dst, "\t0x"...)
		if i > 0xffff {
			dst = append(dst, hexDigits[i>>20&15], hexDigits[i>>16&15])
		}
		for shift := 12; shift >= 0; shift -= 4 {
			dst = append(dst, hexDigits[i>>shift&15])
		}
		dst = append(dst, ": "...)
		for k := range 16 {
			if k%2 == 0 {
				dst = append(dst, ' ')
			}
			if k < len(row) {
				dst = append(dst, hexDigits[row[k]>>4], hexDigits[row[k]&15])
			} else {
				dst = append(dst, "  "...)
			}
		}
		dst = append(dst, "  "...)
		for _, c := range row {
			if c < 0x20 || c > 0x7e {
				c = '.'
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\n')
	}
	return dst
}
