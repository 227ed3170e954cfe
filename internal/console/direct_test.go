package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pooler/frontend"
)

// desk is a console without a conversation, with everything fake behind it.
type desk struct {
	*Console
	exec  *fakeExecutor
	log   *testLog
	right frontend.Right
}

func newDesk() *desk {
	d := &desk{exec: &fakeExecutor{pausing: make(chan struct{}, 1)}, log: &testLog{}, right: frontend.RightChange}
	d.Console = New("1.2.3", fakeViews(), d.exec, slog.New(slog.NewTextHandler(d.log, nil)))
	return d
}

func (d *desk) who() *frontend.Admin {
	return &frontend.Admin{
		User: "anna", Database: "pooler", Application: "dashboard", Remote: netip.MustParseAddrPort("127.0.0.1:5555"),
		Right: func() frontend.Right { return d.right },
	}
}

func TestAViewInParts(t *testing.T) {
	d := newDesk()
	for _, c := range []struct {
		name string
		sel  Selection
		want string
	}{
		{"columns, where, order, limit", Selection{"clients", "id, user", "id < 4", "id desc", "2"}, "[[3 carol] [2 bob]]"},
		{"a comment ends with its part", Selection{"clients", "id", "id < 3 -- those", "id -- first", "1"}, "[[1]]"},
		{"an interval is text", Selection{"clients", "connect_time - connect_time AS age", "id = 1", "", ""}, "[[00:00:00]]"},
		{"names in any case", Selection{"CLIENTS", "ID", "", "", "1"}, "[[1]]"},
		{"an alias", Selection{"clients", "port AS p", "port = 80", "", ""}, "[[80]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, part, err := d.Show(t.Context(), d.who(), c.sel)
			if got := fmt.Sprint(a.Rows); err != nil || got != c.want {
				t.Errorf("got %s, %v in %q; want %s", got, err, part, c.want)
			}
		})
	}
	a, _, err := d.Show(t.Context(), d.who(), Selection{View: "clients", Where: "id = 1"})
	want := []any{int64(1), "alice", "app", int64(5432), true, 0.5, uint64(1) << 63, epoch, "psql"}
	if err != nil || len(a.Rows) != 1 || !reflect.DeepEqual(a.Rows[0], want) || len(a.Columns) != len(want) || a.Columns[0] != (Column{"id", Int8}) {
		t.Errorf("all columns: %v %v %v", a.Columns, a.Rows, err)
	}
}

func TestWhatIsWrongWithAPartIsSaidOfIt(t *testing.T) {
	d := newDesk()
	for _, c := range []struct {
		name     string
		sel      Selection
		part     string
		position int
		code     string
		hint     string
	}{
		{"no such view", Selection{View: "client"}, "view", 1, codeUndefinedTable, "clients"},
		{"no such column", Selection{View: "clients", Where: "id = 1 AND usr = 'x'"}, "where", 12, codeUndefinedColumn, "user"},
		{"unfinished", Selection{View: "clients", Where: "id ="}, "where", 5, codeSyntax, ""},
		{"unfinished, and more behind", Selection{View: "clients", Where: "id =", Order: "id"}, "where", 5, codeSyntax, ""},
		{"characters, not bytes", Selection{View: "clients", Columns: "id", Where: "user = 'é' AND nope"}, "where", 16, codeUndefinedColumn, ""},
		{"a bad order", Selection{View: "clients", Order: "id sideways"}, "order", 4, codeSyntax, ""},
		{"a bad limit", Selection{View: "clients", Limit: "-1"}, "limit", 1, codeInvalidLimit, ""},
		{"bad columns", Selection{View: "clients", Columns: "id,,user"}, "columns", 4, codeSyntax, ""},
		{"a command behind", Selection{View: "clients", Limit: "1; KILL_CLIENT 7"}, "", 0, codeSyntax, ""},
		{"another view", Selection{View: "clients", Columns: "* FROM many /*", Where: "*/"}, "", 0, codeSyntax, ""},
		{"a quote in the name", Selection{View: `clients" WHERE id = 1 --`}, "view", 1, codeUndefinedTable, ""},
		{"nothing", Selection{}, "view", 1, "", ""},
		{"a view that fails", Selection{View: "failing"}, "", 0, codeSystemError, ""},
		{"a view that panics", Selection{View: "broken"}, "", 0, codeInternal, "log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, part, err := d.Show(t.Context(), d.who(), c.sel)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if part != c.part || e.Position != c.position || c.code != "" && e.Code != c.code || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("got %q at %d: %v (%s), want %q at %d: %s (%s)", part, e.Position, e, e.Hint, c.part, c.position, c.code, c.hint)
			}
		})
	}
	if done := d.exec.commands(); len(done) > 0 {
		t.Errorf("carried out: %q", done)
	}
}

