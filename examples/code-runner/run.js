#!/usr/bin/env node
// Runs scripts that nobody has looked at, each in a container of its own, and tells what became of them.
//   node examples/code-runner/run.js [FILE...]      default: everything in scripts/
// A script says in its first comments what should become of it; see scripts/ and expectation() below.
import { availableParallelism } from 'node:os';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { probe, run } from 'spawn-contained';
import { Witness } from './witness.js';
import { table } from './table.js';

const here = dirname(fileURLToPath(import.meta.url));
const JOB = '/run/job'; // below a tmpfs of the container, so that nothing has to be made on the host

const INTERPRETERS = {
  '.sh': { names: ['/bin/sh'], data: '64M' },
  '.py': { names: ['/usr/bin/python3', '/usr/local/bin/python3'], data: '128M' },
  // Each of its threads reserves a stack. Bound into the container, since it may be installed in somebody's home.
  '.mjs': { names: [process.execPath], data: '512M', bind: `${JOB}/node` },
};

const megabytes = text => parseInt(text) * 2 ** 20;

/** What the host can limit with a cgroup is limited so; for the rest there are rlimits, which count less exactly. */
async function limits() {
  const { abilities } = await probe();
  const missing = ['memory', 'cpu', 'pids'].filter(name => !abilities.some(a => a.name === `cgroup ${name}` && a.available));
  const has = name => !missing.includes(name);
  const cgroup = {
    ...has('memory') && { memory: { max: '128M' } },
    ...has('cpu') && { cpu: { max: 1 } },
    ...has('pids') && { pids: { max: 48 } },
  };
  if (missing.length > 0) console.log(`This host gives no cgroup for ${missing.join(', ')}: rlimits instead (\`contained probe\` tells why).\n`);
  return data => ({
    ...Object.keys(cgroup).length > 0 && { cgroup },
    rlimits: {
      fsize: 2 ** 24,
      ...!has('memory') && { data: megabytes(data) },
      ...!has('pids') && { nproc: 48 },
    },
  });
}

/** `expect: timeout`, `expect: oom | exit 1`, and `output: TEXT` that must be part of what is said. */
function expectation(file) {
  const text = readFileSync(file, 'utf8');
  const line = name => new RegExp(`^(?:#|//) ${name}: (.*)$`, 'm').exec(text)?.[1];
  return { outcomes: line('expect')?.split(' | '), output: line('output') };
}

/** In the words of `expect:`. */
const outcomeOf = ({ reason, code, signal }) => reason === 'exit' ? `exit ${code}` : reason === 'signal' ? `signal ${signal}` : reason;

async function judge(file, limitsFor) {
  const script = basename(file);
  const interpreter = INTERPRETERS[extname(file)];
  if (!interpreter) return { script, skipped: `no interpreter for ${extname(file) || 'a file without extension'}` };
  const program = Witness.executable(interpreter.names);
  if (!program) return { script, skipped: `${interpreter.names[0]} is missing; install Debian's package ${basename(interpreter.names[0])}` };

  const witness = await Witness.start();
  try {
    const result = await runScript(file, interpreter, program, witness, limitsFor);
    return { script, result, problems: [...witness.problems(result), ...unexpected(result, expectation(file))] };
  } finally {
    witness.stop();
  }
}

function runScript(file, { bind, data }, program, { port, mark }, limitsFor) {
  const inside = `${JOB}/${basename(file)}`;
  return run({
    command: [bind ?? program, inside, String(port)],
    mounts: [
      { type: 'bind', source: resolve(file), target: inside, readonly: true },
      ...bind ? [{ type: 'bind', source: program, target: bind, readonly: true }] : [],
    ],
    tmpfs: { '/tmp': '16M', '/dev/shm': '1M' },
    env: { HOME: '/tmp', [mark]: '1' },
    timeout: 4000,
    killGrace: 200,
    maxOutput: 64 * 1024,
    reject: false,
    ...limitsFor(data),
  });
}

function unexpected(result, { outcomes, output }) {
  const outcome = outcomeOf(result);
  return [
    ...outcomes && !outcomes.includes(outcome) ? [{ kind: 'unexpected', text: `${outcome} instead of ${outcomes.join(' or ')}: ${result.stderr.trim().split('\n').at(-1)}` }] : [],
    ...output !== undefined && !result.stdout.includes(output) ? [{ kind: 'unexpected', text: `said ${JSON.stringify(result.stdout.slice(-80))} instead of ${JSON.stringify(output)}` }] : [],
  ];
}

/** So many at a time. */
async function each(items, count, work) {
  const results = [];
  const next = items.entries();
  const worker = async () => {
    for (const [i, item] of next) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: count }, worker));
  return results;
}

async function safely(file, limitsFor) {
  try {
    return await judge(file, limitsFor);
  } catch (error) {
    return { script: basename(file), problems: [{ kind: 'failed', text: error.message }] };
  }
}

const scripts = join(here, 'scripts');
const files = process.argv.length > 2 ? process.argv.slice(2) : readdirSync(scripts).sort().map(name => join(scripts, name));
const limitsFor = await limits();
const rows = await each(files, Math.max(2, availableParallelism()), file => safely(file, limitsFor));
console.log(table(rows));
process.exitCode = rows.some(({ problems = [] }) => problems.length > 0) ? 1 : 0;
