package console

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"runtime/metrics"
	"slices"
	"strings"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// stateRow is a row of SHOW STATE.
type stateRow struct{ key, value string }

// compatible is the version of PgBouncer whose views these are. Tools take the first version that they find.
const compatible = "PgBouncer 1.25.0 compatible console of pooler "

func programViews() []definition {
	return []definition{
		define("config", "the configuration in force, without its tables", settingAttrs(),
			func(_ context.Context, src *Snapshots) []config.Setting { return src.Config().Settings() }),
		define("state", "whether everything is paused or suspended", []attr[stateRow]{
			{"key", Text, func(r stateRow) any { return r.key }},
			{"value", Text, func(r stateRow) any { return r.value }},
		}, stateRows),
		define("mem", "memory in use", memoryAttrs(), memoryRows),
		define("dns_hosts", "host names of the configuration, and where its server sessions were found", hostAttrs(), hostRows),
		define("dns_zones", "DNS zones in PgBouncer's cache: there is none", []attr[none]{
			{"zonename", Text, null[none]},
			{"serial", Int8, null[none]},
			{"count", Int4, null[none]},
		}, noRows),
		define("peers", "other poolers that PgBouncer passes cancel requests on to: there are none", []attr[none]{
			{"peer_id", Int4, null[none]},
			{"host", Text, null[none]},
			{"port", Int4, null[none]},
			{"pool_size", Int4, null[none]},
		}, noRows),
		define("peer_pools", "connections to those: there are none", []attr[none]{
			{"peer_id", Int4, null[none]},
			{"cl_active_cancel_req", Int4, null[none]},
			{"cl_waiting_cancel_req", Int4, null[none]},
			{"sv_active_cancel", Int4, null[none]},
			{"sv_login", Int4, null[none]},
		}, noRows),
		define("version", "the version", []attr[string]{
			{"version", Text, func(v string) any { return v }},
		}, func(_ context.Context, src *Snapshots) []string { return []string{compatible + src.Version} }),
	}
}

// none is a row that never is.
type none struct{}

func noRows(context.Context, *Snapshots) []none { return nil }

// settingAttrs are PgBouncer's four and no more: its exporters count them.
func settingAttrs() []attr[config.Setting] {
	return []attr[config.Setting]{
		{"key", Text, func(s config.Setting) any { return s.Key }},
		{"value", Text, func(s config.Setting) any { return s.Value }},
		{"default", Text, func(s config.Setting) any { return s.Default }},
		{"changeable", Text, func(s config.Setting) any { return yes(s.Changeable) }},
	}
}

func stateRows(_ context.Context, src *Snapshots) []stateRow {
	suspended := src.Suspended()
	paused := !suspended && src.Orders("").Paused // one of the three is yes, as with PgBouncer
	var some []string
	for _, name := range databaseNames(src.Config(), withOrdered(useByDatabase(src.Pools()), src.Ordered())) {
		if src.Orders(name).Paused {
			some = append(some, name)
		}
	}
	return []stateRow{
		{"active", yes(!paused && !suspended)},
		{"paused", yes(paused)},
		{"suspended", yes(suspended)},

		{"shutting_down", yes(!src.Accepting())},
		{"paused_databases", strings.Join(some, ", ")},
	}
}

// memoryRow is a kind of memory: so many pieces of so many bytes are in use, and so many are free.
type memoryRow struct {
	name             string
	size, used, free uint64
}

// memoryAttrs are PgBouncer's, whose numbers are Int4, of which the memory of a machine is too much.
func memoryAttrs() []attr[memoryRow] {
	return []attr[memoryRow]{
		{"name", Text, func(r memoryRow) any { return r.name }},
		{"size", Int8, func(r memoryRow) any { return r.size }},
		{"used", Int8, func(r memoryRow) any { return r.used }},
		{"free", Int8, func(r memoryRow) any { return r.free }},
		{"memtotal", Int8, func(r memoryRow) any { return r.size * (r.used + r.free) }},
	}
}

// memoryRows is what there is of what PgBouncer lists, each without what it points to, and what the Go runtime has, in
// bytes. Reading that stops nothing.
func memoryRows(_ context.Context, src *Snapshots) []memoryRow {
	cfg, stats := src.Config(), src.Pools()
	var servers int
	for i := range stats {
		servers += serversOf(&stats[i])
	}
	classes := func(b ...string) (n uint64) {
		samples := make([]metrics.Sample, len(b))
		for i := range b {
			samples[i].Name = "/memory/classes/" + b[i] + ":bytes"
		}
		metrics.Read(samples)
		for _, s := range samples {
			if s.Value.Kind() == metrics.KindUint64 {
				n += s.Value.Uint64()
			}
		}
		return n
	}
	return []memoryRow{
		pieces[config.User]("user_cache", len(cfg.Users)),
		pieces[config.Database]("db_cache", len(cfg.Databases)),
		pieces[pool.Pool]("pool_cache", len(stats)),
		pieces[backend.Conn]("server_cache", servers),
		pieces[frontend.Session]("client_cache", int(src.Stat().Clients)),
		{"go_heap", 1, classes("heap/objects"), classes("heap/free", "heap/unused")},
		{"go_stacks", 1, classes("heap/stacks", "os-stacks"), 0},
		{"go_metadata", 1, classes("metadata/mcache/inuse", "metadata/mspan/inuse", "metadata/other"), classes("metadata/mcache/free", "metadata/mspan/free")},
		{"go_other", 1, classes("other", "profiling/buckets"), 0},
	}
}

func pieces[T any](name string, n int) memoryRow {
	return memoryRow{name: name, size: uint64(reflect.TypeFor[T]().Size()), used: uint64(max(0, n))}
}

// hostRow is a host name.
type hostRow struct {
	name  string
	addrs []string
}

// hostAttrs are PgBouncer's. Names are looked up each time that a server session is opened: nothing lives on for a while.
func hostAttrs() []attr[hostRow] {
	return []attr[hostRow]{
		{"hostname", Text, func(h hostRow) any { return h.name }},
		{"ttl", Int8, zero[hostRow]},
		{"addrs", Text, func(h hostRow) any { return strings.Join(h.addrs, ",") }},
	}
}

// hostRows is the host names, with the addresses at which there are server sessions.
func hostRows(_ context.Context, src *Snapshots) []hostRow {
	at := map[string]map[string]bool{}
	for _, s := range src.Servers() {
		name, _, err := net.SplitHostPort(s.Addr.Addr)
		if err != nil || !s.Remote.IsValid() {
			continue
		}
		if at[name] == nil {
			at[name] = map[string]bool{}
		}
		at[name][s.Remote.Addr().Unmap().String()] = true
	}
	var list []hostRow
	for _, name := range hostNames(src.Config()) {
		list = append(list, hostRow{name, slices.Sorted(maps.Keys(at[name]))})
	}
	return list
}

// hostNames is the hosts of the configuration that are neither addresses nor Unix sockets.
func hostNames(cfg *config.Config) []string {
	names := map[string]bool{}
	for _, db := range cfg.Databases {
		if _, err := netip.ParseAddr(db.Host); err != nil && db.Host != "" && !filepath.IsAbs(db.Host) {
			names[db.Host] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
