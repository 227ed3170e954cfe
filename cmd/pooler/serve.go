package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pooler/config"
	"pooler/internal/console"
)

// serve runs the pooler until it is told to stop, by a signal or on its console.
func serve(args []string) error {
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	path := set.String("config", "pooler.toml", "the configuration `file`")
	if err := flags(set, args); err != nil {
		return err
	}
	unhardened := harden() // before any secret is read
	doc, err := config.ReadDocument(*path)
	if err != nil {
		return err
	}
	out := newLogWriter(os.Stderr)
	defer out.close()
	cfg, err := doc.Config() // for its log_format; newControl checks the rest
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	log := newLogger(out, cfg.LogFormat, level)
	if unhardened != nil {
		log.Warn("the process is not protected as it should be", "error", unhardened)
	}
	warnRoot(cfg, log)
	ctl, err := newControl(doc, *path, level, log)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	in, err := start(ctl, log)
	if err != nil {
		return err
	}
	log.Info("serving", "version", versionText(), "addresses", fmt.Sprint(in.addresses()), "config", *path)
	w := &warden{in: in, ctl: ctl, log: log}
	w.run(signals)
	return nil
}

// warden carries out signals and orders to stop. The signals are PgBouncer's but for SIGTERM, which is as SIGINT: HUP
// reloads the configuration, USR1 pauses and USR2 resumes all databases, TERM and INT let transactions finish and stop
// at once when they come again, QUIT stops at once.
type warden struct {
	in  *instance
	ctl *control
	log *slog.Logger

	stage   stage
	reloads chan struct{} // a value: SIGHUP has come and the file has not been read since
	stopped chan struct{} // closed when everything is down; nil: nobody has begun
	hurry   context.CancelFunc
}

// stage is how far a stop has gone. It only grows.
type stage uint8

const (
	stageServing stage = iota
	stageLeaving       // no new clients, and the others may stay
	stageDraining
	stageOver
)

// run returns when the pooler has stopped, or must not be waited for.
func (w *warden) run(signals <-chan os.Signal) {
	w.reloads = make(chan struct{}, 1)
	defer close(w.reloads)
	go w.reload()
	for w.stage != stageOver {
		select {
		case <-w.stopped:
			w.log.Info("stopped")
			return
		case sig := <-signals:
			w.onSignal(sig)
		case how := <-w.ctl.stops:
			w.stop(map[console.ShutdownWait]stage{
				console.ShutdownNow: stageOver, console.ShutdownWaitForServers: stageDraining, console.ShutdownWaitForClients: stageLeaving,
			}[how], "console")
		}
	}
	// Whoever has asked for it on the console is answered.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	w.in.front.EndConsoles(ctx)
	w.log.Warn("stopped at once; transactions that were open are rolled back by PostgreSQL")
}

func (w *warden) onSignal(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		select {
		case w.reloads <- struct{}{}:
		default: // the file will be read after this anyway
		}
	case syscall.SIGUSR1:
		w.in.pools.Pause("")
		w.log.Info("paused: clients wait until they are resumed", "by", "SIGUSR1")
	case syscall.SIGUSR2:
		paused, suspended := w.in.pools.Resume(""), w.in.front.Resume()
		w.log.Info("resumed", "was_paused", paused, "was_suspended", suspended, "by", "SIGUSR2")
	case syscall.SIGQUIT:
		w.stop(stageOver, sig.String())
	default:
		if w.stage >= stageDraining {
			w.stop(stageOver, sig.String())
		} else {
			w.stop(stageDraining, sig.String())
		}
	}
}

// reload carries out SIGHUP apart from the other signals, which a disk that hangs must not keep from being heard. Nobody
// waits for its end, for the same reason; it changes nothing outside of the program.
func (w *warden) reload() {
	for range w.reloads {
		_, _ = w.ctl.Reload(context.Background(), "SIGHUP") // what is wrong has been logged
	}
}

// stop goes on to a later stage.
func (w *warden) stop(to stage, by string) {
	if to <= w.stage {
		return
	}
	w.stage = to
	wait := time.Duration(w.ctl.Config().ShutdownTimeout)
	switch to {
	case stageLeaving:
		w.log.Info("stopping: no new clients, those who are connected may stay", "by", by)
	case stageDraining:
		w.log.Info("stopping: no new clients, transactions may finish", "by", by, "at_most", wait.String())
	case stageServing, stageOver:
		return
	}
	if w.stopped != nil {
		w.hurry() // it drains next
		return
	}
	w.stopped = make(chan struct{})
	ctx, hurry := context.WithCancel(context.Background())
	w.hurry = hurry
	if to == stageDraining {
		hurry()
	}
	go func() {
		defer close(w.stopped)
		w.in.front.StopAccepting()
		w.in.front.AwaitClients(ctx)
		w.in.stop(time.Duration(w.ctl.Config().ShutdownTimeout))
	}()
}

func newLogger(out io.Writer, format config.LogFormat, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}
