package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"pooler/frontend"
)

// request is a statement that is being carried out.
type request struct {
	ctx     context.Context // a request lives as long as one call
	session *session
	params  *params
}

var (
	errCanceled = errors.New("canceled by the user")
	errGone     = errors.New("the client has gone")

	errQueryCanceled = &Error{Code: codeQueryCanceled, Message: "canceling statement due to user request"}
	errShutdown      = &Error{Code: codeAdminShutdown, Message: "the pooler is shutting down"}
)

// execute carries out a statement, unless the transaction has failed.
func (s *session) execute(st statement, p *params) (out outcome, err error) {
	if err := cmp.Or(s.interrupted(), s.refuseInFailed(st)); err != nil {
		return outcome{}, err
	}
	err = s.contain(func() error {
		out, err = st.run(&request{ctx: s.ctx, session: s, params: p})
		return err
	})
	return out, err
}

// interrupted says why nothing more of what the client has sent last is to begin.
func (s *session) interrupted() error {
	switch {
	case s.broken != nil:
		return s.broken
	case s.ctx.Err() != nil:
		return errShutdown
	case s.canceled:
		return errQueryCanceled
	}
	return nil
}

func (s *session) refuseInFailed(st statement) error {
	if t, ok := st.(*transaction); s.tx != 'E' || ok && !t.begin {
		return nil
	}
	return &Error{Code: codeFailedTransaction, Message: "current transaction is aborted, commands ignored until end of transaction block"}
}

// contain turns a panic in f into an error: a bug in a view ends neither the session nor the program.
func (s *session) contain(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log().ErrorContext(s.ctx, "panic in the console", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = &Error{Code: codeInternal, Message: "internal error", Hint: "The pooler's log says more."}
		}
	}()
	return f()
}

// attend runs what may take long, with a context that ends when the client cancels or hangs up.
func (s *session) attend(parent context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() { // awaited below
		defer close(watched)
		select {
		case <-s.admin.Interrupt:
			cancel(errCanceled)
		case <-s.in.gone:
			cancel(errGone)
		case <-parent.Done():
		case <-done:
		}
	}()
	err := s.contain(func() error { return f(ctx) })
	close(done)
	<-watched
	return s.reasonOf(err, context.Cause(ctx))
}

// reasonOf says why f has failed; cause is why its context ended, if it has. What was done all the same is done, but
// nothing more begins.
func (s *session) reasonOf(err, cause error) error {
	s.canceled = s.canceled || errors.Is(cause, errCanceled)
	if errors.Is(cause, errGone) {
		s.broken = cmp.Or(s.broken, errGone)
	}
	var own *Error
	switch {
	case err == nil:
		return nil
	case errors.Is(cause, errGone):
		return errGone
	case errors.As(err, &own) || cause == nil:
		return err
	case errors.Is(cause, errCanceled):
		return errQueryCanceled
	}
	return errShutdown
}

// forgetInterrupts drops cancel requests that came too late for what ran before.
func (s *session) forgetInterrupts() {
	s.canceled = false
	for {
		select {
		case _, ok := <-s.admin.Interrupt:
			if !ok {
				return
			}
		default:
			return
		}
	}
}

// notice tells the client something at once.
func (r *request) notice(e *Error) { r.session.tell("NOTICE", e) }

// tell sends a notice or warning, unless the client has asked for errors only.
func (s *session) tell(severity string, e *Error) {
	if s.heard != nil {
		s.heard(e)
		return
	}
	switch s.settings.value("client_min_messages") {
	case "error":
		return
	case "warning":
		if severity == "NOTICE" {
			return
		}
	}
	s.send(severity, e)
	s.flush()
}

// doing is a command of the pooler's.
type doing struct {
	text    string
	command Command
}

func (d *doing) columns(*session, *params) ([]Column, error) { return columnsOf(d.command), nil }

// run checks the right, has the command carried out, and logs it.
func (d *doing) run(r *request) (outcome, error) {
	out, err := d.carryOut(r)
	if !changes(d.command) {
		return out, err
	}
	log := r.session.log().With("command", d.command.String())
	if err != nil {
		log.InfoContext(r.ctx, "console command", "outcome", "failed", "error", err)
	} else {
		log.InfoContext(r.ctx, "console command", "outcome", "done")
	}
	return out, err
}

func noRight(what string) *Error {
	return &Error{
		Code: codeNoRight, Message: "permission denied for " + what,
		Hint: "Only users in admin_users may change something; users in stats_users may SHOW.",
	}
}

func (d *doing) carryOut(r *request) (outcome, error) {
	s := r.session
	if right := s.admin.Right(); right < frontend.RightLook || changes(d.command) && right < frontend.RightChange {
		return outcome{}, noRight(d.command.tag())
	}
	var res Result
	err := s.attend(r.ctx, func(ctx context.Context) (err error) {
		res, err = s.console.exec.Execute(ctx, &s.admin, d.command, func(message, hint string) {
			r.notice(&Error{Code: codeSuccess, Message: printable(message), Hint: printable(hint)})
		})
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	out := outcome{tag: res.Tag, columns: columnsOf(d.command)}
	if out.tag == "" {
		out.tag = d.command.tag()
	}
	out.rows = res.Rows
	for _, row := range out.rows {
		if err := canonicalise(row, out.columns); err != nil {
			return outcome{}, err
		}
	}
	return out, nil
}
