// Checks node-postgres: named and unnamed prepared statements, several statements in one string,
// cursors, COPY streams, LISTEN, cancel. It connects by the PG* variables.
'use strict'

const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const pg = require('pg')
const copy = require('pg-copy-streams')
const Cursor = require('pg-cursor')
const check = require('./check.js')

const columns = ['client', 't', 'n', 'ts', 'b', 'a', 'ta', 'j', 'f', 'ok']
const parts = 3 // connections of each client, one after the other

async function run(client) {
	for (let part = 0; part < parts; part++) {
		client.where = `connection ${part}`
		const session = new Session(client)
		await session.conn.connect()
		const last = Math.floor((client.rounds * (part + 1)) / parts)
		try {
			for (let round = Math.floor((client.rounds * part) / parts); round < last; round++) {
				client.where = `round ${round}`
				await session.round(round)
			}
			client.where = `DISCARD ALL of connection ${part}`
			await session.bye()
		} finally {
			await session.conn.end() // also when a check fails: the others wait for the server session
		}
	}
}

// Session is one connection of a client. want is the state that the client has given it.
class Session {
	constructor(client) {
		this.client = client
		this.want = this.start = ['start', 'UTC', 'sa, public', `client ${client.id}`, 'sa']
		this.messages = []
		this.conn = new pg.Client({
			application_name: 'start',
			options: `-c timezone=UTC -c search_path=sa,\\ public -c drivers.me=client\\ ${client.id}`,
		})
		this.conn.on('notification', (message) => this.messages.push([message.channel, message.payload]))
	}

	// round does what every round does, and each tenth time one of the rest.
	async round(round) {
		await this.state()
		await this.item(round)
		await this.transactions(round)
		await this.errors()
		const rest = ['several', 'copy', 'set', 'sequence', 'listen', 'tempTable', 'role', 'sqlPrepare', 'cursors', 'advisoryLock']
		await this[rest[round % rest.length]](round)
		if (round === 3 || round === 37) await this.cancel()
		await this.state()
	}

	// one reads a statement's only value, by the unnamed statement when there are parameters.
	async one(sql, ...values) {
		const { rows } = await this.conn.query({ text: sql, values, rowMode: 'array' })
		return rows[0]?.[0]
	}

	equal(what, got, want) {
		this.client.equal(what, got, want)
	}

	fails(code, sql, ...values) {
		return this.client.fails(code, sql, this.conn.query(sql, values))
	}

	async state() {
		const { rows } = await this.conn.query({
			name: 'state',
			text: `SELECT current_setting('application_name'), current_setting('TimeZone'),
				current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)`,
			rowMode: 'array',
		})
		this.equal('state', rows[0], this.want)
	}

	async item(round) {
		const want = check.item(this.client.id, round)
		const places = columns.map((_, i) => `$${i + 1}`)
		const insert = { name: 'insert', text: `INSERT INTO public.items (${columns}) VALUES (${places}) RETURNING id` }
		const { rows } = await this.conn.query({ ...insert, values: Object.values(want) })
		const select = { name: 'select', text: `SELECT ${columns} FROM public.items WHERE id = $1` }
		const got = await this.conn.query({ ...select, values: [rows[0].id] })
		this.equal('item', { ...got.rows[0] }, want)
	}

	async transactions(round) {
		const count = () => this.one('SELECT count(*)::int FROM ledger WHERE client = $1 AND round = $2', this.client.id, round)
		const before = await count()
		for (const end of ['COMMIT', 'ROLLBACK']) {
			await this.conn.query('BEGIN')
			await this.conn.query("SET LOCAL drivers.local = 'inside'")
			await this.conn.query('INSERT INTO ledger VALUES ($1, $2, $3)', [this.client.id, round, 'kept?'])
			this.equal('SET LOCAL inside', await this.one("SELECT current_setting('drivers.local')"), 'inside')
			await this.conn.query(end)
			this.equal('rows after the transaction', await count(), before + 1)
			const local = await this.one("SELECT coalesce(current_setting('drivers.local', true), '')")
			this.equal('SET LOCAL after the transaction', local, '')
		}
	}

	async errors() {
		await this.fails('22012', 'SELECT 1 / $1::int', 0)
		await this.fails('42P01', 'SELECT * FROM no_such_table')
		await this.conn.query('BEGIN')
		await this.fails('22012', 'SELECT 1 / $1::int', 0)
		await this.fails('25P02', 'SELECT 1')
		await this.conn.query('ROLLBACK')
		this.equal('after errors', await this.one('SELECT $1::text', 'going on'), 'going on')
	}

	// several reads the answers of a string of statements, and loses all of one that fails.
	async several(round) {
		const results = await this.conn.query({ text: "SELECT 1 AS x; SELECT current_setting('drivers.me') AS me; SELECT 2 AS x" })
		this.equal('answers', results.map((result) => result.rows[0]).map((row) => ({ ...row })), [{ x: 1 }, { me: this.want[3] }, { x: 2 }])
		await this.fails('22012', "INSERT INTO ledger VALUES (0, 0, 'lost'); SELECT 1/0; SELECT 1")
		this.equal('rows of a string that failed', await this.one("SELECT count(*)::int FROM ledger WHERE what = 'lost'"), 0)
		// Queries that are queued in the driver go out one by one; each has its own fate.
		const queued = Array.from({ length: 10 }, (_, i) => this.one('SELECT 10 / ($1::int - 5)', i).catch((error) => error.code))
		this.equal('queued answers', await Promise.all(queued), [-2, -2, -3, -5, -10, '22012', 10, 5, 3, 2])
	}

