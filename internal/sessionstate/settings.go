package sessionstate

import (
	"encoding/hex"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Setting is one run-time parameter (GUC) and its value as text.
type Setting struct{ Name, Value string }

// Settings is what a client has chosen for its session beyond the server's defaults. It never changes once it is
// interned, so two sessions with equal settings hold the same pointer and comparing costs nothing. nil is "nothing".
type Settings struct {
	list []Setting // by name
	key  string
}

// Interner makes equal Settings identical, as a rule. It may be used by any goroutine.
type Interner struct {
	mu    sync.Mutex
	all   map[string]*Settings
	bytes int // of the keys
}

// Bounds on the table. Beyond them it begins anew: what is in use stays right, only Equal takes longer.
const (
	maxInterned      = 10_000
	maxInternedBytes = 8 << 20
)

// Intern returns the Settings for list, whose names must differ. It sorts list.
func (in *Interner) Intern(list []Setting) *Settings {
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return in.InternInOrder(list)
}

// InternInOrder is Intern for a list whose order means something. It copies list.
func (in *Interner) InternInOrder(list []Setting) *Settings {
	if len(list) == 0 {
		return nil
	}
	var key strings.Builder
	for _, s := range list {
		key.WriteString(s.Name)
		key.WriteByte(0)
		key.WriteString(s.Value)
		key.WriteByte(0)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if s := in.all[key.String()]; s != nil {
		return s
	}
	s := &Settings{list: slices.Clone(list), key: key.String()}
	in.bytes += len(s.key)
	if in.all == nil || len(in.all) >= maxInterned || in.bytes > maxInternedBytes {
		in.all, in.bytes = map[string]*Settings{}, len(s.key)
	}
	in.all[s.key] = s
	return s
}

// List is the settings by name; not to be changed.
func (s *Settings) List() []Setting {
	if s == nil {
		return nil
	}
	return s.list
}

// Equal tells whether both say the same.
func (s *Settings) Equal(t *Settings) bool {
	return s == t || s != nil && t != nil && s.key == t.key
}

// Changed calls f for each setting of now that was not so in before.
func Changed(before, now *Settings, f func(Setting)) {
	if before.Equal(now) {
		return
	}
	known := map[Setting]bool{}
	for _, s := range before.List() {
		known[s] = true
	}
	for _, s := range now.List() {
		if !known[s] {
			f(s)
		}
	}
}

// partial is the parameter whose value may name a part only ("German", "DMY"), which leaves the rest as it was.
const partial = "datestyle"

// identity are the parameters that say who the session is: restored by themselves, before and behind all others. RESET
// ALL leaves them alone.
var identity = [...]string{"session_authorization", "role"}

// Identity tells whether s says who the session is.
func (s *Settings) Identity() bool {
	for _, name := range identity {
		if _, ok := s.Value(name); ok {
			return true
		}
	}
	return false
}

// Carry returns the SQL that turns a session with settings have into one with settings want, "" if there is nothing
// to do. Either all of it takes effect, or the session is left in a failed transaction in which no statement behind
// it can run. set_config is used rather than SET because it takes a value as the StartupMessage does: whole, unparsed
// lists ("a, b" for search_path).
func Carry(have, want *Settings) string {
	if have.Equal(want) {
		return ""
	}
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	if have.Identity() {
		sql.WriteString("RESET SESSION AUTHORIZATION;RESET ROLE;")
	}
	sep := "SELECT "
	set := func(name, value string) {
		sql.WriteString(sep + "pg_catalog.set_config(" + QuoteLiteral(name) + "," + value + ",false)")
		sep = ","
	}
	for _, h := range have.List() {
		v, ok := want.Value(h.Name)
		if !isIdentity(h.Name) && (!ok || v != h.Value && h.Name == partial) {
			set(h.Name, "NULL") // as RESET
		}
	}
	for _, w := range want.List() {
		if v, ok := have.Value(w.Name); !isIdentity(w.Name) && (!ok || v != w.Value) {
			set(w.Name, QuoteLiteral(w.Value))
		}
	}
	for _, name := range identity {
		if v, ok := want.Value(name); ok {
			sep = strings.Replace(sep, ",", ";SELECT ", 1)
			set(name, QuoteLiteral(v))
		}
	}
	if sep == "," {
		sql.WriteByte(';')
	}
	sql.WriteString("COMMIT")
	return sql.String()
}

func isIdentity(name string) bool { return name == identity[0] || name == identity[1] }

// Restore returns the SQL that, inside a transaction, puts those of base in force again that RESET or SET … TO DEFAULT
// has taken back, and leaves alone those that the client has set to something else since. local is for SET LOCAL.
func Restore(base *Settings, local bool) string {
	var values []string
	for _, w := range base.List() {
		values = append(values, "("+QuoteLiteral(w.Name)+","+QuoteLiteral(w.Value)+")")
	}
	if values == nil {
		return ""
	}
	return "SELECT pg_catalog.set_config(w.n,w.v," + strconv.FormatBool(local) + ") FROM (VALUES " + strings.Join(values, ",") + ") w(n,v)" +
		" LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) w.n" +
		" WHERE CASE WHEN s.name IS NOT NULL THEN s.source OPERATOR(pg_catalog.<>) 'session'" +
		// A parameter of an extension's kind, or role: the view does not show it, so whether it was reset shows in its value.
		" ELSE COALESCE(pg_catalog.current_setting(w.n,true),'') OPERATOR(pg_catalog.=) ANY (ARRAY['','none']) END"
}

// Overlay returns base with the settings of over in their place.
func (in *Interner) Overlay(base *Settings, over []Setting) *Settings {
	if base == nil {
		return in.Intern(slices.Clone(over))
	}
	list := slices.Clone(over)
	for _, b := range base.list {
		if !slices.ContainsFunc(over, func(o Setting) bool { return o.Name == b.Name }) {
			list = append(list, b)
		}
	}
	return in.Intern(list)
}

// Reported is the value of a parameter in a list that is in the order of PostgreSQL's reports.
func (s *Settings) Reported(name string) string {
	for _, o := range s.List() {
		if o.Name == name {
			return o.Value
		}
	}
	return ""
}

// With returns s, a list in the order of PostgreSQL's reports, with another value for a parameter.
func (in *Interner) With(s *Settings, name, value string) *Settings {
	list := slices.Clone(s.List())
	for i := range list {
		if list[i].Name == name {
			list[i].Value = value
			return in.InternInOrder(list)
		}
	}
	return in.InternInOrder(append(list, Setting{name, value}))
}

// Without returns the list of s without the named settings.
func (s *Settings) Without(names []string) []Setting {
	var kept []Setting
	for _, o := range s.List() {
		if !slices.Contains(names, o.Name) {
			kept = append(kept, o)
		}
	}
	return kept
}

// Value is the value of the setting with that name.
func (s *Settings) Value(name string) (string, bool) {
	list := s.List()
	i := sort.Search(len(list), func(i int) bool { return list[i].Name >= name })
	if i < len(list) && list[i].Name == name {
		return list[i].Value, true
	}
	return "", false
}

// QuoteLiteral quotes s so that it is right whatever standard_conforming_strings and client_encoding say: text beyond
// ASCII, which is UTF-8 here, goes in hexadecimal.
func QuoteLiteral(s string) string {
	if !isASCII(s) && utf8.ValidString(s) {
		return "pg_catalog.convert_from(pg_catalog.decode('" + hex.EncodeToString([]byte(s)) + "','hex'),'UTF8')"
	}
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(q, `\`) {
		return "E'" + strings.ReplaceAll(q, `\`, `\\`) + "'"
	}
	return "'" + q + "'"
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
