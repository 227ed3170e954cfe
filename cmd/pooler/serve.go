package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pooler/config"
	"pooler/frontend"
)

// serve runs the pooler until it is told to stop: SIGTERM and SIGINT let transactions finish, a second SIGINT stops
// at once, SIGHUP reloads the configuration.
func serve(args []string) error {
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := set.String("config", "pooler.toml", "the configuration `file`")
	if err := flags(set, args); err != nil {
		return err
	}
	cfg, err := config.Load(*path, frontend.CheckHooks)
	if err != nil {
		return err
	}
	out := newLogWriter(os.Stderr)
	defer out.close()
	level := &slog.LevelVar{}
	level.Set(cfg.LogLevel.Slog())
	log := newLogger(out, cfg.LogFormat, level)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	in, err := start(cfg, log)
	if err != nil {
		return err
	}
	log.Info("serving", "version", versionText(), "addresses", fmt.Sprint(in.addresses()), "config", *path)
	r := &reloader{path: *path, cfg: cfg, in: in, log: log, level: level}
	for sig := range signals {
		if sig == syscall.SIGHUP {
			r.reload()
			continue
		}
		stopOn(sig, signals, in, time.Duration(r.cfg.ShutdownTimeout), log)
		return nil
	}
	return nil
}

// stopOn drains and stops; a further SIGINT or SIGTERM makes it stop at once.
func stopOn(sig os.Signal, signals <-chan os.Signal, in *instance, wait time.Duration, log *slog.Logger) {
	log.Info("stopping: no new clients, transactions may finish", "signal", sig.String(), "at_most", wait.String())
	stopped := make(chan struct{})
	go func() {
		in.stop(wait)
		close(stopped)
	}()
	for {
		select {
		case <-stopped:
			log.Info("stopped")
			return
		case again := <-signals:
			if again != syscall.SIGHUP {
				log.Warn("stopped at once; transactions that were open are rolled back by PostgreSQL")
				return
			}
		}
	}
}

// reloader puts a changed configuration file in force.
type reloader struct {
	path  string
	cfg   *config.Config
	in    *instance
	log   *slog.Logger
	level *slog.LevelVar
}

func (r *reloader) reload() {
	cfg, err := config.Load(r.path, frontend.CheckHooks)
	if err == nil {
		err = r.in.reload(cfg)
	}
	if err != nil {
		r.log.Error("reload refused, nothing has changed", "error", err)
		return
	}
	changes := config.Diff(r.cfg, cfg)
	for _, c := range changes {
		if c.Restart {
			r.log.Warn("changed in the file, takes effect at the next start", "key", c.Key, "old", c.Old, "new", c.New)
		} else {
			r.log.Info("configuration changed", "key", c.Key, "old", c.Old, "new", c.New)
		}
	}
	r.level.Set(cfg.LogLevel.Slog())
	r.cfg = cfg
	r.log.Info("configuration reloaded", "changes", len(changes))
}

func newLogger(out io.Writer, format config.LogFormat, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}
