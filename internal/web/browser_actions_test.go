package web_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/jackc/pgx/v5/pgconn"
)

// load runs statements until stop is closed.
func load(c *pgconn.PgConn, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := c.Exec(context.Background(), "SELECT 1").ReadAll(); err != nil {
			return err
		}
	}
}

func (p *tab) offline(is bool) {
	p.Helper()
	rules := []*network.Conditions{}
	if is {
		rules = append(rules, &network.Conditions{Offline: true, DownloadThroughput: -1, UploadThroughput: -1})
	}
	params := network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: rules}
	if _, err := chromedp.Call(p.ctx, network.EmulateNetworkConditionsByRule, params); err != nil {
		p.Fatal(err)
	}
}

func tellsAWrongPassword(p *tab, _ *scene) {
	p.mayFail("/api/login")
	p.visit("clients")
	p.do(chromedp.WaitVisible("#user"), chromedp.SendKeys("#user", "boss"), chromedp.SendKeys("#password", "wrong"+kb.Enter))
	p.do(chromedp.WaitVisible("#login-error"))
	if got := p.text("#login-error"); got == "" {
		p.Error("nothing is told")
	}
	p.do(chromedp.SendKeys("#password", password+kb.Enter)) // what was there is marked
	p.until("the section asked for is opened", "location.hash === '#clients' && document.querySelectorAll('tbody tr').length > 0")
	p.shows("#who", "boss")
	p.click("document.getElementById('logout')")
	p.do(chromedp.WaitVisible("#user"))
	if eval[bool](p, "document.querySelector('tbody tr')?.offsetParent != null") {
		p.Error("data is left on the page after the logout")
	}
	if status := eval[int](p, "fetch('api/now').then((r) => r.status)"); status != 401 {
		p.Errorf("the API answers with %d after the logout", status)
	}
	p.mayFail("/api/now")
}

// ends waits until the pooler has ended a client.
func (s *scene) ends(c *pgconn.PgConn) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := c.WaitForNotification(ctx); err == nil || ctx.Err() != nil {
		s.t.Fatalf("the client lives: %v", err)
	}
}

func killsAClient(p *tab, s *scene) {
	victim := s.connect("127.0.0.9", "ben", "books", "victim")
	p.logIn("boss", "clients?q=victim")
	p.click(buttonNamed("tbody", "End"))
	p.shows("#dialog-title", fmt.Sprintf("End client %d?", victim.PID()))
	p.shows("#dialog", "loses its connection")
	p.shows("#dialog code", fmt.Sprintf("KILL_CLIENT %d", victim.PID()))
	s.exec(victim, "SELECT 'lives until it is confirmed'")
	p.click(buttonNamed("#dialog", "End the client"))
	p.shows("#dialog .done", "Done: KILL")
	s.ends(victim)
	p.click(buttonNamed("#dialog", "Close"))
	p.until("it is not listed any more", "document.querySelectorAll('tbody tr').length === 0")
}

func killsIdleClientsAfterADryRun(p *tab, s *scene) {
	victims := s.connectMany(3, "127.0.0.9", "ben", "books", `fat "pool"`)
	p.logIn("boss", "clients")
	p.click(buttonNamed(".tools", "Kill idle …"))
	set := func(id, value string) {
		eval[bool](p, fmt.Sprintf("((i) => { i.value = %q; i.dispatchEvent(new Event('input', {bubbles: true})); return true; })(document.getElementById(%q))", value, id))
	}
	set("idle-older", "")
	set("idle-from", "127.0.0.9")
	set("idle-application", `fat "pool"`)
	p.shows("#dialog code", `KILL IDLE FROM "127.0.0.9" APPLICATION "fat ""pool"""`)
	if !eval[bool](p, buttonNamed("#dialog", "End them")+".disabled") {
		p.Error("clients can be ended before it was tried")
	}
	p.click(buttonNamed("#dialog", "Try (dry run)"))
	p.shows("#dialog .said", "It would end 3 clients")
	p.until("who they are is listed", "document.querySelectorAll('#dialog tbody tr').length === 3")
	for _, c := range victims {
		s.exec(c, "SELECT 'a dry run ends nobody'")
	}
	p.click(buttonNamed("#dialog", "End them"))
	p.shows("#dialog .done", "Done: KILL IDLE")
	for _, c := range victims {
		s.ends(c)
	}
}

// endsOnlyWhatWasTried: not what was written while the trial was under way.
func endsOnlyWhatWasTried(p *tab, s *scene) {
	s.connect("127.0.0.9", "ben", "books", "tried")
	p.logIn("boss", "clients")
	p.click(buttonNamed(".tools", "Kill idle …"))
	set := func(id, value string) {
		eval[bool](p, fmt.Sprintf("((i) => { i.value = %q; i.dispatchEvent(new Event('input', {bubbles: true})); return true; })(document.getElementById(%q))", value, id))
	}
	set("idle-older", "")
	set("idle-application", "tried")
	p.hold("api/do")
	p.click(buttonNamed("#dialog", "Try (dry run)"))
	set("idle-application", "t*")
	p.release()
	p.shows("#dialog .said", "It would end 1 client now")
	end := buttonNamed("#dialog", "End them")
	if !eval[bool](p, end+".disabled") {
		p.Error("clients can be ended that were never shown")
	}
	set("idle-application", "tried")
	if eval[bool](p, end+".disabled") {
		p.Error("what was tried cannot be done")
	}
}

