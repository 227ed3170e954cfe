package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

func TestDbg(t *testing.T) {
	s := openScene(t, pgtest.Start(t), fmt.Sprintf("history_file = %q", filepath.Join(t.TempDir(), "history.db")))
	c := s.client(source{"127.0.0.2", "survivor"})
	mustExec(t, c, "SELECT 1")
	s.samples(2)
	disconnect(t, c)
	s.samples(1)
	s.restart()
	if true {
		c := s.client(source{"127.0.0.2", "second"})
		mustExec(t, c, "SELECT 1")
	}
	for range 4 {
		time.Sleep(3 * time.Second)
		t.Log(time.Now().Unix(), s.get(s.seriesQuery("sources", "1", "json")+"&fields=connected"))
		t.Log(time.Now().Unix(), s.get(s.seriesQuery("sources", "60", "json")+"&fields=connected,queries"))
	}
}
