package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pooler/config"
	"pooler/frontend"
	"pooler/pool"
)

// What Actions uses of the pools, of the clients and of the program. In each, "" as a database is all of them.
type (
	// Pauser lets clients wait.
	Pauser interface {
		Pause(database string) pool.PauseID
		TakeBack(database string, id pool.PauseID) bool
		Resume(database string) bool
	}
	// Disabler keeps new clients out.
	Disabler interface {
		Disable(database string)
		Enable(database string) bool
	}
	// Stopper refuses requests.
	Stopper interface {
		Stop(database string)
		Start(database string) bool
	}
	// Closer closes server sessions.
	Closer interface {
		Reconnect(database string)
		Disconnect(database string)
		AwaitClosed(ctx context.Context, database string, which func(pool.ServerInfo) bool) error
	}
	// PoolWatcher tells how things stand.
	PoolWatcher interface {
		Orders(database string) pool.Orders
		Servers() []pool.ServerInfo
	}
	// Pools is a pool.Manager.
	Pools interface {
		Pauser
		Disabler
		Stopper
		Closer
		PoolWatcher
	}

	// Killer ends clients.
	Killer interface {
		Kill(id frontend.SessionID, by string) bool
		KillConsole(id frontend.SessionID, by string) bool
		KillDatabase(database, by string) int
	}
	// IdleKiller ends idle ones.
	IdleKiller interface {
		KillIdle(which frontend.IdleCriteria, dryRun bool, by string) []frontend.IdleClient
	}
	// Suspender does not read from clients.
	Suspender interface {
		Suspend(ctx context.Context) error
		Resume() bool
		Suspended() bool
	}
	// ClientWatcher lists clients; nil chooses all.
	ClientWatcher interface {
		ClientsThat(chosen func(frontend.Glance) bool) []frontend.ClientInfo
	}
	// Clients is a frontend.Server.
	Clients interface {
		Killer
		IdleKiller
		Suspender
		ClientWatcher
	}

	// Configurer changes the configuration, one change after the other. On an error nothing has changed. A change whose
	// outcome would not be a valid configuration is refused with an error that is ErrInvalid.
	Configurer interface {
		Config() *config.Config
		Change(ctx context.Context, by string, save bool, edit Edit) (Changes, error)
		Reload(ctx context.Context, by string) (Changes, error)
	}
	// Saver writes what has been changed to the file.
	Saver interface {
		Save(ctx context.Context, by string) (Changes, error)
	}
	// Stopping ends the program.
	Stopping interface {
		Shutdown(ctx context.Context, how ShutdownWait, by string)
	}
	// Program is what runs all this.
	Program interface {
		Configurer
		Saver
		Stopping
	}
)

// Edit changes a document.
type Edit func(*config.Document) (*config.Document, error)

// Changes is what has become of a change of the configuration.
type Changes struct {
	Made    []config.Change
	Saved   []config.Change // in the file, which said something else before
	Dropped []string        // keys whose values were not saved, and which have the file's again
}

// ErrInvalid is the error of a change that would leave no valid configuration.
var ErrInvalid = errors.New("the configuration would not be valid")

// Actions carries out commands. Any number of goroutines may use it.
type Actions struct {
	pools   Pools
	clients Clients
	program Program

	firstNotice, nextNotice time.Duration // see consoleWaits
}

// NewActions makes an Executor.
func NewActions(pools Pools, clients Clients, program Program) *Actions {
	return &Actions{pools: pools, clients: clients, program: program, firstNotice: firstNotice, nextNotice: nextNotice}
}

// A command that waits says for whom after firstNotice, and then each time nextNotice has passed.
const (
	firstNotice = time.Second
	nextNotice  = 10 * time.Second
)

// action is one command being carried out.
type action struct {
	*Actions
	by     string // who has given it, for the log
	notice func(message, hint string)
}

