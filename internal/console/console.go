// Package console is the conversation with administrators: a small language that looks like SQL, spoken in PostgreSQL's
// protocol, simple and extended, so that psql, drivers and what was made for PgBouncer's console feel at home.
//
// The engine knows no view and carries nothing out: views and the executor of commands are handed to New.
package console

import (
	"context"
	"log/slog"
	"strings"

	"pooler/frontend"
)

// Column is a column of a view or of a command's result.
type Column struct {
	Name string
	Type Type
}

// View is what a SHOW shows. Its columns never change, so that it can be described without being looked at.
type View struct {
	Name    string
	Columns []Column
	Help    string // one line for SHOW HELP

	// Rows takes the snapshot: for each column a string, a number, a bool, a time.Time (the zero time is NULL) or nil.
	// It may be called by several sessions at once, and its rows belong to the caller.
	Rows func(ctx context.Context) ([][]any, error)
}

// Executor carries out commands.
type Executor interface {
	// Execute carries c out and returns when that is done, or when ctx ends: the client has hung up or canceled, or the
	// pooler ends. Errors that are no *Error or *frontend.Refusal are told with a general SQLSTATE. notice tells the
	// client something at once; it must be called from Execute's own goroutine. Several sessions may call at once.
	Execute(ctx context.Context, who *frontend.Admin, c Command, notice func(message, hint string)) (Result, error)
}

// Result is what a command has led to.
type Result struct {
	Tag  string  // empty: the name of the command
	Rows [][]any // only of a command with columns
}

// Console serves administrators. Any number of goroutines may call Serve.
type Console struct {
	version string
	views   []View
	byName  map[string]*View // by lower-case name
	exec    Executor
	log     *slog.Logger
}

// New makes a console of the pooler of that version. A view called help is added to views.
func New(version string, views []View, exec Executor, log *slog.Logger) *Console {
	c := &Console{version: version, views: append([]View{}, views...), byName: map[string]*View{}, exec: exec, log: log}
	c.views = append(c.views, helpView(c.views))
	for i := range c.views {
		c.byName[strings.ToLower(c.views[i].Name)] = &c.views[i]
	}
	return c
}

// Serve has the whole conversation with a. If it panics, the client has been told.
func (c *Console) Serve(ctx context.Context, a *frontend.Admin) {
	s := newSession(c, a)
	defer s.close()
	s.serve(ctx)
}

// view finds a view, or says which one may have been meant.
func (c *Console) view(name string) (v *View, hint string) {
	if v := c.byName[strings.ToLower(name)]; v != nil {
		return v, ""
	}
	names := make([]string, len(c.views))
	for i, v := range c.views {
		names[i] = v.Name
	}
	hint = "SHOW HELP lists the views."
	if near := nearest(name, names); near != "" {
		hint = "Perhaps you meant \"" + near + "\". " + hint
	}
	return nil, hint
}
