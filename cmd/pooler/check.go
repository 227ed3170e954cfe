package main

import (
	"flag"
	"fmt"
	"os"

	"pooler/config"
	"pooler/frontend"
)

// check validates a configuration, and the auth_file it names, without serving.
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
	if cfg.AuthType != config.AuthTrust {
		file, err := config.LoadAuthFile(cfg.AuthFile)
		if err != nil {
			return fmt.Errorf("auth_file: %w", err)
		}
		for _, w := range file.Warnings {
			fmt.Fprintln(os.Stderr, "warning:", w)
		}
	}
	fmt.Printf("%s is right.\n", *path)
	return nil
}
