// Answers attempts to log in, for drivers/security: each line of stdin is one, name=value separated by tabs, and each
// answer is a line of JSON.
const fs = require('fs')
const readline = require('readline')
const { Client } = require('pg')

const TIME_LIMIT = 8000 // milliseconds

function configOf(a) {
  const config = {
    host: a.host, port: Number(a.port), user: a.user, database: a.database, connectionTimeoutMillis: TIME_LIMIT,
    password: a.password || undefined, query_timeout: TIME_LIMIT, ssl: false,
    enableChannelBinding: a.binding === 'true', // if the server offers it: it cannot be demanded
  }
  if (a.sslmode === 'disable') return config
  config.ssl = { rejectUnauthorized: a.sslmode === 'verify-full', ca: fs.readFileSync(a.root) }
  if (a.cert) Object.assign(config.ssl, { cert: fs.readFileSync(a.cert), key: fs.readFileSync(a.key) })
  if (a.direct === 'true') config.sslnegotiation = 'direct'
  return config
}

async function attempt(a) {
  const client = new Client(configOf(a))
  client.on('error', () => {}) // the attempt has its own
  try {
    await client.connect()
    const { rows } = await client.query({ text: a.query, rowMode: 'array' })
    return { ok: true, who: rows[0][0] }
  } catch (err) {
    const server = err.severity !== undefined
    return { ok: false, code: server ? err.code : '', message: (server ? err.severity + ': ' : '') + err.message }
  } finally {
    client.end().catch(() => {})
    client.connection.stream.destroy() // the server may never answer the goodbye
  }
}

// withinLimit: a driver that never comes back must not stop the others.
async function withinLimit(a) {
  let timer
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ ok: false, code: '', message: 'the driver did not come back' }), TIME_LIMIT)
  })
  const answer = await Promise.race([attempt(a), late])
  clearTimeout(timer)
  return answer
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const a = {}
    for (const field of line.split('\t')) a[field.slice(0, field.indexOf('='))] = field.slice(field.indexOf('=') + 1)
    process.stdout.write(JSON.stringify(await withinLimit(a)) + '\n')
  }
}

main().then(() => process.exit(0))
