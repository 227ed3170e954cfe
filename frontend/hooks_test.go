package frontend

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

// grLog is a database whose callbacks, or hooks, note each get (G) and release (R) of a server session.
const grLog = boundaryGround + `; CREATE TABLE gr_log (id serial, event text, service text, class text);
	GRANT ALL ON gr_log, gr_log_id_seq TO PUBLIC;
	CREATE FUNCTION note(event text, service text, class text) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.gr_log (event, service, class) VALUES ($1, $2, $3) $$;`

const callbacks = `CREATE SCHEMA cpool_state;
	CREATE FUNCTION cpool_state.get_callback(service text, connection_class text) RETURNS void LANGUAGE sql AS
		$$ SELECT public.note('G', $1, $2) $$;
	CREATE FUNCTION cpool_state.rls_callback(service text, connection_class text) RETURNS void LANGUAGE sql AS
		$$ SELECT public.note('R', $1, $2) $$;
	GRANT USAGE ON SCHEMA cpool_state TO PUBLIC;`

func grDatabase(t *testing.T, sql string) string {
	t.Helper()
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	if _, err := pg.Exec(t.Context(), db, sql); err != nil {
		t.Fatal(err)
	}
	return db
}

// events returns the log, as "GRGR", and empties it.
func events(t *testing.T, db string) string {
	t.Helper()
	rows, err := postgres.Server(t).Exec(context.Background(), db, "SELECT coalesce(string_agg(event, '' ORDER BY id), '') FROM gr_log")
	if err == nil {
		_, err = postgres.Server(t).Exec(context.Background(), db, "DELETE FROM gr_log")
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows[0][0]
}

// Oracle observes implicit pooling by callbacks that note gets and releases; so do these, by functions of the database
// and by SQL of the configuration.
func TestHooksSeeEachGetAndRelease(t *testing.T) {
	for _, by := range []struct{ name, extra, toml string }{
		{"callbacks", callbacks, ""},
		{"on_get, on_release", "", `on_get = "SELECT public.note('G', '', '')"
			on_release = "SELECT public.note('R', '', '')"`},
		{"answers are waited for", "", `on_get = "SELECT public.note('G', '', '')"
			on_release = "SELECT public.note('R', '', '')"
			hook_failure = "error"`},
	} {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			db := grDatabase(t, grLog+by.extra)
			for i, tc := range boundaryCases() {
				t.Run(tc.name, func(t *testing.T) { playHooked(t, db, by.toml, tc.steps, i%2 == 0) })
			}
		})
	}
}

// playHooked plays the steps of a boundary case and compares what the hooks see with what is expected.
func playHooked(t *testing.T, db, toml string, steps []lend, politely bool) {
	t.Helper()
	p := startPooler(t, toml)
	c := newRaw(t, p, db)
	back := func() bool {
		s := onlyPool(t, p)
		return s.Active+s.Reclaiming == 0
	}
	held := false
	for i, step := range steps {
		c.send(step.send...)
		c.answer()
		if strings.HasSuffix(step.want, "R") {
			eventually(t, patience, "the server session is given back", back)
		}
		if got := events(t, db); got != step.want {
			t.Errorf("step %d: %q was seen, want %q", i+1, got, step.want)
		}
		held = step.want == "G" || held && step.want == ""
	}
	if politely {
		c.send(&pgproto3.Terminate{})
	}
	_ = c.nc.Close()
	eventually(t, patience, "the server session is back", back)
	if got := events(t, db); (got == "R") != held {
		t.Errorf("at the end: %q was seen; the server session was held: %v", got, held)
	}
}

func TestCallbacksAreToldServiceAndClass(t *testing.T) {
	t.Parallel()
	db := grDatabase(t, grLog+callbacks)
	p := startPooler(t, "")
	c := newRaw(t, p, db, "pool_connection_class", "web-1")
	c.query("SELECT 1")
	eventually(t, patience, "the server session is back", func() bool { return onlyPool(t, p).Active == 0 })
	rows, err := postgres.Server(t).Exec(t.Context(), db, "SELECT event, service, class FROM gr_log ORDER BY id")
	if want := fmt.Sprint([][]string{{"G", db, "web-1"}, {"R", db, "web-1"}}); err != nil || fmt.Sprint(rows) != want {
		t.Errorf("got %v (%v), want %s", rows, err, want)
	}
}

// A release is seen also when the server session is closed because nothing clears what the client has left.
func TestOnReleaseRunsBeforeAServerSessionIsClosed(t *testing.T) {
	t.Parallel()
	db := grDatabase(t, grLog+callbacks)
	p := startPooler(t, "")
	c := newRaw(t, p, db)
	c.query("SELECT setseed(0.5)")
	_ = c.nc.Close()
	eventually(t, patience, "the server session is closed", func() bool { return retired(p, "unresettable_state") == 1 })
	if got := events(t, db); got != "GR" {
		t.Errorf("%q was seen, want GR", got)
	}
}

