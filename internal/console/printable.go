package console

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable shows what a terminal would act upon (control characters, changes of direction, bytes that are no UTF-8) in
// Go's escapes: names are chosen by clients, and read by administrators.
func printable(s string) string {
	if isPrintable(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
				continue
			}
		}
		b.WriteString(escaped(r))
	}
	return b.String()
}

func isPrintable(s string) bool {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] <= '~' {
		i++
	}
	for _, r := range s[i:] {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func escaped(r rune) string {
	switch {
	case unicode.IsPrint(r):
		return string(r)
	case r == '\n':
		return `\n`
	case r == '\t':
		return `\t`
	case r == '\r':
		return `\r`
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// shortened is printable text of bounded length, for messages.
func shortened(s string) string {
	const most = 60 // characters: a message stays a line
	n := 0
	for i := range s {
		if n++; n > most {
			return printable(s[:i]) + "…"
		}
	}
	return printable(s)
}
