package console

import (
	"slices"
	"strings"
	"testing"
)

// typeLetters are PgBouncer's for the types of columns (pktbuf_write_RowDescription).
var typeLetters = map[Type]string{Text: "s", Int4: "i", Int8: "q", Numeric: "N", Float8: "f", Bool: "b", Timestamp: "T"}

const (
	pgbSocket = "type s, user s, database s, replication s, state s, addr s, port i, local_addr s, local_port i, connect_time s, request_time s, " +
		"wait i, wait_us i, close_needed i, ptr s, link s, remote_pid i, tls s, application_name s, prepared_statements i, id q"
	pgbBuffers = ", recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i"
)

// theirColumns is how each view begins: PgBouncer 1.25's columns with its types (src/admin.c, src/stats.c), but for id and
// the sizes of memory, which are wider here, times, which it sends as text, and bytea, of which nothing is shown; and
// Oracle's columns of DRCP's views.
var theirColumns = map[string]string{
	"clients":        pgbSocket,
	"servers":        pgbSocket,
	"sockets":        pgbSocket + pgbBuffers,
	"active_sockets": pgbSocket + pgbBuffers,
	"pools": "database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active i, sv_active_cancel i, " +
		"sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, pool_mode s, load_balance_hosts s",
	"databases": "name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i, reserve_pool_size i, server_lifetime i, pool_mode s, " +
		"load_balance_hosts s, max_connections i, current_connections i, max_client_connections i, current_client_connections i, paused i, disabled i",
	"users": "name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i, current_connections i, max_user_client_connections i, " +
		"current_client_connections i",
	"stats": "database s, total_server_assignment_count N, total_xact_count N, total_query_count N, total_received N, total_sent N, total_xact_time N, " +
		"total_query_time N, total_wait_time N, total_client_parse_count N, total_server_parse_count N, total_bind_count N, " +
		"avg_server_assignment_count N, avg_xact_count N, avg_query_count N, avg_recv N, avg_sent N, avg_xact_time N, avg_query_time N, avg_wait_time N, " +
		"avg_client_parse_count N, avg_server_parse_count N, avg_bind_count N",
	"stats_totals": "database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, xact_time N, query_time N, " +
		"wait_time N, client_parse_count N, server_parse_count N, bind_count N",
	"stats_averages": "database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, xact_time N, query_time N, " +
		"wait_time N, avg_client_parse_count N, avg_server_parse_count N, avg_bind_count N",
	"totals": "name s, value N",
	"lists":  "list s, items i",
	"config": "key s, value s, default s, changeable s",
	"state":  "key s, value s",
	"mem":    "name s, size q, used q, free q, memtotal q",
	"fds": "fd i, task s, user s, database s, addr s, port i, cancel q, link i, client_encoding s, std_strings s, datestyle s, timezone s, password s, " +
		"scram_client_key s, scram_server_key s",
	"dns_hosts":  "hostname s, ttl q, addrs s",
	"dns_zones":  "zonename s, serial q, count i",
	"peers":      "peer_id i, host s, port i, pool_size i",
	"peer_pools": "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i",
	"version":    "version s",

	"cpool_info": "connection_pool s, status s, minsize i, maxsize i, incrsize i, session_cached_cursors i, inactivity_timeout q, max_think_time q, " +
		"max_use_session i, max_lifetime_session q, num_cbrok i, maxconn_cbrok i, max_txn_think_time q, con_id s",
	"cpool_stats": "pool_name s, num_open_servers i, num_busy_servers i, num_auth_servers i, num_requests q, num_hits q, num_misses q, num_waits q, " +
		"wait_time q, client_req_timeouts q, num_authentications q, num_purged q, historic_max i, con_id s",
	"cpool_cc_stats": "cclass_name s, num_requests q, num_hits q, num_misses q, num_waits q, wait_time q, client_req_timeouts q, num_authentications q, con_id s",
	"cpool_cc_info":  "pool_name s, cclass_name s, con_id s",
	"cpool_conn_info": "cmon_addr s, session_addr s, connection_addr s, username s, proxy_user s, cclass_name s, purity s, tag s, service s, process_id s, " +
		"program s, machine s, terminal s, connection_mode s, connection_status s, client_regid q, curstatus_time q, idle_time q, active_time q, wait_time q, " +
		"think_time q, last_idle_time q, last_active_time q, last_wait_time q, last_think_time q, con_id s",
	"authpool_stats": "num_srvs i, num_busy i, num_free i, num_waiters i, con_id s",
}

// countedColumns are the views whose columns tools count, so that none of ours may follow.
var countedColumns = []string{"lists", "config", "totals", "state", "version"}

func shapeOf(v View) string {
	var names []string
	for _, c := range v.Columns {
		names = append(names, c.Name+" "+typeLetters[c.Type])
	}
	return strings.Join(names, ", ")
}

func TestViewsBeginWithTheirColumns(t *testing.T) {
	views := map[string]View{}
	for _, v := range Views(fakeSnapshots()) {
		views[v.Name] = v
	}
	for name, want := range theirColumns {
		v, ok := views[name]
		if !ok {
			t.Errorf("there is no view %s", name)
			continue
		}
		switch got := shapeOf(v); {
		case got == want:
		case !strings.HasPrefix(got, want+", "):
			t.Errorf("columns of %s:\n%s\nwant them to begin with\n%s", name, got, want)
		case slices.Contains(countedColumns, name):
			t.Errorf("%s has columns beyond %s", name, want)
		}
	}
}

func TestViewsAreNamedAndExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Views(fakeSnapshots()) {
		if v.Name == "" || v.Name != strings.ToLower(v.Name) || seen[v.Name] {
			t.Errorf("bad name of a view: %q", v.Name)
		}
		seen[v.Name] = true
		if v.Help == "" {
			t.Errorf("%s has no help", v.Name)
		}
		columns := map[string]bool{}
		for _, c := range v.Columns {
			if c.Name != strings.ToLower(c.Name) || columns[c.Name] {
				t.Errorf("bad column of %s: %q", v.Name, c.Name)
			}
			columns[c.Name] = true
		}
	}
	for _, name := range []string{
		"pins", "waiting", "sources", "leaks", "reaper", "alarms", "statements", "prepared", "histograms", "histogram_buckets",
		"culprits", "events", "establishments", "establishment_rates", "history", "history_day", "pool_history", "pool_history_day",
	} {
		if !seen[name] {
			t.Errorf("there is no view %s", name)
		}
	}
}

// Debian's prometheus-pgbouncer-exporter 1.7 reads these by name, and fails if one is missing.
func TestDebiansExporterFindsItsColumns(t *testing.T) {
	for view, names := range map[string][]string{
		"stats":     {"database", "total_requests", "total_received", "total_sent", "total_query_time"},
		"pools":     {"database", "user", "cl_active", "cl_waiting"},
		"databases": {"database", "pool_size", "reserve_pool"},
	} {
		rows := shown(t, fakeSnapshots(), view)
		for _, row := range rows {
			for _, name := range names {
				if row[name] == nil {
					t.Errorf("%s: %s is missing or NULL in %v", view, name, row)
				}
			}
		}
		if len(rows) == 0 {
			t.Errorf("%s is empty", view)
		}
	}
}
