package console

import "github.com/jackc/pgx/v5/pgtype"

// Type is what a column holds, as drivers are told.
type Type uint8

// The types of columns.
const (
	Text Type = iota
	Int4
	Int8
	Numeric
	Float8
	Bool
	Timestamp // with time zone
	interval  // only of expressions
	unknown   // of what takes the type of what it is compared with: strings, NULL, parameters
)

// class is what is comparable with each other.
type class uint8

const (
	classText class = iota
	classNumber
	classBool
	classTime
	classInterval
)

type typeInfo struct {
	name  string
	oid   uint32
	size  int16 // of the binary format, -1: it varies
	class class
}

var typeInfos = [...]typeInfo{
	Text:      {"text", pgtype.TextOID, -1, classText},
	Int4:      {"integer", pgtype.Int4OID, 4, classNumber},
	Int8:      {"bigint", pgtype.Int8OID, 8, classNumber},
	Numeric:   {"numeric", pgtype.NumericOID, -1, classNumber},
	Float8:    {"double precision", pgtype.Float8OID, 8, classNumber},
	Bool:      {"boolean", pgtype.BoolOID, 1, classBool},
	Timestamp: {"timestamp with time zone", pgtype.TimestamptzOID, 8, classTime},
	interval:  {"interval", pgtype.IntervalOID, 16, classInterval},
	unknown:   {"text", pgtype.TextOID, -1, classText}, // what PostgreSQL makes of it in the end
}

func (t Type) String() string { return typeInfos[t].name }
func (t Type) oid() uint32    { return typeInfos[t].oid }
func (t Type) size() int16    { return typeInfos[t].size }
func (t Type) class() class   { return typeInfos[t].class }

// typesByName are the names that casts may use.
var typesByName = map[string]Type{
	"text": Text, "varchar": Text, "name": Text, "bpchar": Text,
	"int": Int4, "int4": Int4, "integer": Int4, "int2": Int4, "smallint": Int4, "oid": Int8, "int8": Int8, "bigint": Int8,
	"numeric": Numeric, "decimal": Numeric, "float8": Float8, "float": Float8, "float4": Float8, "real": Float8,
	"bool": Bool, "boolean": Bool, "timestamptz": Timestamp, "timestamp": Timestamp, "interval": interval,
}

// typeOfOID is the type of a parameter that a client declares; ok is false if it is none that a parameter can have.
func typeOfOID(oid uint32) (t Type, ok bool) {
	switch oid {
	case 0, pgtype.UnknownOID:
		return unknown, true
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.NameOID, pgtype.BPCharOID:
		return Text, true
	case pgtype.Int2OID, pgtype.Int4OID:
		return Int4, true
	case pgtype.Int8OID, pgtype.OIDOID:
		return Int8, true
	case pgtype.NumericOID:
		return Numeric, true
	case pgtype.Float4OID, pgtype.Float8OID:
		return Float8, true
	case pgtype.BoolOID:
		return Bool, true
	case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID:
		return Timestamp, true
	}
	return unknown, false
}
