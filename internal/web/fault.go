package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"pooler/frontend"
	"pooler/internal/console"
)

// fault is an error as the client is told.
type fault struct {
	status int
	after  time.Duration // when to try again; 0: it is not said

	Message  string `json:"error"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
	SQLState string `json:"sqlstate,omitempty"`
	Part     string `json:"part,omitempty"`     // the parameter of the request that is at fault
	Position int    `json:"position,omitempty"` // in that, in characters from 1
}

func (f *fault) Error() string { return f.Message }

func faultOf(status int, message, hint string) *fault {
	return &fault{status: status, Message: message, Hint: hint}
}

func badRequest(format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// in says which parameter is at fault.
func (f *fault) in(part string) *fault {
	f.Part = part
	return f
}

// statuses of the SQLSTATEs that are not simply 400.
var statuses = map[string]int{
	"42501": http.StatusForbidden,
	"42P01": http.StatusNotFound,
	"57P01": http.StatusServiceUnavailable,
	"XX000": http.StatusInternalServerError,
}

// toFault is what err is told as.
func toFault(err error) *fault {
	var own *fault
	var told *console.Error
	var refusal *frontend.Refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &told):
		return &fault{
			status:  cmp.Or(statuses[told.Code], http.StatusBadRequest),
			Message: told.Message, Detail: told.Detail, Hint: told.Hint, SQLState: told.Code, Position: told.Position,
		}
	case errors.As(err, &refusal):
		status := cmp.Or(statuses[refusal.Code], http.StatusBadRequest)
		if refusal.Code == "58000" { // who would know whether a password is right does not answer; a command's fault is its own
			status = http.StatusServiceUnavailable
		}
		return &fault{status: status, Message: refusal.Message, Hint: refusal.Hint, SQLState: refusal.Code}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return faultOf(http.StatusServiceUnavailable, "that took too long", "")
	}
	return faultOf(http.StatusInternalServerError, "internal error", "The pooler's log says more.")
}

// fail tells the client, to whom nothing must have been sent yet.
func fail(w http.ResponseWriter, err error) {
	f := toFault(err)
	if f.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(max(time.Second, f.after.Round(time.Second)).Seconds())))
	}
	body, err := json.Marshal(f)
	if err != nil {
		body = []byte(`{"error":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(body, '\n'))
}

// watchedWriter knows whether an answer has begun to be sent.
type watchedWriter struct {
	http.ResponseWriter
	sent bool
}

// WriteHeader implements http.ResponseWriter.
func (w *watchedWriter) WriteHeader(status int) {
	w.sent = true
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *watchedWriter) Write(p []byte) (int, error) {
	w.sent = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// contained has a panic end one request only, and has it logged.
func contained(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		w := &watchedWriter{ResponseWriter: to}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			log.ErrorContext(r.Context(), "bug: the dashboard panicked; please report this", "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if w.sent { // breaks the answer off, so that nobody takes it for all there is
				panic(http.ErrAbortHandler)
			}
			w.Header().Del("Content-Encoding")
			w.Header().Del("Content-Disposition")
			fail(w, errors.New("panic"))
		}()
		next.ServeHTTP(w, r)
	})
}
