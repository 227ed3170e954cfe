package web_test

import (
	"fmt"
	"net/url"
	"strings"
)

// between puts JavaScript between the page and the server: requests to such addresses are its, and send makes them.
func (p *tab) between(part, js string) {
	p.Helper()
	eval[bool](p, fmt.Sprintf(`((own, real) => {
		window.fetch = (url, options) => url.includes(%q) ? own(() => real(url, options)) : real(url, options);
		return true;
	})(%s, window.fetch)`, part, js))
}

// hold keeps a request back until release, and notes in ended what became of it.
func (p *tab) hold(part string) {
	p.Helper()
	p.between(part, `async (send) => {
		await new Promise((go) => { window.release = go; });
		const sent = send();
		sent.then(() => { window.ended = "answered"; }, (err) => { window.ended = err.name; });
		return sent;
	}`)
}

func (p *tab) release() {
	p.Helper()
	p.until("a request is held back", "window.release")
	eval[bool](p, "(window.release(), true)")
}

// alter changes the answers of such addresses, which js calls a.
func (p *tab) alter(part, js string) {
	p.Helper()
	p.between(part, "async (send) => { const a = await (await send()).json(); "+js+"; return Response.json(a); }")
}

func forgetsLateAnswers(p *tab, _ *scene) {
	p.logIn("looker", "now")
	p.hold("where=")
	p.visit("clients?where=" + url.QueryEscape("application_name = 'web'"))
	p.until("the request is under way", "window.release")
	p.visit("clients")
	everyone := fmt.Sprintf("document.querySelectorAll('tbody tr').length === %d", everybody)
	p.until("everybody is listed", everyone)
	p.release()
	p.until("the request has ended", "window.ended")
	if ended := eval[string](p, "window.ended"); ended != "AbortError" {
		p.Errorf("what nobody wants any more is %s", ended)
	}
	if !eval[bool](p, everyone) {
		p.Error("a late answer is shown")
	}
}

func tellsThatThereAreMoreRows(p *tab, s *scene) {
	s.connect("127.0.0.9", "ben", "books", "=1+1")
	p.logIn("looker", "now")
	p.alter("api/show/clients", "a.rows = Array.from({length: 5001}, (_, i) => a.rows[i % a.rows.length])")
	p.visit("clients")
	p.shows(".tablehead", "the first 5,000 rows, and there are more")
	csv := "[...document.querySelectorAll('.tools a')].find((a) => a.textContent === 'CSV')"
	if href := eval[string](p, csv+".href"); strings.Contains(href, "limit") {
		p.Errorf("what is exported is cut too: %s", href)
	}
	p.visit("clients?q=" + url.QueryEscape("=1+1 BOOKS"))
	p.shows(".tablehead", "of the first 5,000 rows")
	eval[bool](p, "((real) => { URL.createObjectURL = (blob) => { window.saved = blob; return real(blob); }; return true; })(URL.createObjectURL)")
	p.click(csv)
	p.until("the rows are handed over", "window.saved")
	if saved := eval[string](p, "window.saved.text()"); !strings.Contains(saved, ",'=1+1,") {
		p.Errorf("a spreadsheet would take the name for a formula:\n%.600s", saved)
	}
}

// ratesGoByWhatWasRecorded: of the last step only a quarter of a second was.
func ratesGoByWhatWasRecorded(p *tab, s *scene) {
	from, to := s.recorded()
	p.logIn("looker", "now")
	p.alter("api/series", `
		a.lines.forEach((l) => { l.values = l.values.map((all) => all.map((_, i) => i === all.length - 1 ? 30 : 120)); });
		a.samples = a.times.map((_, i) => i === a.times.length - 1 ? a.step / 4 : a.step)`)
	p.visit(fmt.Sprintf("history?measure=queries&from=%d&to=%d", from, to))
	p.until("the rate is steady", "/queries 120(?!\\d)/.test(document.querySelectorAll('.chart .values')[1]?.textContent)")
	if top := eval[string](p, "document.querySelectorAll('.plot')[1].dataset.top"); top != "120" {
		p.Errorf("the axis goes up to %s", top)
	}
}

func goesByThePoolersClock(p *tab, s *scene) {
	s.recorded()
	p.logIn("looker", "clients")
	eval[bool](p, "((real) => { Date.now = () => real() + 86_400_000; return true; })(Date.now)")
	p.visit("history")
	p.until("the last minutes are drawn, not tomorrow's", "document.querySelectorAll('.chart').length >= 7 && document.querySelector('.plot [data-field=connected]')?.getAttribute('d')")
}

// keepsItsBadges: in a section that asks for nothing by itself.
func keepsItsBadges(p *tab, s *scene) {
	p.logIn("looker", "compare")
	p.shows("#tab-waiting .badge", "1")
	p.shows("#tab-pins .badge", "1")
	c := s.connect("127.0.0.9", "ben", "books", "badge")
	s.exec(c, "LISTEN badges")
	p.shows("#tab-pins .badge", "2")
	closeNow(c)
}
