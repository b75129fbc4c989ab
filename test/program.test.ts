import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { explain, run, spawnContained } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { encode } from '../dist/lib/program/encode.js';
import { OPS } from '../dist/lib/program/ops.js';
import type { SpawnOptions } from '../types/options.js';
import type { Op, Program } from '../types/program.js';
import { busyboxRoot, root, scratch } from './env.js';

const LISTS = ['host', 'join', 'release', 'child', 'undo'] as const;
const PR_SET_PDEATHSIG = 1;
const PR_SET_NO_NEW_PRIVS = 38;
const MS_PRIVATE = 1 << 18;

const me = spawnContained({ command: ['sleep', '1000'], ns: ['user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'] });
t.before(() => me.ready);
t.teardown(() => me.killAll());

/** What users do, and each option that adds steps. */
function recipes(rootfs: string): Record<string, SpawnOptions> {
  return {
    'the default': {},
    'all namespaces': { ns: ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'], timeOffsets: { boottime: 9 } },
    'a rootfs': { rootfs },
    'an overlay': { rootfs: { lower: [rootfs, '/usr'] }, readonly: true },
    'mounts of every kind': {
      mounts: [
        { type: 'bind', source: '/usr', target: '/tmp/a' }, { type: 'tmpfs', target: '/tmp/b' },
        { type: 'overlay', lower: '/usr', target: '/tmp/c' }, { type: 'devpts', target: '/tmp/d' }, { type: 'mqueue', target: '/tmp/e' },
        { type: 'bind', source: '/etc/passwd', target: '/tmp/b/passwd', readonly: true, propagation: 'slave' },
      ],
    },
    'another user with capabilities': { ns: ['user', 'mnt', 'pid'], uidMap: [{ inside: 0, outside: process.getuid!(), count: 1 }], gidMap: [{ inside: 0, outside: process.getgid!(), count: 1 }], capabilities: ['NET_RAW', 'CHECKPOINT_RESTORE'] },
    'one id that is not 0, with capabilities': { ns: ['user', 'mnt', 'pid'], uidMap: [{ inside: 7, outside: process.getuid!(), count: 1 }], gidMap: [{ inside: 7, outside: process.getgid!(), count: 1 }], capabilities: ['NET_RAW'] },
    'limits of a process': { rlimits: { cpu: 9 }, nice: 5, oomScoreAdj: 500, cpuAffinity: [0], umask: 0o077, init: true },
    'entered namespaces': { ns: { user: me, pid: me, net: me, ipc: me, uts: me, cgroup: me, mnt: me } },
    'namespaces of two': { ns: { user: me, pid: me, net: '/proc/1/ns/net', mnt: '/proc/1/ns/mnt' } },
    'an entered pid namespace and a new time': { ns: { user: me, pid: me, mnt: me, time: 'new' } },
    ...root ? {
      'a cgroup': { cgroup: { pids: { max: 9 }, memory: { max: '64M' }, cpu: { max: 0.5 } } },
      'a cgroup that is mounted': { cgroup: { pids: { max: 9 } }, mounts: [{ type: 'cgroup', target: '/tmp/groups' }] },
      'a cgroup, a clock and a user': { cgroup: { pids: { max: 9 } }, ns: ['time', 'user', 'mnt', 'pid', 'cgroup'] },
      'a user by name': { user: 'nobody' },
      'a user with groups': { user: { uid: 7, gid: 8, groups: [9, 10] }, capabilities: ['NET_RAW'] },
    } : {},
  };
}

type Test = (op: Op, index: number, ops: readonly Op[]) => boolean;
const is = (...names: Op['op'][]): Test => op => names.includes(op.op);
const unshares = (flags: number): Test => op => op.op === 'unshare' && op.flags === flags;
const prctl = (option: number): Test => op => op.op === 'prctl' && op.option === option;
const PR_SET_DUMPABLE = 4;
const MOUNT_OPS = ['openTree', 'fsmount', 'overlay', 'mountSetattr', 'moveMount', 'mask', 'readonly', 'pivotRoot', 'mount', 'umount'] as const;
const makesPrivate: Test = op => op.op === 'mountSetattr' && op.path === '/' && op.propagation === MS_PRIVATE;
/** Opens by a path of the host: its slot may only be filled before the root changes. */
const opensSource: Test = op => (op.op === 'openTree' || op.op === 'open') && op.at === -1;
const lastId: Test = (op, i, ops) => op.op === 'setresuid' && !ops.slice(i + 1).some(later => later.op === 'setresuid');

/** In `join` and then `child`, every `first` comes before every `then`. */
const ORDER: readonly [why: string, first: Test, then: Test][] = [
  ['cgroups are joined while there is a privilege to do it', is('writeFd'), is('boundingSet')],
  ['a cpuset that is joined would take the choice of processors back', is('writeFd'), is('setaffinity')],
  ['the cgroup namespace begins at the groups that were joined', is('writeFd'), unshares(0x200_0000)],
  ['the cgroup namespace is there before it is mounted', unshares(0x200_0000), op => op.op === 'fsmount' && op.type === 'cgroup2'],
  ['the mounts are made private before any other step on mounts', makesPrivate, (op, i, ops) => is(...MOUNT_OPS)(op, i, ops) && !makesPrivate(op, i, ops)],
  ['what comes from the host is opened before the root changes', opensSource, is('pivotRoot')],
  ['the limits of a process are written to the /proc of the host', is('write'), is('pivotRoot')],
  ['mounts come before the change of root', is('moveMount', 'mask', 'readonly'), is('pivotRoot')],
  ['masks cover what was mounted', is('moveMount'), is('mask', 'readonly')],
  ['names of users are those of the container', is('pivotRoot'), is('user')],
  ['the bounding set is dropped while there is a privilege to do it', is('boundingSet'), lastId],
  ['groups are dropped before the id that may drop them', is('setgroups'), lastId],
  ['the last change of ids comes after everything that needs privilege', is('pivotRoot', 'loopback', 'sethostname', 'fchown', 'setgroups', 'setns'), lastId],
  ['capabilities go after the ids, which would bring some back', lastId, is('capset')],
  ['ambient capabilities need the permitted ones', is('capset'), is('ambient')],
  ['nothing is gained by execve', prctl(PR_SET_NO_NEW_PRIVS), is('exec')],
  ['a change of ids clears the death signal, so it is set after it', lastId, prctl(PR_SET_PDEATHSIG)],
  ['the descriptors of the setup are closed last', prctl(PR_SET_PDEATHSIG), is('stdio')],
  ['the working directory is entered as the user', lastId, is('chdir')],
  ['the launcher knows of the process before it runs', is('wait'), is('init', 'unmaskSignals', 'exec')],
  ['signals are let in when pid 1 is somebody else', is('init'), is('unmaskSignals')],
  ['whoever is inside cannot look into who enters', (_, i, ops) => ops.findIndex(prctl(PR_SET_DUMPABLE)) === i, is('setns')],
  ['nor after it has set the clock', prctl(PR_SET_DUMPABLE), op => op.op === 'setns' && op.flags === 0x2_0000],
  ['the user namespace is entered first', op => op.op === 'setns' && (op.flags & 0x1000_0000) !== 0, op => op.op === 'setns' && (op.flags & 0x1000_0000) === 0],
  ['clocks are set before somebody lives by them', op => op.op === 'write' && op.path!.endsWith('timens_offsets'), is('exec')],
];

t.test('the order of the steps keeps what security rests on', async t => {
  const rootfs = busyboxRoot(t);
  const programs = Object.entries(recipes(rootfs)).map(([name, options]) => [name, explain({ command: 'true', ...options })] as const);
  for (const [why, first, then] of ORDER) {
    if (!root && /cgroup|cpuset|names of users|groups are/.test(why)) continue;  // there is no such step without root
    let seen = 0;
    for (const [name, program] of programs) {
      const ops = [...program.join, ...program.child];
      const last = ops.reduce((found, op, i) => first(op, i, ops) ? i : found, -1);
      const early = ops.findIndex((op, i) => then(op, i, ops));
      if (last < 0 || early < 0) continue;
      ++seen;
      if (last > early) t.fail(`${name}: ${why}: ${JSON.stringify(ops[early])} before ${JSON.stringify(ops[last])}`);
    }
    t.ok(seen > 0, `${why} (${seen} programs)`);
  }
});

t.test('every program ends with the same steps, and drops privilege unless it is told not to', async t => {
  for (const [name, options] of Object.entries(recipes(busyboxRoot(t)))) {
    const { child } = explain({ command: 'true', ...options });
    const count = (test: Test): number => child.filter(test).length;
    t.same([count(is('exec')), child.at(-1)!.op], [1, 'exec'], name);
    t.equal(count(prctl(PR_SET_NO_NEW_PRIVS)), 1, name);
    t.equal(count(prctl(PR_SET_PDEATHSIG)), 1, name);
    t.equal(count(is('setsid')), 1, name);
    t.equal(count(is('boundingSet')), 1, name);
    t.equal(count(is('capset')), 1, name);
    t.equal(count(is('stdio')), 1, name);
    t.ok(count(is('wait')) >= 1, name);
    t.equal([...explain({ command: 'true', ...options }).join, ...child].filter(is('setaffinity')).length, 1, name);
    const made = typeof options.ns === 'object' && !Array.isArray(options.ns) && 'mnt' in options.ns ? 0 : 1;
    t.equal(count(makesPrivate), made, name);
    t.equal(count(is('pivotRoot')), made, name);
  }
});

t.test('a program is plain data: it goes through JSON and back, and its slots are filled before they are used', async t => {
  for (const [name, options] of Object.entries(recipes(busyboxRoot(t)))) {
    const program = explain({ command: ['true', 'ü'], ...options });
    const { toString, ...data } = program;
    t.type(toString, 'function');
    t.strictSame(JSON.parse(JSON.stringify(data)), data, name);
    // What the launcher opens after the clone the process has when it was handed over.
    const before = [...program.host, ...program.join, ...program.child] as (Op & Record<string, unknown>)[];
    const outside = [...program.host, ...program.release] as typeof before;
    for (const ops of [before, outside]) {
      const filled = new Set([0, 1, 2]);
      for (const op of ops) {
        if (op.op === 'overlay') {
          const layers = (op.layers % 65536) + (op.layers >= 65536 ? 2 : 0);
          for (let i = 0; i < layers; ++i) t.ok(filled.has(op.first + i), `${name}: layer ${i} of ${JSON.stringify(op)}`);
        }
        for (const field of ['fd', 'at', 'root', 'like', 'from', 'directory', 'file']) {
          const slot = op[field];
          if (op.op === 'go' && op.count === 0) continue;
          if (typeof slot === 'number' && slot >= 0 && !filled.has(slot)) t.fail(`${name}: slot ${slot} is empty at ${JSON.stringify(op)}`);
        }
        if (op.op === 'wait') for (let i = 0; i < op.count; ++i) filled.add(op.to + i);
        else if ('to' in op) filled.add(op['to'] as number);
      }
      t.ok(program.cgroupSlot < 0 || filled.has(program.cgroupSlot), `${name}: the cgroup`);
    }
    const handed = ({ op, ...fields }: Op): number => 'count' in fields && (op === 'go' || op === 'wait') ? fields.count : 0;
    t.same(program.release.map(handed).filter(n => n > 0), [...program.join, ...program.child].map(handed).filter(n => n > 0), `${name}: what is handed over is taken`);
    t.ok(program.undo.every(op => op.after === undefined || [...program.host, ...program.release][op.after]?.op === 'mkdir'), `${name}: what is undone was done`);
  }
});

t.test('String(program) has a line for each step, with its list', async t => {
  const program = explain({ command: ['sh', '-c', 'exit'], ns: ['user', 'mnt', 'pid'], capabilities: ['NET_RAW'] });
  const lines = String(program).split('\n');
  const steps = LISTS.reduce((sum, list) => sum + program[list].length, 0);
  const headings = LISTS.filter(list => program[list].length > 0).map(list => `${list}:`);
  t.equal(lines.length, 1 + headings.length + steps);
  t.same(lines.filter(line => /^[a-z]+:$/.test(line)).sort(), headings.sort());
  t.match(lines[0]!, /^clone flags=0x30020000/);
  t.match(String(program), /boundingSet keep=NET_RAW/);
  t.match(lines.at(-1)!, /exec file="sh" argv=\["sh","-c","exit"\]/);
});

t.test('the codes of the ops are those of the addon, all of them', async t => {
  const here = Object.fromEntries(Object.entries(OPS).map(([name, { code }]) => [name, code]));
  t.strictSame(native().opcodes(), here);
  t.equal(new Set(Object.values(here)).size, Object.keys(here).length);
});

t.test('numbers beyond 32 bits, below zero and texts beyond ASCII arrive as they are', async t => {
  const long = 'ö'.repeat(40_000);
  const result = await run({
    command: ['sh', '-c', 'ulimit -c; printf %s "$2" | wc -c; printf %s "$1"', 'sh', 'naïve — 日本 🎉', long],
    rlimits: { core: { soft: 2 ** 41, hard: 'unlimited' } }, env: { ÜMLAUT: 'ß' },
    ...root ? {} : { rlimits: { core: { soft: 0, hard: 0 } } },
  });
  t.equal(result.stdout, `${root ? 2 ** 41 / 512 : 0}\n${Buffer.byteLength(long)}\nnaïve — 日本 🎉`);
  const { head } = encode({ ...explain('true'), cgroupSlot: -1, clone: 0x7fff_ffff_ffff });
  t.equal(head.readBigUInt64LE(8), 0x7fff_ffff_ffffn);
  t.equal(head.readInt32LE(24), -1);
});

const tree = fileURLToPath(new URL('../', import.meta.url));
const sources = (folder: string): string[] => readdirSync(join(tree, folder), { withFileTypes: true, recursive: true })
  .filter(entry => entry.isFile() && entry.name.endsWith('.ts')).map(entry => join(entry.parentPath, entry.name).slice(tree.length));
/** What a file imports, as paths in this tree; `type` imports too, since an arrow is an arrow. */
const importsOf = (file: string): string[] => [...readFileSync(join(tree, file), 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)]
  .map(([, target]) => join(file, '..', target!).replace(/\.js$/, '.ts'));

t.test('imports never point back up: options and programs know nothing of handles, launching or the addon', async t => {
  const arrows = sources('lib').flatMap(file => importsOf(file).map(target => ({ file, target })));
  t.ok(arrows.length > 100, 'imports are found');
  const forbidden = arrows.filter(({ file, target }) => /^lib\/(program|options|host)\//.test(file)
    && /^lib\/(handle|cli|cgroup)\/|^lib\/(spawn|run|launch|native|index|sys|probe|sweep)\.ts$/.test(target));
  t.same(forbidden, []);
  t.same(arrows.filter(({ file, target }) => target === 'lib/index.ts' && !file.startsWith('lib/cli/')), [], 'only the command, which is a user, imports the index');
  t.same(arrows.filter(({ file, target }) => file.startsWith('lib/host/') && /^lib\/(program|options)\//.test(target)), [], 'facts of the host stand at the bottom');
  t.same(arrows.filter(({ file }) => file === 'lib/program/ops.ts' || file === 'lib/program/constants.ts'), [], 'the table of ops imports nothing');
});

t.test('only native.ts knows of the addon file, and only encode.ts of its bytes', async t => {
  const mentions = (text: RegExp): string[] => sources('lib').filter(file => text.test(readFileSync(join(tree, file), 'utf8')));
  t.same(mentions(/spawn_contained\.node/), ['lib/native.ts']);
  t.same(mentions(/\bUint32Array\(/), ['lib/program/encode.ts']);
});

t.test('explain does nothing: not even what it explains is looked for', async t => {
  const directory = scratch(t);
  const program: Program = explain({ command: '/no/such/file', rootfs: join(directory, 'missing'), mounts: [{ type: 'bind', source: join(directory, 'gone'), target: '/gone' }] });
  t.ok(program.child.some(op => op.op === 'open' && op.path === join(directory, 'missing')));
  t.same(readdirSync(directory), []);
});
