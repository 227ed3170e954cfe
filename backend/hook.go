package backend

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/internal/sessionstate"
)

// Callbacks says which of the functions of schema cpool_state there are for the pooler to call.
type Callbacks struct{ Get, Release bool }

// findCallbacks looks for functions that belong to somebody who may do as he likes with the session anyway: the user
// himself, the database's owner, a superuser. Others' must not be run in his name.
const findCallbacks = `SELECT p.proname FROM pg_catalog.pg_proc p
 JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 WHERE n.nspname OPERATOR(pg_catalog.=) '` + sessionstate.CallbackSchema + `' AND p.proname IN ('get_callback', 'rls_callback')
 AND p.proargtypes OPERATOR(pg_catalog.=) '25 25'::pg_catalog.oidvector AND p.prokind OPERATOR(pg_catalog.=) 'f'
 AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) p.proowner AND (r.rolsuper
  OR r.rolname OPERATOR(pg_catalog.=) session_user
  OR EXISTS (SELECT FROM pg_catalog.pg_database d
   WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND d.datdba OPERATOR(pg_catalog.=) r.oid)))`

// askCallbacks asks a server session that has just been opened. One that does not know is without.
func (g *login) askCallbacks() error {
	g.server.Send(&pgproto3.Query{String: findCallbacks})
	if err := g.server.Flush(); err != nil {
		return err
	}
	for {
		msg, err := g.receive()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if len(msg.Values) == 1 {
				name := string(msg.Values[0])
				found := &g.conn.Callbacks
				found.Get = found.Get || name == "get_callback"
				found.Release = found.Release || name == "rls_callback"
			}
		case *pgproto3.ReadyForQuery:
			return nil
		}
	}
}

// hookRan is called when a hook of the pooler's has ended.
func (c *Conn) hookRan() {
	fault := c.hookFault
	c.hookFault = ""
	if fault == "" && c.status != 'I' {
		fault = "it has left a transaction open"
	}
	switch {
	case c.borrower != nil:
		c.borrower.OnHook(fault)
	case fault != "" && c.reclaim.active:
		c.keeper.HookFailed(fault)
		c.reclaim.hookFailed = c.reclaim.hookBad
	}
}
