package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pooler/config"
	"pooler/internal/pgtest"
)

// restart ends the pooler and starts it again, with the same file.
func (s *scene) restart() {
	s.t.Helper()
	s.stop(10 * time.Second)
	doc, err := config.ReadDocument(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	level := &slog.LevelVar{}
	log := newLogger(&s.log, config.LogText, level)
	if s.ctl, err = newControl(doc, s.file, level, log); err != nil {
		s.t.Fatal(err)
	}
	if s.instance, err = start(s.ctl, log); err != nil {
		s.t.Fatal(err)
	}
	s.operator = s.dial("pooler")
	s.client(source{"127.0.0.1", "keeps the chart from being empty"})
}

// With a file, what was recorded outlives the pooler.
func TestHistoryOutlivesARestart(t *testing.T) {
	s := openScene(t, pgtest.Start(t), fmt.Sprintf("history_file = %q", filepath.Join(t.TempDir(), "history.db")))
	who := source{"127.0.0.2", "survivor"}
	work := func(queries int) {
		c := s.client(who)
		for range queries {
			mustExec(t, c, "SELECT 1")
		}
		s.samples(1)
		disconnect(t, c)
		s.samples(1)
	}
	work(7)
	first := s.seriesJSON("sources", "60")
	s.restart()
	s.samples(1)
	again := s.seriesJSON("sources", "60")
	for field, want := range map[string]float64{"connects": 1, "disconnects": 1, "queries": 7} {
		if one, two := first.total(s.keyOf(who), field), again.total(s.keyOf(who), field); one != want || two != want {
			t.Errorf("%s: %v before the restart, %v after it; want %v", field, one, two, want)
		}
	}
	if again.highest("connected_max") != 1 {
		t.Errorf("the most that were connected at once were %v", again.highest("connected_max"))
	}
	work(5)
	s.restart()
	s.samples(1)
	if n := s.seriesJSON("sources", "60").total(s.keyOf(who), "queries"); n != 12 {
		t.Errorf("after two lives history has %v queries, want 12", n)
	}
	if pools := s.seriesJSON("pools", "60"); pools.total(keyOf(s.database, "postgres"), "requests") != 12 {
		t.Errorf("the pool had %v requests, want 12", pools.total(keyOf(s.database, "postgres"), "requests"))
	}
}

// A file that cannot be used costs history beyond the pooler's life, and nothing else.
func TestAHistoryFileThatCannotBeUsed(t *testing.T) {
	pg := pgtest.Start(t)
	for _, c := range []struct {
		name string
		make func(path string) error
		said string // in the log
	}{
		{"another file", func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("no history\n", 5000)), 0o600)
		}, "move the file away"},
		{"a read-only one", func(path string) error { // which even root cannot write
			return os.Mkdir(path, 0o500)
		}, "is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "history.db")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			s := openScene(t, pg, fmt.Sprintf("history_file = %q", path))
			client := s.client(source{"127.0.0.2", "bystander"})
			mustExec(t, client, "SELECT 1")
			until(t, "the log says so", func() bool { return strings.Contains(s.log.String(), "history file cannot be used") })
			told, _ := s.samples(2)
			if n := told.total(s.keyOf(source{"127.0.0.2", "bystander"}), "queries"); n != 1 {
				t.Errorf("history in memory has %v queries", n)
			}
			mustExec(t, client, "SELECT 1")
			if log := s.log.String(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, c.said) {
				t.Errorf("%d lines of the log are errors, or none says %q", strings.Count(log, "level=ERROR"), c.said)
			}
		})
	}
}
