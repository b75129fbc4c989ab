// How long a call of spawn keeps the event loop; a process of its own, since it depends on the size of the process.
//
//   node bench/block.js RUNS GIGABYTES OPTIONS
import { spawn } from 'node:child_process';
import { spawnContained } from '../dist/lib/index.js';
import { summary } from './measure.js';

const [runs, gigabytes, text] = process.argv.slice(2);
const { file, options, bare } = JSON.parse(text);

const CHUNK = 64 << 20;
const ballast = Array.from({ length: Number(gigabytes) * (2 ** 30 / CHUNK) }, () => Buffer.alloc(CHUNK, 1));

const touch = child => [child.stdin, child.stdout, child.stderr];

const calls = {
  'spawnContained, streams untouched': () => spawnContained({ ...options, command: [file] }),
  'spawnContained, streams touched': () => {
    const child = spawnContained({ ...options, command: [file] });
    touch(child);
    return child;
  },
  'child_process.spawn': () => spawn(bare),
};

async function microseconds(call) {
  const before = process.hrtime.bigint();
  const child = call();
  const taken = Number(process.hrtime.bigint() - before) / 1000;
  await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  return taken;
}

const taken = Object.fromEntries(Object.keys(calls).map(name => [name, []]));
const WARM_UP = 20;
for (let i = 0; i < Number(runs) + WARM_UP; ++i) {
  for (const [name, call] of Object.entries(calls)) {
    // After a fork of Node the first write to each page is a fault, which is child_process's cost and not the next one's.
    await microseconds(call);
    const value = await microseconds(call);
    if (i >= WARM_UP) taken[name].push(value);
  }
}
const results = Object.entries(taken).map(([name, values]) => ({ name, ...summary(values) }));
console.log(JSON.stringify({ ballast: ballast.length * CHUNK, results }));