func resizesAndPausesAPool(p *tab, _ *scene) {
	p.logIn("boss", "pools?q=books")
	p.click(buttonNamed("tbody", "Resize …"))
	eval[bool](p, "((i) => { i.value = 7; i.dispatchEvent(new Event('input', {bubbles: true})); return true; })(document.getElementById('pool-size'))")
	p.shows("#dialog code", `ALTER POOL "books" SET maxsize = 7`)
	p.click(buttonNamed("#dialog", "Resize"))
	p.shows("#dialog .done", "Done: ALTER POOL")
	p.click(buttonNamed("#dialog", "Close"))
	p.until("the pool has its new size", "[...document.querySelectorAll('tbody tr')].some((r) => /books.*7/.test(r.textContent))")
	p.click(buttonNamed("tbody", "Pause"))
	p.click(buttonNamed("#dialog", "Pause"))
	p.shows("#dialog .done", "Done: PAUSE")
	p.click(buttonNamed("#dialog", "Close"))
	p.click(buttonNamed("tbody", "Resume"))
	p.click(buttonNamed("#dialog", "Resume"))
	p.shows("#dialog .done", "Done: RESUME")
}

func takesAPauseBack(p *tab, s *scene) {
	holder := s.connect("127.0.0.9", "ben", "books", "holder")
	s.exec(holder, "BEGIN; SELECT 1")
	paused := func() bool {
		var now struct {
			Pools []struct {
				Database string
				Paused   bool
			}
		}
		s.api("api/now", nil, &now)
		for _, pool := range now.Pools {
			if pool.Database == "books" && pool.Paused {
				return true
			}
		}
		return false
	}
	p.logIn("boss", "pools?q=books")
	p.click(buttonNamed("tbody", "Pause"))
	p.click(buttonNamed("#dialog", "Pause"))
	eventually(p.T, "the pause waits for the transaction", paused)
	p.click(buttonNamed("#dialog", "Cancel"))
	eventually(p.T, "the pause is taken back", func() bool { return !paused() })
	s.exec(s.connect("127.0.0.9", "ben", "books", "next"), "SELECT 'is served'")
	s.exec(holder, "COMMIT")
}

func letsLookersDoNothing(p *tab, s *scene) {
	bystander := s.connect("127.0.0.9", "ben", "books", "bystander")
	p.logIn("looker", "clients?q=bystander")
	p.until("it is listed", "document.querySelectorAll('tbody tr').length === 1")
	if n := eval[int](p, "document.querySelectorAll('tbody button').length + [...document.querySelectorAll('.tools button')].filter((b) => b.offsetParent && b.textContent.includes('Kill')).length"); n != 0 {
		p.Errorf("there are %d buttons for those who may only look", n)
	}
	p.mayFail("/api/do")
	answer := eval[string](p, fmt.Sprintf(`fetch("api/do", {method: "POST", headers: {"Content-Type": "application/json", "X-Pooler": "1"},
		body: JSON.stringify({command: "KILL_CLIENT %d"})}).then(async (r) => r.status + " " + await r.text())`, bystander.PID()))
	if !strings.HasPrefix(answer, "403 ") || !strings.Contains(answer, "42501") {
		p.Errorf("the API answers %q", answer)
	}
	s.exec(bystander, "SELECT 'still there'")
	closeNow(bystander)
}

// press types keys at what has the focus.
func (p *tab) press(keys string) {
	p.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// slash presses the key of that sign. chromedp would also type it, which the page has prevented.
func (p *tab) slash() {
	p.Helper()
	key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeRawKeyDown, Key: "/", Code: "Slash", WindowsVirtualKeyCode: 191}
	if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, key); err != nil {
		p.Fatal(err)
	}
}

// tabTo presses the Tab key until what has the focus fits.
func (p *tab) tabTo(what, js string) {
	p.Helper()
	for range 80 {
		if eval[bool](p, "((e) => Boolean("+js+"))(document.activeElement)") {
			return
		}
		p.press(kb.Tab)
	}
	p.Fatalf("the Tab key does not come to %s", what)
}

func isUsableByKeyboardAlone(p *tab, s *scene) {
	c := s.connect("127.0.0.9", "ben", "books", "keyboard")
	p.visit("now")
	p.do(chromedp.WaitVisible("#user"))
	p.until("the user's name has the focus", "document.activeElement.id === 'user'")
	p.press("boss" + kb.Tab + password + kb.Enter)
	p.shows("#who", "boss")
	p.tabTo("the tabs", "e.id === 'tab-now'")
	for range 3 {
		p.press(kb.ArrowDown)
	}
	p.until("the third section further on is chosen", "document.activeElement.id === 'tab-clients' && location.hash.startsWith('#clients')")
	p.until("clients are listed", "document.querySelectorAll('tbody tr').length > 0")
	p.slash()
	p.until("the search has the focus", "document.activeElement.id === 'search'")
	p.press("keyboard")
	p.until("one is left", "document.querySelectorAll('tbody tr').length === 1")
	p.tabTo("the button", "e.textContent === 'End'")
	if eval[string](p, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
		p.Error("one does not see where the focus is")
	}
	p.press(kb.Enter)
	p.until("the dialog has the focus, on what does no harm", "document.getElementById('dialog').open && document.activeElement.textContent === 'Cancel'")
	for range 6 {
		p.press(kb.Tab)
		if eval[bool](p, "Boolean(document.activeElement.closest('#frame'))") {
			p.Fatal("the focus has left the dialog")
		}
	}
	p.press(kb.Escape)
	p.until("the dialog is closed and the focus back", "!document.getElementById('dialog').open && document.activeElement.textContent === 'End'")
	s.exec(c, "SELECT 'nothing has happened'")
	closeNow(c)
}
