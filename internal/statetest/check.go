package statetest

import (
	"regexp"
	"slices"
	"strings"
)

// neverSet shows that a parameter of the application's own has never been set in this session.
const neverSet = "<never set>"

// observed is asked of both sides by a Check: a row for each thing that a session holds. It names everything with its
// schema, since search_path is one of the things.
var observed = `SELECT 'setting', name || '=' || setting FROM pg_catalog.pg_settings WHERE name = ANY ('{` + strings.Join(settingNames(), ",") + `}')
 UNION ALL SELECT 'custom', n || '=' || coalesce(pg_catalog.current_setting(n, true), '` + neverSet + `') FROM pg_catalog.unnest('{app.a,app.b}'::text[]) n
 UNION ALL SELECT 'user', current_user || ' of ' || session_user
 UNION ALL SELECT 'prepared', name || ' ' || parameter_types::text || ' ' || statement || CASE WHEN from_sql THEN ' (sql)' ELSE '' END FROM pg_catalog.pg_prepared_statements
 UNION ALL SELECT 'cursor', name || ' ' || is_holdable || ' ' || statement FROM pg_catalog.pg_cursors
 UNION ALL SELECT 'lock', mode || ' ' || classid || ' ' || objid || ' ' || objsubid FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()
 UNION ALL SELECT 'channel', c FROM pg_catalog.pg_listening_channels() c
 UNION ALL SELECT 'temp', relkind::text || ' ' || relname FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()
 UNION ALL SELECT 'temp', 'function ' || proname FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.pg_my_temp_schema()
 ORDER BY 1, 2`

// heldRow is a row of observed that ties a client to its server session.
var heldRow = regexp.MustCompile(`^row (?:cursor|lock|channel|temp|prepared .*\(sql\)$)`)

// heldBy lists what the answer to observed says that the session holds.
func heldBy(answer Answer) string {
	var held []string
	for _, l := range answer {
		if heldRow.MatchString(l) {
			held = append(held, strings.TrimPrefix(l, "row "))
		}
	}
	return strings.Join(held, "; ")
}

// sequenceRead asks for what nextval has left in the session. A proxy need not carry that: it may answer with the
// server's own error that there is nothing, but never with another client's value.
var sequenceRead = regexp.MustCompile(`^SELECT (currval|lastval)\([^;]*$`)

// same compares the answers to a step.
func same(s Step, want, got Answer) bool {
	if slices.Equal(want, got) {
		return true
	}
	if s.Verb == Query && sequenceRead.MatchString(s.Text) {
		return len(got) == 2 && strings.HasPrefix(got[0], "ERROR 55000 ") && got[1] == "Z I" && want[len(want)-1] == "Z I"
	}
	return s.Verb == Check && slices.EqualFunc(want, got, sameRow) || s.Verb == Check && slices.EqualFunc(withoutInvalid(want), withoutInvalid(got), sameRow)
}

// mayBeInvalid is a statement of the protocol whose table can go. A proxy that prepares it anew on another session
// cannot show it then; what it answers when it is used is compared all the same.
var mayBeInvalid = regexp.MustCompile(`^row prepared \| \w+ \{[^}]*\} .*\b(place|t[tv]\d)\b`)

// withoutInvalid leaves out such statements, and the count of rows.
func withoutInvalid(a Answer) Answer {
	return slices.DeleteFunc(slices.Clone(a), func(l string) bool {
		return mayBeInvalid.MatchString(l) && !strings.HasSuffix(l, "(sql)") || strings.HasPrefix(l, "tag SELECT ")
	})
}

// sameRow takes an empty custom parameter for one that was never set: PostgreSQL has no way to make a session forget
// one, and SET LOCAL, which leaves an empty one behind, is not carried.
func sameRow(want, got string) bool {
	return want == got || strings.HasPrefix(want, "row custom") && strings.TrimSuffix(want, neverSet) == strings.TrimSuffix(got, neverSet)
}
