package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A year stands for "practically never" and keeps sums of durations far from overflow.
const maxDuration = 365 * 24 * time.Hour

// Duration is a length of time: "30s", or whole seconds as 30 or "30". Never negative.
type Duration time.Duration

// UnmarshalTOML implements toml.Unmarshaler.
func (d *Duration) UnmarshalTOML(v any) error {
	got, ok := parseDuration(v)
	switch {
	case !ok:
		return fmt.Errorf(`want a duration such as "30s", or whole seconds, got %s`, show(v))
	case got < 0:
		return fmt.Errorf("must not be negative, got %s", show(v))
	case got > maxDuration:
		return fmt.Errorf("must be at most a year (%s), got %s", Duration(maxDuration), show(v))
	}
	*d = Duration(got)
	return nil
}

func parseDuration(v any) (time.Duration, bool) {
	if n, ok := parseInt(v); ok {
		// Too many seconds to multiply is still a number, to be refused as out of range.
		const limit = int64(maxDuration/time.Second) + 1
		return time.Duration(max(-limit, min(n, limit))) * time.Second, true
	}
	if s, ok := v.(string); ok {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	return 0, false
}

// String is time.Duration's without trailing zero units: 10m, not 10m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Boundary is where a server session is taken back from its client.
type Boundary uint8

// The values of pool_boundary.
const (
	BoundaryInherit     Boundary = iota // not set here: the next wider setting decides
	BoundaryStatement                   // after a statement, while nothing of the client lives in the session
	BoundaryTransaction                 // after every transaction
	BoundarySession                     // when the client leaves
)

// ParseBoundary reads a value of pool_boundary, in any case, as PostgreSQL reads its own enums.
func ParseBoundary(s string) (Boundary, error) {
	for _, b := range []Boundary{BoundaryStatement, BoundaryTransaction, BoundarySession} {
		if strings.EqualFold(s, b.String()) {
			return b, nil
		}
	}
	return BoundaryInherit, fmt.Errorf("want statement, transaction or session, got %q", s)
}

func (b Boundary) String() string {
	switch b {
	case BoundaryInherit:
		return "inherit"
	case BoundaryStatement:
		return "statement"
	case BoundaryTransaction:
		return "transaction"
	case BoundarySession:
		return "session"
	}
	return "Boundary(" + strconv.Itoa(int(b)) + ")"
}

// UnmarshalTOML implements toml.Unmarshaler. The empty string is BoundaryInherit.
func (b *Boundary) UnmarshalTOML(v any) (err error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return fmt.Errorf("want statement, transaction or session, got %s", show(v))
	case s == "":
		*b = BoundaryInherit
		return nil
	}
	*b, err = ParseBoundary(s)
	return err
}

// maxClassName is PostgreSQL's limit for a name, so that class names fit wherever those do.
const maxClassName = 63

// CheckClass tells what is wrong with the name of a connection class, which clients and the configuration choose freely.
func CheckClass(name string) error {
	if len(name) > maxClassName {
		return fmt.Errorf("must be at most %d bytes long, got %d", maxClassName, len(name))
	}
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\\`, r) }
	if name == "" || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("want a name of ASCII characters without spaces, quotes and backslashes, got %q", name)
	}
	return nil
}

// ParsePurity reads a value of pool_purity, in any case, as ParseBoundary does.
func ParsePurity(s string) (Purity, error) {
	for _, p := range []Purity{PuritySelf, PurityNew} {
		if strings.EqualFold(s, string(p)) {
			return p, nil
		}
	}
	return PurityInherit, fmt.Errorf("want self or new, got %q", s)
}

// UnmarshalTOML implements toml.Unmarshaler. The empty string is PurityInherit.
func (p *Purity) UnmarshalTOML(v any) (err error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return fmt.Errorf("want self or new, got %s", show(v))
	case s == "":
		*p = PurityInherit
		return nil
	}
	*p, err = ParsePurity(s)
	return err
}

// UnmarshalTOML implements toml.Unmarshaler. It takes any case; the empty string is HookInherit.
func (h *HookFailure) UnmarshalTOML(v any) error {
	s, ok := v.(string)
	for _, known := range []HookFailure{HookInherit, HookRetire, HookIgnore, HookError} {
		if ok && strings.EqualFold(s, string(known)) {
			*h = known
			return nil
		}
	}
	return fmt.Errorf("want retire, ignore or error, got %s", show(v))
}

// FileMode is the permission bits of a file, written in octal between quotes.
type FileMode uint32

// UnmarshalTOML implements toml.Unmarshaler. An integer is refused: 777 would silently mean 01411.
func (m *FileMode) UnmarshalTOML(v any) error {
	s, _ := v.(string)
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf(`want permissions between quotes such as "0770", got %s`, show(v))
	}
	*m = FileMode(n)
	return nil
}

func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// parseInt takes an integer, or a string of digits, which generated configurations tend to contain.
func parseInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil || errors.Is(err, strconv.ErrRange)
	}
	return 0, false
}

// show names a decoded TOML value in a message.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any, []map[string]any:
		return "a table"
	}
	return "a date or time"
}

// showKind is show for what stands in place of a table: a string may be a password, or have one in it.
func showKind(v any) string {
	if _, ok := v.(string); ok {
		return "a string"
	}
	return show(v)
}