func TestACommandWithoutAConversation(t *testing.T) {
	d := newDesk()
	a, err := d.Run(t.Context(), d.who(), "KILL IDLE OLDER THAN 1h")
	if err != nil || a.Tag != "KILL IDLE 1" || len(a.Columns) != len(KillIdleColumns) || len(a.Rows) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
	if line := d.log.String(); !strings.Contains(line, "user=anna remote=127.0.0.1:5555 application_name=dashboard") || !strings.Contains(line, "outcome=done") {
		t.Errorf("log: %s", line)
	}
	if a, err = d.Run(t.Context(), d.who(), "SHOW HELP;"); err != nil || a.Tag != "SHOW" || len(a.Notices) != 1 || !strings.Contains(a.Notices[0].Detail, "KILL_CLIENT") {
		t.Errorf("help: %+v, %v", a, err)
	}
	for _, c := range []struct{ text, code string }{
		{"BEGIN", codeNotSupported},
		{"SET application_name = 'x'", codeNotSupported},
		{"DISCARD ALL", codeNotSupported},
		{"", codeSyntax},
		{"PAUSE; RESUME", codeSyntax},
		{"KILL_CLIENT $1", codeSyntax},
		{"SHOW clients WHERE id = $1", codeUndefinedParameter},
		{"ENABLE nothing", "3D000"},
		{"RELOAD", codeInternal}, // panics
		{"\xff", codeNotInRepertoire},
	} {
		var e *Error
		if _, err := d.Run(t.Context(), d.who(), c.text); !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%q: got %v, want %s", c.text, err, c.code)
		}
	}
}

func TestWhoMayOnlyLookChangesNothing(t *testing.T) {
	d := newDesk()
	for _, c := range []struct {
		right      frontend.Right
		show, kill bool
	}{{frontend.RightChange, true, true}, {frontend.RightLook, true, false}, {frontend.RightNone, false, false}} {
		d.right = c.right
		before := len(d.exec.commands())
		_, showErr := d.Run(t.Context(), d.who(), "SHOW clients")
		_, _, selectErr := d.Show(t.Context(), d.who(), Selection{View: "clients"})
		_, killErr := d.Run(t.Context(), d.who(), "KILL_CLIENT 7")
		if (showErr == nil) != c.show || (selectErr == nil) != c.show || (killErr == nil) != c.kill {
			t.Errorf("right %d: %v, %v, %v", c.right, showErr, selectErr, killErr)
		}
		if done := len(d.exec.commands()) > before; done != c.kill {
			t.Errorf("right %d: carried out: %v", c.right, done)
		}
	}
}

func TestWhatWaitsEndsWithItsRequest(t *testing.T) {
	d := newDesk()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan error, 1)
	go func() { // awaited below
		_, err := d.Run(ctx, d.who(), "PAUSE hang")
		result <- err
	}()
	<-d.exec.pausing
	cancel()
	if err := <-result; !errors.Is(err, errQueryCanceled) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Run(ctx, d.who(), "SHOW clients"); err == nil {
		t.Error("a request that has ended was carried out")
	}
}

func TestRowsOfAWholeViewAreNotCopied(t *testing.T) {
	var raw [][]any
	c := New("1.2.3", []View{{Name: "ages", Columns: []Column{{"name", Text}, {"age", Int8}}, Rows: func(context.Context) ([][]any, error) {
		raw = [][]any{{"anna", 7}}
		return raw, nil
	}}}, nil, slog.New(slog.DiscardHandler))
	a, _, err := c.Show(t.Context(), newDesk().who(), Selection{View: "ages"})
	if err != nil || fmt.Sprint(a.Rows) != "[[anna 7]]" || &a.Rows[0][0] != &raw[0][0] {
		t.Errorf("got %v, %v", a.Rows, err)
	}
}
