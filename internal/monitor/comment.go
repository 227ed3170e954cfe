package monitor

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Tag is something that a program says of itself in a comment of its SQL, as sqlcommenter and OpenTelemetry do: file,
// route, controller, traceparent, …
type Tag struct{ Key, Value string }

const (
	shownComment = 300 // bytes of a comment that are shown
	shownTag     = 200 // and of a tag
	tagsMost     = 20
)

// parseComment takes the tags out of a comment: key='value', separated by commas or blanks, both URL-encoded, with \'
// for a quote. Any other comment has none.
func parseComment(comment string) []Tag {
	rest := bare(comment)
	var tags []Tag
	for rest != "" && len(tags) < tagsMost {
		key, after, ok := strings.Cut(rest, "='")
		if !ok {
			break
		}
		value, after, ok := quoted(after)
		if !ok {
			break
		}
		// What stands before the key is not ours: a comment may say something else first.
		if i := strings.LastIndexAny(key, ", \t\n*"); i >= 0 {
			key = key[i+1:]
		}
		if key = decoded(key); key != "" {
			tags = append(tags, Tag{cutText(key, shownTag), cutText(decoded(value), shownTag)})
		}
		rest = after
	}
	return tags
}

// quoted is what stands before the next quote that is not escaped, and what comes after it.
func quoted(text string) (value, after string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// decoded undoes URL-encoding, in which a plus is a plus; what is not encoded stays as it is.
func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// bare is a comment without what makes it one.
func bare(comment string) string {
	comment = strings.TrimSpace(comment)
	switch {
	case strings.HasPrefix(comment, "/*"):
		comment = strings.TrimSuffix(strings.TrimPrefix(comment, "/*"), "*/")
	case strings.HasPrefix(comment, "--"):
		comment = strings.TrimPrefix(comment, "--")
	}
	return strings.TrimSpace(comment)
}

// cutText is at most so many bytes of a text, fit to be shown on one line.
func cutText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	if len(text) <= most {
		return text
	}
	const more = "…"
	cut := most - len(more)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}
