package frontend

// Phase is where a session stands. Only Session.enter changes it, so what is logged, counted and done cannot
// disagree. The allowed steps are in phaseNext.
type Phase uint8

// The phases.
const (
	PhaseLogin   Phase = iota // authenticated; settles its start-up parameters with a server session
	PhaseIdle                 // holds no lease
	PhaseWaiting              // has a request, or a login to finish, and waits for a lease
	PhaseActive               // holds a lease; bytes flow both ways
	PhaseClosed               // terminal
	phases
)

var phaseNames = [phases]string{"login", "idle", "waiting", "active", "closed"}

func (p Phase) String() string { return phaseNames[p] }

// phaseNext is the steps a session may take.
var phaseNext = [phases][]Phase{
	PhaseLogin:   {PhaseWaiting, PhaseActive, PhaseIdle, PhaseClosed},
	PhaseIdle:    {PhaseWaiting, PhaseActive, PhaseClosed},
	PhaseWaiting: {PhaseActive, PhaseIdle, PhaseClosed},
	PhaseActive:  {PhaseIdle, PhaseClosed},
	PhaseClosed:  {},
}

func (p Phase) mayBecome(next Phase) bool {
	for _, n := range phaseNext[p] {
		if n == next {
			return true
		}
	}
	return false
}

// EndReason says why a session ended. It is a log value and a metric label.
type EndReason uint8

// The reasons.
const (
	EndTerminate          EndReason = iota // the client said goodbye
	EndClientGone                          // the client disappeared
	EndServerLost                          // its server session was lost while the client depended on it
	EndProtocol                            // the client broke the protocol
	EndRefused                             // the login could not be completed
	EndShutdown                            // the pooler is stopping
	EndPanic                               // a bug
	EndQueryTimeout                        // its statement went on after it was cancelled because of that limit
	EndTransactionTimeout                  // limits on time, by their configuration keys
	EndIdleTransactionTimeout
	EndMaxThinkTime
	EndClientIdleTimeout
	EndReaped // it was idle while there were more clients than reaper_client_threshold
	EndKilled // an administrator ended it
	endReasons
)

var endNames = [endReasons]string{
	"client_terminated", "client_gone", "server_lost", "protocol_violation", "refused", "shutdown", "panic",
	"query_timeout", "transaction_timeout", "idle_transaction_timeout", "max_think_time", "client_idle_timeout", "reaped", "killed",
}

func (r EndReason) String() string { return endNames[r] }
