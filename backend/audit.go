package backend

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

// Question is what an audit asks a server session about.
type Question struct {
	Kinds       sessionstate.PinSet
	AllSettings bool
	Names       []string // parameters by name, beside those that AllSettings covers
	Functions   bool     // also which parameters of extensions' kind the database's functions mention
}

// Report is what PostgreSQL says that the session holds.
type Report struct {
	Settings []sessionstate.Setting // in force: all of them, or those asked for by name
	Prepared []sessionstate.Setting // statements that SQL's PREPARE made: name and text
	Named    []string               // names under which the protocol's Parse made one
	Held     sessionstate.PinSet    // kinds asked about of which there is something
	Mentions []string               // parameters that functions mention
}

// audit is an audit under way.
type audit struct {
	report   *Report
	row      []byte // of a DataRow that comes in parts
	size     int    // of all rows, in bytes
	answered bool   // the answer is complete
}

// maxAudit bounds what an audit's answer may keep in memory, in bytes. A session that holds more is pinned.
const maxAudit = 256 << 10

// auditName is the statement that an audit prepares and closes.
const auditName = sessionstate.PoolerPrefix + "audit"

// Audit asks PostgreSQL what the session holds. The borrower hears by OnAudited; until then nothing else may be sent.
// A simple Query would drop the client's unnamed statement.
func (c *Conn) Audit(q Question) {
	c.audit = &audit{report: &Report{}}
	for _, k := range []sessionstate.Kind{
		sessionstate.KindParse, sessionstate.KindBind, sessionstate.KindExecute, sessionstate.KindClose, sessionstate.KindSync,
	} {
		c.Replies.Push(sessionstate.Entry{Kind: k, Action: sessionstate.Ask})
	}
	out := wire.AppendNamed(nil, 'P', nil, auditName, append([]byte(q.sql()), 0, 0, 0), 0)
	out = wire.AppendNamed(out, 'B', []byte{0}, auditName, make([]byte, 6), 0)
	out = wire.AppendNamed(out, 'E', nil, "", make([]byte, 4), 0)
	out = wire.AppendNamed(out, 'C', []byte{'S'}, auditName, nil, 0)
	c.Write(wire.AppendHeader(out, 'S', 0))
}

// The parts of the audit: rows of kind, name and value. Names are qualified because the client's search_path is in
// force, and values are in hexadecimal because its client_encoding is.
const (
	auditSettings = " UNION ALL SELECT 'setting',s.name,pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(s.name),'UTF8'),'hex')" +
		" FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session'"
	auditNames = " UNION ALL SELECT 'setting',n,pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n,true),'UTF8'),'hex')" +
		" FROM pg_catalog.unnest(ARRAY["
	// The role that counts: SET SESSION AUTHORIZATION ends it, but SHOW role goes on to show it.
	auditRole = " UNION ALL SELECT 'setting','role',pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting('role'),'UTF8'),'hex')" +
		" WHERE current_user OPERATOR(pg_catalog.<>) session_user"
	auditPrepared = " UNION ALL SELECT CASE WHEN p.from_sql THEN 'prepared' ELSE 'named' END,p.name,pg_catalog.encode(pg_catalog.convert_to(p.statement,'UTF8'),'hex')" +
		" FROM pg_catalog.pg_prepared_statements p WHERE NOT pg_catalog.starts_with(p.name,'" + sessionstate.PoolerPrefix + "')"
	// The audit's own portal is not holdable.
	auditCursor = " UNION ALL SELECT 'hold_cursor','',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable)"
	auditListen = " UNION ALL SELECT 'listen','',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"
	// Whatever is in a schema depends on it; 2615 is pg_namespace.
	auditTemp = " UNION ALL SELECT 'temporary','',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d" +
		" WHERE d.refclassid OPERATOR(pg_catalog.=) 2615::pg_catalog.oid AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
	auditLock = " UNION ALL SELECT 'advisory_lock','',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks l" +
		" WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
	// User's functions, which begin at FirstNormalObjectId; names in quotes or behind SET.
	auditFunctions = " UNION ALL SELECT DISTINCT 'mention',pg_catalog.lower(m.m[1]),NULL FROM pg_catalog.pg_proc p," +
		` pg_catalog.regexp_matches(p.prosrc,'(?:''|\mset\s+(?:session\s+)?)([[:alpha:]_][[:alnum:]_$]*\.[[:alpha:]_][[:alnum:]_$.]*)','gi') m(m)` +
		" WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"
)

