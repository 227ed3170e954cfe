package wire

import "bytes"

// Cstring cuts a NUL-terminated string off b. ok is false when there is no NUL.
func Cstring(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

// ErrorField returns the field of an ErrorResponse or NoticeResponse body with the given code ('C' is the SQLSTATE,
// 'V' the severity that is never translated, 'M' the message), or nil. A body cut short gives the fields at hand.
func ErrorField(body []byte, code byte) []byte {
	for len(body) > 1 {
		value, rest, ok := Cstring(body[1:])
		if !ok {
			return nil
		}
		if body[0] == code {
			return value
		}
		body = rest
	}
	return nil
}
