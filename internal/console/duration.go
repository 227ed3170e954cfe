package console

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads 90 (seconds), 30s, 10 min, 1h30m, 1 day 2 hours and 01:30:00.
func parseDuration(text string) (time.Duration, bool) {
	rest := strings.TrimSpace(text)
	sign := 1.0
	if after, ok := strings.CutPrefix(rest, "-"); ok {
		sign, rest = -1, after
	}
	if rest == "" {
		return 0, false
	}
	total := 0.0
	for rest != "" {
		n, after, ok := leadingNumber(rest)
		if !ok {
			return 0, false
		}
		if strings.HasPrefix(after, ":") {
			clock, ok := parseClock(rest)
			return finiteDuration(sign * (total + clock)), ok
		}
		after = strings.TrimLeft(after, " ")
		end := strings.IndexFunc(after, func(r rune) bool { return r < 'A' || r > 'z' })
		if end < 0 {
			end = len(after)
		}
		unit, ok := unitOf(after[:end])
		if !ok || after[:end] == "" && (total != 0 || after != "") {
			return 0, false
		}
		total += n * float64(unit)
		rest = strings.TrimLeft(after[end:], " ")
	}
	return finiteDuration(sign * total), math.Abs(total) < math.MaxInt64
}

func finiteDuration(d float64) time.Duration {
	if math.Abs(d) >= math.MaxInt64 {
		return 0
	}
	return time.Duration(d)
}

func leadingNumber(s string) (n float64, rest string, ok bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, s[end:], err == nil
}

// parseClock reads hours:minutes[:seconds], in nanoseconds.
func parseClock(s string) (float64, bool) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	total, unit := 0.0, float64(time.Hour)
	for _, part := range parts {
		n, rest, ok := leadingNumber(part)
		if !ok || rest != "" {
			return 0, false
		}
		total += n * unit
		unit /= 60
	}
	return total, total < math.MaxInt64
}

func unitOf(name string) (time.Duration, bool) {
	const day = 24 * time.Hour
	switch strings.ToLower(name) {
	case "us", "usec", "microsecond", "microseconds":
		return time.Microsecond, true
	case "ms", "msec", "millisecond", "milliseconds":
		return time.Millisecond, true
	case "", "s", "sec", "secs", "second", "seconds":
		return time.Second, true
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return day, true
	case "w", "week", "weeks":
		return 7 * day, true
	}
	return 0, false
}

// appendInterval writes d as PostgreSQL writes an interval: 1 day 02:03:04.5.
func appendInterval(dst []byte, d time.Duration) []byte {
	const day = 24 * time.Hour
	if days := int64(d / day); days != 0 {
		dst = strconv.AppendInt(dst, days, 10)
		if days == 1 {
			dst = append(dst, " day "...)
		} else {
			dst = append(dst, " days "...)
		}
		d %= day
	}
	if d < 0 {
		dst, d = append(dst, '-'), -d
	}
	return time.Unix(0, 0).UTC().Add(d.Truncate(time.Microsecond)).AppendFormat(dst, "15:04:05.999999")
}

// timeLayouts are the ways to write a time in a text; parts of a second are read in all of them.
var timeLayouts = []string{
	"2006-01-02 15:04:05Z07:00:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07",
	"2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04Z07:00", "2006-01-02 15:04Z07", "2006-01-02 15:04:05 MST",
	"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02",
}

// parseTime reads a time, which is one of zone if it does not say otherwise.
func parseTime(text string, zone *time.Location) (time.Time, bool) {
	text = strings.TrimSpace(text)
	switch strings.ToLower(text) {
	case "now":
		return time.Now(), true
	case "epoch":
		return time.Unix(0, 0), true
	}
	if len(text) > 10 && (text[10] == 'T' || text[10] == 't') {
		text = text[:10] + " " + text[11:]
	}
	for _, layout := range timeLayouts {
		if strings.HasSuffix(layout, "MST") && !strings.HasSuffix(text, " UTC") && !strings.HasSuffix(text, " GMT") {
			continue // of other abbreviations Go would make up an offset
		}
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
