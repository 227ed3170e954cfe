// Runs a driver's clients at the same time, counts what they verify and prints the outcome.
'use strict'

const { isDeepStrictEqual, inspect, parseArgs } = require('node:util')

const show = (value) => inspect(value, { breakLength: Infinity })
const failuresShown = 5
const timeLimit = 40_000 // ms; a client that hangs must not hang the caller

class Client {
	constructor(id, rounds) {
		Object.assign(this, { id, rounds, where: '', checks: 0, failures: [] })
	}

	// equal verifies a value and goes on.
	equal(what, got, want) {
		this.checks++
		if (!isDeepStrictEqual(got, want)) {
			this.failures.push(`client ${this.id}, ${this.where}: ${what}: got ${show(got)}, expected ${show(want)}`)
		}
	}

	// fails verifies that a promise ends with an error of that SQLSTATE.
	async fails(code, what, promise) {
		const got = await promise.then(() => 'no error', (error) => error.code ?? String(error))
		this.equal(`SQLSTATE of ${what}`, got, code)
	}
}

// item is a value of each type that drivers encode in their own way; each third round has NULLs.
function item(client, round) {
	const values = {
		client,
		t: `O'Brien "x" \\ $1 ; -- ${client}/${round}\nüñ→漢字🐘`,
		n: `-12345678901234567890.${String(client * 100 + round).padStart(4, '0')}5`,
		ts: new Date(Date.UTC(2001, 1, 3, client, round, 6, 789)),
		b: Buffer.from(Array.from({ length: 256 }, (_, i) => (i + client + round) % 256)),
		a: [client, -1 - round, 2147483647],
		ta: ['', 'a,b', '"quoted" \\ \'single\'', '{}', 'NULL', `ünï→🐘 ${client}/${round}`],
		j: { round, client: `${client} é'`, list: [1, null] },
		f: client * 1e10 + round / 3,
		ok: round % 2 === 0,
	}
	return round % 3 === 2 ? { ...values, t: null, n: null, ts: null, b: null, j: null } : values
}

// main ends the process: with 0 when everything was as expected, else with 1.
async function main(driver, run) {
	const { values } = parseArgs({ options: { clients: { type: 'string', default: '20' }, rounds: { type: 'string', default: '50' } } })
	const began = Date.now()
	const clients = Array.from({ length: Number(values.clients) }, (_, id) => new Client(id, Number(values.rounds)))
	setTimeout(() => {
		console.log(`FAILED ${driver}: not done after ${timeLimit} ms`)
		clients.slice(0, failuresShown).forEach((client) => console.log(`  client ${client.id} stands at ${client.where}`))
		process.exit(1)
	}, timeLimit)
	await Promise.all(
		clients.map((client) =>
			run(client).catch((error) => client.failures.push(`client ${client.id}, ${client.where}: ${error.stack.replaceAll(/\n +/g, ' ')}`)),
		),
	)
	const failures = clients.flatMap((client) => client.failures)
	const checks = clients.reduce((sum, client) => sum + client.checks, 0)
	const outcome = `${driver} clients=${clients.length} rounds=${values.rounds} checks=${checks} seconds=${((Date.now() - began) / 1000).toFixed(1)}`
	console.log(failures.length ? `FAILED ${outcome} failures=${failures.length}` : `ok ${outcome}`)
	failures.slice(0, failuresShown).forEach((failure) => console.log('  ' + failure.slice(0, 600)))
	process.exit(failures.length ? 1 : 0)
}

module.exports = { main, item }
