// A command in a container that runs: ours beside `runc exec`, `crun exec`, `nsenter` and the same system calls in C, interleaved.
//
//   node bench/exec.js [--quick] [--hold] [--markdown]      (root)
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnContained } from '../dist/lib/index.js';
import { casesFor, ociConfig } from './cases.js';
import { buildFloor, compile, Floor, holdControllers } from './floor.js';
import { describeHost } from './host.js';
import { measure, summary } from './measure.js';
import { prepare } from './prepare.js';
import { runsTable } from './table.js';

const { values: args } = parseArgs({ options: { quick: { type: 'boolean' }, hold: { type: 'boolean' }, markdown: { type: 'boolean' } } });
const counts = args.quick ? { hot: 20, idle: 5, bursts: 2, burst: 64 } : { hot: 200, idle: 40, bursts: 5, burst: 160 };

/** mnt, pid, ipc, uts, cgroup: what the case `full without net` makes. */
const NAMESPACES = 0x20000 | 0x20000000 | 0x08000000 | 0x04000000 | 0x02000000;

/** No limit on what is measured, but for the threads of runc. */
const LIMITS = { pids: { max: 2000 } };

async function timed(start, count, flight) {
  let left = count;
  const before = process.hrtime.bigint();
  await Promise.all(Array.from({ length: Math.min(flight, count) }, async () => {
    while (left-- > 0) await start();
  }));
  return Number(process.hrtime.bigint() - before);
}

async function execTrue(host) {
  const { code } = await host.exec('/true', { stdio: 'ignore' }).exited;
  if (code !== 0) throw new Error(`exit code ${code}`);
}

/** A container of a peer's, and what runs a command in it. */
function startOci(name, sandbox, { directory, rootfs }) {
  const bundle = `${directory}/bundle-${name}`, id = `bench-exec-${process.pid}`, root = `${directory}/${name}`;
  mkdirSync(bundle, { recursive: true });
  const config = ociConfig({ ...sandbox, file: '/pause' }, rootfs);
  config.linux.resources = { pids: { limit: LIMITS.pids.max } };
  writeFileSync(`${bundle}/config.json`, JSON.stringify(config));
  // Not a pipe: the container would hold it, and keep us waiting for its end.
  const words = `${directory}/${name}.err`, errors = openSync(words, 'w');
  const { status, error } = spawnSync(name, ['--root', root, 'run', '-d', '--bundle', bundle, id], { stdio: ['ignore', 'ignore', errors] });
  closeSync(errors);
  const missing = error ? 'not installed' : status === 0 ? undefined : `refuses: ${readFileSync(words, 'utf8').trim().split('\n')[0]}`;
  return { missing, command: [name, '--root', root, 'exec', id, '/true'], stop: () => spawnSync(name, ['--root', root, 'delete', '-f', id]) };
}

/** The group of a command of ours, to make the same by hand. */
async function directoriesOf(host) {
  const child = await host.exec('/pause', { stdio: 'ignore' }).ready;
  const { unified, ...v1 } = child.cgroup;
  await child.killAll();
  const own = path => `${dirname(path)}/bench-floor.${process.pid}.@`;
  return [unified === undefined ? '-' : own(unified), ...Object.values(v1).map(own)];
}

/** Microseconds that a call keeps the event loop. */
async function callTimes(call, runs) {
  const taken = [];
  for (let i = -20; i < runs; ++i) {
    const before = process.hrtime.bigint();
    const child = call();
    if (i >= 0) taken.push(Number(process.hrtime.bigint() - before) / 1000);
    await once(child, 'exit');
  }
  return summary(taken);
}

async function compare(setting, sandbox) {
  const { directory, rootfs } = setting;
  const host = await spawnContained({ ...sandbox.options, cgroup: LIMITS, command: ['/pause'], stdio: 'ignore' }).ready;
  const floor = new Floor(`${directory}/floor-exec`, [String(host.pid), String(NAMESPACES), '/true', ...await directoriesOf(host)]);
  const peers = ['crun', 'runc'].map(name => ({ name, ...startOci(name, sandbox, setting) }));
  const nsenter = ['nsenter', '-t', String(host.pid), '-m', '-p', '-i', '-u', '-C', '/true'];
  try {
    const rows = await measure([
      { name: 'floor', note: 'the same syscalls in C', time: (count, flight) => floor.time(count, flight) },
      { name: 'exec', note: 'until its group is removed', time: (count, flight) => timed(() => execTrue(host), count, flight) },
      { name: 'child_process.spawn', note: 'bare process, no container', time: (count, flight) => timed(() => once(spawn(`${rootfs}/true`, { stdio: 'ignore' }), 'exit'), count, flight) },
      { name: 'nsenter', note: 'no group, no user, all capabilities', time: (count, flight) => floor.time(count, flight, nsenter) },
      ...peers.map(({ name, missing, command }) => ({ name: `${name} exec`, note: 'no group of its own', missing, time: (count, flight) => floor.time(count, flight, command) })),
    ], counts);
    const runs = args.quick ? 50 : 300;
    const calls = [
      { name: 'exec', ...await callTimes(() => host.exec('/true', { stdio: 'ignore' }), runs) },
      { name: 'child_process.spawn of nsenter', ...await callTimes(() => spawn(nsenter[0], nsenter.slice(1), { stdio: 'ignore' }), runs) },
    ];
    return { rows, calls };
  } finally {
    await floor.stop();
    for (const { missing, stop } of peers) if (!missing) stop();
    await host.killAll();
  }
}

/** On a hybrid host crun wants a v2 half without controllers. */
function v2Controllers() {
  const file = '/sys/fs/cgroup/unified/cgroup.controllers';
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ').filter(Boolean) : [];
}

const directory = mkdtempSync(`${tmpdir()}/bench-exec-`);
try {
  const setting = prepare(directory);
  buildFloor(`${directory}/floor-exec`, 'floor-exec.c');
  compile(`${setting.rootfs}/pause`, '-', '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n');
  const held = args.hold ? await holdControllers(setting.binary, v2Controllers()) : undefined;
  const { rows, calls } = await compare(setting, casesFor(setting.rootfs).find(({ name }) => name === 'full without net'));
  await held?.stop();
  console.log(`${JSON.stringify(describeHost())}\n\nexec → exit, in ms\n${runsTable(rows, args.markdown)}\n\nEvent loop: how long the call takes, in µs`);
  for (const { name, p10, p50, p99 } of calls) console.log(`${name.padEnd(34)} p10 ${p10.toFixed(0)}  p50 ${p50.toFixed(0)}  p99 ${p99.toFixed(0)}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
