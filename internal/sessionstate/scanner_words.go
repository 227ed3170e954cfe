package sessionstate

// token is what the scanner tells apart. The order matters: constants and ) end an operand, all from tokName on are
// words, all from firstActing on do something wherever they stand.
type token uint8

const (
	tokStart    token = iota // a statement's beginning
	tokOpen                  // (
	tokComma                 // ,
	tokOperator              // and [ and a single :
	tokCast                  // ::
	tokDot                   // .
	tokString                // a string constant of any form
	tokOperand               // a number, a parameter, ]
	tokClose                 // )
	tokName                  // an identifier, or a keyword that does not matter here
	tokPrefix                // a word that no call is named by and that an expression may follow
	tokNoCall                // another word that no call is named by

	// Words that only matter as what precedes or begins something.
	kwAs
	kwIntoTable // INSERT INTO, whose name may be temp
	kwTable
	kwExists
	kwReferences
	kwView
	kwOf
	kwCopy
	kwPrepare
	kwTablesample
	kwOnly
	kwDistinct
	kwThen
	kwGroup
	kwOrder
	kwPartition
	kwPrimary
	kwForeign
	kwGrouping
	kwTime
	kwFetch
	kwCharacter
	kwMaterialized
	kwRecursive
	kwOrdinality
	kwOperator
	kwTrue
	kwCreate
	kwReplace
	kwGlobal
	kwLocal
	kwSession
	kwAuthorization
	kwTransaction
	kwConstraints
	kwTo
	kwRole
	kwSessionAuthorization
	kwSeed
	kwAnalyze
	kwVerbose
	kwBegin
	kwLanguage
	kwHarmlessLanguage
	kwExpecting // may name a call, and an expression may follow it

	// Words that become others behind certain words; see Scanner.inContext.
	kwDistinctOn
	kwNotInfix
	kwOnConflict
	kwOnCommit
	kwGroupBy
	kwPartitionBy

	// Words that do something wherever they stand.
	kwWith
	kwInto
	kwNot
	kwOn
	kwBy
	kwKey
	kwSets
	kwZone
	kwFirst
	kwVarying
	kwStrategy
	kwRollup
	kwInsert
	kwMerge
	kwDefault
	kwSet
	kwJoin
	kwUsing
	kwConflict
	kwDo
	kwNothing
	kwUpdate
	kwCase
	kwEnd
	kwAtomic
	kwTemp
	kwHold
	kwExecute
	kwCommit
	kwDrop

	tokens // how many there are
)

const firstActing = kwWith

