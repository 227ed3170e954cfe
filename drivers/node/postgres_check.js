// Checks postgres.js: with prepared statements and without, pipelined queries, sql.begin and
// savepoints, cursors, COPY streams, sql.listen, cancel. It connects by the PG* variables.
'use strict'

const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const postgres = require('postgres')
const check = require('./check.js')

const parts = [{ prepare: true }, { prepare: false }, { prepare: true, max_pipeline: 1 }]
const inTime = (promise) => Promise.race([promise, new Promise((_, reject) => setTimeout(reject, 15_000, new Error('not in time')))])

async function run(client) {
	client.where = 'listen'
	await listen(client)
	for (const [part, options] of parts.entries()) {
		const session = new Session(client, options)
		const last = Math.floor((client.rounds * (part + 1)) / parts.length)
		try {
			for (let round = Math.floor((client.rounds * part) / parts.length); round < last; round++) {
				client.where = `round ${round}, ${JSON.stringify(options)}`
				await session.round(round)
			}
			client.where = `DISCARD ALL, ${JSON.stringify(options)}`
			await session.bye()
		} finally {
			await session.sql.end({ timeout: 1 }) // also when a check fails: the others wait for the server session
		}
	}
}

// listen has two connections, one that listens and one that notifies. Two clients that each hold
// a server session with the first would wait for ever for the second one, hence one by one, and
// before the client has its other connection.
let listening = Promise.resolve()
function listen(client) {
	if (client.id >= 5) return
	return (listening = listening.then(async () => {
		const sql = postgres({ max: 1 })
		const [channel, payload] = [`channel_${client.id}`, `message of ${client.id}`]
		const message = new Promise((resolve, reject) => sql.listen(channel, resolve, () => sql.notify(channel, payload)).catch(reject))
		client.equal('notification', await inTime(message), payload)
		await sql.end()
	}))
}

// Session is one connection of a client: a pool of one. want is the state that the client has given it.
class Session {
	constructor(client, options) {
		this.client = client
		this.want = this.start = ['start', 'UTC', 'sa, public', `client ${client.id}`, 'sa']
		this.sql = postgres({
			...options,
			max: 1,
			onnotice: () => {},
			connection: { application_name: 'start', TimeZone: 'UTC', search_path: 'sa, public', 'drivers.me': this.want[3] },
		})
	}

	// round does what every round does, and each tenth time one of the rest.
	async round(round) {
		await this.state()
		await this.item(round)
		await this.transactions(round)
		await this.errors()
		const rest = ['pipelined', 'copy', 'set', 'sequence', 'several', 'tempTable', 'role', 'sqlPrepare', 'cursors', 'advisoryLock']
		await this[rest[round % rest.length]](round)
		if (round === 3 || round === 37) await this.cancel()
		await this.state()
	}

	equal(what, got, want) {
		this.client.equal(what, got, want)
	}

	async state() {
		const [row] = await this.sql`SELECT current_setting('application_name'), current_setting('TimeZone'),
			current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)`.values()
		this.equal('state', [...row], this.want)
	}

	async item(round) {
		const want = check.item(this.client.id, round)
		const sql = this.sql
		const [{ id }] = await sql`INSERT INTO public.items ${sql({ ...want, j: want.j && sql.json(want.j) })} RETURNING id`
		const [got] = await sql`SELECT ${sql(Object.keys(want))} FROM public.items WHERE id = ${id}`
		this.equal('item', { ...got, a: [...got.a], ta: [...got.ta] }, want)
	}

	async transactions(round) {
		const sql = this.sql
		const count = async () => (await sql`SELECT count(*)::int FROM ledger WHERE client = ${this.client.id} AND round = ${round}`)[0].count
		const before = await count()
		await sql.begin('ISOLATION LEVEL REPEATABLE READ', async (sql) => {
			await sql`SET LOCAL drivers.local = 'inside'`
			await sql`INSERT INTO ledger VALUES (${this.client.id}, ${round}, 'kept')`
			const failing = sql.savepoint((sql) => sql`INSERT INTO ledger VALUES (${this.client.id}, ${round}, ${'x'}), (NULL, 0, '')`)
			await this.client.fails('23502', 'a savepoint', failing)
			const [row] = await sql`SELECT current_setting('drivers.local') AS local, current_setting('transaction_isolation') AS isolation`
			this.equal('inside the transaction', { ...row }, { local: 'inside', isolation: 'repeatable read' })
		})
		await this.client.fails('22012', 'a transaction', sql.begin((sql) => [sql`DELETE FROM ledger`, sql`SELECT 1 / ${0}::int`]))
		this.equal('rows after the transactions', await count(), before + 1)
		const [{ local }] = await sql`SELECT coalesce(current_setting('drivers.local', true), '') AS local`
		this.equal('SET LOCAL after the transaction', local, '')
	}

	async errors() {
		await this.client.fails('22012', 'a division', this.sql`SELECT 1 / ${0}::int`)
		await this.client.fails('42P01', 'a missing table', this.sql`SELECT * FROM no_such_table`)
		const [{ text }] = await this.sql`SELECT ${'going on'}::text`
		this.equal('after errors', text, 'going on')
	}

	// pipelined sends 20 queries without waiting; each has a Sync and so a fate of its own.
	async pipelined(round) {
		const queries = Array.from({ length: 20 }, (_, i) => this.sql`SELECT (100 / (${i}::int - 5)) AS x, current_setting('drivers.me') AS me`)
		const got = await Promise.all(queries.map((query) => query.then(([row]) => [row.x, row.me], (error) => error.code)))
		const want = queries.map((_, i) => (i === 5 ? '22012' : [Math.trunc(100 / (i - 5)), this.want[3]]))
		this.equal('answers of a pipeline', got, want)
	}

