package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"pooler/config"
)

// SQLSTATEs of changes of the configuration. DRCP has four errors: no such pool (ORA-56500) is codeNoSuchDatabase, a bad
// parameter name (56504) codeUndefinedObject, as PostgreSQL's SET has it, a bad value (56505) codeInvalidValue, and a
// change that has failed for another reason (56507) codeNotInState.
const codeConfigFile = "F0000"

// reload reads the file again.
func (a *action) reload(ctx context.Context) error {
	done, err := a.program.Reload(ctx, a.by)
	if err != nil {
		return detailed(&Error{Code: codeConfigFile, Message: "RELOAD has failed, nothing has changed: " + err.Error()})
	}
	a.tellOfRestarts(done)
	if len(done.Dropped) > 0 {
		a.notice("changes that were not saved are gone, the file's values are in force again: "+strings.Join(done.Dropped, ", "), "")
	}
	return nil
}

// save writes what has been changed.
func (a *action) save(ctx context.Context) error {
	done, err := a.program.Save(ctx, a.by)
	if err != nil {
		return changeFailed(err)
	}
	a.tellOfSaved(done)
	return nil
}

// tellOfSaved says what was written: that may be more than who has given the command has changed.
func (a *action) tellOfSaved(done Changes) {
	if len(done.Saved) == 0 {
		a.notice("nothing was written: the file says all that already", "")
		return
	}
	var keys []string
	for _, c := range done.Saved {
		keys = append(keys, c.Key+ifSo(c.Restart, " (takes effect at the next start)"))
	}
	a.notice("written to the file: "+strings.Join(keys, ", "), "")
}

// set gives one key of the configuration another value. One that takes effect at the next start only is accepted, with
// a notice: PgBouncer accepts it too, and says nothing.
func (a *action) set(ctx context.Context, c SetKey) error {
	path, err := keyPath(c.Key)
	if err != nil {
		return err
	}
	return a.change(ctx, false, func(d *config.Document) (*config.Document, error) { return d.Set(path, c.Value) })
}

// alterPool changes parameters of a pool, all or none.
func (a *action) alterPool(ctx context.Context, c AlterPool) error {
	if err := a.hasTable(c.Pool); err != nil {
		return err
	}
	return a.change(ctx, c.Save, func(d *config.Document) (*config.Document, error) {
		for _, s := range c.Settings {
			path, err := poolPath(c.Pool, s.Key)
			if err != nil {
				return nil, err
			}
			if path[len(path)-1] == "pool_size" && strings.TrimSpace(s.Value) == "0" { // in the file that means the default
				return nil, &Error{Code: codeInvalidValue, Message: s.Key + " must be at least 1", Hint: "RESTORE POOL takes the default."}
			}
			if d, err = d.Set(path, s.Value); err != nil {
				return nil, err
			}
		}
		return d, nil
	})
}

// restorePool has a pool's parameters go back to what they are without a word about them.
func (a *action) restorePool(ctx context.Context, c RestorePool) error {
	prefix, keys := []string{"databases", c.Pool}, config.PoolKeys()
	if strings.EqualFold(c.Pool, defaultPool) {
		prefix, keys = nil, config.DefaultPoolKeys()
	}
	if err := a.hasTable(c.Pool); err != nil {
		return err
	}
	return a.change(ctx, c.Save, func(d *config.Document) (_ *config.Document, err error) {
		for _, key := range keys {
			if d, err = d.Unset(append(slices.Clone(prefix), key)); err != nil {
				return nil, err
			}
		}
		return d, nil
	})
}

// hasTable tells whether the configuration has a pool of that name, whose parameters can be changed.
func (a *action) hasTable(pool string) error {
	databases := a.program.Config().Databases
	if _, ok := databases[pool]; ok || strings.EqualFold(pool, defaultPool) {
		return nil
	}
	names := append(slices.Sorted(maps.Keys(databases)), defaultPool)
	e := noDatabase(pool, names)
	e.Message = fmt.Sprintf("there is no pool %q, which would be a table [databases.%s]", pool, toml.Key{pool})
	e.Hint = strings.Replace(e.Hint, "SHOW DATABASES lists them.", "SHOW CPOOL_INFO lists them.", 1)
	if _, all := databases["*"]; all {
		e.Hint += ` Databases without a table are served by "*", and have its parameters.`
	}
	return e
}

// poolPath is where the configuration has a parameter of a pool.
func poolPath(name, parameter string) ([]string, error) {
	if strings.EqualFold(name, defaultPool) {
		if key, ok := config.DefaultPoolParameter(parameter); ok {
			return []string{key}, nil
		}
	} else if key, ok := config.PoolParameter(parameter); ok && config.OfDatabase(key) {
		return []string{"databases", name, key}, nil
	} else if ok {
		return nil, &Error{
			Code: codeUndefinedObject, Message: fmt.Sprintf("%s is no parameter of a single pool", parameter),
			Hint: "It is one of all pools: ALTER POOL " + defaultPool + " SET " + parameter + " = …",
		}
	}
	return nil, &Error{
		Code: codeUndefinedObject, Message: fmt.Sprintf("unknown parameter %q of a pool", parameter),
		Hint: "SHOW CPOOL_INFO shows the parameters by DRCP's names; those of [databases.NAME] are known too.",
	}
}

func (a *action) change(ctx context.Context, save bool, edit Edit) error {
	done, err := a.program.Change(ctx, a.by, save, edit)
	if err != nil {
		return changeFailed(err)
	}
	if save {
		a.tellOfSaved(done)
		return nil
	}
	a.tellOfRestarts(done)
	return nil
}

func (a *action) tellOfRestarts(done Changes) {
	for _, c := range done.Made {
		if c.Restart {
			a.notice(c.Key+" takes effect at the next start only", "A change that is made here is forgotten then, unless SAVE writes it to the file.")
		}
	}
}

// changeFailed chooses the SQLSTATE for a change that was refused.
func changeFailed(err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, config.ErrNoTable):
		return detailed(&Error{Code: codeNoSuchDatabase, Message: err.Error()})
	case errors.Is(err, config.ErrUnknownKey):
		return detailed(&Error{Code: codeUndefinedObject, Message: err.Error(), Hint: "SHOW CONFIG lists the keys."})
	case errors.Is(err, config.ErrBadValue), errors.Is(err, ErrInvalid):
		return detailed(&Error{Code: codeInvalidValue, Message: err.Error()})
	case errors.Is(err, config.ErrChangedOnDisk):
		return detailed(&Error{Code: codeNotInState, Message: err.Error(), Hint: "RELOAD puts the file in force; what was changed here and not saved is gone then."})
	}
	return detailed(&Error{Code: codeNotInState, Message: err.Error()})
}

// detailed leaves the first line of a message there, and puts the others into the detail.
func detailed(e *Error) *Error {
	first, rest, more := strings.Cut(e.Message, "\n")
	if more {
		e.Message, e.Detail = first, rest
	}
	return e
}

// keyPath takes a key in TOML's spelling apart.
func keyPath(key string) ([]string, error) {
	var values map[string]any
	meta, err := toml.Decode(key+" = 0", &values)
	if keys := meta.Keys(); err == nil && !strings.ContainsAny(key, "\n\r") && len(keys) > 0 {
		return keys[len(keys)-1], nil
	}
	return nil, &Error{Code: codeUndefinedObject, Message: fmt.Sprintf("%q is not a key of the configuration", printable(key)), Hint: "SHOW CONFIG lists the keys."}
}
