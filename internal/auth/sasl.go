package auth

import (
	"encoding/binary"

	"pooler/internal/wire"
)

// cutInitial takes a SASLInitialResponse apart as PostgreSQL's CheckSASLAuth does. has is false when the client sends no
// data yet, for which it is to be asked.
func cutInitial(answer []byte) (mechanism string, data []byte, has bool, err error) {
	name, rest, ok := wire.Cstring(answer)
	switch {
	case !ok:
		return "", nil, false, violation("invalid string in message", "")
	case len(rest) < 4:
		return "", nil, false, violation("insufficient data left in message", "")
	}
	size, data := binary.BigEndian.Uint32(rest), rest[4:]
	switch {
	case size == 1<<32-1 && len(data) == 0:
		return string(name), nil, false, nil
	case size == 1<<32-1 || uint64(size) < uint64(len(data)):
		return "", nil, false, violation("invalid message format", "")
	case uint64(size) > uint64(len(data)):
		return "", nil, false, violation("insufficient data left in message", "")
	}
	return string(name), data, true, nil
}

func errMechanism() error {
	return violation("client selected an invalid SASL authentication mechanism", "")
}

// printableByte is how PostgreSQL shows a byte of a stranger in an error text.
func printableByte(s string) string {
	var c byte // the end of the string is a zero byte to PostgreSQL
	if s != "" {
		c = s[0]
	}
	if c >= 0x21 && c <= 0x7E {
		return "'" + string(c) + "'"
	}
	const digits = "0123456789abcdef"
	return "0x" + string(digits[c>>4]) + string(digits[c&15])
}
