package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"

	"pooler/backend"
	"pooler/config"
	"pooler/frontend"
	"pooler/internal/auth"
	"pooler/internal/loop"
	"pooler/pool"
)

// check validates a configuration, and the files it names, without serving.
func check(args []string) error {
	set := flag.NewFlagSet("check", flag.ContinueOnError)
	path := set.String("config", "pooler.toml", "the configuration `file`")
	if err := flags(set, args); err != nil {
		return err
	}
	cfg, err := config.Load(*path, frontend.CheckHooks)
	if err != nil {
		return err
	}
	if err := checkFiles(cfg, *path, os.Stderr); err != nil {
		return err
	}
	fmt.Printf("%s is right.\n", *path)
	return nil
}

// checkFiles has those who use the files read them, as at a start, and writes what they warn of to out.
func checkFiles(cfg *config.Config, path string, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}}))
	warn(log, cfg.Warnings(path))
	var nobody error
	if cfg.User != "" {
		if _, nobody = user.Lookup(cfg.User); nobody != nil {
			nobody = fmt.Errorf("find the account of the key user: %w", nobody)
		}
	}
	dial := backend.NewDialer(auth.NewKeyring())
	loaded, servers := dial.Load(cfg)
	if servers == nil {
		warn(log, loaded.Warnings)
	}
	return errors.Join(checkFrontend(cfg, dial, log), servers, nobody)
}

// checkFrontend makes a server that never listens.
func checkFrontend(cfg *config.Config, dial *backend.Dialer, log *slog.Logger) error {
	l, err := loop.New(log)
	if err != nil {
		return fmt.Errorf("start event loop: %w", err)
	}
	defer l.Stop()
	loops := []*loop.Loop{l}
	pools := pool.NewManager(dial.Dial, loops, log)
	defer pools.Close()
	_, err = frontend.New(cfg, pools, loops, log)
	return err
}

// warn logs what an operator should look at in files; each warning names its file.
func warn(log *slog.Logger, warnings []string) {
	for _, w := range warnings {
		log.Warn("a file wants a look", "warning", w)
	}
}
