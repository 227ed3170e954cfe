package console

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pooler/config"
)

// Command is what an Executor carries out: one of the types below. An empty name of a database or pool means all.
type Command interface {
	// String is the command in a canonical form, as it is logged: without secrets and control characters.
	fmt.Stringer
	// tag is the name of the command, which is also what the client is told when it is done.
	tag() string
}

// Commands on a database.
type (
	// Pause holds clients back.
	Pause struct{ Database string }
	// Resume undoes Pause and Suspend.
	Resume struct{ Database string }
	// Disable refuses new clients.
	Disable struct{ Database string }
	// Enable undoes Disable.
	Enable struct{ Database string }
	// Reconnect replaces server sessions.
	Reconnect struct{ Database string }
	// Kill ends clients and server sessions.
	Kill struct{ Database string }
	// WaitClose waits until what is being replaced has ended.
	WaitClose struct{ Database string }
)

// Commands on clients.
type (
	// KillClient ends one client.
	KillClient struct{ ID uint64 }
	// KillIdle closes idle clients that fit all that is said. Its result's columns are KillIdleColumns.
	KillIdle struct {
		OlderThan   time.Duration
		From        netip.Prefix // not valid: from anywhere
		Unix        bool         // from Unix sockets only
		Application *string      // nil: any; so are the next two
		User        *string
		Database    *string
		DryRun      bool // only say which
	}
)

// Commands on the pooler.
type (
	// Suspend stops relaying.
	Suspend struct{}
	// Reload reads the configuration again.
	Reload struct{}
	// Save writes changes to the configuration file.
	Save struct{}
	// Shutdown ends the pooler.
	Shutdown struct{ Wait ShutdownWait }
	// SetKey changes the configuration. Key is in TOML's spelling.
	SetKey struct{ Key, Value string }
)

// Commands on a pool.
type (
	// StartPool starts a pool that was stopped.
	StartPool struct{ Pool string }
	// StopPool stops a pool.
	StopPool struct {
		Pool  string
		Drain *time.Duration // how long clients may take; nil: not said
	}
	// AlterPool changes a pool's settings.
	AlterPool struct {
		Pool     string
		Settings []SetKey
		Save     bool
	}
	// RestorePool takes back what AlterPool has changed.
	RestorePool struct {
		Pool string
		Save bool
	}
)

// ShutdownWait is what a SHUTDOWN waits for.
type ShutdownWait uint8

// What a SHUTDOWN may wait for.
const (
	ShutdownNow ShutdownWait = iota
	ShutdownWaitForServers
	ShutdownWaitForClients
)

func (w ShutdownWait) String() string {
	return [...]string{"", "WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"}[w]
}

// KillIdleColumns describes the clients that KILL IDLE has closed, or would close.
var KillIdleColumns = []Column{
	{"id", Int8},
	{"database", Text},
	{"user", Text},
	{"application_name", Text},
	{"addr", Text},
	{"idle_seconds", Float8},
	{"pinned", Text}, // why it keeps a server session although it is idle
	{"killed", Bool},
}

// columnsOf describes what a command results in; nil if that is nothing but its tag.
func columnsOf(c Command) []Column {
	if _, ok := c.(KillIdle); ok {
		return KillIdleColumns
	}
	return nil
}

// changes says whether c needs the right to change something, and is logged.
func changes(c Command) bool {
	k, ok := c.(KillIdle)
	return !ok || !k.DryRun
}

func (Pause) tag() string       { return "PAUSE" }
func (Resume) tag() string      { return "RESUME" }
func (Disable) tag() string     { return "DISABLE" }
func (Enable) tag() string      { return "ENABLE" }
func (Reconnect) tag() string   { return "RECONNECT" }
func (Kill) tag() string        { return "KILL" }
func (WaitClose) tag() string   { return "WAIT_CLOSE" }
func (KillClient) tag() string  { return "KILL_CLIENT" }
func (KillIdle) tag() string    { return "KILL IDLE" }
func (Suspend) tag() string     { return "SUSPEND" }
func (Reload) tag() string      { return "RELOAD" }
func (Save) tag() string        { return "SAVE" }
func (Shutdown) tag() string    { return "SHUTDOWN" }
func (SetKey) tag() string      { return "SET" }
func (StartPool) tag() string   { return "START POOL" }
func (StopPool) tag() string    { return "STOP POOL" }
func (AlterPool) tag() string   { return "ALTER POOL" }
func (RestorePool) tag() string { return "RESTORE POOL" }

func (c Pause) String() string      { return onName(c, c.Database) }
func (c Resume) String() string     { return onName(c, c.Database) }
func (c Disable) String() string    { return onName(c, c.Database) }
func (c Enable) String() string     { return onName(c, c.Database) }
func (c Reconnect) String() string  { return onName(c, c.Database) }
func (c Kill) String() string       { return onName(c, c.Database) }
func (c WaitClose) String() string  { return onName(c, c.Database) }
func (c StartPool) String() string  { return onName(c, c.Pool) }
func (c KillClient) String() string { return c.tag() + " " + strconv.FormatUint(c.ID, 10) }
func (c Suspend) String() string    { return c.tag() }
func (c Reload) String() string     { return c.tag() }
func (c Save) String() string       { return c.tag() }
func (c Shutdown) String() string   { return joined(c.tag(), c.Wait.String()) }

func (c SetKey) String() string {
	path, err := keyPath(c.Key)
	return c.tag() + " " + c.assignment(err == nil && config.IsShown(path))
}

func (c StopPool) String() string {
	if c.Drain == nil {
		return onName(c, c.Pool)
	}
	return onName(c, c.Pool) + " DRAIN " + c.Drain.String()
}

func (c AlterPool) String() string {
	list := make([]string, len(c.Settings))
	for i, s := range c.Settings {
		path, err := poolPath(c.Pool, s.Key)
		list[i] = s.assignment(err == nil && config.IsShown(path))
	}
	return joined(onName(c, c.Pool), "SET", strings.Join(list, ", "), ifSo(c.Save, "SAVE"))
}

func (c RestorePool) String() string {
	return joined(onName(c, c.Pool), "DEFAULTS", ifSo(c.Save, "SAVE"))
}

func (c KillIdle) String() string {
	parts := []string{c.tag()}
	if c.OlderThan > 0 {
		parts = append(parts, "OLDER THAN "+c.OlderThan.String())
	}
	switch {
	case c.Unix:
		parts = append(parts, "FROM unix")
	case c.From.IsValid():
		parts = append(parts, "FROM "+c.From.String())
	}
	for _, f := range []struct {
		word string
		name *string
	}{{"APPLICATION", c.Application}, {"USER", c.User}, {"DATABASE", c.Database}} {
		if f.name != nil {
			parts = append(parts, f.word+" "+quotedName(*f.name))
		}
	}
	return joined(append(parts, ifSo(c.DryRun, "DRY RUN"))...)
}

// assignment is key = value.
func (c SetKey) assignment(shown bool) string {
	value := "***"
	if shown {
		value = printable(c.Value)
	}
	return printable(c.Key) + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
}

func onName(c Command, name string) string {
	if name == "" {
		return c.tag()
	}
	return c.tag() + " " + quotedName(name)
}

var bareName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func quotedName(name string) string {
	if bareName.MatchString(name) && !strings.EqualFold(name, "idle") {
		return name
	}
	return `"` + strings.ReplaceAll(printable(name), `"`, `""`) + `"`
}

func joined(parts ...string) string {
	kept := parts[:0:0]
	for _, part := range parts {
		if part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, " ")
}

func ifSo(yes bool, word string) string {
	if yes {
		return word
	}
	return ""
}
