package statetest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// side is one of the two ways to the server.
type side byte

const (
	direct  side = 'd'
	through side = 't'
)

// maxClients is how many have keys of their own; see owner.key.
const maxClients = 1000

// owner is one session of a client on one side. What it names must not meet what its twin names, nor what an earlier
// session of the same client leaves behind for a moment when it is dropped: both use one database.
type owner struct {
	side       side
	client     int
	generation int
}

var (
	lockPlaceholder = regexp.MustCompile(`\{lock(\d{1,2})\}`)
	// traces are what shows whose an answer is, or in which server session it was made.
	traces = regexp.MustCompile(`\b7[12]\d{5}(\d\d)\b|\bst_[dt]_|\bpg_(?:toast_)?temp_\d+`)
)

// fill puts o's own names and keys into a text.
func (o owner) fill(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	text = strings.ReplaceAll(text, "{my}", fmt.Sprintf("st_%c_c%d_", o.side, o.client))
	return lockPlaceholder.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(lockPlaceholder.FindStringSubmatch(s)[1]) // digits by the pattern
		return o.key(n)
	})
}

// key has nine digits, 7 first, which fits in an int4 and is no number that a script uses otherwise.
func (o owner) key(n int) string {
	digit := 1
	if o.side == through {
		digit = 2
	}
	return fmt.Sprintf("7%d%03d%02d%02d", digit, o.client, o.generation%100, n)
}

// anonymous takes the traces out of an answer.
func anonymous(text string) string {
	return traces.ReplaceAllStringFunc(text, func(s string) string {
		switch s[0] {
		case '7':
			return "{lock" + s[len(s)-2:] + "}"
		case 's':
			return "st_"
		}
		return "pg_temp"
	})
}