	async several() {
		const results = await this.sql.unsafe("SELECT 1 AS x; SELECT current_setting('drivers.me') AS me")
		this.equal('answers of a string', results.map(([row]) => ({ ...row })), [{ x: 1 }, { me: this.want[3] }])
		await this.client.fails('22012', 'a string', this.sql.unsafe("INSERT INTO ledger VALUES (0, 0, 'lost'); SELECT 1/0").simple())
		const [{ count }] = await this.sql`SELECT count(*)::int FROM ledger WHERE what = 'lost'`
		this.equal('rows of a string that failed', count, 0)
	}

	async set(round) {
		this.want = [`app ${round}`, 'Asia/Tokyo', 'sb, public', `me '${this.client.id}/${round}`, 'sb']
		await this.sql`SELECT set_config('application_name', ${this.want[0]}, false), set_config('drivers.me', ${this.want[3]}, false)`
		await this.sql`SET search_path TO sb, public`
		await this.sql`SET TIME ZONE 'Asia/Tokyo'`
		const [{ timestamptz }] = await this.sql`SELECT ('2001-02-03 00:00:00+00'::timestamptz)::text AS timestamptz`
		this.equal('time zone in use', timestamptz, '2001-02-03 09:00:00+09')
		this.equal('ParameterStatus of application_name', this.sql.parameters.application_name, this.want[0])
	}

	async sequence() {
		const [{ nextval }] = await this.sql`SELECT nextval('public.numbers')`
		await this.state()
		const [{ currval }] = await this.sql`SELECT currval('public.numbers')`
		this.equal('currval', currval, nextval)
	}

	async tempTable(round) {
		await this.sql`CREATE TEMPORARY TABLE mine (x int)`
		await this.sql`INSERT INTO mine ${this.sql(Array.from({ length: 100 }, (_, x) => ({ x })))}`
		const [{ sum }] = await this.sql`SELECT sum(x)::int FROM mine`
		this.equal('sum of the temporary table', sum, 4950)
		await this.sql`DROP TABLE mine`
		await this.client.fails('42P01', 'the dropped table', this.sql`SELECT * FROM mine`)
	}

	async advisoryLock() {
		const [{ locked }] = await this.sql`SELECT pg_try_advisory_lock(${this.client.id}) AS locked`
		await this.state()
		const [{ unlocked }] = await this.sql`SELECT pg_advisory_unlock(${this.client.id}) AS unlocked`
		this.equal('lock and unlock', [locked, unlocked], [true, true])
	}

	async role() {
		await this.sql`SET ROLE drivers_role`
		const [{ inside }] = await this.sql`SELECT current_user::text AS inside`
		await this.client.fails('42501', 'INSERT', this.sql`INSERT INTO ledger VALUES (0, 0, '')`)
		await this.sql`RESET ROLE`
		const [{ after }] = await this.sql`SELECT current_user::text AS after`
		this.equal('roles', [inside, after], ['drivers_role', 'drivers'])
	}

	// sqlPrepare uses one name in all clients, with another meaning in each.
	async sqlPrepare(round) {
		await this.sql.unsafe(`PREPARE mine (int) AS SELECT $1 + ${this.client.id * 1000} AS sum`)
		await this.state()
		const [{ sum }] = await this.sql.unsafe(`EXECUTE mine(${round})`)
		this.equal('EXECUTE', sum, this.client.id * 1000 + round)
		await this.sql.unsafe('DEALLOCATE mine')
		await this.client.fails('26000', 'EXECUTE', this.sql.unsafe('EXECUTE mine(1)'))
	}

	// cursors reads a portal in pieces, with a Flush only between them; one is left half read.
	async cursors() {
		const got = []
		await this.sql`SELECT generate_series(1, 50) AS x`.cursor(20, (rows) => void got.push(...rows.map((row) => row.x)))
		this.equal('rows of a cursor', got, Array.from({ length: 50 }, (_, i) => i + 1))
		for await (const [row] of this.sql`SELECT generate_series(1, 50) AS x`.cursor(1)) {
			if (row.x === 3) break
		}
		await this.state()
	}

	async copy(round) {
		const key = 1000 + round
		const lines = Array.from({ length: 200 }, (_, i) => `${this.client.id}\t${key}\ttab\\t\\\\ line\\n${String(i).padStart(3, '0')}\n`)
		await pipeline(Readable.from(lines), await this.sql`COPY ledger FROM STDIN`.writable())
		const query = `COPY (SELECT * FROM ledger WHERE client = ${this.client.id} AND round = ${key} ORDER BY what) TO STDOUT`
		const chunks = await (await this.sql.unsafe(query).readable()).toArray()
		this.equal('lines copied out', Buffer.concat(chunks).toString(), lines.join(''))
	}

	async cancel() {
		const query = this.sql`SELECT pg_sleep(8)`.execute()
		setTimeout(() => query.cancel(), 200)
		await this.client.fails('57014', 'the cancelled statement', query)
		const [{ seven }] = await this.sql`SELECT 7 AS seven`
		this.equal('after the cancel', seven, 7)
	}

	// bye discards everything, after which the start-up parameters are in force again.
	async bye() {
		await this.sql.unsafe('DISCARD ALL')
		const text = "SELECT current_setting('application_name'), current_setting('TimeZone'), current_setting('search_path'), current_setting('drivers.me'), name FROM who"
		const [row] = await this.sql.unsafe(text).values()
		this.equal('state after DISCARD ALL', [...row], this.start)
	}
}

check.main(`postgres.js ${require('./node_modules/postgres/package.json').version}`, run)
