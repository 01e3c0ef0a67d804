// slow: runs hundreds of seeds
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { simulate } from './runner.ts'
import { check, resultOf, type Scenario } from './scenario.ts'
import { World } from './world.ts'

const SELF = fileURLToPath(import.meta.url)
const CLI = fileURLToPath(new URL('./cli.ts', import.meta.url))

/** Seed 3 fails, seed 5 kills its process, seed 6 hangs; 'fickle' never does the same twice. */
const scenarios: Scenario[] = [
  {
    name: 'steady',
    run: (seed, options = {}) => {
      const world = new World(seed, options)
      world.report('draw', world.random.u32())
      return resultOf(world, { draw: world.random.fraction() })
    },
  },
  {
    name: 'faulty',
    run: (seed) => {
      check(seed !== 3, () => 'three is not allowed')
      if (seed === 5) process.exit(9)
      while (seed === 6);
      return resultOf(new World(seed), {})
    },
  },
  {
    name: 'fickle',
    run: (seed) => {
      const world = new World(seed)
      world.report('', process.hrtime()[1])
      return resultOf(world, {})
    },
  },
  {
    name: 'marked',
    run: (seed) => {
      const marks = { 'fault: common': 2, 'fault: seldom': seed % 25 === 0 ? 1 : 0 }
      return { ...resultOf(new World(seed), { load: 0.5 }), marks }
    },
  },
]

async function run(...args: string[]): Promise<{ code: number; text: string }> {
  let text = ''
  const print = (part: string) => {
    text += part
  }
  const code = await simulate(scenarios, args, { script: SELF, print })
  return { code, text }
}

test('runs every seed, some twice, and says so', async () => {
  const { code, text } = await run('--seeds', '101', '--first', '1000', '--workers', '2')
  assert.is(code, 0)
  assert.match(text, /101 seeds, 0 failed; 2 run twice/)
  const hash = /hash of all ([0-9a-f]{16})/.exec(text)?.[1]
  const again = await run('--seeds', '101', '--first', '1000', '--workers', '1')
  assert.ok(hash !== undefined && again.text.includes(hash), 'the order of processes shows')
})

test('a failing seed is printed with the command that repeats it', async () => {
  const { code, text } = await run('--scenario', 'faulty', '--seeds', '5', '--workers', '2')
  assert.is(code, 1)
  assert.match(text, /FAILED seed 3: ERR_PUNCHLINE_SIM_CHECK: three is not allowed\n/)
  assert.match(text, /\n {2}replay: npm run sim -- --seed 3 --scenario faulty\n/)
  assert.match(text, /5 seeds, 1 failed/)
  const replayed = await run('--seed', '3', '--scenario', 'faulty')
  assert.is(replayed.code, 1)
  assert.match(replayed.text, /FAILED: .*three is not allowed/)
})

test('a process that dies or hangs costs its seed only', async () => {
  const args = ['--scenario', 'faulty', '--seeds', '8', '--workers', '2', '--seconds', '5']
  const { code, text } = await run(...args)
  assert.is(code, 1)
  assert.match(text, /FAILED seed 5: the worker process: died \(9\)/)
  assert.match(text, /FAILED seed 6: the worker process: no result after 5 s/)
  assert.match(text, /8 seeds, 3 failed/)
})

test('two runs that differ are a failure', async () => {
  const { code, text } = await run('--scenario', 'fickle', '--seeds', '1')
  assert.is(code, 1)
  assert.match(text, /FAILED seed 0: two runs differ: hash [0-9a-f]{16}, then [0-9a-f]{16}/)
})

test('a fault that too few seeds have met is a failure', async () => {
  const { code, text } = await run('--scenario', 'marked', '--seeds', '200')
  assert.is(code, 1)
  assert.match(text, /fault: common +400 +100 %\n/)
  assert.match(text, /fault: seldom +8 +4 %\n/)
  assert.match(text, /FAILED: fewer than 5 % of seeds met: fault: seldom\n/)
  assert.match(text, /load +0\.500 +0\.500 +100\.0\n/)
  assert.is((await run('--scenario', 'marked', '--seeds', '20')).code, 0)
})

test('a replay prints the hash, the log when asked, and a flipped draw changes it', async () => {
  const plain = await run('--seed', '4')
  assert.is(plain.code, 0)
  const hash = /hash ([0-9a-f]{16})/.exec(plain.text)?.[1]
  assert.ok(hash)
  const verbose = await run('--seed', '4', '--verbose')
  assert.match(verbose.text, / 0\.000000 {2}draw {2}\d+\n/)
  assert.ok(verbose.text.includes(hash as string))
  const flipped = await run('--seed', '4', '--flip', 'world:0')
  assert.not.ok(flipped.text.includes(hash as string))
})

test('wrong arguments are explained', async () => {
  for (const args of [
    ['--scenario', 'nonsense'],
    ['--seeds', '0'],
    ['--seeds', 'many'],
    ['--seed', '-1'],
    ['--seed', '1.5'],
    ['--seed', '1', '--flip', 'nothing'],
    ['--unknown'],
  ]) {
    const { code, text } = await run(...args)
    assert.is(code, 2, args.join(' '))
    assert.match(text, /usage: sim/)
  }
  assert.is((await run('--list')).text, 'steady\nfaulty\nfickle\nmarked\n')
})

test('the command works as a command', () => {
  const args = ['--import', 'tsx', CLI, '--scenario', 'stop-and-wait-swarm', '--seeds', '4']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 120_000,
  })
  assert.is(status, 0, stderr)
  assert.match(stdout, /4 seeds, 0 failed; 1 run twice/)
})

// Worker processes run this file, too.
if (process.argv.includes('--worker')) simulate(scenarios, process.argv.slice(2))
else test.run()
