package sessionstate

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"strings"
	"testing"
)

// kept tells whether t remembers text.
func (t *Texts) kept(text string, standard bool) bool {
	if t.sets == nil {
		return false
	}
	for _, set := range t.sets {
		for _, k := range set.kept {
			if k.known != nil && string(k.text) == text && k.standard == standard {
				return true
			}
		}
	}
	return false
}

func TestTextsKeepOnSecondSight(t *testing.T) {
	var texts Texts
	text := []byte("SET a.b = 'c'")
	first := texts.Get(text, true)
	if texts.kept(string(text), true) {
		t.Error("kept on first sight")
	}
	second, third := texts.Get(text, true), texts.Get(text, true)
	if !texts.kept(string(text), true) || second != third {
		t.Error("not kept on second sight")
	}
	for _, got := range []*Text{first, second} {
		if want := (&Text{EffectSettings, Inspect(text, true)}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	text[4] = 'x' // the copy is its own
	if got := texts.Get(text, true); got.Details.Settings[0] != "x.b" || !texts.kept("SET a.b = 'c'", true) {
		t.Errorf("got %v", got.Details.Settings)
	}
}

func TestTextsHaveDetailsOnlyOfInterest(t *testing.T) {
	var texts Texts
	for _, c := range []struct {
		text     string
		effects  Effect
		detailed bool
	}{
		{"SELECT 1", 0, false},
		{"", 0, false},
		{"INSERT INTO t VALUES (1)", EffectInsert, false},
		{"LISTEN a", EffectListen, false},
		{"SELECT f(1)", EffectUnknown, true},
		{"DROP ROLE a", EffectNeighbours, true},
		{"ALTER SYSTEM RESET ALL", EffectDefaults, true},
	} {
		for range 3 {
			if got := texts.Get([]byte(c.text), true); got.Effects != c.effects || (got.Details != nil) != c.detailed {
				t.Errorf("%s: got %+v", c.text, got)
			}
		}
	}
}

func TestTextsTellStringsApart(t *testing.T) {
	var texts Texts
	text := []byte(`SELECT 'a\', f(x) --'`)
	for range 4 {
		if got := texts.Get(text, true); got.Effects != EffectUnknown {
			t.Errorf("standard: got %v", got.Effects)
		}
		if got := texts.Get(text, false); got.Effects != 0 {
			t.Errorf("not standard: got %v", got.Effects)
		}
	}
	if !texts.kept(string(text), true) || !texts.kept(string(text), false) {
		t.Error("not kept")
	}
}

func TestTextsInTheSamePlace(t *testing.T) {
	var texts Texts
	texts.Get(nil, true)
	var same []string
	for i := 0; len(same) < 4; i++ {
		text := fmt.Sprintf("SET a%d.b = 1", i)
		if maphash.String(texts.seed, text)%textSets == 0 {
			same = append(same, text)
		}
	}
	check := func(text string) {
		t.Helper()
		want := Inspect([]byte(text), true).Settings[0]
		if got := texts.Get([]byte(text), true); got.Details.Settings[0] != want {
			t.Fatalf("%s: got %v", text, got.Details.Settings)
		}
	}
	for _, text := range []string{same[0], same[0], same[1], same[1], same[0], same[2], same[2]} {
		check(text)
	}
	if !texts.kept(same[0], true) || texts.kept(same[1], true) || !texts.kept(same[2], true) {
		t.Error("not the one used longest ago has gone")
	}
	for i := range 1000 {
		check(same[i*i%7%4])
	}
	for range 10 { // seen once each in turn, none takes a place
		check(same[0])
		check(same[1])
		check(same[2])
	}
}

func TestTextsAreBounded(t *testing.T) {
	var texts Texts
	for i := range 3000 {
		text := fmt.Appendf(nil, "SET a%d.b = %s1", i, strings.Repeat(" ", i%(maxText-100)))
		for range 2 {
			if got := texts.Get(text, true); got.Details.Settings[0] != fmt.Sprintf("a%d.b", i) {
				t.Fatalf("got %v", got.Details.Settings)
			}
		}
		if !texts.kept(string(text), true) {
			t.Fatal("not kept")
		}
		total := 0
		if i%100 == 0 {
			for _, set := range texts.sets {
				for _, k := range set.kept {
					total += cap(k.text) + k.known.size()
				}
			}
			if total != texts.bytes || total > maxTextBytes {
				t.Fatalf("%d bytes are in use, counted %d", total, texts.bytes)
			}
		}
	}
	long := []byte("SELECT " + strings.Repeat(" ", maxText) + "1")
	for range 3 {
		texts.Get(long, true)
	}
	if texts.kept(string(long), true) {
		t.Error("a text too long is kept")
	}
}

func TestTextsDoNotAllocate(t *testing.T) {
	var texts Texts
	seen := []byte("SET search_path = a, b")
	texts.Get(seen, true)
	texts.Get(seen, true)
	changing := []byte("INSERT INTO t VALUES (00000000)")
	n := 0
	if got := testing.AllocsPerRun(1000, func() {
		texts.Get(seen, true)
		n++
		count(changing[len(changing)-9:], n)
		texts.Get(changing, true)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// count writes n in decimal digits.
func count(b []byte, n int) {
	for i := len(b) - 2; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}

func BenchmarkTexts(b *testing.B) {
	long := []byte(strings.Repeat("SELECT a, b, c FROM t WHERE d = $1 AND e < $2; ", 20))
	for _, text := range [][]byte{[]byte(pgbenchText), long} {
		b.Run(fmt.Sprintf("seen/%d", len(text)), func(b *testing.B) {
			var texts Texts
			texts.Get(text, true)
			b.ReportAllocs()
			for b.Loop() {
				texts.Get(text, true)
			}
		})
	}
	changing := []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 00000000 ")
	b.Run(fmt.Sprintf("changing/%d", len(changing)), func(b *testing.B) {
		var texts Texts
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			count(changing[len(changing)-9:], n)
			texts.Get(changing, true)
		}
	})
	b.Run(fmt.Sprintf("scan/%d", len(changing)), func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			count(changing[len(changing)-9:], n)
			Scan(changing, true)
		}
	})
}
