package console

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"pooler/frontend"
)

// Error is what the client is told. Executors return it to choose the SQLSTATE.
type Error struct {
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Position int // 1-based, in characters of the text that the client has sent; 0: the text is not at fault
}

func (e *Error) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code) }

// SQLSTATEs of the engine's own errors (PostgreSQL's documentation, appendix A).
const (
	codeProtocolViolation  = "08P01"
	codeNotSupported       = "0A000"
	codeDivisionByZero     = "22012"
	codeOutOfRange         = "22003"
	codeNotInRepertoire    = "22021"
	codeInvalidValue       = "22023"
	codeInvalidEscape      = "22025"
	codeInvalidText        = "22P02"
	codeInvalidBinary      = "22P03"
	codeInvalidLimit       = "2201W"
	codeInvalidOffset      = "2201X"
	codeActiveTransaction  = "25001"
	codeNoTransaction      = "25P01"
	codeFailedTransaction  = "25P02"
	codeNoSuchStatement    = "26000"
	codeNoSuchCursor       = "34000"
	codeDuplicateCursor    = "42P03"
	codeDuplicateStatement = "42P05"
	codeNoRight            = "42501"
	codeSyntax             = "42601"
	codeUndefinedColumn    = "42703"
	codeUndefinedObject    = "42704"
	codeDatatypeMismatch   = "42804"
	codeCannotCoerce       = "42846"
	codeUndefinedFunction  = "42883"
	codeUndefinedTable     = "42P01"
	codeUndefinedParameter = "42P02"
	codeIndeterminate      = "42P18"
	codeTooComplex         = "54001"
	codeLimitExceeded      = "54000"
	codeNotInState         = "55000"
	codeCannotChange       = "55P02"
	codeQueryCanceled      = "57014"
	codeAdminShutdown      = "57P01"
	codeSystemError        = "58000"
	codeInternal           = "XX000"
	codeSuccess            = "00000"
)

// faultAt is an error whose reason is at a byte offset of text.
func faultAt(text string, offset int, code, format string, args ...any) *Error {
	at := utf8.RuneCountInString(text[:min(max(offset, 0), len(text))]) + 1
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Position: at}
}

func (e *Error) withHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// toError turns whatever a view or an executor has returned into what the client is told.
func toError(err error) *Error {
	var own *Error
	var refusal *frontend.Refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refusal):
		return &Error{Code: refusal.Code, Message: refusal.Message, Hint: refusal.Hint}
	}
	return &Error{Code: codeSystemError, Message: err.Error()}
}

// nearest is the name that word may be a misspelling of, or empty.
func nearest(word string, names []string) string {
	const longest = 64 // of what people misspell
	if len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", 1+max(1, len(word)/3)
	for _, name := range names {
		if d := distance(word, strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is how many letters have to be put in, left out, changed or swapped with the next one to get from a to b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
