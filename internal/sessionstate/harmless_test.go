package sessionstate

import (
	"strings"
	"testing"
	"unsafe"
)

func TestHarmlessFunctionsHaveNoEffect(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(harmlessFunctions) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(name, "#") {
			continue
		}
		if name != strings.ToLower(name) || strings.ContainsAny(name, " \t") || len(name) > wordParts*8 {
			t.Errorf("%q is no name that the scanner can find", name)
		}
		if seen[name] {
			t.Errorf("%s is listed twice", name)
		}
		seen[name] = true
		if got := Scan([]byte(`SELECT pg_catalog."`+name+`"()`), true); got != 0 {
			t.Errorf("a call of %s: got %v", name, got)
		}
	}
	for _, f := range statefulFunctions {
		for _, name := range strings.Fields(f.words) {
			if seen[name] {
				t.Errorf("%s is listed as harmless", name)
			}
			if got := Scan([]byte("SELECT "+name+"()"), true); got != f.effect {
				t.Errorf("a call of %s: got %v, want %v", name, got, f.effect)
			}
		}
	}
	for _, name := range []string{"set_config", "pg_catalog", "pg_settings", "query_to_xml", "cursor_to_xml", "ts_stat", "ts_rewrite"} {
		if seen[name] {
			t.Errorf("%s is listed as harmless", name)
		}
	}
}

func TestWordTableFindsWordsExactly(t *testing.T) {
	for _, k := range keywords {
		for _, word := range strings.Fields(k.words) {
			index, _ := words.find([]byte(strings.ToUpper(word)), false)
			if got := words.infos[index].token; got != k.token {
				t.Errorf("%s: got token %d, want %d", word, got, k.token)
			}
			for _, other := range []string{word + "x", "x" + word, word[1:] + "\x01", strings.ToUpper(word)} {
				if index, _ := words.find([]byte(other), true); other != "" && index != 0 && wordOf(index) != other {
					t.Errorf("%q was found as %q", other, wordOf(index))
				}
			}
		}
	}
	for c := range 256 {
		want := c
		if c >= 'A' && c <= 'Z' {
			want |= 0x20
		}
		if got := lowerPart(0x0101010101010101 * uint64(c)); got != 0x0101010101010101*uint64(want) {
			t.Errorf("lower case of %#x: got %#x", c, got)
		}
	}
}

func wordOf(index uint16) string {
	info := words.infos[index]
	var b []byte
	for _, part := range words.text[info.text : info.text+info.size] {
		for ; part != 0; part >>= 8 {
			b = append(b, byte(part))
		}
	}
	return string(b)
}

func TestScannerIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Scanner{}); size > 512 {
		t.Errorf("a Scanner takes %d bytes", size)
	}
}

func TestEffectStrings(t *testing.T) {
	if got := (EffectSettings | EffectExecute).String(); got != "settings,execute" {
		t.Errorf("got %q", got)
	}
	if got := Effect(0).String(); got != "none" {
		t.Errorf("got %q", got)
	}
}
