package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// A file of nothing but faults need not be quoted back in full.
const maxFaults = 100

// fault is one thing wrong, at one key.
type fault struct {
	file   string // "" when the configuration did not come from a file
	line   int
	key    toml.Key // empty for a fault of the whole file
	reason string
}

func (f fault) Error() string {
	var b strings.Builder
	if f.file != "" {
		fmt.Fprintf(&b, "%s:%d: ", f.file, f.line)
	}
	if len(f.key) > 0 {
		b.WriteString(f.key.String() + ": ")
	}
	return b.String() + f.reason
}

// faults collects, so that the operator hears of everything at once.
type faults []fault

func (fs *faults) full() bool { return len(*fs) >= maxFaults }

func (fs *faults) add(key toml.Key, format string, args ...any) {
	if !fs.full() {
		*fs = append(*fs, fault{key: slices.Clone(key), reason: fmt.Sprintf(format, args...)})
	}
}

// merge adds what others found, except at keys already known to be wrong, and of tables that hold
// one: a value that could not be read has left its default behind, and complaints about that would mislead.
func (fs *faults) merge(others faults) {
	known := make(map[string]bool, len(*fs))
	for _, f := range *fs {
		for i := range f.key {
			known[f.key[:i+1].String()] = true
		}
	}
	for _, f := range others {
		if !known[f.key.String()] {
			*fs = append(*fs, f)
		}
	}
}

// err joins the faults in the order of the file, or returns nil if there are none.
func (fs faults) err() error {
	slices.SortStableFunc(fs, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errors.Join(errs...)
}
