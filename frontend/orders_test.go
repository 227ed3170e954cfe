package frontend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestDisabledAndStoppedPools(t *testing.T) {
	t.Parallel()
	p := startPooler(t, `log_level = "info"`)
	pg := postgres.Server(t)
	db, other := pg.CreateDatabase(t), pg.CreateDatabase(t)
	stays := newRaw(t, p, db)
	told := func(db, words, hint string) {
		t.Helper()
		_, err := pgconn.Connect(t.Context(), p.dsn(db, ""))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Severity != "FATAL" || refused.Code != "57P03" ||
			!strings.Contains(refused.Message, words) || !strings.Contains(refused.Hint, hint) {
			t.Errorf("it was told %v", err)
		}
	}
	p.Pools.Disable(db)
	told(db, "database \""+db+"\" is disabled", "ENABLE")
	stays.ask("SELECT 'goes on'", "goes on")
	newRaw(t, p, other).ask("SELECT 'here'", "here")
	p.Pools.Enable(db)
	newRaw(t, p, db).ask("SELECT 'here'", "here")

	inside := newRaw(t, p, db)
	inside.query("BEGIN")
	p.Pools.Stop(db)
	told(db, "stopped", "START POOL")
	a := stays.query("SELECT 1")
	if a.Severity != "ERROR" || a.Code != "57P03" || a.Status != 'I' {
		t.Errorf("one that is connected: %+v", a)
	}
	a = stays.play(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if a.Code != "57P03" || a.Errors != 1 || a.Status != 'I' {
		t.Errorf("with the extended protocol: %+v", a)
	}
	inside.ask("SELECT 'goes on'", "goes on")
	if a := inside.query("COMMIT"); a.Errors != 0 {
		t.Errorf("its transaction: %+v", a)
	}
	inside.refused(inside.query("SELECT 1"), "57P03")
	p.Pools.Start(db)
	stays.ask("SELECT 'goes on'", "goes on")
	inside.ask("SELECT 'goes on'", "goes on")
	newRaw(t, p, db).ask("SELECT 'here'", "here")
}

func TestClientsOfAPausedDatabaseWait(t *testing.T) {
	t.Parallel()
	p := startPooler(t, `query_wait_notify = "200ms"`, `query_wait_timeout = "300ms"`)
	db := postgres.Server(t).CreateDatabase(t)
	c := newRaw(t, p, db)
	p.Pools.Pause(db)
	known := newRaw(t, p, db) // it is known what PostgreSQL would report to it
	c.send(&pgproto3.Query{String: "SELECT 'late'"})
	fresh := make(chan error, 1)
	go func() {
		conn, err := pgconn.Connect(context.Background(), p.dsn(db, "&application_name=fresh"))
		if err == nil {
			err = conn.Close(context.Background())
		}
		fresh <- err
	}()
	<-time.After(600 * time.Millisecond)
	select {
	case err := <-fresh:
		t.Errorf("a login that needs PostgreSQL: %v", err)
	default:
	}
	p.Pools.Resume(db)
	a := c.answer()
	if a.only() != "late" || len(a.Notices) != 1 || !strings.Contains(a.Notices[0], "an administrator has paused the database") {
		t.Errorf("it was answered %+v", a)
	}
	if err := <-fresh; err != nil {
		t.Errorf("the login: %v", err)
	}
	known.ask("SELECT 'here'", "here")
}
