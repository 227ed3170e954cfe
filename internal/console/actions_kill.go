package console

import (
	"math"
	"strconv"

	"pooler/frontend"
)

// kill drops all clients and server sessions of a database, which is paused as with PgBouncer: new clients wait until
// RESUME.
func (a *action) kill(database string) error {
	if err := a.exists(database); err != nil {
		return err
	}
	if a.clients.Suspended() || a.pools.Orders("").Paused {
		return inNoState("already suspended/paused").withHint("RESUME ends it.")
	}
	a.pools.Pause(database)
	n := a.clients.KillDatabase(database, a.by)
	a.pools.Disconnect(database)
	a.notice("clients ended: "+strconv.Itoa(n)+"; new ones wait", "RESUME lets them work.")
	return nil
}

func (a *action) killClient(id uint64) error {
	if id <= math.MaxUint32 {
		if of := frontend.SessionID(id); a.clients.Kill(of, a.by) || a.clients.KillConsole(of, a.by) {
			return nil
		}
	}
	return &Error{Code: codeUndefinedObject, Message: "there is no client " + strconv.FormatUint(id, 10), Hint: "SHOW CLIENTS shows their ids."}
}

func (a *action) killIdle(c KillIdle) Result {
	victims := a.clients.KillIdle(frontend.IdleCriteria{
		OlderThan: c.OlderThan, From: c.From, Unix: c.Unix, Application: c.Application, User: c.User, Database: c.Database,
	}, c.DryRun, a.by)
	rows := make([][]any, 0, len(victims))
	for _, v := range victims {
		rows = append(rows, []any{
			int64(v.ID), v.Database, v.User, v.Application, address(v.Remote), math.Round(v.Idle.Seconds()*10) / 10, some(v.Kept), !c.DryRun,
		})
	}
	return Result{Rows: rows}
}
