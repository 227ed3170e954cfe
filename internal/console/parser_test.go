package console

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCommandsHaveACanonicalForm(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"pause", "PAUSE"},
		{"PAUSE my-db ;", "PAUSE \"my-db\""},
		{"Pause 'My DB'", "PAUSE \"My DB\""},
		{`PAUSE "My ""DB"`, `PAUSE "My ""DB"`},
		{"resume App", "RESUME App"},
		{"DISABLE app", "DISABLE app"},
		{"ENABLE 1db", `ENABLE "1db"`},
		{"RECONNECT -- all\n", "RECONNECT"},
		{"KILL /* a /* nested */ comment */ app", "KILL app"},
		{`KILL "idle"`, `KILL "idle"`},
		{"kill", "KILL"},
		{"KILL_CLIENT 12", "KILL_CLIENT 12"},
		{"KILL_CLIENT '12'", "KILL_CLIENT 12"},
		{"KILL IDLE", "KILL IDLE"},
		{"KILL IDLE OLDER THAN 10 min DRY RUN", "KILL IDLE OLDER THAN 10m0s DRY RUN"},
		{"KILL IDLE DRY RUN OLDER THAN '1 hour 30 min' FROM 10.1.2.3/8", "KILL IDLE OLDER THAN 1h30m0s FROM 10.0.0.0/8 DRY RUN"},
		{"KILL IDLE FROM unix USER bob", "KILL IDLE FROM unix USER bob"},
		{"KILL IDLE FROM ::1 APPLICATION 'my app' DATABASE x", `KILL IDLE FROM ::1/128 APPLICATION "my app" DATABASE x`},
		{"KILL IDLE APPLICATION ''", `KILL IDLE APPLICATION ""`},
		{"KILL IDLE OLDER THAN 90", "KILL IDLE OLDER THAN 1m30s"},
		{"KILL IDLE OLDER THAN 1h30m USER x", "KILL IDLE OLDER THAN 1h30m0s USER x"},
		{"KILL IDLE FROM 10.0.0.1", "KILL IDLE FROM 10.0.0.1/32"},
		{"suspend", "SUSPEND"},
		{"WAIT_CLOSE db", "WAIT_CLOSE db"},
		{"RELOAD", "RELOAD"},
		{"SHUTDOWN", "SHUTDOWN"},
		{"shutdown wait_for_clients", "SHUTDOWN WAIT_FOR_CLIENTS"},
		{"SHUTDOWN WAIT_FOR_SERVERS;", "SHUTDOWN WAIT_FOR_SERVERS"},
		{"SET default_pool_size = 20", "SET default_pool_size = '20'"},
		{"SET default_pool_size=20", "SET default_pool_size = '20'"},
		{"SET query_timeout TO 10s", "SET query_timeout = '10s'"},
		{"SET http_listen = 127.0.0.1:8080", "SET http_listen = '127.0.0.1:8080'"},
		{`SET databases."my db".pool_size = -1`, `SET databases."my db".pool_size = '-1'`},
		{"SET users.bob.Password = 'it''s secret'", "SET users.bob.Password = '***'"},
		{"SET transaction_timeout = E'a\\nb'", "SET transaction_timeout = 'a\\nb'"},
		{"START POOL", "START POOL"},
		{"START POOL app", "START POOL app"},
		{"STOP POOL app DRAIN 30s", "STOP POOL app DRAIN 30s"},
		{"STOP POOL DRAIN 5", "STOP POOL DRAIN 5s"},
		{"ALTER POOL app SET pool_size = 5, x.y TO 'z' SAVE", "ALTER POOL app SET pool_size = '5', x.y = '***' SAVE"},
		{"ALTER POOL SYS_DEFAULT_CONNECTION_POOL SET maxsize = 5, host = x", "ALTER POOL SYS_DEFAULT_CONNECTION_POOL SET maxsize = '5', host = '***'"},
		{`SET users.bob = '{password="x"}'`, "SET users.bob = '***'"},
		{`SET users = '{bob={password="x"}}'`, "SET users = '***'"},
		{"SET users.bob.passwd = 'x'", "SET users.bob.passwd = '***'"},
		{`SET users.bob."p\u0061ssword" = 'x'`, `SET users.bob."p\\u0061ssword" = '***'`},
		{"SET databases.app.pool_boundary = x", "SET databases.app.pool_boundary = 'x'"},
		{"SET admin_users = 'a, b'", "SET admin_users = 'a, b'"},
		{"ALTER POOL app SET password=abc", "ALTER POOL app SET password = '***'"},
		{"RESTORE POOL app DEFAULTS SAVE", "RESTORE POOL app DEFAULTS SAVE"},
		{"SAVE", "SAVE"},
	} {
		list, err := parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		d, ok := list[0].(*doing)
		if !ok || len(list) != 1 {
			t.Errorf("%s: parsed as %#v", tt.text, list)
			continue
		}
		if got := d.command.String(); got != tt.want {
			t.Errorf("%s: is %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	for _, tt := range []struct {
		text, code string
		position   int
		message    string
		hint       string
	}{
		{"PASUE", "42601", 1, `syntax error at or near "PASUE"`, "Perhaps you meant PAUSE"},
		{"  INSERT INTO x", "42601", 3, `syntax error at or near "INSERT"`, "not a database"},
		{"SELECT 1 FROM a, b", "42601", 16, `syntax error at or near ","`, "not a database"},
		{"SHOW clients WHERE", "42601", 19, "syntax error at end of input", "SHOW HELP"},
		{"SHOW clients WHERE a =", "42601", 23, "syntax error at end of input", ""},
		{"SHOW clients WHERE (a", "42601", 22, "syntax error at end of input", ""},
		{"SHOW clients LIMIT 1 LIMIT 2", "42601", 22, `syntax error at or near "LIMIT"`, ""},
		{"SHOW clients WHERE ü = 'ö", "42601", 24, "unterminated quoted string", ""},
		{"SHOW clients WHERE \"x", "42601", 20, "unterminated quoted identifier", ""},
		{"/* SHOW", "42601", 1, "unterminated /* comment", ""},
		{"SHOW clients LIMIT 12abc", "42601", 20, "trailing junk after numeric literal", ""},
		{"SHOW clients WHERE a ~ 'x'", "42601", 22, `syntax error at or near "~"`, ""},
		{"KILL IDLE FORM unix", "42601", 11, `syntax error at or near "FORM"`, "Syntax: KILL IDLE [OLDER"},
		{"KILL IDLE DRY RUN DRY RUN", "42601", 19, `syntax error at or near "DRY"`, ""},
		{"KILL IDLE FROM nowhere", "22P02", 16, `"nowhere" is not an address`, ""},
		{"KILL IDLE OLDER THAN ages", "22P02", 22, `invalid duration: "ages"`, "10 min"},
		{"KILL IDLE OLDER THAN -5", "22P02", 22, `invalid duration: "-5"`, ""},
		{"KILL_CLIENT", "42601", 12, "syntax error at end of input", "Syntax: KILL_CLIENT id"},
		{"KILL_CLIENT 99999999999999999999", "22P02", 13, "is not the number of a client", ""},
		{"DISABLE", "42601", 8, "syntax error at end of input", "Syntax: DISABLE database"},
		{"DISABLE ''", "42601", 9, "must not be empty", ""},
		{"PAUSE a b", "42601", 9, `syntax error at or near "b"`, "Syntax: PAUSE [database]"},
		{"START", "42601", 6, "syntax error at end of input", ""},
		{"ALTER TABLE x", "42601", 7, `syntax error at or near "TABLE"`, ""},
		{"ALTER POOL x SET a", "42601", 19, "syntax error at end of input", "Syntax: ALTER POOL"},
		{"SET default_pool_size 5", "42601", 23, `syntax error at or near "5"`, "Syntax: SET key = value"},
		{"SHOW a; SHOW b WHERE ;", "42601", 22, `syntax error at or near ";"`, ""},
		{"SELECT 1::nonsense", "42704", 11, `type "nonsense" does not exist`, ""},
		{"SHOW clients WHERE a = 1e999", "22003", 24, "is out of range", ""},
		{strings.Repeat("SHOW a;", 1001), "54000", 7001, "too many statements", "1000"},
		{"SHOW \xff", "22021", 6, "invalid byte sequence", ""},
		{"SHOW clients WHERE " + strings.Repeat("(", 20000), "54001", 0, "too complex", ""},
		{"SHOW clients WHERE " + strings.Repeat("NOT ", 20000), "54001", 0, "too complex", ""},
		{"SHOW clients WHERE " + strings.Repeat("- ", 20000), "54001", 0, "too complex", ""},
	} {
		_, err := parse(tt.text)
		var fault *Error
		if !errors.As(err, &fault) {
			t.Errorf("%.50s: %v, want an error", tt.text, err)
			continue
		}
		if fault.Code != tt.code || tt.position != 0 && fault.Position != tt.position ||
			!strings.Contains(fault.Message, tt.message) || !strings.Contains(fault.Hint, tt.hint) {
			t.Errorf("%.50s: %+v, want %s at %d, %q, hint %q", tt.text, fault, tt.code, tt.position, tt.message, tt.hint)
		}
	}
}

func TestEmptyTexts(t *testing.T) {
	for _, text := range []string{"", ";", " ;; ", "-- ping", "/* x */ ;"} {
		if list, err := parse(text); err != nil || len(list) != 0 {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "10 min": 10 * time.Minute, "'": -1, "1h30m": 90 * time.Minute, "90": 90 * time.Second,
		"1 day 2 hours": 26 * time.Hour, "1.5 h": 90 * time.Minute, "01:30:00": 90 * time.Minute, "00:00:01.5": 1500 * time.Millisecond,
		"1 day 00:01": 24*time.Hour + time.Minute, "": -1, "min": -1, "10 10": -1, "1..2s": -1, "5 parsecs": -1, "1:2:3:4": -1,
		"99999999999999999999 weeks": -1, "250ms": 250 * time.Millisecond,
	} {
		got, ok := parseDuration(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "00:00:00", 90 * time.Second: "00:01:30", 26 * time.Hour: "1 day 02:00:00", 49*time.Hour + 500*time.Millisecond: "2 days 01:00:00.5",
		-time.Minute: "-00:01:00",
	} {
		if got := string(appendInterval(nil, d)); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	for _, s := range syntaxes {
		if !isCommandWord(strings.Fields(s.command)[0]) || syntaxOf(s.command) == "" {
			t.Errorf("%s is not known", s.command)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"clients", "servers", "pools", "config"}
	for word, want := range map[string]string{"client": "clients", "SEVRERS": "servers", "pool": "pools", "stats": "", "x": ""} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest to %s: %q, want %q", word, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ü €": "plain ü €", "a\tb\n": `a\tb\n`, "\x1b[0m": `\x1b[0m`, "\xff": `\xff`, "\u202e": `\u202e`, "\u00a0": `\xa0`,
		"\U000e0001": `\U000e0001`, "\ufffd": "\ufffd",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// checkError fails unless err has a SQLSTATE and a position within text.
func checkError(t *testing.T, text string, err error) {
	t.Helper()
	var fault *Error
	if !errors.As(err, &fault) {
		t.Fatalf("%q: an error of type %T: %v", text, err, err)
	}
	if len(fault.Code) != 5 || fault.Message == "" || fault.Position < 1 || fault.Position > utf8.RuneCountInString(text)+1 {
		t.Fatalf("%q: %+v", text, fault)
	}
	if !utf8.ValidString(fault.Message) || strings.ContainsAny(fault.Message, "\n\t\x00") {
		t.Fatalf("%q: message %q", text, fault.Message)
	}
}

// seeds are statements of every kind.
var seeds = []string{
	"SHOW clients", "show CLIENTS (id, user) where port > 80 order by id desc nulls last limit 2 offset 1;",
	"SELECT id, \"user\" AS u FROM clients WHERE user LIKE 'a\\_%' OR NOT paused", "SHOW HELP", "SHOW",
	"SHOW clients WHERE connect_time < now() - interval '10 min' AND id IN (1, 2.5, '3')",
	"SELECT 1, 'x'::text AS y, current_setting('server_version_num')::int/100 AS version",
	"SET application_name = 'x'; RESET ALL; DISCARD ALL", "SET default_pool_size = 20", "SHOW ALL",
	"BEGIN; COMMIT", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", "ROLLBACK", "DEALLOCATE ALL",
	"KILL IDLE OLDER THAN 10 min FROM 10.0.0.0/8 APPLICATION 'x' USER y DATABASE z DRY RUN", "KILL_CLIENT 7", "PAUSE app",
	"ALTER POOL app SET a = 1, b TO 'c' SAVE", "STOP POOL app DRAIN 1h30m", "RESTORE POOL x DEFAULTS", "SHUTDOWN WAIT_FOR_CLIENTS",
	"SHOW clients WHERE port BETWEEN 1 AND 100 AND application_name IS NOT NULL AND load <> 1e-3 OR database NOT ILIKE '%X%'",
	"SHOW TRANSACTION ISOLATION LEVEL", "SET TIME ZONE 'UTC'", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
	"SELECT $1::int, now() - connect_time FROM clients LIMIT $2",
}

func FuzzConsoleLine(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parse(text)
		if err != nil {
			checkError(t, text, err)
			return
		}
		for _, st := range list {
			if d, ok := st.(*doing); ok && !isPrintable(d.command.String()) {
				t.Fatalf("%q: canonical form %q", text, d.command)
			}
		}
	})
}
