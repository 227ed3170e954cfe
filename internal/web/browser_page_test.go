package web_test

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestDashboard looks at the page in a real browser, in front of a real pooler with a real PostgreSQL. Its parts share
// those: they look, and what they change they put back.
func TestDashboard(t *testing.T) {
	s := setScene(t)
	b := startBrowser(t, s.url)
	for _, part := range []struct {
		name string
		test func(*tab, *scene)
	}{
		{"shows its figures within a second", showsItsFiguresWithinASecond},
		{"shows live figures", showsLiveFigures},
		{"draws who is joined to whom", drawsWhoIsJoinedToWhom},
		{"draws charts of what was recorded", drawsChartsOfWhatWasRecorded},
		{"filters and sorts", filtersAndSorts},
		{"compares two stretches of time", comparesTwoStretches},
		{"forgets late answers", forgetsLateAnswers},
		{"tells that there are more rows", tellsThatThereAreMoreRows},
		{"has rates go by what was recorded", ratesGoByWhatWasRecorded},
		{"goes by the pooler's clock", goesByThePoolersClock},
		{"keeps its badges", keepsItsBadges},
		{"opens every section", opensEverySection},
		{"shows hostile names as text", showsHostileNamesAsText},
		{"tells a wrong password", tellsAWrongPassword},
		{"kills a client", killsAClient},
		{"kills idle clients after a dry run", killsIdleClientsAfterADryRun},
		{"ends only what was tried", endsOnlyWhatWasTried},
		{"resizes and pauses a pool", resizesAndPausesAPool},
		{"takes a pause back", takesAPauseBack},
		{"lets those who may only look do nothing", letsLookersDoNothing},
		{"is usable by keyboard alone", isUsableByKeyboardAlone},
		{"fits a phone", fitsAPhone},
		{"goes on after the pooler was away", goesOnAfterTheServerWasAway},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(b.open(t), s.in(t)) })
	}
}

func figure(name string) string { return fmt.Sprintf("[data-figure=%s]", name) }

// The one test that depends on how fast the machine is. The best of three counts: one may be disturbed.
func showsItsFiguresWithinASecond(p *tab, _ *scene) {
	p.logIn("looker", "now")
	best := math.Inf(1)
	for range 3 {
		p.do(chromedp.Reload())
		p.until("the figures are there", "performance.getEntriesByName('figures').length")
		took := eval[float64](p, "performance.getEntriesByName('figures')[0].startTime") // since the navigation began
		p.Logf("figures after %.0f ms", took)
		best = min(best, took)
	}
	if best >= 1000 {
		p.Errorf("the figures came after %.0f ms, want less than 1000", best)
	}
	if sent := eval[float64](p, "performance.getEntriesByType('resource').filter((r) => !r.name.includes('/api/')).reduce((n, r) => n + r.decodedBodySize, 0)"); sent > 120_000 {
		p.Errorf("the page has %.0f bytes", sent)
	}
}

func showsLiveFigures(p *tab, s *scene) {
	p.logIn("looker", "now")
	for name, want := range map[string]int{"clients": everybody, "active": 2, "waiting": 1, "pinned": 1} {
		p.shows(figure(name), strconv.Itoa(want))
	}
	more := s.connectMany(5, "127.0.0.4", "ben", "books", "burst")
	p.shows(figure("clients"), strconv.Itoa(everybody+5))
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- load(more[0], stop) }() // awaited below
	p.until("queries are counted", "Number(document.querySelector('[data-figure=queries]').textContent.replace(',', '')) > 0")
	close(stop)
	if err := <-done; err != nil {
		p.Fatal(err)
	}
	for _, c := range more {
		closeNow(c)
	}
	p.shows(figure("clients"), strconv.Itoa(everybody))
	p.shows("#tab-waiting .badge", "1")
}

func drawsWhoIsJoinedToWhom(p *tab, _ *scene) {
	p.logIn("looker", "now")
	p.until("all sources are drawn", "document.querySelectorAll('.source').length === 6")
	p.until("both pools are drawn", "document.querySelectorAll('.pool').length === 2")
	p.until("the busy server sessions are drawn", "document.querySelectorAll('.server[data-state=active]').length >= 3") // two, and the legend's
	p.until("lines join them", "document.querySelectorAll('.links path').length === 8 && [...document.querySelectorAll('.links path')].every((l) => l.getAttribute('d').includes('C'))")
	if got := eval[string](p, "[...document.querySelectorAll('.source')].find((s) => s.textContent.includes('web')).getAttribute('aria-label')"); !strings.Contains(got, "8 connected") {
		p.Errorf("the source says %q", got)
	}
	p.until("a server session tells who has it", "[...document.querySelectorAll('.server')].some((s) => s.getAttribute('aria-label')?.includes('report'))")
	eval[bool](p, "([...document.querySelectorAll('.pool')].find((n) => n.textContent.includes('shop')).focus(), true)")
	p.shows("#tip", "1 client waits")
}