// Execute implements Executor.
func (x *Actions) Execute(ctx context.Context, who *frontend.Admin, c Command, notice func(message, hint string)) (Result, error) {
	a := &action{Actions: x, by: nameOf(who), notice: notice}
	switch c := c.(type) {
	case Pause:
		return Result{}, a.pause(ctx, c.Database)
	case Resume:
		return Result{}, a.resume(c.Database)
	case Disable:
		return Result{}, a.onDatabase(c.Database, a.pools.Disable)
	case Enable:
		return Result{}, a.onDatabase(c.Database, func(db string) { a.pools.Enable(db) }) // as with PgBouncer, also if it is not disabled
	case Reconnect:
		return Result{}, a.onDatabase(c.Database, a.pools.Reconnect)
	case WaitClose:
		return Result{}, a.waitClose(ctx, c.Database)
	case Kill:
		return Result{}, a.kill(c.Database)
	case KillClient:
		return Result{}, a.killClient(c.ID)
	case KillIdle:
		return a.killIdle(c), nil
	case Suspend:
		return Result{}, a.suspend(ctx)
	case StartPool:
		return Result{}, a.startPool(c.Pool)
	case StopPool:
		return Result{}, a.stopPool(ctx, c)
	case Reload:
		return Result{}, a.reload(ctx)
	case Save:
		return Result{}, a.save(ctx)
	case SetKey:
		return Result{}, a.set(ctx, c)
	case AlterPool:
		return Result{}, a.alterPool(ctx, c)
	case RestorePool:
		return Result{}, a.restorePool(ctx, c)
	case Shutdown:
		a.program.Shutdown(ctx, c.Wait, a.by)
		return Result{}, nil
	}
	return Result{}, &Error{Code: codeNotSupported, Message: c.String() + " is not supported"}
}

// nameOf is who has given a command, for the log.
func nameOf(who *frontend.Admin) string {
	from := "unix"
	if who.Remote.IsValid() {
		from = who.Remote.String()
	}
	return strings.TrimSpace(printable(who.User) + "@" + from + " " + printable(who.Application))
}

// onDatabase calls do for a database that there is.
func (a *action) onDatabase(database string, do func(database string)) error {
	if err := a.exists(database); err != nil {
		return err
	}
	do(database)
	return nil
}

// exists tells whether there is such a database: one that is configured, that "*" serves, or that is in use. If it is
// "*" alone that knows the name, that may well be a misspelling, and the client is told.
func (a *action) exists(database string) error {
	cfg := a.program.Config()
	if config.IsConsole(database) {
		return &Error{Code: codeNotSupported, Message: fmt.Sprintf("%q is the admin console, which has no server sessions", database)}
	}
	if _, own := cfg.Databases[database]; database == "" || own {
		return nil
	}
	names := a.known(cfg)
	if slices.Contains(names, database) {
		return nil
	}
	if _, served := cfg.Database(database); !served {
		return noDatabase(database, names)
	}
	hint := ""
	if near := nearest(database, names); near != "" {
		hint = fmt.Sprintf("Perhaps you meant %q.", near)
	}
	a.notice(fmt.Sprintf(`database %q has no table of its own and nobody uses it; it is served by [databases."*"]`, database), hint)
	return nil
}

// known is the databases of the configuration, and those in use.
func (a *action) known(cfg *config.Config) []string {
	names := slices.DeleteFunc(slices.Collect(maps.Keys(cfg.Databases)), func(name string) bool { return name == "*" })
	for _, s := range a.pools.Servers() {
		names = append(names, s.Database)
	}
	for _, c := range a.clients.ClientsThat(nil) {
		names = append(names, c.Database)
	}
	slices.Sort(names)
	return names
}

func noDatabase(database string, names []string) *Error {
	e := &Error{Code: codeNoSuchDatabase, Message: fmt.Sprintf("no such database: %s", database), Hint: "SHOW DATABASES lists them."} // PgBouncer's words
	if near := nearest(database, names); near != "" {
		e.Hint = fmt.Sprintf("Perhaps you meant %q. %s", near, e.Hint)
	}
	return e
}

