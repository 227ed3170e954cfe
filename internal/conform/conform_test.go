package conform

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

var postgres pgtest.Shared

func TestMain(m *testing.M) { pgtest.Main(m, &postgres) }

func options(t *testing.T, only string) Options {
	pg := postgres.Server(t)
	dsn := pg.DSN(pg.CreateDatabase(t))
	return Options{Direct: dsn, Through: dsn, Patience: DefaultTimeout, Timeout: DefaultTimeout, Only: regexp.MustCompile(only)}
}

// Two direct connections keep everything and leak nothing, so that a row which says otherwise is wrong itself.
func TestDirectAgainstDirectIsRight(t *testing.T) {
	t.Parallel()
	parts, rows := []string{"autocommit$", "COMMIT$|ROLLBACK$", "TO$|error in pipeline$|left open$|disconnect$|killed"}, 0
	if testing.Short() {
		parts = []string{"extended / autocommit$"}
	}
	t.Run("all", func(t *testing.T) {
		for _, part := range parts {
			rows += len(Cases(regexp.MustCompile(part)))
			t.Run(part, func(t *testing.T) {
				t.Parallel()
				rightOf(t, part)
			})
		}
	})
	if all := len(Cases(nil)); rows != all && !testing.Short() {
		t.Errorf("played %d rows of %d", rows, all)
	}
}

func rightOf(t *testing.T, only string) {
	o := options(t, only)
	report, err := Run(t.Context(), o, func(r Result) {
		if !r.OK() || r.Pinned || r.Kept == Told || strings.HasPrefix(r.Note, "needs") {
			t.Errorf("%s: kept %s, leaked %s, pinned %v: %s", r.Case, r.Kept, r.Leaked, r.Pinned, r.Note)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Error(report.Summary)
	}
	leftovers(t, o)
}

// leftovers finds what a run should have dropped.
func leftovers(t *testing.T, o Options) {
	t.Helper()
	const objects = `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'conform%' UNION ALL
		SELECT oid::text FROM pg_largeobject_metadata`
	pg := postgres.Server(t)
	database := o.Direct[strings.LastIndex(o.Direct, "/")+1 : strings.Index(o.Direct, "?")]
	rows, err := pg.Exec(t.Context(), database, objects)
	if err != nil || len(rows) > 0 {
		t.Errorf("left in the database: %v (%v)", rows, err)
	}
}

// harmless are the kinds of state that are gone by themselves when a client's turn ends, so that a pooler need not do
// anything about them.
var harmless = []string{
	"set_config, local", "missing statement (26000)", "temporary table, ON COMMIT DROP", "temporary table, dropped", "DISCARD ALL, objects",
	"session advisory lock, unlocked", "session advisory lock, unlock_all", "LISTEN taken back",
}

// A pooler that does everything wrong fails in every other kind of state: no row is right whatever happens.
func TestALeakyPoolerIsFoundOut(t *testing.T) {
	t.Parallel()
	o := options(t, "extended / autocommit$|simple / (left open|killed in transaction)$|(taken back|a savepoint) / simple")
	o.Through = startLeaky(t, o.Direct)
	o.Patience, o.Timeout = 100*time.Millisecond, time.Second
	failed := map[string]bool{}
	report, err := Run(t.Context(), o, func(r Result) { failed[r.State] = failed[r.State] || !r.OK() })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Cases(nil) {
		if failed[c.State] == slices.Contains(harmless, c.State) {
			t.Errorf("%s: failed: %v", c.State, failed[c.State])
		}
	}
	var table bytes.Buffer
	if err := report.Table(&table); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
	leftovers(t, o)
}
