package console

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Values are nil, string, bool, time.Time, time.Duration (of an interval), and of numbers int64, uint64 if it is no int64,
// or float64. canonical makes them from what views return.

// canonical makes a value of a column of type t.
func canonical(value any, t Type) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string: // most are, and need no copy
		if t == Text && isPrintable(v) {
			return value, nil
		}
	case time.Time:
		if v.IsZero() {
			return nil, nil
		}
		if t == Timestamp {
			return v, nil
		}
	case fmt.Stringer:
		if t == Text {
			return printable(v.String()), nil
		}
	}
	rv := reflect.ValueOf(value)
	switch k := t.class(); {
	case t == Text && rv.Kind() == reflect.String:
		return printable(rv.String()), nil
	case t == Text:
		return printable(fmt.Sprint(value)), nil
	case k == classBool && rv.Kind() == reflect.Bool:
		return rv.Bool(), nil
	case k == classNumber && rv.CanInt():
		return narrowed(rv.Int(), t)
	case k == classNumber && rv.CanUint():
		if n := rv.Uint(); n > math.MaxInt64 {
			return narrowed(n, t)
		}
		return narrowed(int64(rv.Uint()), t)
	case k == classNumber && rv.CanFloat():
		return narrowed(rv.Float(), t)
	}
	return nil, fmt.Errorf("a %T is no value of type %s", value, t)
}

// narrowed fits a number into t.
func narrowed(v any, t Type) (any, error) {
	if t == Numeric {
		return v, nil
	}
	if t == Float8 {
		return toFloat(v), nil
	}
	if f, ok := v.(float64); ok && math.Abs(f) < 1<<63 {
		v = int64(math.RoundToEven(f))
	}
	n, ok := v.(int64)
	if !ok || t == Int4 && (n < math.MinInt32 || n > math.MaxInt32) {
		return nil, &Error{Code: codeOutOfRange, Message: t.String() + " out of range"}
	}
	return n, nil
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// convert reads a constant as type t; ok is false if it is none. Among numbers nothing is rounded, so that 1.5 can be
// compared with an integer.
func convert(v any, t Type, zone *time.Location) (_ any, ok bool) {
	s, isText := v.(string)
	switch {
	case v == nil:
		return nil, true
	case t.class() == classText:
		return string(appendText(nil, v, zone)), true
	case isText:
		return fromText(s, t, zone)
	}
	switch v := v.(type) {
	case int64:
		if t == Bool {
			return v != 0, v == 0 || v == 1
		}
		return v, t.class() == classNumber
	case uint64, float64:
		return v, t.class() == classNumber
	case bool:
		return v, t == Bool
	case time.Time:
		return v, t == Timestamp
	case time.Duration:
		return v, t == interval
	}
	return nil, false
}

func fromText(s string, t Type, zone *time.Location) (any, bool) {
	switch t.class() {
	case classNumber:
		return parseNumber(strings.TrimSpace(s))
	case classBool:
		return parseBool(s)
	case classTime:
		return parseTime(s, zone)
	case classInterval:
		return parseDuration(s)
	default:
		return s, true
	}
}

func parseNumber(s string) (any, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, true
	}
	if strings.ContainsAny(s, "_xXpP") { // Go's, not SQL's
		return nil, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func parseBool(s string) (any, bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "t", "true", "y", "yes", "on", "1":
		return true, true
	case "f", "false", "n", "no", "off", "0":
		return false, true
	}
	return nil, false
}

// compareValues orders two values of one class, of which neither is NULL.
func compareValues(a, b any) int {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	case bool:
		if b, ok := b.(bool); ok {
			return compareBools(a, b)
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b)
		}
	case time.Duration:
		if b, ok := b.(time.Duration); ok {
			return cmp.Compare(a, b)
		}
	}
	return compareNumbers(a, b)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareNumbers is exact, also between integers and floating point. Not-a-number equals itself and is the greatest, as in
// PostgreSQL.
func compareNumbers(a, b any) int {
	x, xIsInt := a.(int64)
	y, yIsInt := b.(int64)
	if xIsInt && yIsInt {
		return cmp.Compare(x, y)
	}
	if aNaN, bNaN := math.IsNaN(toFloat(a)), math.IsNaN(toFloat(b)); aNaN || bNaN {
		return compareBools(aNaN, bNaN)
	}
	return exact(a).Cmp(exact(b))
}

func exact(v any) *big.Float {
	switch v := v.(type) {
	case int64:
		return new(big.Float).SetInt64(v)
	case uint64:
		return new(big.Float).SetUint64(v)
	}
	return new(big.Float).SetFloat64(toFloat(v))
}

// appendText writes a value in PostgreSQL's text format.
func appendText(dst []byte, v any, zone *time.Location) []byte {
	switch v := v.(type) {
	case string:
		return append(dst, v...)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case float64:
		return appendFloat(dst, v)
	case bool:
		if v {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case time.Time:
		return appendTime(dst, v.In(zone))
	case time.Duration:
		return appendInterval(dst, v)
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == 0 || math.Abs(f) >= 1e-4 && math.Abs(f) < 1e15:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendTime(dst []byte, t time.Time) []byte {
	layout := "2006-01-02 15:04:05.999999-07"
	if _, offset := t.Zone(); offset%3600 != 0 {
		layout += ":00"
	}
	return t.Truncate(time.Microsecond).AppendFormat(dst, layout)
}