const codeNoSuchDatabase = "3D000"

func inNoState(format string, args ...any) *Error {
	return &Error{Code: codeNotInState, Message: fmt.Sprintf(format, args...)}
}

// pause returns when PostgreSQL has none of the database's sessions any more. If that is cancelled, the pause is undone,
// as with PgBouncer: a pause that nobody knows of would be worse than none. That of somebody else is not.
func (a *action) pause(ctx context.Context, database string) error {
	if err := a.exists(database); err != nil {
		return err
	}
	already := a.pools.Orders(database).Paused
	switch {
	case a.clients.Suspended(), already && database == "":
		return inNoState("already suspended/paused").withHint("RESUME ends it.")
	case already && a.pools.Orders("").Paused:
		return inNoState("all databases are paused").withHint("RESUME ends that, for all.")
	}
	order := a.pools.Pause(database)
	paused := func(s pool.ServerInfo) bool { return a.pools.Orders(s.Database).Paused }
	if err := a.await(ctx, database, paused, "the pause"); err != nil {
		a.pools.TakeBack(database, order)
		if a.pools.Orders(database).Paused {
			return cancelled("PAUSE", "It stays paused, since somebody else has ordered that too: RESUME ends it.")
		}
		return cancelled("PAUSE", "The pause is undone: clients are served again.")
	}
	if !a.pools.Orders(database).Paused {
		return inNoState("RESUME was given meanwhile").withHint("Clients are served again.")
	}
	return nil
}

func cancelled(command, hint string) *Error {
	return &Error{Code: codeQueryCanceled, Message: "canceling " + command + " due to user request", Hint: hint}
}

// await waits until PostgreSQL has no session of the database for which which says so (nil: every one), and tells the
// client for whom, and for what.
func (a *action) await(ctx context.Context, database string, which func(pool.ServerInfo) bool, what string) error {
	begun, patience := time.Now(), a.firstNotice
	for {
		look, cancel := context.WithTimeout(ctx, patience)
		err := a.pools.AwaitClosed(look, database, which)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		patience = a.nextNotice
		a.notice(fmt.Sprintf("%s has waited for %s: %s", what, time.Since(begun).Round(time.Second), a.obstacles(database, which)),
			"KILL_CLIENT ends a client; KILL ends all of a database.")
	}
}

// namedObstacles is how many clients a notice names.
const namedObstacles = 3

// obstacles says which clients hold the server sessions that are waited for.
func (a *action) obstacles(database string, which func(pool.ServerInfo) bool) string {
	waited := map[uint64]bool{}
	total := 0
	for _, s := range a.pools.Servers() {
		if (database == "" || s.Database == database) && (which == nil || which(s)) {
			total++
			waited[uint64(s.ID)] = true
		}
	}
	var holders []frontend.ClientInfo
	for _, c := range a.clients.ClientsThat(func(g frontend.Glance) bool { return g.Holds }) {
		if c.Server != 0 && waited[uint64(c.Server)] {
			holders = append(holders, c)
		}
	}
	slices.SortFunc(holders, func(a, b frontend.ClientInfo) int {
		return cmp.Or(a.Held.Compare(b.Held), cmp.Compare(a.ID, b.ID))
	})
	var list []string
	for _, c := range holders[:min(namedObstacles, len(holders))] {
		list = append(list, holds(c))
	}
	if more := len(holders) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d other clients", more))
	}
	text := fmt.Sprintf("%d server sessions are left", total)
	if rest := total - len(holders); rest > 0 {
		text += fmt.Sprintf(", %d of which are being opened, cleaned or closed", rest)
	}
	if len(list) > 0 {
		text += "; held by " + strings.Join(list, "; ")
	}
	return text
}

