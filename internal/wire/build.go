package wire

import "encoding/binary"

// AppendHeader appends a frame's type and the length of a body of n bytes.
func AppendHeader(dst []byte, typ byte, n int) []byte {
	dst = append(dst, typ)
	return binary.BigEndian.AppendUint32(dst, uint32(n+4))
}

// AppendQuery appends a simple Query.
func AppendQuery(dst []byte, sql string) []byte {
	dst = AppendHeader(dst, 'Q', len(sql)+1)
	dst = append(dst, sql...)
	return append(dst, 0)
}

// AppendNamed appends a frame whose body is the bytes before, a NUL-terminated name, and the bytes after: Parse,
// Bind, Describe and Close with another statement name. missing is how many bytes of the body follow later, when the
// frame is streamed.
func AppendNamed(dst []byte, typ byte, before []byte, name string, after []byte, missing int) []byte {
	dst = AppendHeader(dst, typ, len(before)+len(name)+1+len(after)+missing)
	dst = append(dst, before...)
	dst = append(dst, name...)
	dst = append(dst, 0)
	return append(dst, after...)
}

// AppendParameterStatus appends a ParameterStatus.
func AppendParameterStatus(dst []byte, name, value string) []byte {
	dst = AppendHeader(dst, 'S', len(name)+len(value)+2)
	dst = append(append(dst, name...), 0)
	return append(append(dst, value...), 0)
}

// AppendReady appends a ReadyForQuery.
func AppendReady(dst []byte, status byte) []byte {
	return append(dst, 'Z', 0, 0, 0, 5, status)
}

// AppendError appends an ErrorResponse ('E') or NoticeResponse ('N') with the fields PostgreSQL always sends. Hint
// may be empty.
func AppendError(dst []byte, typ byte, severity, code, message, hint string) []byte {
	at := len(dst)
	dst = append(dst, typ, 0, 0, 0, 0)
	dst = appendField(dst, 'S', severity)
	dst = appendField(dst, 'V', severity)
	dst = appendField(dst, 'C', code)
	dst = appendField(dst, 'M', message)
	if hint != "" {
		dst = appendField(dst, 'H', hint)
	}
	dst = append(dst, 0)
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

// AppendField adds a field to the ErrorResponse or NoticeResponse that dst is.
func AppendField(dst []byte, code byte, value string) []byte {
	dst = append(appendField(dst[:len(dst)-1], code, value), 0)
	binary.BigEndian.PutUint32(dst[1:], uint32(len(dst)-1))
	return dst
}

func appendField(dst []byte, code byte, value string) []byte {
	dst = append(dst, code)
	dst = append(dst, value...)
	return append(dst, 0)
}
