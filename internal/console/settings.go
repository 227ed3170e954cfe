package console

import (
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a list of zones
)

// settings are the parameters of a session that PostgreSQL would have and drivers set. Most do nothing here but be
// remembered. They belong to their session.
type settings struct {
	values map[string]string // by canonical name
	begun  map[string]string // what RESET goes back to
	zone   *time.Location    // of TimeZone
}

// settingInfo is a parameter. Its value is empty if it depends on the session.
type settingInfo struct {
	name     string
	value    string
	reported bool // PostgreSQL tells clients of each change
	fixed    bool // cannot be set
}

// settingInfos is sorted by name, as SHOW ALL shows it. There is no transaction_timeout: that is a key of the pooler's.
var settingInfos = []settingInfo{
	{name: "application_name", reported: true},
	{name: "array_nulls", value: "on"},
	{name: "backslash_quote", value: "safe_encoding"},
	{name: "bytea_output", value: "hex"},
	{name: "check_function_bodies", value: "on"},
	{name: "client_encoding", value: "UTF8", reported: true},
	{name: "client_min_messages", value: "notice"},
	{name: "DateStyle", value: "ISO, MDY", reported: true},
	{name: "default_table_access_method", value: "heap"},
	{name: "default_tablespace"},
	{name: "default_transaction_deferrable", value: "off"},
	{name: "default_transaction_isolation", value: "read committed"},
	{name: "default_transaction_read_only", value: "off", reported: true},
	{name: "escape_string_warning", value: "on"},
	{name: "extra_float_digits", value: "1"},
	{name: "idle_in_transaction_session_timeout", value: "0"},
	{name: "idle_session_timeout", value: "0"},
	{name: "in_hot_standby", value: "off", reported: true, fixed: true},
	{name: "integer_datetimes", value: "on", reported: true, fixed: true},
	{name: "IntervalStyle", value: "postgres", reported: true},
	{name: "is_superuser", reported: true, fixed: true},
	{name: "jit", value: "off"},
	{name: "lc_messages", value: "C"},
	{name: "lc_monetary", value: "C"},
	{name: "lc_numeric", value: "C"},
	{name: "lc_time", value: "C"},
	{name: "lock_timeout", value: "0"},
	{name: "max_identifier_length", value: "63", fixed: true},
	{name: "quote_all_identifiers", value: "off"},
	{name: "row_security", value: "on"},
	{name: "search_path", value: `"$user", public`},
	{name: "server_encoding", value: "UTF8", reported: true, fixed: true},
	{name: "server_version", reported: true, fixed: true},
	{name: "server_version_num", value: versionNumber, fixed: true},
	{name: "session_authorization", reported: true, fixed: true},
	{name: "standard_conforming_strings", value: "on", reported: true},
	{name: "statement_timeout", value: "0"},
	{name: "synchronize_seqscans", value: "on"},
	{name: "TimeZone", value: "UTC", reported: true},
	{name: "transaction_deferrable", value: "off"},
	{name: "transaction_isolation", value: "read committed"},
	{name: "transaction_read_only", value: "off"},
	{name: "work_mem", value: "4MB"},
	{name: "xmloption", value: "content"},
}

// The version that is claimed is one that no psql or driver in use warns of: not newer than they are, and not out of
// what they support.
const (
	versionNumber = "140000"
	versionText   = "14.0"
)

func newSettings(version, user, application string, mayChange bool) *settings {
	s := &settings{values: map[string]string{}, zone: time.UTC}
	for _, info := range settingInfos {
		s.values[info.name] = info.value
	}
	s.values["application_name"] = printable(application)
	s.values["server_version"] = versionText + " (pooler " + version + ")"
	s.values["session_authorization"] = printable(user)
	s.values["is_superuser"] = "off"
	if mayChange {
		s.values["is_superuser"] = "on" // psql's prompt shows it
	}
	s.begun = map[string]string{}
	for name, value := range s.values {
		s.begun[name] = value
	}
	return s
}

func (s *settings) value(name string) string { return s.values[name] }

// set gives a parameter a value, or says why not. The name is canonical.
func (s *settings) set(name, value string) *Error {
	info := infoOf(name)
	if info.fixed {
		return &Error{Code: codeCannotChange, Message: `parameter "` + name + `" cannot be changed`}
	}
	value, zone, ok := s.accepted(name, value)
	if !ok {
		return &Error{Code: codeInvalidValue, Message: `invalid value for parameter "` + name + `": "` + shortened(value) + `"`}
	}
	s.values[name], s.zone = value, zone
	return nil
}

const maxSettingLength = 1024 // bounds what a session can make us remember

// accepted checks the values that mean something here.
func (s *settings) accepted(name, value string) (string, *time.Location, bool) {
	zone := s.zone
	if len(value) > maxSettingLength {
		return value, zone, false
	}
	switch name {
	case "client_encoding":
		plain := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(value))
		return "UTF8", zone, plain == "utf8" || plain == "unicode"
	case "DateStyle":
		return "ISO, MDY", zone, strings.HasPrefix(strings.ToUpper(value), "ISO") || strings.EqualFold(value, "default")
	case "standard_conforming_strings":
		on, ok := parseBool(value)
		return "on", zone, ok && on == true
	case "TimeZone":
		if strings.EqualFold(value, "local") || strings.EqualFold(value, "utc") || strings.EqualFold(value, "default") {
			return "UTC", time.UTC, true
		}
		loaded, err := time.LoadLocation(value)
		if err != nil || value == "" {
			return value, zone, false
		}
		return value, loaded, true
	}
	return printable(value), zone, true
}

// reset gives a parameter, or all if the name is empty, its first value back.
func (s *settings) reset(name string) {
	for _, info := range settingInfos {
		if name != "" && name != info.name || info.fixed {
			continue
		}
		if err := s.set(info.name, s.begun[info.name]); err != nil {
			continue // cannot be: it was accepted before
		}
	}
}

// settingName finds a parameter by its name in any case.
func settingName(name string) (string, bool) {
	if strings.EqualFold(name, "timezone") {
		return "TimeZone", true
	}
	for _, info := range settingInfos {
		if strings.EqualFold(info.name, name) {
			return info.name, true
		}
	}
	return "", false
}

func isSetting(name string) bool {
	_, ok := settingName(name)
	return ok
}

func infoOf(name string) settingInfo {
	i := slices.IndexFunc(settingInfos, func(i settingInfo) bool { return i.name == name })
	return settingInfos[i]
}
