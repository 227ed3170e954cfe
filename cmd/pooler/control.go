package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"pooler/config"
	"pooler/frontend"
	"pooler/internal/console"
)

// control is the only place where the configuration of a running pooler changes, and by which it is told to stop:
// signals and administrators use it at the same time. It is the console's Program.
type control struct {
	log   *slog.Logger
	level *slog.LevelVar
	path  string                    // of the file; "": there is none
	stops chan console.ShutdownWait // orders to stop, for the one who carries them out

	cfg   atomic.Pointer[config.Config] // of doc; written with mu held
	begun *config.Config                // what the pooler was started with

	// mu has changes come one after the other, each from the file to the file: it is held while that is read and written,
	// and while a change is put in force and logged. That is no harm: only they wait for it, and whoever asks for a change
	// waits for the disk anyway. What everybody needs, Config, is read without it. It guards all below.
	mu    sync.Mutex
	apply func(*config.Config) error
	doc   *config.Document
	saved *config.Config // of the file
}

var errNoFile = errors.New("the pooler was started without a configuration file")

// newControl is the control of a pooler that will run with the configuration of doc, which was read from path.
func newControl(doc *config.Document, path string, level *slog.LevelVar, log *slog.Logger) (*control, error) {
	cfg, err := doc.Config(frontend.CheckHooks)
	if err != nil {
		return nil, err
	}
	level.Set(cfg.LogLevel.Slog())
	c := &control{
		log: log, level: level, path: path, stops: make(chan console.ShutdownWait, 8), doc: doc, begun: cfg, saved: cfg,
		apply: func(*config.Config) error { return nil },
	}
	c.cfg.Store(cfg)
	warn(log, cfg.Warnings(path))
	return c, nil
}

// run has apply put changes in force from now on.
func (c *control) run(apply func(*config.Config) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apply = apply
}

// Config is the configuration as it was changed last; what needs a restart is in it already.
func (c *control) Config() *config.Config { return c.cfg.Load() }

// Reload reads the file and puts it in force. What was changed and not saved is gone then.
func (c *control) Reload(ctx context.Context, by string) (done console.Changes, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, err = c.reloadLocked(ctx, by); err != nil {
		c.log.ErrorContext(ctx, "reload refused, nothing has changed", "by", by, "error", err)
		return done, err
	}
	if len(done.Dropped) > 0 {
		c.log.WarnContext(ctx, "changes that were not saved are gone, the file's values are in force again", "keys", done.Dropped, "by", by)
	}
	c.log.InfoContext(ctx, "configuration reloaded", "changes", len(done.Made), "by", by)
	return done, nil
}

func (c *control) reloadLocked(ctx context.Context, by string) (done console.Changes, err error) {
	if c.path == "" {
		return done, errNoFile
	}
	doc, err := config.ReadDocument(c.path)
	if err != nil {
		return done, err
	}
	cfg, err := doc.Config(frontend.CheckHooks)
	if err != nil {
		return done, err
	}
	unsaved := config.Diff(c.saved, c.Config())
	if done.Made, err = c.putLocked(ctx, doc, cfg, by); err != nil {
		return done, err
	}
	c.saved = cfg
	warn(c.log, cfg.Warnings(c.path))
	for _, change := range done.Made {
		if slices.ContainsFunc(unsaved, func(u config.Change) bool { return u.Key == change.Key }) {
			done.Dropped = append(done.Dropped, change.Key)
		}
	}
	return done, nil
}

// Change puts an edit in force, and with save writes it to the file, with what has been changed before. On an error
// nothing has changed.
func (c *control) Change(ctx context.Context, by string, save bool, edit console.Edit) (done console.Changes, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	doc, err := edit(c.doc)
	if err != nil {
		return done, err
	}
	cfg, err := doc.Config(frontend.CheckHooks)
	if err != nil {
		return done, fmt.Errorf("%w: %w", console.ErrInvalid, err)
	}
	oldDoc, oldCfg := c.doc, c.Config()
	if done.Made, err = c.putLocked(ctx, doc, cfg, by); err != nil || !save {
		return done, err
	}
	done.Saved, err = c.saveLocked(ctx, by)
	if err == nil || !c.doc.Changed() { // not, if the file has been written all the same
		return done, err
	}
	if _, undo := c.putLocked(ctx, oldDoc, oldCfg, by); undo != nil {
		return done, errors.Join(err, fmt.Errorf("take the change back: %w", undo))
	}
	return console.Changes{}, err
}

// Save writes what has been changed to the file.
func (c *control) Save(ctx context.Context, by string) (done console.Changes, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done.Saved, err = c.saveLocked(ctx, by)
	return done, err
}

// saveLocked returns what the file said otherwise before.
func (c *control) saveLocked(ctx context.Context, by string) ([]config.Change, error) {
	err := errNoFile
	if c.path != "" {
		err = c.doc.Save()
	}
	if err != nil {
		c.log.ErrorContext(ctx, "the configuration is not saved", "by", by, "error", err)
		return nil, err
	}
	now := c.Config()
	written := config.Diff(c.saved, now)
	c.saved = now
	c.log.InfoContext(ctx, "configuration saved", "file", c.path, "by", by)
	return written, nil
}

// putLocked puts cfg in force, which is doc's, on behalf of by. On an error nothing has changed.
func (c *control) putLocked(ctx context.Context, doc *config.Document, cfg *config.Config, by string) ([]config.Change, error) {
	if err := c.apply(cfg.Running(c.begun)); err != nil {
		return nil, err
	}
	changes := config.Diff(c.Config(), cfg)
	c.level.Set(min(c.level.Level(), cfg.LogLevel.Slog())) // what has changed is logged if either level wants it
	for _, change := range changes {
		args := []any{"key", change.Key, "old", change.Old, "new", change.New, "by", by}
		if change.Restart {
			c.log.WarnContext(ctx, "configuration changed, takes effect at the next start", args...)
		} else {
			c.log.InfoContext(ctx, "configuration changed", args...)
		}
	}
	c.level.Set(cfg.LogLevel.Slog())
	c.doc = doc
	c.cfg.Store(cfg)
	return changes, nil
}

// Shutdown has the pooler stop. It returns at once, so that whoever has asked for it gets an answer.
func (c *control) Shutdown(ctx context.Context, how console.ShutdownWait, by string) {
	c.log.InfoContext(ctx, "told to stop", "how", cmp.Or(how.String(), "at once"), "by", by)
	select {
	case c.stops <- how:
	default: // it has been told often enough
	}
}