// holds says who a client is and why it holds a server session.
func holds(c frontend.ClientInfo) string {
	text := fmt.Sprintf("client %d (%s@%s %q from %s), %s for %s", c.ID, c.User, c.Database, c.Application, address(c.Remote),
		strings.ReplaceAll(c.State, "_", " "), time.Since(c.Since).Round(time.Second))
	if c.Pinned != "" {
		text += ", pinned by " + c.Pinned
	}
	return text
}

// address is where a client is, as views show it.
func address(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix"
	}
	return remote.Addr().String()
}

func (a *action) resume(database string) error {
	if err := a.exists(database); err != nil {
		return err
	}
	was := a.pools.Resume(database)
	if database == "" && a.clients.Resume() {
		was = true
	}
	switch {
	case was:
		return nil
	case database == "":
		return inNoState("pooler is not paused/suspended")
	case a.pools.Orders("").Paused:
		return inNoState("database %s is not paused by itself", database).withHint("All databases are paused: RESUME without a name ends that, for all.")
	}
	return inNoState("database %s is not paused", database)
}

// suspend has clients not read from. PgBouncer does not know both at once either.
func (a *action) suspend(ctx context.Context) error {
	if a.clients.Suspended() || a.pools.Orders("").Paused {
		return inNoState("already suspended/paused").withHint("RESUME ends it.")
	}
	switch err := a.clients.Suspend(ctx); {
	case errors.Is(err, frontend.ErrSuspended):
		return inNoState("already suspended/paused").withHint("RESUME ends it.")
	case errors.Is(err, frontend.ErrResumed):
		return inNoState("RESUME was given meanwhile").withHint("Clients are served again.")
	case errors.Is(err, frontend.ErrNotFlushed):
		return inNoState("SUSPEND has failed: %v", err).withHint("Clients are served again. SHOW SOCKETS shows who does not read.")
	case err != nil:
		return cancelled("SUSPEND", "Clients are served again.")
	}
	return nil
}

func (a *action) waitClose(ctx context.Context, database string) error {
	if err := a.exists(database); err != nil {
		return err
	}
	if err := a.await(ctx, database, func(s pool.ServerInfo) bool { return s.CloseNeeded }, "WAIT_CLOSE"); err != nil {
		return cancelled("WAIT_CLOSE", "")
	}
	return nil
}

// startPool starts what STOP POOL has stopped.
func (a *action) startPool(name string) error {
	database := poolDatabase(name)
	if err := a.exists(database); err != nil {
		return err
	}
	if a.pools.Start(database) {
		return nil
	}
	if database != "" && a.pools.Orders("").Stopped {
		return inNoState("all pools are stopped").withHint("START POOL without a name starts them.")
	}
	a.notice("it was not stopped", "")
	return nil
}

// stopPool refuses requests from now on. Transactions that are open get the time to finish that is said; without a word
// about it that is for ever, as with Oracle.
func (a *action) stopPool(ctx context.Context, c StopPool) error {
	database := poolDatabase(c.Pool)
	if err := a.exists(database); err != nil {
		return err
	}
	a.pools.Stop(database)
	stopped := func(s pool.ServerInfo) bool { return a.pools.Orders(s.Database).Stopped }
	if c.Drain != nil {
		drain, cancel := context.WithTimeout(ctx, *c.Drain)
		err := a.await(drain, database, stopped, "STOP POOL")
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			a.pools.Disconnect(database)
		}
	}
	if err := a.await(ctx, database, stopped, "STOP POOL"); err != nil {
		return cancelled("STOP POOL", "The pool stays stopped; open transactions may finish. START POOL starts it again.")
	}
	return nil
}

// defaultPool is the name of Oracle's one pool: here, what is said of all databases.
const defaultPool = "SYS_DEFAULT_CONNECTION_POOL"

// poolDatabase is the database whose pools are meant, "": all.
func poolDatabase(name string) string {
	if strings.EqualFold(name, defaultPool) {
		return ""
	}
	return name
}
