package config

import (
	"reflect"
	"strings"
)

// field is what the tags of a struct say about one key.
type field struct {
	key     string
	index   int
	restart bool
	secret  bool
}

func fieldsOf(t reflect.Type) []field {
	fields := make([]field, t.NumField())
	for i := range fields {
		tag := t.Field(i).Tag
		fields[i] = field{
			key:     tag.Get("toml"),
			index:   i,
			restart: tag.Get("reload") == "restart",
			secret:  tag.Get("secret") == "true",
		}
	}
	return fields
}

func findField(fields []field, key string) (field, bool) {
	for _, f := range fields {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// suggest says what the writer of an unknown key may have meant, or nothing.
func suggest(key string, fields []field) string {
	if key == "pool_mode" { // what PgBouncer calls it
		key = "pool_boundary"
	}
	best, bestDistance := "", max(2, len(key)/3)+1
	for _, f := range fields {
		if d := distance(strings.ToLower(key), f.key); d < bestDistance {
			best, bestDistance = f.key, d
		}
	}
	if best == "" {
		return ""
	}
	return `; did you mean "` + best + `"?`
}

// distance counts the edits between a and b: insert, delete, replace, swap two neighbours.
func distance(a, b string) int {
	older, old, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			replace := old[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			cur[j] = min(old[j]+1, cur[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, old, cur = old, cur, older
	}
	return old[len(b)]
}
