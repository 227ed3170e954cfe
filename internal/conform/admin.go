package conform

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	poll = 10 * time.Millisecond

	// cleanUpTimeout is how long the removal of one case's objects may take, also after an interrupt.
	cleanUpTimeout = 10 * time.Second
)

// admin is the direct connection that prepares each case, looks from outside, and cleans up. Both clients of a case use
// it, hence the lock.
type admin struct {
	mu   sync.Mutex
	conn *pgconn.PgConn
}

func newAdmin(ctx context.Context, cfg *pgconn.Config) (*admin, error) {
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a := &admin{conn: conn}
	// A transaction that a pooler left open may hold a lock on what is to be dropped.
	if _, err := a.rows("SET lock_timeout = '3s'; SET client_min_messages = error"); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *admin) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTimeout)
	defer cancel()
	return a.conn.Close(ctx)
}

// rows runs statements and returns what the last one that has rows answers. It is not to be interrupted by the end of
// the run, since cleaning up comes behind that.
func (a *admin) rows(text string) ([][]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTimeout)
	defer cancel()
	results, err := a.conn.Exec(ctx, text).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("direct connection: %w", err)
	}
	var rows [][]string
	for _, r := range results {
		if len(r.FieldDescriptions) == 0 {
			continue
		}
		rows = nil
		for _, values := range r.Rows {
			columns := make([]string, len(values))
			for i, v := range values {
				columns[i] = string(v)
			}
			rows = append(rows, columns)
		}
	}
	return rows, nil
}

// query is rows as an answer.
func (a *admin) query(text string) string {
	_, err := a.rows(text)
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return "error " + pgErr.Code
	case err != nil:
		return disconnected
	default:
		return "done"
	}
}

// one is the only value of a query.
func (a *admin) one(text string) (string, error) {
	rows, err := a.rows(text)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("direct connection: want one value of %q, got %d rows", text, len(rows))
	}
	return rows[0][0], nil
}

// gone waits until none of the server sessions is left.
func (a *admin) gone(pids []string) error {
	if len(pids) == 0 {
		return nil
	}
	for deadline := time.Now().Add(cleanUpTimeout); ; pause() {
		n, err := a.one("SELECT count(*) FROM pg_stat_activity WHERE pid IN (" + strings.Join(pids, ", ") + ")")
		switch {
		case err != nil || n == "0":
			return err
		case time.Now().After(deadline):
			return errors.New("direct connection: sessions " + strings.Join(pids, ", ") + " do not end")
		}
	}
}

// end ends the server sessions that a pooler has soiled, so that the next case finds none of it.
func (a *admin) end(pids []string) error {
	if len(pids) == 0 {
		return nil
	}
	const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (%s)"
	if _, err := a.rows(fmt.Sprintf(terminate, strings.Join(pids, ", "))); err != nil {
		return err
	}
	return a.gone(pids)
}

func pause() {
	time.Sleep(poll) //nolint:forbidigo // PostgreSQL does not tell when a session has ended
}

// naming makes the names of one play, which nobody else uses.
type naming struct {
	name string
	key  int32
}

// fill puts the names into a text.
func (n naming) fill(text string) string {
	text = strings.ReplaceAll(text, "~key", strconv.Itoa(int(n.key)))
	return strings.ReplaceAll(text, "~", n.name)
}

// hide takes them out of an answer, so that answers of two plays can be compared.
func (n naming) hide(answer string) string {
	return strings.ReplaceAll(answer, n.name, "~")
}

func (n naming) step(s step) step {
	args := make([]string, len(s.args))
	for i, a := range s.args {
		args[i] = n.fill(a)
	}
	return step{op: s.op, name: n.fill(s.name), text: n.fill(s.text), args: args}
}

func (n naming) script(s script) script {
	filled := make(script, len(s))
	for i := range s {
		filled[i] = n.step(s[i])
	}
	return filled
}

func (n naming) startup(params map[string]string) map[string]string {
	filled := map[string]string{}
	for name, value := range params {
		filled[name] = n.fill(value)
	}
	return filled
}

// create makes the objects of a state.
func (a *admin) create(s state, n naming) error {
	if s.setup == "" {
		return nil
	}
	if _, err := a.rows(n.fill("CREATE SCHEMA ~; GRANT USAGE ON SCHEMA ~ TO PUBLIC; " + s.setup)); err != nil {
		return fmt.Errorf("preparing %s: %w", s.name, err)
	}
	return nil
}

// remove drops them.
func (a *admin) remove(s state, n naming) error {
	if s.setup == "" {
		return nil
	}
	if _, err := a.rows(n.fill("DROP SCHEMA IF EXISTS ~ CASCADE; " + s.drop)); err != nil {
		return fmt.Errorf("cleaning up after %s: %w", s.name, err)
	}
	return nil
}
