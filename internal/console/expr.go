package console

// expr is an expression as it was written: names are not looked up yet.
type expr interface{ offset() int }

// at is where an expression begins, as a byte offset of the text; that of an operation is its operator.
type at int

func (a at) offset() int { return int(a) }

type (
	nameRef struct {
		at
		name   string
		quoted bool
	}
	// constant is a literal. A string's type is unknown until it is compared with something.
	constant struct {
		at
		value any
		typ   Type
	}
	paramRef struct {
		at
		number int
	}
	call struct {
		at
		name string
		args []expr
	}
	castTo struct {
		at
		of   expr
		to   Type
		name string
	}
	// binary is a comparison, or arithmetic with constants and times.
	binary struct {
		at
		op          string
		left, right expr
	}
	logic struct {
		at
		and   bool // else or
		terms []expr
	}
	negation struct {
		at
		of expr
	}
	isNull struct {
		at
		of expr
	}
	like struct {
		at
		of, pattern expr
		fold        bool // ILIKE
	}
	inList struct {
		at
		of   expr
		list []expr
	}
	between struct {
		at
		of, low, high expr
	}
	// tuple is (a, b), which is a list of columns and nothing else.
	tuple struct {
		at
		items []expr
	}
)