// keywords lists words by their token. Words may be added to tokPrefix and tokNoCall only if PostgreSQL reserves
// them, or reserves them as names of functions (kwlist.h: RESERVED_KEYWORD and COL_NAME_KEYWORD, in all versions);
// what is missing merely counts as a call when a parenthesis follows.
var keywords = []struct {
	token token
	words string
}{
	{tokPrefix, `all and any array asymmetric both check collate column constraint deferrable except for from
		grant having in initially intersect lateral leading limit offset or placing returning select some
		symmetric trailing union unique variadic when where window else between`},
	{tokNoCall, `asc current_catalog current_date current_role current_time current_timestamp current_user desc false
		localtime localtimestamp null session_user user cast
		bigint boolean coalesce dec decimal extract float greatest inout int integer interval least national none
		normalize nullif numeric out overlay position precision real row setof smallint substring timestamp treat
		trim values varchar xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi
		xmlroot xmlserialize xmltable`},
	{kwAs, "as"},
	{kwInto, "into"},
	{kwTable, "table"},
	{kwExists, "exists"},
	{kwReferences, "references"},
	{kwView, "view"},
	{kwOf, "of"},
	{kwCopy, "copy"},
	{kwPrepare, "prepare"},
	{kwTablesample, "tablesample"},
	{kwOnly, "only"},
	{kwDistinct, "distinct"},
	{kwNot, "not"},
	{kwThen, "then"},
	{kwGroup, "group"},
	{kwOrder, "order"},
	{kwPartition, "partition"},
	{kwPrimary, "primary"},
	{kwForeign, "foreign"},
	{kwGrouping, "grouping"},
	{kwTime, "time"},
	{kwFetch, "fetch"},
	{kwCharacter, "bit char character nchar"},
	{kwMaterialized, "materialized"},
	{kwRecursive, "recursive"},
	{kwOrdinality, "ordinality"},
	{kwOperator, "operator"},
	{kwTrue, "true"},
	{kwCreate, "create"},
	{kwReplace, "replace"},
	{kwGlobal, "global"},
	{kwLocal, "local"},
	{kwSession, "session"},
	{kwAuthorization, "authorization"},
	{kwTransaction, "transaction"},
	{kwConstraints, "constraints"},
	{kwTo, "to"},
	{kwRole, "role"},
	{kwSessionAuthorization, "session_authorization"},
	{kwSeed, "seed"},
	{kwAnalyze, "analyze analyse"},
	{kwVerbose, "verbose"},
	{kwBegin, "begin"},
	{kwLanguage, "language"},
	{kwHarmlessLanguage, "sql plpgsql"},
	{kwExpecting, "like overlaps escape value passing rows groups path content document version standalone name return"},
	{kwWith, "with"},
	{kwOn, "on"},
	{kwBy, "by"},
	{kwKey, "key"},
	{kwSets, "sets"},
	{kwZone, "zone"},
	{kwFirst, "first next"},
	{kwVarying, "varying"},
	{kwStrategy, "range list hash"},
	{kwRollup, "rollup cube"},
	{kwInsert, "insert"},
	{kwMerge, "merge"},
	{kwDefault, "default"},
	{kwSet, "set reset"},
	{kwJoin, "join ilike"},
	{kwUsing, "using"},
	{kwConflict, "conflict"},
	{kwDo, "do"},
	{kwNothing, "nothing"},
	{kwUpdate, "update"},
	{kwCase, "case"},
	{kwEnd, "end"},
	{kwAtomic, "atomic"},
	{kwTemp, "temp temporary"},
	{kwHold, "hold"},
	{kwExecute, "execute"},
	{kwCommit, "commit"},
	{kwDrop, "drop"},
}

// neverCalls are the words that no call is named by: the reserved ones of those with a token of their own.
var neverCalls = tokenSet(tokPrefix, tokNoCall, kwAs, kwInto, kwIntoTable, kwTable, kwExists, kwReferences, kwOnly,
	kwDistinct, kwNot, kwNotInfix, kwThen, kwGroup, kwOrder, kwPrimary, kwForeign, kwGrouping, kwTime, kwFetch, kwCharacter, kwTrue,
	kwCreate, kwTo, kwAnalyze, kwDistinctOn, kwOnConflict, kwGroupBy, kwPartitionBy, kwWith, kwOn,
	kwUsing, kwDo, kwCase, kwEnd, kwDefault)

// introduces are the tokens behind which a name with a parenthesis is no call: an alias or a relation with its
// columns, a type with its modifiers, a clause. No expression may follow any of them directly. ) is one only if it
// ends an operand, see parenPrefix.
var introduces = tokenSet(tokStart, tokString, tokOperand, tokClose, tokCast, kwAs, kwInto, kwIntoTable, kwTable,
	kwExists, kwReferences, kwView, kwOf, kwCopy, kwPrepare, kwExecute, kwTablesample, kwOrdinality)

// expects are the tokens behind which an operand begins, so that SET, JOIN, OPERATOR and the like name a call there,
// and only there.
var expects = tokenSet(tokStart, tokOpen, tokComma, tokOperator, tokCast, tokDot, tokPrefix, kwAs, kwInto,
	kwIntoTable, kwTable, kwOnly, kwDistinct, kwDistinctOn, kwNot, kwThen, kwGroup, kwOrder, kwGroupBy, kwBy, kwFetch,
	kwTo, kwWith, kwOn, kwOnConflict, kwUsing, kwDo, kwCase, kwZone, kwFirst, kwPartitionBy, kwCreate,
	kwExecute, kwRecursive, kwReferences, kwExpecting, kwStrategy, kwDefault)

func tokenSet(in ...token) (set [tokens]bool) {
	for _, t := range in {
		set[t] = true
	}
	return set
}

// opening is what a statement with a certain first word is.
type opening uint8