// point is one of a path of a chart.
var point = regexp.MustCompile(`([\d.]+) ([\d.]+)`)

func drawsChartsOfWhatWasRecorded(p *tab, s *scene) {
	from, to := s.recorded()
	p.logIn("looker", fmt.Sprintf("history?from=%d&to=%d", from, to))
	p.until("a chart for each source and one of all", "document.querySelectorAll('.chart').length === 7")
	var want series
	s.api("api/series", url.Values{"from": {fmt.Sprint(from)}, "to": {fmt.Sprint(to)}, "fields": {"connected,active"}}, &want)
	byName := map[string][][]*float64{}
	for _, l := range want.Lines {
		byName[l.Key[1]] = l.Values
	}
	type line struct{ Title, Field, Path, Top, Height string }
	lines := eval[[]line](p, `[...document.querySelectorAll(".chart path.line")].map((l) => ({
		Title: l.closest(".chart").querySelector("h3").textContent, Field: l.dataset.field, Path: l.getAttribute("d"),
		Top: l.closest("svg").dataset.top, Height: l.closest("svg").dataset.height }))`)
	checked := 0
	for _, l := range lines {
		field := map[string]int{"connected": 0, "active": 1}
		at, ok := field[l.Field]
		if values := byName[l.Title]; ok && values != nil {
			p.compareLine(l.Title+" "+l.Field, l.Path, l.Top, l.Height, values[at])
			checked++
		}
	}
	if checked != 12 {
		p.Errorf("%d lines were checked, want 12: %+v", checked, lines)
	}
	p.readsValues()
	p.click("[...document.querySelectorAll('.tools button')].find((b) => b.textContent === 'Table')")
	p.until("the table has a row for each second and source", fmt.Sprintf("document.querySelectorAll('tbody tr').length === %d", 6*len(want.Times)))
	csv := eval[string](p, "fetch([...document.querySelectorAll('.tools a')].find((a) => a.textContent === 'CSV').href).then((r) => r.text())")
	if n := strings.Count(csv, "\n"); n != 1+6*len(want.Times) {
		p.Errorf("the CSV has %d lines:\n%s", n, csv)
	}
	p.click("[...document.querySelectorAll('.tools button')].find((b) => b.textContent === 'Table')")
	p.zooms()
}

// compareLine checks that a path has a point for each value, at its height.
func (p *tab) compareLine(what, path, top, height string, want []*float64) {
	p.Helper()
	points := point.FindAllStringSubmatch(path, -1)
	if len(points) != len(want) {
		p.Errorf("%s has %d points, want %d: %s", what, len(points), len(want), path)
		return
	}
	scale, tall := number(p, top), number(p, height)
	for i, at := range points {
		got := (tall - 20 - number(p, at[2])) / (tall - 28) * scale
		if math.Abs(got-*want[i]) > scale/500 {
			p.Errorf("%s at %d is drawn as %.2f, want %g", what, i, got, *want[i])
		}
	}
}

func number(p *tab, text string) float64 {
	p.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		p.Fatal(err)
	}
	return v
}

// readsValues: arrow keys move the crosshair.
func (p *tab) readsValues() {
	eval[bool](p, "(document.querySelector('.plot').focus(), true)")
	p.do(chromedp.KeyEvent("\u0302")) // arrow left
	p.until("the crosshair tells the time and the values",
		fmt.Sprintf("/^\\d{4}-.*: connected %d, active 2/.test(document.activeElement.getAttribute('aria-valuetext'))", everybody))
}

// zooms: a stretch that is dragged over becomes the range, and Back goes back.
func (p *tab) zooms() {
	p.Helper()
	before := eval[string](p, "location.hash")
	p.until("the charts are back", "document.querySelector('.plot')?.clientWidth > 0")
	at := eval[[]float64](p, "((r) => [r.left + r.width * 0.1, r.left + r.width * 0.6, r.top + 60])(document.querySelector('.plot').getBoundingClientRect())")
	p.do(chromedp.DragAndDropXY(at[0], at[2], at[1], at[2]))
	p.until("the range is another", fmt.Sprintf("location.hash !== %q && /from=\\d+&to=\\d+/.test(location.hash)", before))
	eval[bool](p, "(history.back(), true)")
	p.until("the range is the one before", fmt.Sprintf("location.hash === %q", before))
}

