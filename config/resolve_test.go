package config

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// What a client gets comes from the narrowest place that says something: its own choice, a rule, its class, its user, its
// database, the top level.
func TestSessionPrecedence(t *testing.T) {
	c := mustParse(t, `
pool_boundary = "transaction"
pool_connection_class = "top"
client_idle_timeout = 1
query_timeout = 1
transaction_timeout = 1
max_think_time = 1
query_wait_notify = 9
on_get = "top"
on_release = "top"
state_policy = { listen = "error" }
max_client_conn = 100
max_db_client_connections = 1
max_user_client_connections = 1
max_class_client_connections = 1
max_source_client_connections = 8
max_application_client_connections = 9

[databases."*"]

[databases.app]
pool_connection_class = "database"
pool_purity = "new"
client_idle_timeout = 2
query_timeout = 2
transaction_timeout = 2
idle_transaction_timeout = 20
on_get = "database"
state_policy = { temporary = "discard" }
max_db_client_connections = 0

[users.alice]
pool_connection_class = "user"
pool_purity = "self"
client_idle_timeout = 3
query_timeout = 3
on_get = "user"
hook_failure = "ignore"
state_check = "strict"
reaper_exempt = true
max_user_client_connections = 3

[classes.user]
client_idle_timeout = 4
on_get = ""
pool_boundary = "session"
max_class_client_connections = 4
reaper_exempt = false

[classes.chosen]
state_check = "off"

[[rules]]
application_name = "ruled"
pool_connection_class = "ruled"
pool_purity = "new"
pool_boundary = "statement"
`)
	const second = time.Second
	tests := []struct {
		name  string
		who   Client
		check func(s Session) bool
	}{
		{"the top level holds where nothing else is said", Client{Database: "other", User: "bob"}, func(s Session) bool {
			return s.Class == "top" && s.Purity == PuritySelf && s.Boundary == BoundaryTransaction && s.IdleTimeout == second &&
				s.QueryTimeout == second && s.TransactionTimeout == second && s.MaxThinkTime == second && s.QueryWaitNotify == 9*second &&
				s.LoginTimeout == 60*second && s.QueryWaitTimeout == 120*second && s.OnGet == "top" && s.OnRelease == "top" &&
				s.HookFailure == HookRetire && s.StateCheck == CheckAuto && !s.ReaperExempt &&
				s.Limits == ClientLimits{All: 100, Database: 1, User: 1, Class: 1, Source: 8, Application: 9}
		}},
		{"the database wins over the top level", Client{Database: "app", User: "bob"}, func(s Session) bool {
			return s.Class == "database" && s.Purity == PurityNew && s.Boundary == BoundaryTransaction && s.IdleTimeout == 2*second &&
				s.OnGet == "database" && s.OnRelease == "top" && s.Limits.Database == 0 && s.Limits.User == 1
		}},
		{"the user wins over the database, its class over the user", Client{Database: "app", User: "alice"}, func(s Session) bool {
			return s.Class == "user" && s.Purity == PuritySelf && s.Boundary == BoundarySession && s.IdleTimeout == 4*second &&
				s.QueryTimeout == 3*second && s.TransactionTimeout == 2*second && s.HookFailure == HookIgnore && s.StateCheck == CheckStrict &&
				s.Limits.User == 3 && s.Limits.Class == 4
		}},
		{"an empty hook and a plain false win as any other value", Client{Database: "app", User: "alice"}, func(s Session) bool {
			return s.OnGet == "" && s.OnRelease == "top" && !s.ReaperExempt
		}},
		{"the class need not have a table", Client{Database: "app", User: "alice", Class: "elsewhere"}, func(s Session) bool {
			return s.Class == "elsewhere" && s.Boundary == BoundaryTransaction && s.IdleTimeout == 3*second && s.ReaperExempt && s.Limits.Class == 1
		}},
		{"a rule wins over class and user", Client{Database: "app", User: "alice", Application: "ruled"}, func(s Session) bool {
			return s.Class == "ruled" && s.Purity == PurityNew && s.Boundary == BoundaryStatement
		}},
		{"the client wins over a rule", Client{"app", "alice", "ruled", addr("10.0.0.1"), "chosen", PuritySelf, BoundarySession}, func(s Session) bool {
			return s.Class == "chosen" && s.Purity == PuritySelf && s.Boundary == BoundarySession && s.StateCheck == CheckOff
		}},
		{"what a rule leaves out is the class's", Client{Database: "app", User: "alice", Application: "ruled", Class: "user"}, func(s Session) bool {
			return s.Class == "user" && s.Boundary == BoundaryStatement && s.IdleTimeout == 4*second
		}},
		{"a policy is inherited by its kinds", Client{Database: "app", User: "bob"}, func(s Session) bool {
			return s.StatePolicy[StateListen] == PolicyError && s.StatePolicy[StateTemporary] == PolicyDiscard && s.StatePolicy[StateRole] == PolicyCarry
		}},
		{"idle_transaction_timeout is max_think_time unless it is set", Client{Database: "other", User: "bob"}, func(s Session) bool {
			return s.IdleTransactionTimeout == second
		}},
		{"idle_transaction_timeout wins where it is set", Client{Database: "app", User: "bob"}, func(s Session) bool {
			return s.IdleTransactionTimeout == 20*second
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s := c.Session(tt.who); !tt.check(s) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// No key of Narrow is forgotten on its way to the session.
func TestEveryNarrowKeyReachesTheSession(t *testing.T) {
	values := map[string]string{
		"pool_boundary": `"session"`, "pool_purity": `"new"`, "on_get": `"SELECT 1"`, "on_release": `"SELECT 1"`, "hook_failure": `"error"`,
		"state_check": `"off"`, "state_policy": `{ listen = "error" }`, "reaper_exempt": `true`,
	}
	who := Client{Database: "app", User: "alice", Class: "batch"}
	plain := mustParse(t, "[databases.app]").Session(who)
	for _, f := range fieldsOf(reflect.TypeFor[Narrow]()) {
		for _, table := range []string{"databases.app", "users.alice", "classes.batch", ""} {
			set := fmt.Sprintf("%s = %s\n", f.key, orElse(values[f.key], "77"))
			text := fmt.Sprintf("[databases.app]\n[%s]\n%s", table, set)
			switch {
			case table == "databases.app":
				text = "[databases.app]\n" + set
			case table == "" && f.key == "reaper_exempt": // only for tables
				continue
			case table == "":
				text = set + "[databases.app]\n"
			}
			if mustParse(t, text).Session(who) == plain {
				t.Errorf("%s in [%s] changes nothing", f.key, table)
			}
		}
	}
}
