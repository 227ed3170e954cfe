package sessionstate

import (
	"slices"
	"sort"
	"strings"
	"sync"
)

// Setting is one run-time parameter (GUC) and its value as text.
type Setting struct{ Name, Value string }

// Settings is what a client has chosen for its session beyond the server's defaults. It never changes once it is
// interned, so two sessions with equal settings hold the same pointer and comparing costs nothing. nil is "nothing".
type Settings struct {
	list []Setting // by name
	key  string
}

// Interner makes equal Settings identical. It may be used by any goroutine.
type Interner struct {
	mu  sync.Mutex
	all map[string]*Settings
}

// maxInterned bounds the table; beyond it Settings are still right, only not shared.
const maxInterned = 10_000

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
	if in.all == nil {
		in.all = map[string]*Settings{}
	}
	if len(in.all) < maxInterned {
		in.all[s.key] = s
	}
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

// Carry returns the SQL that turns a session with settings have into one with settings want, "" if there is nothing
// to do. set_config is used rather than SET because it takes a value as the StartupMessage does: whole, unparsed
// lists ("a, b" for search_path).
func Carry(have, want *Settings) string {
	if have.Equal(want) {
		return ""
	}
	var sql strings.Builder
	for _, h := range have.List() {
		if v, ok := want.value(h.Name); !ok || v != h.Value && h.Name == partial {
			sql.WriteString("RESET " + quoteParameter(h.Name) + ";")
		}
	}
	sep := "SELECT "
	for _, w := range want.List() {
		if v, ok := have.value(w.Name); ok && v == w.Value {
			continue
		}
		sql.WriteString(sep + "pg_catalog.set_config(" + quoteLiteral(w.Name) + "," + quoteLiteral(w.Value) + ",false)")
		sep = ","
	}
	return sql.String()
}

// Restore returns the SQL that puts those of want in force again that RESET or DISCARD ALL has taken back, and leaves
// alone those that the client has set to something else since.
func Restore(want *Settings) string {
	if want == nil {
		return ""
	}
	var values []string
	for _, w := range want.List() {
		values = append(values, "("+quoteLiteral(w.Name)+","+quoteLiteral(w.Value)+")")
	}
	return "SELECT pg_catalog.set_config(w.n,w.v,false) FROM (VALUES " + strings.Join(values, ",") + ") w(n,v)" +
		" LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) w.n" +
		" WHERE CASE WHEN s.name IS NOT NULL THEN s.source OPERATOR(pg_catalog.<>) 'session'" +
		// A parameter of an extension's kind, or role: the view does not show it, so whether it was reset shows in its value.
		" ELSE COALESCE(pg_catalog.current_setting(w.n,true),'') OPERATOR(pg_catalog.=) ANY (ARRAY['','none']) END"
}

func (s *Settings) value(name string) (string, bool) {
	list := s.List()
	i := sort.Search(len(list), func(i int) bool { return list[i].Name >= name })
	if i < len(list) && list[i].Name == name {
		return list[i].Value, true
	}
	return "", false
}

// quoteParameter quotes a parameter name, whose parts are separated by dots.
func quoteParameter(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}

// quoteLiteral quotes s so that it is right whatever standard_conforming_strings says.
func quoteLiteral(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(q, `\`) {
		return "E'" + strings.ReplaceAll(q, `\`, `\\`) + "'"
	}
	return "'" + q + "'"
}
