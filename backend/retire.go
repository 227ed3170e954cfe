package backend

// RetireReason says why a server session must not be lent again. It is a log value and a metric label.
type RetireReason uint8

// The reasons.
const (
	NotRetired           RetireReason = iota
	RetireLost                        // the connection to PostgreSQL broke or was closed by it
	RetireDesync                      // the server said something that was not owed
	RetireLifetime                    // older than server_lifetime
	RetireIdle                        // unused for server_idle_timeout
	RetireUnresettable                // carries state that DISCARD ALL does not clear
	RetireMidMessage                  // its client went away in the middle of a message
	RetireUncleanable                 // ROLLBACK or DISCARD ALL failed or took too long
	RetireCarryFailed                 // a client's settings could not be put in force
	RetireCancelUnsure                // a cancel sent for it was not confirmed in time
	RetireReconfigured                // the configuration of its database changed
	RetireShutdown                    // the pooler is stopping
	RetireInTheWay                    // it kept a statement like DROP DATABASE from working
	RetireForeignSetting              // a client asks for a parameter that exists on it for others only
	RetireLeak                        // state of unknown origin was found on it
	RetireUses                        // lent max_use_session times
	RetirePurity                      // used, and pool_purity = new wants one that is not
	RetireCeded                       // given up for another pool under the same limit
	RetireReaped                      // there were more server sessions than reaper_server_threshold
	RetireHook                        // on_get, on_release or a state callback failed
	RetirePanic                       // a bug ended the session that held it
	RetirePaused                      // an administrator has paused its database
	RetireStopped                     // an administrator has stopped its pool
	RetireKilled                      // an administrator has closed it
	retireReasons
)

var retireNames = [retireReasons]string{
	"", "lost", "desync", "lifetime", "idle", "unresettable_state", "client_gone_mid_message", "clean_failed",
	"carry_failed", "cancel_unconfirmed", "reconfigured", "shutdown", "in_the_way", "foreign_setting", "leak", "uses", "purity",
	"ceded", "reaped", "hook_failed", "panic", "paused", "stopped", "killed",
}

// String is the reason as logs and metrics show it.
func (r RetireReason) String() string { return retireNames[r] }

// RetireReasons lists every reason, for metrics that show zeros too.
func RetireReasons() []RetireReason {
	all := make([]RetireReason, 0, retireReasons)
	for r := RetireLost; r < retireReasons; r++ {
		all = append(all, r)
	}
	return all
}