	async set(round) {
		this.want = [`app ${round}`, 'Asia/Tokyo', 'sb, public', `me '${this.client.id}/${round}`, 'sb']
		await this.conn.query(`SET application_name = 'app ${round}'`)
		await this.conn.query("SET search_path TO sb, public; SET TIME ZONE 'Asia/Tokyo'")
		await this.one("SELECT set_config('drivers.me', $1, false)", this.want[3])
		const stamp = await this.one("SELECT '2001-02-03 00:00:00+00'::timestamptz::text")
		this.equal('time zone in use', stamp, '2001-02-03 09:00:00+09')
	}

	async sequence() {
		const next = await this.one("SELECT nextval('public.numbers')")
		await this.state()
		this.equal('currval', await this.one("SELECT currval('public.numbers')"), next)
	}

	async tempTable(round) {
		await this.conn.query('CREATE TEMPORARY TABLE mine (x int)')
		await this.conn.query('INSERT INTO mine SELECT generate_series(1, $1)', [round])
		this.equal('rows of the temporary table', await this.one('SELECT count(*)::int FROM mine'), round)
		await this.conn.query('DROP TABLE mine')
		await this.fails('42P01', 'SELECT * FROM mine')
	}

	async advisoryLock() {
		this.equal('lock', await this.one('SELECT pg_try_advisory_lock($1)', this.client.id), true)
		await this.state()
		this.equal('unlock', await this.one('SELECT pg_advisory_unlock($1)', this.client.id), true)
	}

	async role() {
		await this.conn.query('SET ROLE drivers_role')
		this.equal('role', await this.one('SELECT current_user::text'), 'drivers_role')
		await this.fails('42501', "INSERT INTO ledger VALUES (0, 0, '')")
		await this.conn.query('RESET ROLE')
		this.equal('role', await this.one('SELECT current_user::text'), 'drivers')
	}

	// sqlPrepare uses one name in all clients, with another meaning in each.
	async sqlPrepare(round) {
		await this.conn.query(`PREPARE mine (int) AS SELECT $1 + ${this.client.id * 1000}`)
		await this.state()
		this.equal('EXECUTE', await this.one(`EXECUTE mine(${round})`), this.client.id * 1000 + round)
		await this.conn.query('DEALLOCATE mine')
		await this.fails('26000', 'EXECUTE mine(1)')
	}

	// cursors reads a portal in pieces, which needs a transaction: between two pieces is a Flush only.
	async cursors() {
		await this.conn.query('BEGIN')
		const cursor = this.conn.query(new Cursor('SELECT generate_series(1, $1::int) AS x', [50]))
		const got = []
		for (let rows; (rows = await cursor.read(20)).length > 0; ) got.push(...rows.map((row) => row.x))
		await cursor.close()
		await this.conn.query('COMMIT')
		this.equal('rows of a cursor', got, Array.from({ length: 50 }, (_, i) => i + 1))
	}

	async copy(round) {
		const key = 1000 + round
		const line = (i) => `${this.client.id}\t${key}\ttab\\t\\\\ line\\n${String(i).padStart(3, '0')}\n`
		const lines = Array.from({ length: 200 }, (_, i) => line(i))
		await pipeline(Readable.from(lines), this.conn.query(copy.from('COPY ledger FROM STDIN')))
		const query = `SELECT * FROM ledger WHERE client = ${this.client.id} AND round = ${key} ORDER BY what`
		const out = this.conn.query(copy.to(`COPY (${query}) TO STDOUT`))
		const chunks = await out.toArray()
		this.equal('lines copied out', Buffer.concat(chunks).toString(), lines.join(''))
	}

	// listen tells itself: another client may be kept waiting for a server session.
	async listen(round) {
		const [channel, payload] = [`channel_${this.client.id}`, `message of round ${round}`]
		await this.conn.query(`LISTEN ${channel}`)
		await this.one('SELECT pg_notify($1, $2)', channel, payload)
		this.equal('notifications', this.messages.splice(0), [[channel, payload]])
		await this.conn.query('UNLISTEN *')
	}

	// cancel does what node-postgres does in its own way: a second Client sends the request.
	async cancel() {
		const query = new pg.Query('SELECT pg_sleep(8)')
		const ended = new Promise((resolve, reject) => query.on('end', resolve).on('error', reject))
		this.conn.query(query)
		await new Promise((resolve) => setTimeout(resolve, 200))
		const request = new pg.Client()
		request.cancel(this.conn, query)
		await this.client.fails('57014', 'the cancelled statement', ended)
		await new Promise((resolve) => (request.connection.stream.closed ? resolve() : request.connection.stream.on('close', resolve)))
		this.equal('after the cancel', await this.one('SELECT 7'), 7)
	}

	// bye discards everything, after which the start-up parameters are in force again.
	async bye() {
		await this.conn.query('DISCARD ALL')
		this.want = this.start
		const got = await this.one("SELECT current_setting('application_name') || current_setting('search_path') || current_setting('drivers.me')")
		this.equal('state', got, this.start[0] + this.start[2] + this.start[3])
	}
}

check.main(`pg ${require('pg/package.json').version}`, run)
