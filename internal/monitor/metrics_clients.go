package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"pooler/frontend"
)

var (
	buildInfo     = desc("build_info", "Always 1; the label tells the version of the pooler.", "version")
	panics        = desc("panics_total", "Bugs, each of which ended one client's session.")
	eventsNoted   = desc("events_total", "What the pooler did to clients and server sessions, by kind (SHOW EVENTS).", "kind")
	leaksNow      = desc("leaks_suspected", "Clients and sources that look like leaks now, by kind (SHOW LEAKS).", "kind")
	leakReports   = desc("leak_reports_total", "Clients and sources that have come to look like leaks, by kind.", "kind")
	receivedBytes = desc("client_received_bytes_total", "Bytes that clients have sent.", "database")
	sentBytes     = desc("client_sent_bytes_total", "Bytes that PostgreSQL has sent to clients.", "database")
	reuses        = desc("lease_reuses_total", "Server sessions lent that another client had used before.", "database")

	clientsConnected  = desc("client_connections", "Clients connected, logged in or not.")
	clientsMost       = desc("client_connections_limit", "Limit on clients (max_client_conn).")
	clientSessions    = desc("client_sessions", "Clients logged in, by what they do.", "state")
	clientsAccepted   = desc("client_connections_accepted_total", "Connections accepted from clients.")
	clientsTurnedAway = desc("client_connections_turned_away_total", "Connections closed before they had logged in because far more than max_client_conn were open.")
	clientsMalformed  = desc("client_connections_malformed_total", "Connections that did not speak PostgreSQL's protocol.")
	sessionEnds       = desc("client_sessions_ended_total", "Sessions of clients ended, by reason.", "reason")
	peersLost         = desc("peers_lost_total", "Connections that came to an end without a goodbye, by whose and by how that was noticed.", "side", "noticed")
	requestsRefused   = desc("requests_refused_total", "Requests answered with an error because no server session was to be had.")
	queryTimeouts     = desc("query_timeouts_total", "Statements cancelled because of query_timeout.")
	cancels           = desc("cancel_requests_total", "Cancel requests, by whether their key was right; ignored: not looked at, since too many from there had a wrong one.", "state")
	certificateEnds   = desc("tls_certificate_expiry_timestamp_seconds", "When the certificate expires that clients are shown.")

	logins         = desc("logins_total", "Logins completed.")
	loginsRefused  = desc("logins_refused_total", "Logins refused: wrong password, no such database, no room.")
	refusedByLimit = desc("clients_refused_total", "Logins refused because a limit on clients was reached, by limit.", "limit")
	loginsBy       = desc("login_attempts_total", "Logins, by how clients had to prove who they are and by what became of it.", "method", "result")
	loginTimeouts  = desc("login_timeouts_total", "Logins not completed within client_login_timeout.")
	serverLogins   = desc("server_logins", "Logins of the pooler to PostgreSQL, under way or waiting for their turn.", "state")

	carries      = desc("settings_carried_total", "Times that a client's settings were put in force on another server session.")
	prepares     = desc("statements_prepared_again_total", "Times that a client's statement was prepared on another server session.")
	audits       = desc("state_audits_total", "Times that PostgreSQL was asked what a session holds.")
	hidden       = desc("hidden_state_total", "Times that a statement left state which its text does not show.")
	leaks        = desc("leaks_total", "Leaks contained: times that state of unknown origin was found on a server session, which was replaced.")
	pins         = desc("pins_total", "Times that a server session was pinned to its client.")
	pinned       = desc("pinned_sessions", "Clients whose server session is pinned to them, by reason; with several reasons, under each.", "reason")
	pinnedTime   = desc("pinned_seconds_total", "Time for which server sessions have been pinned, by reason; with several reasons, under each.", "reason")
	pinnedRatio  = desc("pinned_ratio", "Share of the server sessions held by clients that are pinned to them, 0 to 1.")
	hookFailures = desc("hook_failures_total", "Calls of on_get, on_release or state callbacks that failed.")
)

func (c *collector) collectProcess(out chan<- prometheus.Metric) {
	gauge(out, buildInfo, 1, c.extras.Version)
	var sum uint64
	for _, l := range c.loops {
		sum += l.Panics()
	}
	counter(out, panics, sum)
	if c.extras.Events != nil {
		counters(out, eventsNoted, c.extras.Events())
	}
	if c.extras.Leaks != nil {
		s := c.extras.Leaks()
		gauges(out, leaksNow, s.Now)
		counters(out, leakReports, s.Found)
	}
}

func (c *collector) collectClients(out chan<- prometheus.Metric, s frontend.Stat) {
	gauge(out, clientsConnected, s.Clients)
	gauge(out, clientsMost, c.clients.Config().MaxClientConn)
	gauges(out, clientSessions, s.Sessions)
	counter(out, clientsAccepted, s.Accepted)
	counter(out, clientsTurnedAway, s.TurnedAway)
	counter(out, clientsMalformed, s.Malformed)
	counters(out, sessionEnds, s.Ends)
	counters(out, peersLost, s.Lost, "client")
	counters(out, peersLost, c.pools.Lost(), "server")
	counter(out, requestsRefused, s.RequestsRefused)
	counter(out, queryTimeouts, s.QueryTimeouts)
	counter(out, cancels, s.Cancels, "known")
	counter(out, cancels, s.CancelsUnknown, "unknown")
	counter(out, cancels, s.CancelsIgnored, "ignored")
	if !s.CertificateEnds.IsZero() {
		gauge(out, certificateEnds, s.CertificateEnds.Unix())
	}
}

func (c *collector) collectLogins(out chan<- prometheus.Metric, s frontend.Stat) {
	counter(out, logins, s.Logins)
	counter(out, loginsRefused, s.LoginsRefused)
	counters(out, refusedByLimit, s.RefusedByLimit)
	for how, n := range s.LoginsBy {
		counter(out, loginsBy, n, how.Method, how.Result)
	}
	counter(out, loginTimeouts, s.LoginTimeouts)
	running, waiting := 0, 0
	for _, l := range c.pools.Logins() {
		running, waiting = running+l.Running, waiting+l.Waiting
	}
	gauge(out, serverLogins, running, "running")
	gauge(out, serverLogins, waiting, "waiting")
}

// collectState is about what clients leave in server sessions.
func collectState(out chan<- prometheus.Metric, s frontend.Stat) {
	counter(out, carries, s.Carries)
	counter(out, prepares, s.Prepares)
	counter(out, audits, s.Audits)
	counter(out, hidden, s.HiddenState)
	counter(out, leaks, s.Leaks)
	counter(out, pins, s.Pins)
	gauges(out, pinned, s.Pinned)
	counters(out, pinnedTime, s.PinnedSeconds)
	counter(out, hookFailures, s.HookFailures)
}

// collectTraffic is what clients have sent and got, by database.
func (c *collector) collectTraffic(out chan<- prometheus.Metric) {
	for database, t := range c.ranks.databases(c.clients.Databases()) {
		counter(out, receivedBytes, t.Received, database)
		counter(out, sentBytes, t.Sent, database)
		counter(out, reuses, t.Reuses, database)
	}
}