var auditKinds = []struct {
	kind sessionstate.PinSet
	sql  string
}{
	{sessionstate.PinSet(sessionstate.EffectPrepare), auditPrepared},
	{sessionstate.PinSet(sessionstate.EffectHoldCursor), auditCursor},
	{sessionstate.PinSet(sessionstate.EffectListen), auditListen},
	{sessionstate.PinSet(sessionstate.EffectTemp), auditTemp},
	{sessionstate.PinSet(sessionstate.EffectAdvisoryLock), auditLock},
}

func (q *Question) sql() string {
	var sql strings.Builder
	names := q.Names
	if q.AllSettings {
		names = append(slices.Clone(names), "role", "session_authorization")
	}
	identity := slices.Contains(names, "role") || slices.Contains(names, "session_authorization")
	sql.WriteString("SELECT ''::pg_catalog.text,''::pg_catalog.text,NULL::pg_catalog.text WHERE false")
	if q.AllSettings {
		sql.WriteString(auditSettings)
	}
	if len(names) > 0 {
		sql.WriteString(auditNames)
		for i, n := range names {
			if i > 0 {
				sql.WriteByte(',')
			}
			sql.WriteString(sessionstate.QuoteLiteral(n))
		}
		sql.WriteString("]) n WHERE n OPERATOR(pg_catalog.<>) 'role'")
	}
	if identity {
		sql.WriteString(auditRole)
	}
	for _, k := range auditKinds {
		if q.Kinds&k.kind != 0 {
			sql.WriteString(k.sql)
		}
	}
	if q.Functions {
		// A backslash in a string constant means itself whatever standard_conforming_strings says.
		sql.WriteString(strings.ReplaceAll(strings.Replace(auditFunctions, "'(?:", "E'(?:", 1), `\`, `\\`))
	}
	return sql.String()
}

// part takes a part of a DataRow that comes in several.
func (a *audit) part(b []byte, last bool) {
	if a.report == nil || a.size+len(a.row)+len(b) > maxAudit {
		a.report, a.row = nil, nil
		return
	}
	a.row = append(a.row, b...)
	if last {
		a.take('D', a.row)
		a.row = a.row[:0]
	}
}

// take takes note of one message that answers the audit.
func (a *audit) take(typ byte, body []byte) {
	switch {
	case typ == 'E':
		a.report = nil
	case typ == 'Z':
		a.answered = true
	case typ == 'D' && a.report != nil:
		if a.size += len(body); a.size > maxAudit || !a.takeRow(body) {
			a.report = nil
		}
	}
}

// takeRow reads a DataRow. It reports false for one that is not the audit's.
func (a *audit) takeRow(body []byte) bool {
	if len(body) < 2 || binary.BigEndian.Uint16(body) != 3 {
		return false
	}
	body = body[2:]
	var cells [3][]byte
	for i := range cells {
		if len(body) < 4 {
			return false
		}
		n := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if n < 0 {
			continue
		}
		if n > len(body) {
			return false
		}
		cells[i], body = body[:n:n], body[n:]
	}
	value := make([]byte, hex.DecodedLen(len(cells[2])))
	if _, err := hex.Decode(value, cells[2]); err != nil {
		return false
	}
	a.report.add(string(cells[0]), string(cells[1]), string(value), cells[2] != nil)
	return true
}

func (r *Report) add(kind, name, value string, known bool) {
	switch kind {
	case "setting":
		if known && !strings.HasPrefix(name, "transaction_") { // those are the transaction's
			r.Settings = append(r.Settings, sessionstate.Setting{Name: strings.ToLower(name), Value: value})
		}
	case "named":
		r.Named = append(r.Named, name)
	case "prepared":
		r.Prepared = append(r.Prepared, sessionstate.Setting{Name: name, Value: value})
	case "mention":
		r.Mentions = append(r.Mentions, name)
	case "hold_cursor":
		r.Held |= sessionstate.PinSet(sessionstate.EffectHoldCursor)
	case "listen":
		r.Held |= sessionstate.PinSet(sessionstate.EffectListen)
	case "temporary":
		r.Held |= sessionstate.PinSet(sessionstate.EffectTemp)
	case "advisory_lock":
		r.Held |= sessionstate.PinSet(sessionstate.EffectAdvisoryLock)
	}
}
