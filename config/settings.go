package config

import "reflect"

// Setting is one key of the top level, for people to look at.
type Setting struct {
	Key        string
	Value      string // as it would be typed: 30s, true, "a, b" for a list
	Default    string // likewise
	Changeable bool   // without a restart
}

const hidden = "(hidden)"

// Settings lists the keys of the top level, without the tables, in the order of Config's fields.
func (c *Config) Settings() []Setting {
	now, unset := reflect.ValueOf(c).Elem(), reflect.ValueOf(Default()).Elem()
	var settings []Setting
	for _, f := range fieldsOf(now.Type()) {
		v := now.FieldByIndex(f.index)
		if v.Kind() == reflect.Map || isList(v.Type()) {
			continue
		}
		s := Setting{Key: f.key, Value: typed(v), Default: typed(unset.FieldByIndex(f.index)), Changeable: !f.restart}
		if f.secret {
			s.Value, s.Default = hidden, hidden
		}
		settings = append(settings, s)
	}
	return settings
}
