// Who is measured. A contender has `time(count, flight)`, the nanoseconds of `count` runs with `flight` at a time, or
// `missing`, the reason why it cannot run here.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { explain, spawnContained } from '../dist/lib/index.js';
import { bwrapCommand, floorOps, ociConfig, unshareCommand } from './cases.js';
import { Floor } from './floor.js';

async function timeInNode(start, count, flight) {
  let left = count;
  const before = process.hrtime.bigint();
  const lane = async () => {
    while (left-- > 0) await start();
  };
  await Promise.all(Array.from({ length: Math.min(flight, count) }, lane));
  return Number(process.hrtime.bigint() - before);
}

function runBare(file) {
  return new Promise((resolve, reject) => {
    spawn(file, { stdio: 'ignore' }).once('error', reject).once('exit', code => code === 0 ? resolve() : reject(new Error(`exit code ${code}`)));
  });
}

async function runContained(sandbox) {
  const { code } = await spawnContained({ ...sandbox.options, command: [sandbox.file], stdio: 'ignore' }).exited;
  if (code !== 0) throw new Error(`exit code ${code}`);
}

/** The first line of what a peer says when it cannot do this, or undefined. */
function refusal(command) {
  const { status, stderr, error } = spawnSync(command[0], command.slice(1), { encoding: 'utf8' });
  if (error) return error.code === 'ENOENT' ? 'not installed' : error.message;
  return status === 0 ? undefined : `refuses: ${stderr.trim().split('\n')[0]}`;
}

function peer(name, note, command, floor) {
  const missing = refusal(command.map(word => word.replace('@', '0')));
  return { name, note, ...missing ? { missing } : { time: (count, flight) => floor.time(count, flight, command) } };
}

function ociCommand(name, sandbox, { directory, rootfs }) {
  const bundle = `${directory}/bundle-${sandbox.number}`;
  mkdirSync(bundle, { recursive: true });
  writeFileSync(`${bundle}/config.json`, JSON.stringify(ociConfig(sandbox, rootfs)));
  return [name, '--root', `${directory}/${name}`, 'run', '--bundle', bundle, `bench-${name}-${process.pid}-@`];
}

/** The contenders of a case, and `stop`, which ends what they need. */
export function contendersFor(sandbox, setting) {
  const { binary, rootfs } = setting;
  const program = explain({ ...sandbox.options, command: [sandbox.file], stdio: 'ignore' });
  const floor = new Floor(binary, [String(sandbox.number), rootfs, sandbox.file, ...floorOps(program)]);
  const bare = `${rootfs}/true`;
  const ours = [
    { name: 'floor', note: 'the same syscalls in C', time: (count, flight) => floor.time(count, flight) },
    { name: 'spawnContained', note: 'until everything is removed', time: (count, flight) => timeInNode(() => runContained(sandbox), count, flight) },
    { name: 'child_process.spawn', note: 'bare process, no container', time: (count, flight) => timeInNode(() => runBare(bare), count, flight) },
  ];
  const peers = sandbox.ns.length === 0 ? [{ name: 'vfork+exec in C', note: 'bare process', time: (count, flight) => floor.time(count, flight, [bare]) }] : [
    peer('unshare', 'no cgroup, no /dev, no masks', unshareCommand(sandbox, rootfs), floor),
    peer('bwrap', 'no cgroup, no masks', bwrapCommand(sandbox, rootfs), floor),
    ...['crun', 'runc'].map(name => peer(name, 'always a cgroup', ociCommand(name, sandbox, setting), floor)),
  ];
  return { contenders: [...ours, ...peers], stop: () => floor.stop() };
}
