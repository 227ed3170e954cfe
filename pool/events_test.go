package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/backend"
	"pooler/internal/journal"
)

// The life of a server session is in the journal.
func TestServerSessionsAreInTheJournal(t *testing.T) {
	pg := postgres.Server(t)
	db := pg.CreateDatabase(t)
	g := newRig(t, pg, 1)
	j := journal.New()
	g.SetJournal(j)
	c := g.client(g.config(db, 1), 0)
	l := c.lease()
	c.release(l)
	c.release(c.lease())
	id, pid := uint64(l.Conn.ID), l.Conn.PID
	g.Disconnect("")
	g.eventually("it is closed", func() bool { return len(j.Events()) == 1 && len(j.Establishments()) == 2 })
	e := j.Events()[0]
	if e.Kind != journal.ServerRetired || e.Reason != "killed" || e.Server != id || e.ServerPID != pid || e.Database != db ||
		e.User != c.pool.Key.User || e.Address != l.Conn.Addr.Addr || !strings.HasSuffix(e.Detail, "having been lent 2 times.") {
		t.Errorf("%+v", e)
	}
	opened, closed := j.Establishments()[0], j.Establishments()[1]
	if opened.Side != journal.Server || opened.Action != journal.Connect || opened.Server != id || opened.Database != db || opened.Port != 0 ||
		closed.Action != journal.Close || closed.Server != id || closed.Cause != "killed" || closed.Age <= 0 || closed.Reuses != 1 {
		t.Errorf("%+v, %+v", opened, closed)
	}
}

func TestPostgreSQLsRefusalIsInTheJournal(t *testing.T) {
	pg := postgres.Server(t)
	g := newRig(t, pg, 1)
	j := journal.New()
	g.SetJournal(j)
	c := g.client(g.config("no_such_database", 1), 0)
	c.ask()
	if a := c.answer(); a.err == nil {
		t.Fatalf("%+v", a)
	}
	g.eventually("it is in the journal", func() bool { return len(j.Establishments()) == 1 })
	e := j.Events()[0]
	if e.Kind != journal.ServerRefused || e.Reason != "3D000" || e.Database != "no_such_database" || !strings.Contains(e.Detail, "Clients refused: 1;") {
		t.Errorf("%+v", e)
	}
	if one := j.Establishments()[0]; one.Action != journal.Refuse || one.Side != journal.Server || one.Cause != "3D000" {
		t.Errorf("%+v", one)
	}
}

func TestFaults(t *testing.T) {
	for want, err := range map[string]error{
		"57P03":              &backend.ServerError{Response: &pgproto3.ErrorResponse{Code: "57P03"}},
		"no_password":        backend.ErrNoPassword,
		"timeout":            os.ErrDeadlineExceeded,
		"connection_refused": syscall.ECONNREFUSED,
		"cut_off":            syscall.ECONNRESET,
		"tls":                backend.ErrTLS,
		"unreachable":        syscall.ENETUNREACH,
	} {
		if got := fault(fmt.Errorf("log in: %w", err)); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
	if fault(context.DeadlineExceeded) != "timeout" || fault(errors.New("?")) != "unreachable" {
		t.Error("others")
	}
}
