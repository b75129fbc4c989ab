// Every step of a start is made to fail, one after the other: the error names the step, nothing is left behind, and the
// next start works.
import { chmodSync, mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { ContainedError, explain, spawnContained } from 'spawn-contained';
import type { Contained, Mount, Program, SpawnOptions } from 'spawn-contained';
import { spawnWith } from '../dist/lib/spawn.js';
import { stepOf } from '../dist/lib/program/words.js';
import { busyboxRoot, hierarchies, mark, needsRoot, needsUser, processesWith, root, sameAs, scratch, surroundings } from './env.js';

const { EIO, ENOMEM, EPERM } = constants.errno;
const LISTS = ['host', 'join', 'release', 'child'] as const;

/** Every op of every list, and the clone. */
const places = (program: Program): { list: typeof LISTS[number] | 'clone'; index: number; step: string; syscall: string }[] => [
  ...LISTS.flatMap(list => program[list].map((op, index) => ({ list, index, step: stepOf(op), syscall: op.op }))),
  { list: 'clone', index: 0, step: 'clone the process', syscall: 'clone' },
];

// The number in the name of a group differs from run to run.
const withoutNumber = (text: string): string => text.replace(/(spawn-contained\.[\d.]+\.)\d{16}/g, '$1N');

async function everyStepFails(t: typeof import('tap').t, options: SpawnOptions, wanted: { lists: string[]; ops: string[] }): Promise<void> {
  const word = mark();
  const command = ['sleep', word];
  const works = async (): Promise<void> => {
    const child = spawnContained({ ...options, command: 'true' });
    const closed = new Promise(resolve => child.once('close', resolve));
    t.match(await child.exited, { reason: 'exit', code: 0 });
    await closed;
  };
  await works();
  const program = explain({ ...options, command: ['sleep', word] });
  const all = places(program);
  t.same([...new Set(all.map(({ list }) => list))], wanted.lists, 'the options make use of these lists');
  for (const op of wanted.ops) t.ok(all.some(({ syscall }) => syscall === op), `there is an op ${op}`);

  // Pipes of what has run before are closed in the turn after it.
  await setImmediate();
  const before = surroundings();
  for (const { list, index, step, syscall } of all) {
    for (const [name, errno] of [['EIO', EIO], ...index % 5 === 0 ? [['ENOMEM', ENOMEM], ['EPERM', EPERM]] as const : []] as const) {
      const child = spawnWith(options, command, { list, index, errno });
      const where = `${list}[${index}] ${step} ${name}`;
      const error: unknown = await child.exited.then(outcome => `${outcome.reason} ${outcome.code}`, (error: unknown) => error);
      const { code, ...fields } = error as ContainedError;
      if (!(error instanceof ContainedError)) t.fail(where, { found: error });
      else t.same([code, fields.errno, fields.syscall, withoutNumber(fields.step)], [name, -errno, syscall, withoutNumber(step)], where);
      const after = await sameAs(before);
      if (JSON.stringify(after) !== JSON.stringify(before)) t.same(after, before, `nothing is left behind after ${where}`);
    }
  }
  t.same(processesWith(word), [], 'the command has never run');
  await works();
  t.same(await sameAs(before), before, 'nothing is left behind');
}

/** As a user namespace may see it, with all mount points. */
function layer(t: typeof import('tap').t): string {
  const directory = busyboxRoot(t);
  chmodSync(directory, 0o755);
  for (const name of ['bind', 'scratch', 'overlay', 'pts', 'mq', 'run']) mkdirSync(join(directory, name));
  return directory;
}

const everyMount = (directory: string): Mount[] => {
  chmodSync(directory, 0o755);
  for (const name of ['shared', 'lower']) mkdirSync(join(directory, name));
  return [
    { type: 'bind', source: join(directory, 'shared'), target: '/bind', readonly: true, propagation: 'slave' },
    { type: 'tmpfs', target: '/scratch', size: '1M' },
    { type: 'overlay', lower: join(directory, 'lower'), target: '/overlay' },
    { type: 'proc', target: '/proc' },
    { type: 'sysfs', target: '/sys' },
    { type: 'devpts', target: '/pts' },
    { type: 'mqueue', target: '/mq' },
  ];
};

void t.test('as root, with all namespaces, an overlay, limits, mounts of every type, init and capabilities', { skip: needsRoot }, async t => {
  const options: SpawnOptions = {
    ns: ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'], timeOffsets: { monotonic: 100 },
    rootfs: { lower: layer(t as never) }, mounts: everyMount(scratch(t)), hostname: 'faulty', domainname: 'example',
    cgroup: { memory: { max: '64M' }, cpu: { max: 1 }, pids: { max: 20 } }, init: true, capabilities: ['NET_RAW', 'CHOWN'],
    user: { uid: 1000, gid: 1000, groups: [5] }, rlimits: { nofile: 100 }, nice: 5, cpuAffinity: [0],
  };
  await everyStepFails(t as never, options, {
    lists: ['host', 'join', 'release', 'child', 'clone'],
    ops: ['mkdir', 'write', ...hierarchies.v1.has('pids') ? ['writeFd'] : [], 'writeProc', 'overlay', 'fsmount', 'moveMount', 'mask', 'pivotRoot', 'setgroups', 'capset', 'ambient', 'init', 'exec'],
  });
});

void t.test('as root, with defaults', { skip: needsRoot }, async t => {
  await everyStepFails(t as never, { cgroup: {} }, { lists: ['host', 'release', 'child', 'clone'], ops: ['boundingSet', 'mknod', 'readonly', 'loopback'] });
});

void t.test('with a terminal', async t => {
  await everyStepFails(t as never, { tty: true }, { lists: [...root ? [] : ['release'], 'child', 'clone'], ops: ['terminal', 'openTree', 'init', 'controllingTerminal'] });
});

void t.test('as root, without namespaces', { skip: needsRoot }, async t => {
  await everyStepFails(t as never, { ns: [] }, { lists: ['host', 'child', 'clone'], ops: ['mkdir', 'exec'] });
});

void t.test('without root, in a user namespace of its own', { skip: needsUser }, async t => {
  const options: SpawnOptions = {
    ns: ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'], rootfs: { lower: layer(t as never) }, mounts: everyMount(scratch(t)).filter(({ type }) => type !== 'overlay'),
    hostname: 'faulty', init: true, user: 0, rlimits: { nofile: 100 }, capabilities: ['NET_RAW'],
  };
  await everyStepFails(t as never, options, { lists: ['join', 'release', 'child', 'clone'], ops: ['writeProc', 'overlay', 'fsmount', 'pivotRoot', 'init', 'exec'] });
});

void t.test('without root, with defaults', { skip: needsUser }, async t => {
  await everyStepFails(t as never, {}, { lists: ['release', 'child', 'clone'], ops: ['writeProc', 'mask', 'exec'] });
});

/** A program that enters namespaces of a container that runs. */
async function entering(t: typeof import('tap').t, kinds: readonly ('user' | 'pid' | 'net' | 'ipc' | 'uts' | 'mnt')[], options: SpawnOptions): Promise<void> {
  const word = mark();
  const host: Contained = await spawnContained('sleep', [word], { ns: [...kinds], stdio: 'ignore' }).ready;
  try {
    // explain speaks of the same ops; the container is told by its handle.
    const ns = Object.fromEntries(kinds.map(kind => [kind, host]));
    await everyStepFails(t, { ...options, ns }, { lists: ['host', 'join', 'child', 'clone'], ops: ['pidfd', 'setns'] });
    t.equal(host.exitCode ?? host.signalCode, null, 'the container that was entered runs on');
  } finally {
    await host.killAll();
  }
}

void t.test('as root, entering the namespaces of a running container', { skip: needsRoot }, async t => {
  await entering(t as never, ['pid', 'net', 'ipc', 'uts'], { cgroup: {} });
});

void t.test('without root, entering the namespaces of a running container', { skip: needsUser }, async t => {
  const word = mark();
  const host: Contained = await spawnContained('sleep', [word], { ns: ['user', 'pid', 'net', 'ipc', 'uts'], stdio: 'ignore', user: 0 }).ready;
  await everyStepFails(t as never, { ns: { user: host, pid: host, net: host, ipc: host, uts: host } }, { lists: ['host', 'join', 'child', 'clone'], ops: ['pidfd', 'setns'] });
  await host.killAll();
});
