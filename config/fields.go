package config

import (
	"reflect"
	"strings"
)

// field is what the tags of a struct say about one key.
type field struct {
	key     string
	alias   string // another name for it, "" = none
	index   []int
	restart bool
	secret  bool
	mark    string // what a value has in it that does hold a secret; "" = any does
	path    bool
}

// fieldsOf lists the keys of a table, with those of the structs embedded in it.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		fields = append(fields, field{
			key:     f.Tag.Get("toml"),
			alias:   f.Tag.Get("alias"),
			index:   f.Index,
			restart: f.Tag.Get("reload") == "restart",
			secret:  f.Tag.Get("secret") == "true",
			mark:    f.Tag.Get("mark"),
			path:    f.Tag.Get("path") == "file",
		})
	}
	return fields
}

func findField(fields []field, key string) (field, bool) {
	for _, f := range fields {
		if f.key == key || f.alias == key && key != "" {
			return f, true
		}
	}
	return field{}, false
}

// isList tells whether a key of this type holds tables [[key]].
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// hint is what helps the writer of a key that is unknown in a table of type t, or nothing.
func hint(key string, value any, t reflect.Type) string {
	fields := fieldsOf(t)
	inTable := t != reflect.TypeFor[Config]()
	if !inTable && isTable(value) {
		if key == "pgbouncer" {
			return "; its keys belong at the top of the file, without a table"
		}
		return suggest(key, fields)
	}
	if name := otherName(key, fields); name != "" {
		return didYouMean(name)
	}
	if reason := notNeeded(key); reason != "" {
		return "; " + reason
	}
	if where := homes(key); where != "" {
		if inTable {
			return " in a table; it belongs " + where
		}
		return "; it belongs " + where
	}
	return suggest(key, fields)
}

func isTable(value any) bool {
	switch value.(type) {
	case map[string]any, []map[string]any:
		return true
	}
	return false
}

// homes says where a key is known.
func homes(key string) string {
	var tables []string
	for _, home := range []struct {
		table string
		typ   reflect.Type
	}{
		{"[databases.NAME]", reflect.TypeFor[Database]()},
		{"[users.NAME]", reflect.TypeFor[User]()},
		{"[classes.NAME]", reflect.TypeFor[Class]()},
		{"[[rules]]", reflect.TypeFor[Rule]()},
	} {
		if _, ok := findField(fieldsOf(home.typ), key); ok {
			tables = append(tables, home.table)
		}
	}
	in := ""
	if len(tables) > 0 {
		in = "in " + oneOf(tables)
	}
	if _, ok := findField(fieldsOf(reflect.TypeFor[Config]()), key); !ok {
		return in
	}
	const top = "at the top of the file, before the first [table]"
	if in == "" {
		return top
	}
	return top + ", or " + in
}

// oneOf lists words: a, b or c.
func oneOf[T ~string](words []T) string {
	list := string(words[0])
	for i, w := range words[1:] {
		if i == len(words)-2 {
			list += " or " + string(w)
		} else {
			list += ", " + string(w)
		}
	}
	return list
}

// otherName finds the one of fields that PgBouncer, PostgreSQL, DRCP or common sense calls key.
func otherName(key string, fields []field) string {
	names := map[string][]string{
		"pool_mode":     {"pool_boundary"},
		"pool_size":     {"default_pool_size"},
		"reserve_pool":  {"reserve_pool_size"},
		"connect_query": {"on_get"},

		"default_pool_size": {"pool_size"},
		"max_pool_size":     {"pool_size", "default_pool_size"},
		"maxsize":           {"pool_size", "default_pool_size"},
		"minsize":           {"min_pool_size"},
		"incrsize":          {"pool_increment"},

		"max_client_conn":        {"max_db_client_connections", "max_user_client_connections", "max_class_client_connections"},
		"max_client_connections": {"max_client_conn", "max_db_client_connections", "max_user_client_connections", "max_class_client_connections"},
		"max_connections":        {"max_server_connections", "max_db_connections", "max_user_connections"},
		"max_server_conn":        {"max_server_connections"},
		"max_db_conn":            {"max_db_connections"},
		"max_user_conn":          {"max_user_connections"},

		"connection_class": {"pool_connection_class"},
		"class":            {"pool_connection_class"},
		"purity":           {"pool_purity"},
		"boundary":         {"pool_boundary"},

		"statement_timeout":                   {"query_timeout"},
		"idle_session_timeout":                {"client_idle_timeout"},
		"idle_in_transaction_session_timeout": {"idle_transaction_timeout"},

		"ssl":            {"client_tls_sslmode"},
		"ssl_cert_file":  {"client_tls_cert_file"},
		"ssl_key_file":   {"client_tls_key_file"},
		"ssl_ca_file":    {"client_tls_ca_file"},
		"ssl_ciphers":    {"client_tls_ciphers"},
		"sslmode":        {"server_tls_sslmode"},
		"sslnegotiation": {"server_tls_sslnegotiation"},
		"sslrootcert":    {"server_tls_ca_file"},
		"sslcert":        {"server_tls_cert_file"},
		"sslkey":         {"server_tls_key_file"},
		"hba_file":       {"auth_hba_file"},
		"ident_file":     {"auth_ident_file"},

		"port":           {"listen_port"},
		"verbose":        {"log_level"},
		"database":       {"dbname"},
		"dbname":         {"database"},
		"appname":        {"application_name"},
		"application":    {"application_name"},
		"address":        {"source"},
		"client_addr":    {"source"},
		"client_address": {"source"},
	}
	for _, name := range names[strings.ToLower(key)] {
		if _, ok := findField(fields, name); ok {
			return name
		}
	}
	return ""
}

// notNeeded says why a key of PgBouncer has no counterpart here, or nothing.
func notNeeded(key string) string {
	switch key {
	case "server_reset_query", "server_reset_query_always":
		return "not needed: the pooler removes by itself what a client leaves in a server session"
	case "server_check_query", "server_check_delay":
		return "not needed: the pooler sees when a server session has ended"
	case "ignore_startup_parameters", "track_extra_parameters":
		return "not needed: each client gets the parameters that it asks for"
	case "client_tls_dheparams":
		return "not needed: keys are exchanged over elliptic curves"
	case "client_tls13_ciphers", "server_tls13_ciphers":
		return "not needed: all three suites of TLS 1.3 are sound"
	}
	return ""
}

func didYouMean(name string) string { return `; did you mean "` + name + `"?` }

// plural is a hint for [user.NAME].
func plural(key string, value any, fields []field) string {
	if _, ok := findField(fields, key+"s"); ok && isTable(value) {
		return didYouMean(key + "s")
	}
	return ""
}

// suggest finds the key that is spelt most alike.
func suggest(key string, fields []field) string {
	best, bestDistance := "", max(2, len(key)/3)+1
	for _, f := range fields {
		for _, name := range []string{f.key, f.alias} {
			if name == "" || len(key)-len(name) >= bestDistance { // for the sake of a very long key
				continue
			}
			if d := distance(strings.ToLower(key), name); d < bestDistance {
				best, bestDistance = name, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return didYouMean(best)
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
