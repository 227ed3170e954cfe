// Package sessionstate knows what a session holds and owes: effects of statement texts, settings, statements, replies
// owed, pins, and the verdict on whether a server session may leave its client. It is pure: no I/O, no clock.
package sessionstate

import "strings"

// Effect is a set of the things a statement text may do to its session that outlive the transaction.
type Effect uint32

// The effects. What cannot be judged from the text is EffectUnknown; 0 says that the text itself leaves nothing.
// What triggers, column defaults, operators, casts and views of the user's run is not in the text.
const (
	EffectSettings     Effect = 1 << iota // SET, RESET, set_config not literally local, UPDATE of pg_settings
	EffectRole                            // SET ROLE, SET SESSION AUTHORIZATION, their RESET, set_config of either
	EffectPrepare                         // SQL PREPARE, not PREPARE TRANSACTION
	EffectHoldCursor                      // DECLARE … WITH HOLD
	EffectTemp                            // a temporary object that outlives its transaction, or a mention of pg_temp
	EffectAdvisoryLock                    // session advisory locks taken or given back
	EffectListen                          // LISTEN
	EffectSequence                        // nextval or setval, which define currval and lastval
	EffectSeed                            // setseed, SET SEED, also with LOCAL: no rollback undoes it
	EffectLoad                            // LOAD
	EffectForeign                         // dblink, postgres_fdw, replication origins and slots, base backups: no DISCARD ends it
	EffectUnknown                         // calls outside the known-harmless ones, DO, CALL, text not understood
	EffectDeallocate                      // DEALLOCATE
	EffectDiscard                         // DISCARD
	EffectClose                           // CLOSE of a SQL cursor
	EffectUnlisten                        // UNLISTEN
	EffectExecute                         // SQL EXECUTE; what it runs is the prepared statement's effect
	EffectReset                           // RESET, SET … TO DEFAULT, set_config to NULL: back to a default, which is the client's own
	EffectSequenceRead                    // currval or lastval
	EffectInsert                          // INSERT, MERGE, COPY: defaults may call nextval
	EffectDefaults                        // ALTER ROLE, DATABASE or SYSTEM, CREATE FUNCTION cpool_state…: what new sessions begin with may change
	EffectNeighbours                      // CREATE, DROP or ALTER of a database, DROP of a role: idle sessions may be in the way
	EffectShowPrepared                    // mentions pg_prepared_statements
)

// CallbackSchema is where functions are that the pooler calls when a client gets and releases a server session.
const CallbackSchema = "cpool_state"

var effectNames = [...]string{
	"settings", "role", "prepare", "hold_cursor", "temp", "advisory_lock", "listen", "sequence", "seed", "load",
	"foreign", "unknown", "deallocate", "discard", "close", "unlisten", "execute",
	"reset", "sequence_read", "insert", "defaults", "neighbours", "show_prepared",
}

// String lists the effects, "none" if there is none.
func (e Effect) String() string {
	if e == 0 {
		return "none"
	}
	var names []string
	for i, name := range effectNames {
		if e&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Scan returns the effects of a text that is at hand whole. standardStrings is the session's
// standard_conforming_strings at the time the server parses the text.
func Scan(text []byte, standardStrings bool) Effect {
	var s Scanner
	s.Reset(standardStrings)
	s.Write(text)
	s.finish()
	return s.effects
}
