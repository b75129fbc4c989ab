// How long a call of spawn keeps the event loop; a process of its own for each way to call, since it depends on the size of
// the process, and after a fork of Node each first write to a page is a fault that another would pay for.
//
//   node bench/block.js NAME RUNS GIGABYTES OPTIONS     prints JSON; without NAME the names
import { spawn } from 'node:child_process';
import { spawnContained } from '../dist/lib/index.js';
import { summary } from './measure.js';

const [name, runs, gigabytes, text = '{}'] = process.argv.slice(2);
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

if (name === undefined) {
  console.log(JSON.stringify(Object.keys(calls)));
  process.exit();
}
const WARM_UP = 40;
const taken = [];
for (let i = 0; i < Number(runs) + WARM_UP; ++i) {
  const value = await microseconds(calls[name]);
  if (i >= WARM_UP) taken.push(value);
}
console.log(JSON.stringify({ name, ballast: ballast.length * CHUNK, ...summary(taken) }));