const (
	openUnknown opening = iota
	openCalls           // calls in it are executed
	openNoCalls         // nothing in it is an executed call
	openExplain
	openSet
	openReset
	openPrepare
	openCreate
	openAlter
	openDrop
	openDeclare
	openInsert
)

// openings lists first words. IMPORT FOREIGN SCHEMA leaves a connection in the session.
var openings = []struct {
	opening opening
	effect  Effect
	words   string
}{
	{openCalls, 0, "select update delete with values table"},
	{openCalls, EffectInsert, "copy"},
	{openNoCalls, 0, `truncate comment grant revoke begin start commit end rollback abort savepoint release fetch move
		lock show analyze analyse vacuum cluster reindex refresh checkpoint notify reassign security`},
	{openNoCalls, EffectForeign, "import"},
	{openNoCalls, EffectListen, "listen"},
	{openNoCalls, EffectUnlisten, "unlisten"},
	{openNoCalls, EffectLoad, "load"},
	{openNoCalls, EffectDiscard, "discard"},
	{openNoCalls, EffectDeallocate, "deallocate"},
	{openNoCalls, EffectClose, "close"},
	{openCalls, EffectExecute, "execute"},
	{openExplain, 0, "explain"},
	{openSet, 0, "set"},
	{openReset, EffectReset, "reset"},
	{openPrepare, 0, "prepare"},
	{openCreate, 0, "create"},
	{openAlter, 0, "alter"},
	{openDrop, 0, "drop"},
	{openDeclare, 0, "declare"},
	{openInsert, 0, "insert merge"},
}

// objectKind is what a statement creates or alters.
type objectKind uint8

const (
	objectUnknown   objectKind = iota // may run or load something: extensions, languages, text search, …
	objectModifier                    // not the object yet
	objectPlain                       // no call in its definition is executed
	objectAlterOnly                   // the same when it is altered; creating it calls or loads something
	objectTable
	objectIndex
	objectMaterialized
	objectFunction
	objectRule
	objectSchema
	objectDomain
	objectDatabase
	objectRole
	objectSystem
	objectOwned // what a role owns
)

var objects = []struct {
	object objectKind
	words  string
}{
	{objectModifier, "or replace global local unlogged unique recursive temp temporary"},
	{objectPlain, `aggregate cast collation constraint event foreign operator policy publication sequence server
		statistics tablespace trigger type view`},
	{objectAlterOnly, "conversion default language large routine subscription"},
	{objectTable, "table"},
	{objectIndex, "index"},
	{objectMaterialized, "materialized"},
	{objectFunction, "function procedure"},
	{objectRule, "rule"},
	{objectSchema, "schema"},
	{objectDomain, "domain"},
	{objectDatabase, "database"},
	{objectRole, "role user group"},
	{objectSystem, "system"},
	{objectOwned, "owned"},
}

// functionKind is what a call of a certain name does.
type functionKind uint8

const (
	functionUnknown functionKind = iota
	functionKnown                // its effects are listed, maybe none
	functionSetConfig

	// Names that matter in other places than calls.
	nameCatalog  // pg_catalog
	nameSettings // pg_settings, an UPDATE of which is a SET
	namePrepared // pg_prepared_statements
	nameCallback // cpool_state, whose functions the pooler calls
)

// statefulFunctions lists functions of pg_catalog and the like by their effect. All dblink… are EffectForeign too.
var statefulFunctions = []struct {
	effect Effect
	words  string
}{
	{EffectAdvisoryLock, `pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
		pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all`},
	{EffectSequence, "nextval setval"},
	{EffectSequenceRead, "currval lastval"},
	{EffectShowPrepared, "pg_prepared_statement"},
	{EffectSeed, "setseed"},
	{EffectForeign, `postgres_fdw_disconnect postgres_fdw_disconnect_all postgres_fdw_get_connections
		pg_replication_origin_session_setup pg_replication_origin_session_reset
		pg_replication_origin_session_is_setup pg_replication_origin_session_progress
		pg_replication_origin_xact_setup pg_replication_origin_xact_reset
		pg_create_physical_replication_slot pg_create_logical_replication_slot
		pg_copy_physical_replication_slot pg_copy_logical_replication_slot
		pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup`},
}
