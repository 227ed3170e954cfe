package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pooler/config"
	"pooler/internal/console"
)

// controlled is a control without a pooler, on a file of the test's.
type controlled struct {
	*control
	t       *testing.T
	file    string
	log     output
	applied []*config.Config
	refuse  error // what putting a configuration in force comes to
}

const controlFile = `# about the whole
auth_type = "trust"
default_pool_size = 3 # few
log_level = "warn"

[databases."*"]
[databases.app] # ours
pool_size = 7
user = "app"
password = "secret1"
`

func newControlled(t *testing.T) *controlled {
	t.Helper()
	c := &controlled{t: t, file: filepath.Join(t.TempDir(), "pooler.toml")}
	c.write(controlFile)
	doc, err := config.ReadDocument(c.file)
	if err != nil {
		t.Fatal(err)
	}
	level := &slog.LevelVar{}
	if c.control, err = newControl(doc, c.file, level, newLogger(&c.log, config.LogText, level)); err != nil {
		t.Fatal(err)
	}
	c.run(func(cfg *config.Config) error {
		if c.refuse == nil {
			c.applied = append(c.applied, cfg)
		}
		return c.refuse
	})
	return c
}

func (c *controlled) write(text string) {
	c.t.Helper()
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *controlled) onDisk() string {
	c.t.Helper()
	text, err := os.ReadFile(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func (c *controlled) set(save bool, assignments ...string) (console.Changes, error) {
	return c.Change(c.t.Context(), "alice", save, func(d *config.Document) (*config.Document, error) {
		var err error
		for _, one := range assignments {
			key, value, _ := strings.Cut(one, "=")
			if d, err = d.Set(strings.Split(key, "."), value); err != nil {
				return nil, err
			}
		}
		return d, nil
	})
}

func (c *controlled) inForce(poolSize, appSize int) {
	c.t.Helper()
	if cfg := c.Config(); cfg.DefaultPoolSize != poolSize || cfg.Databases["app"].PoolSize != appSize {
		c.t.Errorf("in force are %d and %d, want %d and %d", cfg.DefaultPoolSize, cfg.Databases["app"].PoolSize, poolSize, appSize)
	}
	if n := len(c.applied); n > 0 && len(config.Diff(c.applied[n-1], c.Config().Running(c.begun))) > 0 {
		c.t.Error("what was put in force last is not what the control believes")
	}
}

func TestAChangeIsInForceAndReloadDropsIt(t *testing.T) {
	c := newControlled(t)
	done, err := c.set(false, "default_pool_size=4", "databases.app.pool_size=8", "loops=2")
	if err != nil || len(done.Made) != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, change := range done.Made {
		if change.Restart != (change.Key == "loops") {
			t.Errorf("%+v", change)
		}
	}
	c.inForce(4, 8)
	if c.onDisk() != controlFile {
		t.Error("the file has changed")
	}
	c.write(strings.Replace(controlFile, "pool_size = 7", "pool_size = 9", 1))
	if done, err = c.Reload(t.Context(), "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	slices.Sort(done.Dropped)
	if !slices.Equal(done.Dropped, []string{"databases.app.pool_size", "default_pool_size", "loops"}) {
		t.Errorf("gone are %q", done.Dropped)
	}
	c.inForce(3, 9)
	if log := c.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "were not saved") || strings.Contains(log, "level=INFO") {
		t.Errorf("with log_level = warn the log says %q", log)
	}
	if done, err = c.Reload(t.Context(), "SIGHUP"); err != nil || len(done.Made)+len(done.Dropped) != 0 {
		t.Errorf("once more: %+v, %v", done, err)
	}
}

func TestSaveWritesWhatWasChanged(t *testing.T) {
	c := newControlled(t)
	if _, err := c.set(false, "default_pool_size=4"); err != nil {
		t.Fatal(err)
	}
	done, err := c.set(true, "databases.app.pool_size=8")
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Saved) != 2 || done.Saved[0].Key != "default_pool_size" || done.Saved[1].Key != "databases.app.pool_size" || len(done.Made) != 1 {
		t.Errorf("written are %+v", done)
	}
	want := strings.NewReplacer("default_pool_size = 3", "default_pool_size = 4", "pool_size = 7", "pool_size = 8").Replace(controlFile)
	if got := c.onDisk(); got != want {
		t.Errorf("the file is\n%s", got)
	}
	if done, err := c.Reload(t.Context(), "SIGHUP"); err != nil || len(done.Dropped)+len(done.Made) != 0 {
		t.Errorf("a reload: %+v, %v", done, err)
	}
	if done, err := c.Save(t.Context(), "alice"); err != nil || len(done.Saved) != 0 {
		t.Errorf("with nothing to save: %+v, %v", done, err)
	}
	c.inForce(4, 8)
}

func TestOnAnErrorNothingHasChanged(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(c *controlled) error
		is   error
	}{
		{"a value out of range", func(c *controlled) error {
			_, err := c.set(true, "default_pool_size=5", "databases.app.pool_size=-1")
			return err
		}, console.ErrInvalid},
		{"a value of another type", func(c *controlled) error { _, err := c.set(true, "default_pool_size=many"); return err }, config.ErrBadValue},
		{"an unknown key", func(c *controlled) error {
			_, err := c.set(true, "default_pool_size=5", "defaultpoolsize=5")
			return err
		}, config.ErrUnknownKey},
		{"a table that is not there", func(c *controlled) error { _, err := c.set(true, "databases.other.pool_size=5"); return err }, config.ErrNoTable},
		{"it cannot be put in force", func(c *controlled) error {
			c.refuse = errors.New("no auth_file")
			_, err := c.set(true, "default_pool_size=5")
			return err
		}, nil},
		{"the file has changed and is not overwritten", func(c *controlled) error {
			c.write(controlFile + "# by hand\n")
			_, err := c.set(true, "default_pool_size=5")
			return err
		}, config.ErrChangedOnDisk},
		{"a file that is wrong is not put in force", func(c *controlled) error {
			c.write(controlFile + "pool_size = 8\n")
			_, err := c.Reload(c.t.Context(), "SIGHUP")
			return err
		}, nil},
		{"a file that is gone", func(c *controlled) error {
			if err := os.Remove(c.file); err != nil {
				return nil //nolint:nilerr // shows as a failure of the test
			}
			_, err := c.Reload(c.t.Context(), "SIGHUP")
			return err
		}, os.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newControlled(t)
			before := c.Config()
			err := tc.do(c)
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("the error is %v", err)
			}
			if changes := config.Diff(before, c.Config()); len(changes) != 0 || c.doc.Changed() {
				t.Errorf("in force is something else: %+v", changes)
			}
			c.inForce(3, 7)
			if strings.Contains(c.log.String(), "secret1") {
				t.Errorf("the log says %q", c.log.String())
			}
		})
	}
}

