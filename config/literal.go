package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// typedValue is what a person means who types text for a setting of type t: the value that the file would have. What makes
// no sense stays a string, for setValue to complain about.
func typedValue(t reflect.Type, text string) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	word := strings.TrimSpace(text)
	switch t {
	case reflect.TypeFor[string]():
		return text
	case reflect.TypeFor[Duration]():
		return typedDuration(word)
	case reflect.TypeFor[StatePolicy]():
		return typedPolicy(word)
	}
	switch t.Kind() {
	case reflect.Bool:
		return typedBool(word)
	case reflect.Int:
		if n, ok := parseInt(word); ok {
			return n
		}
	case reflect.Slice:
		return typedList(word)
	default: // the types that have names for their values
	}
	return word
}

// typedBool knows PostgreSQL's words, and PgBouncer's 1 and 0.
func typedBool(word string) any {
	switch strings.ToLower(word) {
	case "true", "on", "yes", "1":
		return true
	case "false", "off", "no", "0":
		return false
	}
	return word
}

// typedDuration also knows PostgreSQL's min and d, and its space in front of the unit. What the file takes stays as it was typed.
func typedDuration(word string) any {
	if n, ok := parseInt(word); ok {
		return n
	}
	s := strings.ReplaceAll(word, " ", "")
	if n, ok := strings.CutSuffix(s, "min"); ok {
		s = n + "m"
	} else if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil {
			const limit = 100_000 // as hours it still fits into a time.Duration, and is refused as too long
			s = strconv.Itoa(max(-limit, min(days, limit))*24) + "h"
		}
	}
	if _, err := time.ParseDuration(s); err == nil {
		return s
	}
	return word
}

// typedList takes a, b or the file's ["a", "b"], with or without its brackets.
func typedList(word string) any {
	if strings.ContainsAny(word, `"'[]`) {
		if !strings.HasPrefix(word, "[") {
			word = "[" + word + "]"
		}
		if items, ok := typedTOML(word).([]any); ok {
			return items
		}
		return word
	}
	items := []any{}
	if word == "" {
		return items
	}
	for item := range strings.SplitSeq(word, ",") {
		items = append(items, strings.TrimSpace(item))
	}
	return items
}

// typedPolicy takes listen = pin, seed = ignore or the file's { listen = "pin", seed = "ignore" }.
func typedPolicy(word string) any {
	if strings.ContainsAny(word, `"'{}`) {
		if !strings.HasPrefix(word, "{") {
			word = "{" + word + "}"
		}
		if table, ok := typedTOML(word).(map[string]any); ok {
			return table
		}
		return word
	}
	table := make(map[string]any)
	if word == "" {
		return table
	}
	for item := range strings.SplitSeq(word, ",") {
		kind, policy, ok := strings.Cut(item, "=")
		if !ok {
			return word
		}
		table[strings.TrimSpace(kind)] = strings.TrimSpace(policy)
	}
	return table
}

// typedTOML is nil unless word is exactly one value.
func typedTOML(word string) any {
	src, bad := parseTOML([]byte("x = " + word))
	if bad != nil || len(src.top) != 1 {
		return nil
	}
	return src.values()["x"]
}

// literal writes a value that setValue has accepted, as the file has it.
func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = literal(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		var items []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			items = append(items, key+" = "+literal(v[key]))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return fmt.Sprint(v)
}

// quote differs from strconv.Quote, whose \a, \v and \x80 TOML does not know.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// typed is how a person would type a value: what typedValue understands.
func typed(v reflect.Value) string {
	v = reflect.Indirect(v)
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	plain, quoted := make([]string, v.Len()), make([]any, v.Len())
	ambiguous := false
	for i := range v.Len() {
		item := v.Index(i).String()
		plain[i], quoted[i] = item, item
		ambiguous = ambiguous || item == "" || strings.TrimSpace(item) != item || strings.ContainsAny(item, `,"'[]`)
	}
	if ambiguous {
		return literal(quoted)
	}
	return strings.Join(plain, ", ")
}
