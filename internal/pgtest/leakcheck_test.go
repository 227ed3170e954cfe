package pgtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

type runFunc func() int

func (f runFunc) Run() int { return f() }

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

func TestLeakCheck(t *testing.T) {
	stop := make(chan struct{})
	var cleanups []func()
	tests := []struct {
		name string
		run  func() int
		want string
	}{
		{name: "a clean run passes", run: func() int { return 0 }},
		{name: "a failed run stays failed and is not checked", run: func() int {
			go func() { <-stop }()
			return 3
		}, want: "exit code 3"},
		{name: "a goroutine is shown with its stack", run: func() int {
			go func() { <-stop }()
			return 0
		}, want: "pgtest.TestLeakCheck"},
		{name: "a file descriptor is shown with what it is", run: func() int {
			f, err := os.Open(os.DevNull)
			if err != nil {
				panic(err)
			}
			cleanups = append(cleanups, func() { _ = f.Close() })
			return 0
		}, want: os.DevNull},
		{name: "a child process is shown by name", run: func() int {
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			cleanups = append(cleanups, func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // "signal: killed", as we asked
			})
			return 0
		}, want: ": sleep"},
		{name: "what is on its way out is waited for", run: func() int {
			go func() { <-time.After(20 * time.Millisecond) }()
			return 0
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var report bytes.Buffer
			grace := 100 * time.Millisecond
			if tt.want == "" {
				grace = leakGrace
			}
			code := runChecked(runFunc(tt.run), &report, grace, nil)
			switch {
			case tt.want == "":
				if code != 0 {
					t.Errorf("got exit code %d and %q", code, report.String())
				}
			case tt.want == "exit code 3":
				if code != 3 || report.Len() != 0 {
					t.Errorf("got exit code %d and %q", code, report.String())
				}
			case code != 1 || !strings.Contains(report.String(), tt.want):
				t.Errorf("got exit code %d and %q, want 1 and %q", code, report.String(), tt.want)
			}
		})
	}
	close(stop)
	for _, f := range cleanups {
		f()
	}
}

func TestWhatTestsShareIsClosedFirst(t *testing.T) {
	stop := make(chan struct{})
	run := runFunc(func() int {
		go func() { <-stop }()
		return 0
	})
	closer := closeFunc(func() error {
		close(stop)
		return nil
	})
	var report bytes.Buffer
	if code := runChecked(run, &report, leakGrace, []io.Closer{closer}); code != 0 {
		t.Errorf("got exit code %d and %q, want 0", code, report.String())
	}
	failing := closeFunc(func() error { return errors.New("no") })
	if code := runChecked(runFunc(func() int { return 0 }), &report, leakGrace, []io.Closer{failing}); code != 1 {
		t.Errorf("a Close that fails: got exit code %d, want 1", code)
	}
}