func filtersAndSorts(p *tab, _ *scene) {
	p.logIn("boss", "clients")
	rows := func(n int) string { return fmt.Sprintf("document.querySelectorAll('tbody tr').length === %d", n) }
	p.until("everybody is listed", rows(everybody))
	p.do(chromedp.SendKeys("#search", "127.0.0.3"))
	p.until("five come from there", rows(5))
	p.until("the address remembers it", "location.hash.includes('q=127.0.0.3')")
	p.visit("clients?q=" + url.QueryEscape("WEB shop"))
	p.until("all words count, wherever they stand", rows(idlers))
	p.visit("clients?where=" + url.QueryEscape("application_name = 'web'"))
	p.until("the server has filtered", rows(idlers))
	p.mayFail("/api/show/clients")
	p.visit("clients?where=" + url.QueryEscape("nothing = 1"))
	p.until("the server's words are shown", "/nothing/.test(document.querySelector('main .trouble')?.textContent)")
	p.visit("clients")
	p.until("everybody is back", rows(everybody))
	p.click("document.querySelector('th[data-column=id] button')")
	ids := "[...document.querySelectorAll('tbody tr td:first-child')].map((c) => Number(c.textContent))"
	p.until("the largest comes first", "((a) => a.length > 1 && a.every((v, i) => i === 0 || a[i - 1] > v))("+ids+")")
	p.click("document.querySelector('tbody tr')")
	p.until("details are shown", "document.querySelectorAll('.detail dt').length > 20")
}

func comparesTwoStretches(p *tab, s *scene) {
	from, to := s.recorded()
	middle := (from + to) / 2
	p.logIn("looker", fmt.Sprintf("compare?a=%d-%d&b=%d-%d", from-3600, from-3500, middle, to))
	p.until("all together and each source are compared", "document.querySelectorAll('tbody tr').length === 7")
	var answer struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	s.api("api/compare", url.Values{"a_from": {fmt.Sprint(from - 3600)}, "a_to": {fmt.Sprint(from - 3500)}, "b_from": {fmt.Sprint(middle)}, "b_to": {fmt.Sprint(to)}}, &answer)
	if len(answer.Rows) != 7 {
		p.Errorf("the API has %d rows", len(answer.Rows))
	}
	p.until("the same stretch does not differ", fmt.Sprintf("(location.hash = 'compare?a=%d-%d&b=%d-%d', true)", from, to, from, to))
	p.until("nothing has changed", fmt.Sprintf("document.querySelector('tbody .pair')?.textContent === '%d → %d±0'", everybody, everybody))
	p.visit(fmt.Sprintf("compare?a=%d-%d&b=%d-%d&q=web", from, to, from, to))
	p.until("what all did is told apart from what fits", "/without the filter/.test(document.querySelector('tbody tr')?.textContent) && document.querySelectorAll('tbody tr').length === 2")
	p.until("both charts have the same scale", "new Set([...document.querySelectorAll('.plot')].map((c) => c.dataset.top)).size === 1")
}

func opensEverySection(p *tab, _ *scene) {
	p.logIn("boss", "now")
	p.mayFail("/api/show/") // of views that this pooler does not have
	tabs := eval[[]string](p, "[...document.querySelectorAll('[role=tab]')].map((t) => t.id)")
	if len(tabs) != 15 {
		p.Errorf("there are %d tabs: %q", len(tabs), tabs)
	}
	for _, id := range tabs {
		p.click(fmt.Sprintf("document.getElementById(%q)", id))
		p.until(id+" shows something", `[...document.querySelectorAll("main tbody tr, main .chart, main .source, main .empty, main .trouble")].some((n) => n.offsetParent && n.textContent)`)
		p.until("no fault is told", "document.getElementById('banner').hidden")
	}
}

func showsHostileNamesAsText(p *tab, s *scene) {
	from, to := s.recorded()
	p.logIn("boss", "now")
	for _, hash := range []string{"now", "clients", "statements", "culprits", fmt.Sprintf("history?from=%d&to=%d", from, to)} {
		p.visit(hash)
		if hash != "statements" {
			p.until("the name stands in "+hash, fmt.Sprintf("document.querySelector('main').textContent.includes(%q)", hostile))
		}
		if n := eval[int](p, "document.querySelectorAll('main img, main script').length"); n != 0 {
			p.Errorf("%s has made elements of a name", hash)
		}
	}
	if title := eval[string](p, "document.title"); strings.Contains(title, "taken") {
		p.Error("a name was carried out")
	}
}

func fitsAPhone(p *tab, s *scene) {
	from, to := s.recorded()
	p.do(chromedp.EmulateViewport(390, 844))
	p.logIn("boss", "now")
	for _, hash := range []string{"now", fmt.Sprintf("history?from=%d&to=%d", from, to), "clients", "compare", "histograms", "pools"} {
		p.visit(hash)
		p.until(hash+" is shown", `[...document.querySelectorAll("main tbody tr, main .chart, main .source")].some((n) => n.offsetParent && n.textContent)`)
		if wide := eval[int](p, "document.documentElement.scrollWidth"); wide > 390 {
			p.Errorf("%s is %d wide", hash, wide)
		}
	}
}

// goesOnAfterTheServerWasAway: the browser is told that it has no network.
func goesOnAfterTheServerWasAway(p *tab, _ *scene) {
	p.logIn("looker", "now")
	p.shows(figure("clients"), strconv.Itoa(everybody))
	p.mayFail("/api/")
	p.offline(true)
	p.until("the banner tells since when", "/has not answered since \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('banner').textContent)")
	p.offline(false)
	p.until("the page goes on by itself", "document.getElementById('banner').hidden")
}
