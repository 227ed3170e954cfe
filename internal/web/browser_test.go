package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience bounds every wait for what must come.
const patience = 30 * time.Second

// browser is a Chromium without a window. Its tabs share nothing, no cookies either.
type browser struct {
	ctx context.Context
	url string // of the dashboard
}

func startBrowser(t *testing.T, url string) *browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // tests run as root in containers, where it cannot be
		chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, _ := chromedp.NewContext(allocator) // Cancel is its end, and waits for it
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end Chromium: %v", err)
		}
	})
	return &browser{ctx: ctx, url: url}
}

func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium; scripts/install-chromium.sh installs it")
	return ""
}

// tab is a page that is open. What it writes to the console fails the test, unless it is expected.
type tab struct {
	*testing.T
	ctx      context.Context
	url      string
	mu       sync.Mutex // guards the two below
	said     []chromedp.ConsoleMessage
	expected []string // parts of addresses whose requests may fail
}

func (b *browser) open(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	p := &tab{T: t, ctx: ctx, url: b.url, expected: []string{"/api/me"}} // it tells by 401 that nobody is logged in
	if err := chromedp.Do(ctx); err != nil {                             // the tab lives as long as the context of what is done first
		t.Fatalf("open a tab: %v", err)
	}
	p.do(chromedp.EmulateViewport(1440, 900))
	var listening sync.WaitGroup
	messages := chromedp.Console(ctx)
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.said = append(p.said, m)
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			p.leaveEvidence()
		}
		p.checkConsole()
		cancel() // closes the tab
		listening.Wait()
	})
	return p
}

// mayFail has requests to such addresses answer with an error, which Chromium writes to the console.
func (p *tab) mayFail(part string) {
	p.mu.Lock()
	p.expected = append(p.expected, part)
	p.mu.Unlock()
}

func (p *tab) checkConsole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.said {
		if m.Type != chromedp.ConsoleError && m.Type != chromedp.ConsoleWarning && !m.IsException() {
			continue
		}
		if m.Source != "network" || !containsAny(m.URL, p.expected) {
			p.Errorf("the console says: %s (%s line %d)", m, m.URL, m.Line)
		}
	}
}

func containsAny(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// leaveEvidence tells what there was to see when a test failed.
func (p *tab) leaveEvidence() {
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	p.Logf("the page (%v):\n%.4000s", err, text)
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

// eval is the value of a JavaScript expression.
func eval[T any](p *tab, js string) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", js, err)
	}
	return v
}

// until waits for a JavaScript condition. (chromedp.Poll wants eval, which the page's own policy forbids.)
func (p *tab) until(what, js string) {
	p.Helper()
	eventually(p.T, what, func() bool { return eval[bool](p, "Boolean("+js+")") })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// visit opens a section, by the part of the address behind the #.
func (p *tab) visit(hash string) {
	p.Helper()
	if at := eval[string](p, "location.href"); strings.HasPrefix(at, p.url) {
		eval[string](p, fmt.Sprintf("location.hash = %q", hash))
		return
	}
	p.do(chromedp.Navigate(p.url + "#" + hash))
}

// logIn opens the page as a user.
func (p *tab) logIn(user, hash string) {
	p.Helper()
	p.visit(hash)
	p.do(chromedp.WaitVisible("#user"), chromedp.SendKeys("#user", user), chromedp.SendKeys("#password", password+"\r"))
	p.until(user+" is let in", "!document.getElementById('frame').hidden")
}

// text is what an element shows; "" if there is none.
func (p *tab) text(selector string) string {
	p.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// shows waits until an element has such a text.
func (p *tab) shows(selector, want string) {
	p.Helper()
	got := ""
	eventually(p.T, fmt.Sprintf("%s shows %q", selector, want), func() bool {
		got = p.text(selector)
		return strings.Contains(got, want)
	})
}

// click clicks what a JavaScript expression finds, as soon as it is there.
func (p *tab) click(js string) {
	p.Helper()
	p.until("there is "+js, js)
	eval[bool](p, "("+js+".click(), true)")
}

// buttonNamed is a JavaScript expression for the button with such a text, within a selector.
func buttonNamed(within, text string) string {
	return fmt.Sprintf("[...document.querySelectorAll(%q)].find((b) => b.textContent === %q)", within+" button", text)
}

// buildPooler builds the program; the build cache makes that quick.
func buildPooler(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pooler")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/pooler")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