// A function that anybody could have put there must not be run in others' names.
func TestStrangersCallbacksAreNotCalled(t *testing.T) {
	t.Parallel()
	db := grDatabase(t, grLog+callbacks+`CREATE ROLE gr_stranger; ALTER FUNCTION cpool_state.get_callback OWNER TO gr_stranger;
		ALTER FUNCTION cpool_state.rls_callback OWNER TO gr_stranger`)
	t.Cleanup(func() {
		_, _ = postgres.Server(t).Exec(context.Background(), db, "DROP OWNED BY gr_stranger; DROP ROLE gr_stranger")
	})
	p := startPooler(t, "")
	c := newRaw(t, p, db)
	c.query("SELECT 1")
	if got := events(t, db); got != "" {
		t.Errorf("%q was called", got)
	}
}

// A client that makes the callbacks need not wait until its server sessions are replaced.
func TestCallbacksMadeThroughThePoolerAreCalled(t *testing.T) {
	t.Parallel()
	db := grDatabase(t, grLog)
	p := startPooler(t, "")
	c := newRaw(t, p, db)
	for _, sql := range strings.SplitAfter(callbacks, "$$;") {
		if a := c.query(sql); a.Errors > 0 {
			t.Fatal(a.Message)
		}
	}
	eventually(t, patience, "the callbacks are called", func() bool {
		c.query("SELECT 1")
		return strings.Contains(events(t, db), "G")
	})
}

func TestAHookThatFails(t *testing.T) {
	db := grDatabase(t, grLog)
	for policy, tc := range map[string]struct {
		answer string
		same   bool // the server session serves again
	}{
		"ignore": {"1", true}, "retire": {"1", false}, "error": {"38000", false},
	} {
		for _, hook := range []string{"on_get", "on_release"} {
			t.Run(policy+"/"+hook, func(t *testing.T) {
				t.Parallel()
				p := startPooler(t, fmt.Sprintf("%s = \"SELECT 1/0\"\nhook_failure = %q", hook, policy))
				c := newRaw(t, p, db)
				want, same := tc.answer, tc.same
				if hook == "on_release" {
					want = "1"
				}
				for range 2 {
					if got := c.query("SELECT 1").only(); !strings.Contains(got, want) {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				eventually(t, patience, "the server session is back or closed", func() bool { return onlyPool(t, p).Active+onlyPool(t, p).Closing == 0 })
				opened := onlyPool(t, p).Opened
				if same && opened != 1 || !same && opened < 2 {
					t.Errorf("%d server sessions were opened; want the same one again: %v", opened, same)
				}
				if !strings.Contains(p.Log.String(), "a hook has failed") {
					t.Error("the log says nothing of it")
				}
			})
		}
	}
}

// What on_get sets is in force for the client's statement, wherever it runs, and for nobody without the hook.
func TestWhatOnGetSetsIsItsClients(t *testing.T) {
	t.Parallel()
	db := grDatabase(t, grLog)
	p := startPooler(t, "default_pool_size = 1\n[classes.tenant]\non_get = \"SET app.tenant = 'blue'\"")
	with, without := newRaw(t, p, db, "pool_connection_class", "tenant"), newRaw(t, p, db)
	for range 3 {
		if got := with.query("SELECT current_setting('app.tenant')").only(); got != "blue" {
			t.Errorf("with the hook: %q", got)
		}
		if got := without.query("SELECT coalesce(nullif(current_setting('app.tenant', true), ''), 'none')").only(); got != "none" {
			t.Errorf("without: %q", got)
		}
	}
}

func TestHooksThatWouldGetInTheWayAreRefused(t *testing.T) {
	for hook, sql := range map[string]string{
		"on_get": "DISCARD ALL", "on_release": "SET search_path = x", "classes.a.on_get": "BEGIN",
		"users.u.on_release": "SELECT 1; COMMIT", "databases.d.on_get": "RESET ALL",
	} {
		key := hook[strings.LastIndex(hook, ".")+1:]
		table := strings.TrimSuffix(strings.TrimSuffix(hook, key), ".")
		toml := fmt.Sprintf("%s = %q\n", key, sql)
		if table != "" {
			toml = "[" + table + "]\n" + toml
		}
		_, err := config.Parse("t.toml", []byte(testTOML("127.0.0.1", 1, toml)), CheckHooks)
		if err == nil || !strings.Contains(err.Error(), ": "+hook+": must not") {
			t.Errorf("%s = %q: %v", hook, sql, err)
		}
	}
}
