// Whether the floor's contained process makes the same system calls as ours, case by case: `node bench/same.js`, with
// strace(1) installed. Seen on Linux 6.18, hybrid cgroups: the same in all four cases.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { explain } from '../dist/lib/index.js';
import { casesFor, floorOps } from './cases.js';
import { prepare } from './prepare.js';

const OURS = `
import { spawnContained } from '${new URL('../dist/lib/index.js', import.meta.url)}';
const options = JSON.parse(process.argv[1]);
await spawnContained(options).exited;
`;

// Talk with the launcher: its channel, kept apart from the streams; the launcher's own descriptors and scheduling policy.
const PLUMBING = new Set(['close', 'close_range', 'fcntl', 'dup2', 'dup3', 'recvmsg', 'poll', 'sched_getscheduler', 'sched_setscheduler']);

/** Counts of the calls before execve of the process that becomes `true`. */
function callsOf(directory) {
  for (const name of readdirSync(directory)) {
    const lines = readFileSync(`${directory}/${name}`, 'utf8').split('\n');
    const end = lines.findIndex(line => /^execve\(".*true"/.test(line));
    if (end < 1) continue;
    const counts = {};
    for (const line of lines.slice(0, end)) {
      const call = /^\w+/.exec(line)?.[0];
      if (call && !PLUMBING.has(call)) counts[call] = (counts[call] ?? 0) + 1;
    }
    return counts;
  }
  throw new Error('strace saw no execve of true');
}

function trace(parent, name, command, input) {
  const output = `${parent}/${name}`;
  mkdirSync(output);
  execFileSync('strace', ['-ff', '-qq', '-o', `${output}/trace`, ...command], { input, stdio: ['pipe', 'ignore', 'inherit'] });
  return callsOf(output);
}

function differences(ours, floor) {
  const names = [...new Set([...Object.keys(ours), ...Object.keys(floor)])];
  return names.filter(name => ours[name] !== floor[name]).map(name => `${name}: ours ${ours[name] ?? 0}, floor ${floor[name] ?? 0}`);
}

if (spawnSync('strace', ['-V']).error) throw new Error('needs strace');
const directory = mkdtempSync(`${tmpdir()}/spawn-contained-same-`);
try {
  const { rootfs, binary } = prepare(directory);
  for (const { number, name, file, options } of casesFor(rootfs)) {
    const all = { ...options, command: [file], stdio: 'ignore' };
    const floor = trace(directory, `floor-${number}`, [binary, String(number), rootfs, file, ...floorOps(explain(all))], '1 1\n');
    const ours = trace(directory, `ours-${number}`, [process.execPath, '--input-type=module', '-e', OURS, JSON.stringify(all)], '');
    const found = differences(ours, floor);
    console.log(`${name}: ${Object.values(floor).reduce((sum, n) => sum + n, 0)} calls; ${found.length > 0 ? found.join('; ') : 'the same'}`);
  }
} finally {
  rmSync(directory, { recursive: true });
}
