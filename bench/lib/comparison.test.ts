// slow: every sample starts two processes
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ComparisonOrder, compare } from './comparison.ts'
import { DEFAULT_WORKLOAD } from './party.ts'

const tiny: ComparisonOrder = {
  scenario: 'stream',
  parties: ['net'],
  workload: { ...DEFAULT_WORKLOAD, connectionCount: 5 },
  rounds: 1,
  warmupMs: 10,
  windowMs: 100,
}

/** A party that does wrong what `fault` names. */
function faulty(fault: string): string {
  return new URL(`../fixtures/faulty-party.ts?${fault}`, import.meta.url).href
}

test('lets another party begin in every round', async () => {
  const order: string[] = []
  const parties = ['net', 'tls', 'dgram']
  const rows = await compare({ ...tiny, parties, rounds: 3 }, (round, party) => {
    order.push(`${round} ${party}`)
  })
  assert.equal(order, [
    '0 net',
    '0 tls',
    '0 dgram',
    '1 tls',
    '1 dgram',
    '1 net',
    '2 dgram',
    '2 net',
    '2 tls',
  ])
  assert.equal(
    rows.map(({ party, samples, failures }) => [party, samples.length, failures]),
    parties.map((party) => [party, 3, []]),
  )
  for (const figure of rows[0]?.figures ?? []) {
    if (figure.name === 'rate') assert.is(figure.ratio, 1, 'the reference against itself')
  }
})

const failing: [fault: string, reason: RegExp][] = [
  ['corrupt', /^round 1: wrong bytes in \d+ of \d+ samples$/],
  ['lose', /^round 1: bytes went missing: client \d+ out, 0 in; server \d+ in, 0 out$/],
  ['silent', /^round 1: bytes went missing: client 65536 out, 0 in; server 0 in, 0 out$/],
  ['dying', /^round 1: a peer ended \(3\)/],
]
for (const [fault, reason] of failing) {
  test(`reports a party that is ${fault}`, async () => {
    const [row] = await compare({ ...tiny, parties: [faulty(fault)] })
    assert.is(row?.samples.length, 0)
    assert.match(row?.failures.join() ?? '', reason)
  })
}

test('gives up a party that is stuck', async () => {
  const [row] = await compare({ ...tiny, parties: [faulty('stuck')], overheadMs: 3_000 })
  assert.equal(row?.failures, ['round 1: not over after 3110 ms'])
})

test('skips a party that cannot be loaded, once', async () => {
  const asked: string[] = []
  const [row] = await compare({ ...tiny, parties: [faulty('unloadable')], rounds: 3 }, (round) => {
    asked.push(String(round))
  })
  assert.is(row?.skipped, 'needs a machine that does not exist')
  assert.equal([row?.failures, asked], [[], ['0']])
})

for (const scenario of ['stream', 'pingpong', 'connections'] as const) {
  test(`measures tls and punchline in ${scenario}`, async () => {
    const rows = await compare({ ...tiny, scenario, parties: ['tls', 'punchline'] })
    for (const { party, samples, failures, skipped } of rows) {
      assert.equal([party, failures, skipped, samples.length], [party, [], undefined, 1])
    }
    const [tls, punchline] = rows
    assert.match(tls?.details['security'] ?? '', 'TLSv1.3')
    assert.match(punchline?.details['security'] ?? '', /aes-128-gcm|chacha20/)
  })
}

test.run()
