package backend

import "testing"

func TestHowTextsAreReadBehindSettings(t *testing.T) {
	for v, want := range map[string]bool{
		"off": true, "OF": true, "f": true, "FALSE": true, "n": true, "no": true, "0": true,
		"on": false, "o": false, "": false, "1": false, "true": false, "yes": false,
	} {
		if isOff(v) != want {
			t.Errorf("%q is off: %v", v, !want)
		}
	}
	for v, want := range map[string]bool{
		"SJIS": true, "Shift_JIS_2004": true, "shift-jis": true, "BIG5": true, "windows-936": true, "JOHAB": true,
		"UTF8": false, "EUC_JP": false, "LATIN1": false, "": false,
	} {
		if isOpaque(v) != want {
			t.Errorf("%q is opaque: %v", v, !want)
		}
	}
}
