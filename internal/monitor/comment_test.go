package monitor

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTagsOfComments(t *testing.T) {
	for comment, want := range map[string][]Tag{
		"file='a.py:42'":       {{"file", "a.py:42"}},
		"/* file='a.py:42' */": {{"file", "a.py:42"}},
		"-- file='a.py:42'":    {{"file", "a.py:42"}},
		"controller='index',framework='spring',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'": {
			{"controller", "index"}, {"framework", "spring"}, {"traceparent", "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"},
		},
		"route='%2Fpolls%201000',name='DROP%20TABLE%20FOO'": {{"route", "/polls 1000"}, {"name", "DROP TABLE FOO"}},
		`name='it\'s',meta\=x='1'`:                          {{"name", "it's"}, {`meta\=x`, "1"}},
		"file='a.py:42' , line='7'":                         {{"file", "a.py:42"}, {"line", "7"}},
		"from the cron job file='a.py'":                     {{"file", "a.py"}},
		"bad='%zz'":                                         {{"bad", "%zz"}},
		"plus='a+b'":                                        {{"plus", "a+b"}},
		"nightly report, see wiki":                          nil,
		"file='cut off":                                     nil,
		"='no key'":                                         nil,
		"":                                                  nil,
		"application:web,controller:users":                  nil,
		"empty='',file='a\nb'":                              {{"empty", ""}, {"file", "a b"}},
	} {
		if got := parseComment(comment); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", comment, got, want)
		}
	}
}

func FuzzComment(f *testing.F) {
	f.Add(`a='b',c='%41\'',`)
	f.Add("/* x */")
	f.Fuzz(func(t *testing.T, comment string) {
		tags := parseComment(comment)
		if len(tags) > tagsMost {
			t.Fatalf("%d tags", len(tags))
		}
		for _, tag := range tags {
			for _, part := range []string{tag.Key, tag.Value} {
				if len(part) > shownTag || !utf8.ValidString(part) || strings.ContainsAny(part, "\n\x00") {
					t.Fatalf("%q", part)
				}
			}
		}
		if short := cutText(bare(comment), shownComment); len(short) > shownComment || !utf8.ValidString(short) {
			t.Fatalf("%q", short)
		}
	})
}
