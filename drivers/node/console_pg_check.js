// Checks the admin console with node-postgres: simple queries, parameters, named statements, several at once. It
// connects by the PG* variables.
'use strict'

const pg = require('pg')
const check = require('./check')

const known = 'known' // application_name of the clients whose number is known
const knownClients = 3
const database = process.env.PGDATABASE
// What node-postgres makes of each type: of numbers that JavaScript cannot hold it makes strings.
const types = {
	23: 'number',
	20: 'string',
	25: 'string',
	701: 'number',
	16: 'boolean',
	1700: 'string',
	1184: 'Date',
}
const typeOf = (value) => (value instanceof Date ? 'Date' : typeof value)

async function run(client) {
	const all = []
	const connect = async (options) => {
		const conn = new pg.Client(options)
		await conn.connect()
		all.push(conn)
		return conn
	}
	try {
		for (let i = 0; i < knownClients; i++) {
			await (await connect({ application_name: known })).query('SELECT 1')
		}
		for (const name of ['pooler', 'pgbouncer']) {
			await new Console(client, await connect({ database: name })).all()
		}
	} finally {
		await Promise.all(all.map((conn) => conn.end()))
	}
}

class Console {
	constructor(client, conn) {
		Object.assign(this, { client, conn, equal: client.equal.bind(client) })
	}

	async all() {
		await this.views()
		await this.filters()
		await this.errors()
		await this.commands()
	}

	async one(text, ...values) {
		return (await this.conn.query({ text, values, rowMode: 'array' })).rows[0]?.[0]
	}

	// views reads each view that there is, with types; with values = [] by the extended protocol.
	async views() {
		const views = (await this.conn.query('SHOW HELP')).rows.map((row) => row.name).filter((name) => name.startsWith('SHOW '))
		this.equal('there are views', views.length >= 37, true)
		for (const view of views) {
			this.client.where = view
			for (const query of [{ text: view }, { text: view, values: [], name: view, queryMode: 'extended' }]) {
				const { fields, rows } = await this.conn.query({ ...query, rowMode: 'array' })
				this.equal('columns of unknown type', fields.filter((field) => !types[field.dataTypeID]).map((field) => field.name), [])
				const wrong = rows.flatMap((row) => fields.filter((field, i) => row[i] !== null && typeOf(row[i]) !== types[field.dataTypeID]))
				this.equal('values of other types', wrong.map((field) => field.name), [])
			}
		}
	}

	async filters() {
		this.client.where = 'filters'
		const where = 'WHERE application_name = $1 AND database = $2 AND id > $3 ORDER BY id LIMIT $4'
		for (const text of [`SHOW CLIENTS application_name, state ${where}`, `SELECT application_name, state FROM clients ${where}`]) {
			for (const name of [undefined, text.slice(0, 20), text.slice(0, 20)]) {
				const { rows } = await this.conn.query({ name, text, values: [known, database, 0, 10] })
				this.equal('clients', rows, Array(knownClients).fill({ application_name: known, state: 'idle' }))
			}
		}
		this.equal('a time', (await this.conn.query('SHOW POOLS "user" WHERE most_servers_at < $1 AND database = $2', [new Date(Date.now() + 3600e3), database])).rows.length, 1)
		this.equal('a list', (await this.conn.query('SHOW LISTS items WHERE list IN ($1, $2)', ['pools', 'users'])).rows.length, 2)
		this.equal('logins', await this.one('SHOW STATS total_client_login_count WHERE database = $1', database), String(knownClients))
		const several = await this.conn.query('SHOW STATE; SHOW VERSION; SHOW LISTS LIMIT 2')
		this.equal('several at once', several.map((result) => result.rows.length), [several[0].rows.length, 1, 2])
	}

	async errors() {
		this.client.where = 'errors'
		for (const [code, text, values] of [
			['42P01', 'SHOW NOTHING'],
			['42703', 'SHOW CLIENTS nothing'],
			['42601', 'SHOW CLIENTS WHERE', []],
			['42601', 'INSERT INTO clients VALUES ($1)', [1]],
			['22P02', 'SHOW CLIENTS WHERE id = $1', ['x']],
			['3D000', 'ALTER POOL nothing SET maxsize = 3'],
			['42704', 'KILL_CLIENT 4000000000'],
		]) {
			await this.client.fails(code, text, this.conn.query(text, values))
		}
		this.equal('after errors', await this.one("SHOW STATE value WHERE key = 'active'"), 'yes')
	}

	async commands() {
		this.client.where = 'commands'
		const notices = []
		this.conn.on('notice', (notice) => notices.push(notice.message))
		this.equal('tag', (await this.conn.query('RELOAD')).command, 'RELOAD')
		await this.conn.query(`PAUSE ${database}`)
		this.equal('paused', await this.one('SHOW DATABASES paused WHERE name = $1', database), 1)
		await this.conn.query(`RESUME ${database}`)
		await this.conn.query(`START POOL ${database}`)
		this.equal('notices', notices, ['it was not stopped'])
		const idle = (await this.conn.query(`KILL IDLE APPLICATION ${known} DRY RUN`)).rows
		this.equal('KILL IDLE', idle.map((row) => [row.database, row.application_name, row.killed]), Array(knownClients).fill([database, known, false]))
		await this.conn.query('BEGIN')
		await this.client.fails('42P01', 'SHOW NOTHING', this.conn.query('SHOW NOTHING'))
		await this.conn.query('ROLLBACK')
		this.equal('after a rollback', await this.one('SELECT 1'), 1)
	}
}

check.main(`console_pg ${require('pg/package.json').version}`, run)
