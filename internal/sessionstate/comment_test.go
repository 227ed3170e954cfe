package sessionstate

import "testing"

func TestLastComment(t *testing.T) {
	tests := []struct{ name, text, tail, want string }{
		{"none", "SELECT 1", "", ""},
		{"in front", "/* file='a.py:42' */ SELECT 1", "", "file='a.py:42'"},
		{"behind", "SELECT 1 /*traceparent='00-ab-cd-01'*/", "", "traceparent='00-ab-cd-01'"},
		{"the last counts", "/* a */ SELECT /* b */ 1 -- c", "", "c"},
		{"nested", "SELECT 1 /* a /* b */ c */", "", "a /* b */ c"},
		{"in a string it is none", "SELECT '/* secret */'", "", ""},
		{"in a dollar string it is none", "SELECT $$/* secret */$$", "", ""},
		{"in a name it is none", `SELECT "/* x */"`, "", ""},
		{"that has no end", "SELECT 1 /* abc", "", ""},
		{"empty", "SELECT 1 /**/", "", ""},
		{"in the tail of a long text", "SELECT 'aaa", "aaa' /*route='/x'*/ ;\n", "route='/x'"},
		{"that has begun before the tail", "SELECT /* a */ 'aaa", "bbb */", "a"},
		{"in a string in the tail", "SELECT /* a */ 'aaa", "/* secret */'", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := LastComment([]byte(tt.text), []byte(tt.tail), true); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