func TestChangesAreLoggedWithWho(t *testing.T) {
	c := newControlled(t)
	if _, err := c.set(false, "log_level=info", "databases.app.password=secret2"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.set(true, "default_pool_size=6", "log_level=warn"); err != nil {
		t.Fatal(err)
	}
	log := c.log.String()
	for _, line := range []string{
		`key=log_level old="\"warn\"" new="\"info\"" by=alice`, `key=databases.app.password old=(changed) new=(changed) by=alice`,
		`key=default_pool_size old=3 new=6 by=alice`, `key=log_level old="\"info\"" new="\"warn\"" by=alice`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("%s is missing in %s", line, log)
		}
	}
	if strings.Contains(log, "secret") || c.level.Level() != slog.LevelWarn {
		t.Errorf("the level is %v, the log %s", c.level.Level(), log)
	}
}

// A disk that hangs holds up who saves, but neither SHOW nor the end, both of which ask for the configuration.
func TestConfigWaitsForNoChange(t *testing.T) {
	c := newControlled(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	c.run(func(*config.Config) error {
		close(began)
		<-goOn
		return nil
	})
	var change sync.WaitGroup
	change.Go(func() { _, _ = c.set(false, "default_pool_size=4") })
	<-began
	asked := make(chan int, 1)
	go func() { asked <- c.Config().DefaultPoolSize }()
	select {
	case got := <-asked:
		if got != 3 {
			t.Errorf("the configuration has %d before it is in force", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the change")
	}
	close(goOn)
	change.Wait()
}

// Whoever changes something at the same time as others loses none of it.
func TestChangesAtTheSameTime(t *testing.T) {
	c := newControlled(t)
	keys := []string{"default_pool_size", "max_server_connections", "max_db_connections", "max_user_connections", "max_use_session"}
	var all sync.WaitGroup
	for i, key := range keys {
		all.Go(func() {
			for n := range 10 {
				if _, err := c.set(n%3 == 0, fmt.Sprintf("%s=%d", key, 10*i+n+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 10 {
			_ = c.Config()
			c.Shutdown(context.Background(), console.ShutdownNow, "alice") // never blocks
		}
	})
	all.Wait()
	if _, err := c.Save(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		if line := fmt.Sprintf("%s = %d", key, 10*i+10); !bytes.Contains([]byte(c.onDisk()), []byte("\n"+line)) {
			t.Errorf("%s is missing in\n%s", line, c.onDisk())
		}
	}
	if cfg, err := config.Load(c.file); err != nil || len(config.Diff(cfg, c.Config())) != 0 {
		t.Errorf("the file says something else than is in force: %v", err)
	}
}

func TestWithoutAFile(t *testing.T) {
	level := &slog.LevelVar{}
	c, err := newControl(config.NewDocument("demo", []byte(controlFile)), "", level, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reload(t.Context(), "SIGHUP"); !errors.Is(err, errNoFile) {
		t.Errorf("reload: %v", err)
	}
	if _, err := c.Save(t.Context(), "alice"); !errors.Is(err, errNoFile) {
		t.Errorf("save: %v", err)
	}
	if _, err := c.Change(t.Context(), "alice", false, func(d *config.Document) (*config.Document, error) {
		return d.Set([]string{"default_pool_size"}, "5")
	}); err != nil || c.Config().DefaultPoolSize != 5 {
		t.Errorf("change: %v", err)
	}
}
