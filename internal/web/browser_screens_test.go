package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestScreenshots writes docs/images if POOLER_SCREENSHOTS is set, which takes two minutes: charts want something to show.
// Otherwise it checks that there is a picture of each.
func TestScreenshots(t *testing.T) {
	if os.Getenv("POOLER_SCREENSHOTS") == "" {
		for _, s := range screens("", "") {
			if info, err := os.Stat(imagePath(s.file())); err != nil || info.Size() > 400_000 {
				t.Errorf("%s is missing or too large: POOLER_SCREENSHOTS=1 go test ./internal/web -run TestScreenshots -timeout 10m makes it (%v)", s.file(), err)
			}
		}
		return
	}
	s := startScene(t, 10)
	history, compare := s.bustle()
	b := startBrowser(t, s.url)
	p := b.open(t)
	p.logIn("boss", "now")
	for _, screen := range screens(history, compare) {
		p.photograph(screen)
	}
}

type screen struct {
	name, hash    string
	width, height int64
	theme         string
}

func (s screen) file() string {
	size := "desktop"
	if s.width < 500 {
		size = "phone"
	}
	return fmt.Sprintf("dashboard-%s-%s-%s.png", s.name, size, s.theme)
}

func imagePath(name string) string { return filepath.Join("..", "..", "docs", "images", name) }

func screens(history, compare string) (all []screen) {
	for _, section := range []struct{ name, hash string }{{"now", "now"}, {"history", history}, {"culprits", "culprits"}, {"compare", compare}} {
		for _, theme := range []string{"light", "dark"} {
			all = append(all, screen{section.name, section.hash, 1440, 900, theme}, screen{section.name, section.hash, 390, 844, theme})
		}
	}
	return all
}

func (p *tab) photograph(s screen) {
	p.Helper()
	scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: s.theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, scheme); err != nil {
		p.Fatal(err)
	}
	p.do(chromedp.EmulateViewport(s.width, s.height))
	p.visit("pins") // so that the section begins anew, at this size
	p.until("another section is shown", "document.querySelector('main h1').textContent === 'Pins'")
	p.visit(s.hash)
	p.until(s.name+" is opened", fmt.Sprintf("document.title.toLowerCase().startsWith(%q)", s.name))
	p.until(s.name+" is shown", `[...document.querySelectorAll("main tbody tr, main .chart .line, main .server")].some((n) => n.getBoundingClientRect().width)`)
	if s.name == "now" {
		p.until("rates are known and there is some past", "/[1-9]/.test(document.querySelector('[data-figure=queries]')?.textContent) && document.querySelector('.spark .over').getAttribute('d')?.split('L').length > 4")
	}
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(imagePath(s.file()), picture, 0o644); err != nil { //nolint:gosec // to be read by everybody
		p.Fatal(err)
	}
}

// program is one of those that make the bustle.
type program struct {
	from, user, database, name string
	clients                    int
	statement                  string
	every                      time.Duration
}

// bustle has programs work for a while, with a leak that is mended half way. Some go on until the test ends.
func (s *scene) bustle() (history, compare string) {
	for _, p := range []program{
		{"127.0.0.21", "anna", "shop", "checkout", 24, "SELECT pg_sleep(0.02)", 150 * time.Millisecond},
		{"127.0.0.22", "anna", "shop", "catalogue", 14, "SELECT pg_sleep(0.005)", 60 * time.Millisecond},
		{"127.0.0.23", "ben", "books", "reports", 5, "SELECT pg_sleep(0.4)", 500 * time.Millisecond},
		{"127.0.0.24", "ben", "books", "nightly-export", 2, "SELECT pg_sleep(1.5)", 2 * time.Second},
	} {
		s.keepBusy(p)
	}
	s.exec(s.connect("127.0.0.25", "ben", "books", "mailer"), "LISTEN mail")
	s.exec(s.connect("127.0.0.25", "anna", "shop", "stock-import"), "/* file='import.py:88' */ BEGIN; SELECT 'stock'")
	began := time.Now()
	leaked := s.leak(50*time.Second, 66)
	middle := time.Now()
	for _, c := range leaked[:60] {
		closeNow(c)
	}
	s.connectMany(12, "127.0.0.26", "ben", "books", "grafana")
	s.leak(45*time.Second, 4)
	end := time.Now()
	s.leak(time.Second, 76) // it is back: somebody has to look for it
	seconds := func(t time.Time) int64 { return t.Unix() }
	return fmt.Sprintf("history?from=%d&to=%d", seconds(began)-3, seconds(end)),
		fmt.Sprintf("compare?a=%d-%d&b=%d-%d", seconds(middle)-40, seconds(middle), seconds(end)-40, seconds(end))
}

// leak connects so many clients within a time, and never uses them.
func (s *scene) leak(within time.Duration, n int) (all []*pgconn.PgConn) {
	tick := time.NewTicker(within / time.Duration(n))
	defer tick.Stop()
	for range n {
		<-tick.C
		all = append(all, s.connect("127.0.0.20", "anna", "shop", "cron-sync"))
	}
	return all
}

// keepBusy has each client run a statement now and then until the test ends.
func (s *scene) keepBusy(p program) {
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for i, c := range s.connectMany(p.clients, p.from, p.user, p.database, p.name) {
		working.Go(func() {
			tick := time.NewTicker(p.every + time.Duration(i)*p.every/20)
			defer tick.Stop()
			for ctx.Err() == nil {
				if _, err := c.Exec(ctx, p.statement).ReadAll(); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	s.t.Cleanup(func() {
		cancel()
		working.Wait()
	})
}
