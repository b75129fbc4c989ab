import { resolve } from 'node:path';
import t from 'tap';
import { explain, OptionError, run, spawnContained } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import type { Op, Program } from '../types/program.js';
import { needsRoot, needsUser, root, sameAs, scratch, surroundings } from './env.js';

const TYPE = 'ERR_INVALID_ARG_TYPE';
const VALUE = 'ERR_INVALID_ARG_VALUE';
const RANGE = 'ERR_OUT_OF_RANGE';

/** What a user, or a program without types, may write: options, and the error's path, value, code and a part of `expected`. */
type Row = readonly [options: object, path: string, value: unknown, code: string, expected: string];

const circle: unknown[] = [];
const map = [{ inside: 0, outside: 1000, count: 1 }];

const WRONG: readonly Row[] = [
  // Names.
  [{ memory: '1G' }, 'memory', '1G', VALUE, 'no such option'],
  [{ rootFs: '/' }, 'rootFs', '/', VALUE, 'did you mean rootfs?'],
  [{ shell: true }, 'shell', true, VALUE, "give ['sh', '-c', 'command line'] as the command"],
  [{ uid: 5 }, 'uid', 5, VALUE, 'give user: { uid, gid }'],
  [{ hostName: 'a' }, 'hostName', 'a', VALUE, 'did you mean hostname?'],
  [{ enviroment: {} }, 'enviroment', {}, VALUE, 'no such option'],
  [{ mount: [] }, 'mount', [], VALUE, 'did you mean mounts?'],
  [{ cgroup: { memori: {} } }, 'cgroup.memori', {}, VALUE, 'did you mean memory?'],
  [{ cgroup: { memory: { maximum: 1 } } }, 'cgroup.memory.maximum', 1, VALUE, 'no such option'],
  [{ rlimits: { no_file: 1 } }, 'rlimits.no_file', 1, VALUE, 'did you mean nofile?'],
  [{ ns: { network: 'new' } }, 'ns.network', 'new', VALUE, 'no such option'],
  [{ ns: { utc: 'new' } }, 'ns.utc', 'new', VALUE, 'did you mean uts?'],
  [{ user: { uid: 0, group: 0 } }, 'user.group', 0, VALUE, 'no such option'],
  [{ rootfs: { lower: '/', uper: '/' } }, 'rootfs.uper', '/', VALUE, 'did you mean upper?'],
  [{ ns: ['time'], timeOffsets: { boot: 1 } }, 'timeOffsets.boot', 1, VALUE, 'no such option'],
  [{ mounts: [{ type: 'bind', source: '/', target: '/a', size: 1 }] }, 'mounts[0].size', 1, VALUE, 'no such option'],
  [{ mounts: [{ type: 'tmpfs', target: '/a', sise: 1 }] }, 'mounts[0].sise', 1, VALUE, 'did you mean size?'],
  [{ tmpfs: { '/a': { modus: 1 } } }, 'tmpfs["/a"].modus', 1, VALUE, 'did you mean mode?'],
  // Commands.
  [{ command: 7 }, 'command', 7, TYPE, 'a file, or an array'],
  [{ command: [] }, 'command[0]', undefined, TYPE, 'a file'],
  [{ command: '' }, 'command[0]', '', VALUE, 'a file'],
  [{ command: ['a', 7] }, 'command[1]', 7, TYPE, 'a string'],
  [{ command: ['a', 'b\0'] }, 'command[1]', 'b\0', VALUE, 'without NUL'],
  [{ argv0: 7 }, 'argv0', 7, TYPE, 'a string'],
  [{ env: 'none' }, 'env', 'none', TYPE, "an object, or 'inherit'"],
  [{ env: { A: 7 } }, 'env.A', 7, TYPE, 'a string'],
  [{ env: { A: 'a\0b' } }, 'env.A', 'a\0b', VALUE, 'without NUL'],
  [{ env: { 'A=B': 'c' } }, 'env.A=B', 'A=B', VALUE, 'a name without ='],
  [{ env: { '': 'c' } }, 'env.', '', VALUE, 'a name without ='],
  [{ cwd: 7 }, 'cwd', 7, TYPE, 'an absolute path'],
  [{ cwd: 'tmp' }, 'cwd', 'tmp', VALUE, 'an absolute path'],
  [{ cwd: '/a/../../b' }, 'cwd', '/a/../../b', VALUE, 'without ..'],
  // Namespaces.
  [{ ns: 'mnt' }, 'ns', 'mnt', TYPE, 'an array of namespaces'],
  [{ ns: null }, 'ns', null, TYPE, 'an array of namespaces'],
  [{ ns: ['mount'] }, 'ns[0]', 'mount', VALUE, 'one of mnt, pid, net'],
  [{ ns: ['pid', 7] }, 'ns[1]', 7, TYPE, 'one of mnt'],
  [{ ns: { net: 'blue' } }, 'ns.net', 'blue', VALUE, 'an absolute path'],
  [{ ns: { net: '/a\0b' } }, 'ns.net', '/a\0b', VALUE, 'an absolute path'],
  [{ ns: { net: 0 } }, 'ns.net', 0, RANGE, 'an integer from 1'],
  [{ ns: { net: 1.5 } }, 'ns.net', 1.5, RANGE, 'an integer from 1'],
  [{ ns: { net: {} } }, 'ns.net', {}, VALUE, 'a running container'],
  [{ ns: { net: true } }, 'ns.net', true, VALUE, 'a running container'],
  [{ network: 'bridge' }, 'network', 'bridge', VALUE, 'one of none, host'],
  [{ network: {} }, 'network', {}, TYPE, 'one of none, host'],
  [{ network: 'none', ns: ['pid'] }, 'network', 'none', VALUE, 'a new `net`'],
  [{ network: 'none', ns: { net: process.pid } }, 'network', 'none', VALUE, 'a new `net`'],
  [{ network: 'host', ns: ['net'] }, 'network', 'host', VALUE, 'no `net`'],
  [{ network: 'host', ns: { net: process.pid } }, 'network', 'host', VALUE, 'no `net`'],
  [{ hostname: 'a', ns: ['mnt'] }, 'hostname', 'a', VALUE, 'a new `uts`'],
  [{ hostname: '' }, 'hostname', '', VALUE, 'not empty'],
  [{ hostname: 'é'.repeat(33) }, 'hostname', 'é'.repeat(33), RANGE, 'up to 64 bytes'],
  [{ domainname: 'a', ns: [] }, 'domainname', 'a', VALUE, 'a new `uts`'],
  [{ domainname: 7 }, 'domainname', 7, TYPE, 'a string'],
  [{ timeOffsets: { boottime: 1 } }, 'timeOffsets', { boottime: 1 }, VALUE, 'a new `time`'],
  [{ ns: ['time'], timeOffsets: 7 }, 'timeOffsets', 7, TYPE, 'an object'],
  [{ ns: ['time'], timeOffsets: { monotonic: 0.5 } }, 'timeOffsets.monotonic', 0.5, RANGE, 'an integer'],
  // File system.
  ...['rootfs', 'readonly', 'mounts', 'tmpfs', 'maskedPaths', 'readonlyPaths'].map((key): Row => [{ [key]: circle, ns: ['pid'] }, key, circle, VALUE, 'a new `mnt`']),
  [{ rootfs: 7 }, 'rootfs', 7, TYPE, 'a directory or'],
  [{ rootfs: '' }, 'rootfs', '', VALUE, 'a path on the host'],
  [{ rootfs: {} }, 'rootfs.lower', undefined, TYPE, 'a directory or an array'],
  [{ rootfs: { lower: [] } }, 'rootfs.lower', [], VALUE, 'at least one'],
  [{ rootfs: { lower: ['/', 7] } }, 'rootfs.lower[1]', 7, TYPE, 'a path on the host'],
  [{ rootfs: { lower: '/', upper: '/u' } }, 'rootfs.work', undefined, VALUE, '`upper` and `work` together'],
  [{ rootfs: { lower: '/', work: '/u' } }, 'rootfs.upper', undefined, VALUE, '`upper` and `work` together'],
  [{ rootfs: { lower: Array(501).fill('/') } }, 'rootfs.lower', Array(501).fill('/'), RANGE, 'up to 500'],
  [{ readonly: 'yes' }, 'readonly', 'yes', TYPE, 'true or false'],
  [{ mounts: {} }, 'mounts', {}, TYPE, 'an array'],
  [{ mounts: ['/a:/b'] }, 'mounts[0]', '/a:/b', TYPE, 'an object'],
  [{ mounts: [{ target: '/a' }] }, 'mounts[0].type', undefined, TYPE, 'one of bind, tmpfs'],
  [{ mounts: [{ type: 'ext4', target: '/a' }] }, 'mounts[0].type', 'ext4', VALUE, 'one of bind, tmpfs'],
  [{ mounts: [{ type: 'bind', source: '/' }] }, 'mounts[0].target', undefined, TYPE, 'an absolute path'],
  [{ mounts: [{ type: 'bind', source: '/', target: '/a/../..' }] }, 'mounts[0].target', '/a/../..', VALUE, 'without ..'],
  [{ mounts: [{ type: 'tmpfs', target: '/' }] }, 'mounts[0].target', '/', VALUE, 'below /'],
  [{ mounts: [{ type: 'bind', target: '/a' }] }, 'mounts[0].source', undefined, TYPE, 'a path on the host'],
  [{ mounts: [{ type: 'bind', source: '/', target: '/a', readonly: 1 }] }, 'mounts[0].readonly', 1, TYPE, 'true or false'],
  [{ mounts: [{ type: 'bind', source: '/', target: '/a', propagation: 'rshared' }] }, 'mounts[0].propagation', 'rshared', VALUE, 'did you mean shared?'],
  [{ ns: ['user', 'mnt'], mounts: [{ type: 'bind', source: '/', target: '/a', recursive: false }] }, 'mounts[0].recursive', false, VALUE, 'true in a user namespace'],
  [{ tmpfs: '/a' }, 'tmpfs', '/a', TYPE, 'an array of paths'],
  [{ tmpfs: ['a'] }, 'tmpfs[0]', 'a', VALUE, 'an absolute path'],
  [{ tmpfs: { '/a': '1X' } }, 'tmpfs["/a"]', '1X', VALUE, 'a number of bytes'],
  [{ tmpfs: { '/a': 0 } }, 'tmpfs["/a"]', 0, RANGE, 'a number of bytes'],
  [{ tmpfs: { '/a': { mode: 0o10000 } } }, 'tmpfs["/a"].mode', 0o10000, RANGE, 'an integer from 0'],
  [{ maskedPaths: '/proc/keys' }, 'maskedPaths', '/proc/keys', TYPE, 'an array of paths'],
  [{ maskedPaths: ['proc'] }, 'maskedPaths[0]', 'proc', VALUE, 'an absolute path'],
  [{ readonlyPaths: [null] }, 'readonlyPaths[0]', null, TYPE, 'an absolute path'],
  // Who, and how much.
  [{ user: true }, 'user', true, TYPE, 'an id, a name'],
  [{ user: -1 }, 'user', -1, RANGE, 'an integer from 0'],
  [{ user: 0xffff_ffff }, 'user', 0xffff_ffff, RANGE, 'an integer from 0'],
  [{ user: '' }, 'user', '', VALUE, 'not empty'],
  [{ user: 'a:b:c' }, 'user', 'a:b:c', VALUE, "'name:group'"],
  [{ user: '0:wheel' }, 'user', '0:wheel', VALUE, 'a group id with a user id'],
  [{ user: 'root:0' }, 'user', 'root:0', VALUE, 'a group name with a user name'],
  [{ user: '4294967296' }, 'user', 4294967296, RANGE, 'an integer from 0'],
  [{ user: {} }, 'user.uid', undefined, TYPE, 'a number'],
  [{ user: { uid: 0, gid: 'a' } }, 'user.gid', 'a', TYPE, 'a number'],
  [{ user: { uid: 0, groups: [1.5] } }, 'user.groups[0]', 1.5, RANGE, 'an integer'],
  [{ user: { uid: 0, groups: Array(65).fill(1) } }, 'user.groups', Array(65).fill(1), RANGE, 'up to 64'],
  [{ ns: [], uidMap: map }, 'uidMap', map, VALUE, 'a new `user`'],
  [{ ns: [], gidMap: 'auto' }, 'gidMap', 'auto', VALUE, 'a new `user`'],
  [{ ns: ['user'], uidMap: 'host' }, 'uidMap', 'host', TYPE, "'auto' or an array"],
  [{ ns: ['user'], uidMap: [] }, 'uidMap', [], RANGE, 'from 1 to 340'],
  [{ ns: ['user'], uidMap: [{ inside: 0, outside: 0 }] }, 'uidMap[0].count', undefined, TYPE, 'a number'],
  [{ ns: ['user'], uidMap: [{ inside: 0, outside: 0, count: 0 }] }, 'uidMap[0].count', 0, RANGE, 'an integer from 1'],
  [{ ns: ['user'], uidMap: [{ container: 0 }] }, 'uidMap[0].container', 0, VALUE, 'no such option'],
  [{ ns: ['user'], uidMap: map, user: 7 }, 'user', 7, VALUE, 'an id that uidMap maps'],
  [{ umask: 0o1000 }, 'umask', 0o1000, RANGE, 'an integer from 0 to 511'],
  [{ umask: '022' }, 'umask', '022', TYPE, 'a number'],
  [{ rlimits: 7 }, 'rlimits', 7, TYPE, 'an object'],
  [{ rlimits: { nofile: -1 } }, 'rlimits.nofile', -1, RANGE, 'an integer from 0'],
  [{ rlimits: { nofile: 'infinity' } }, 'rlimits.nofile', 'infinity', TYPE, 'a number'],
  [{ rlimits: { nofile: { soft: 2 } } }, 'rlimits.nofile.hard', undefined, TYPE, 'a number'],
  [{ rlimits: { nofile: { soft: 2, hard: 1 } } }, 'rlimits.nofile.soft', 2, RANGE, 'at most the hard limit'],
  [{ rlimits: { nofile: { soft: 'unlimited', hard: 1 } } }, 'rlimits.nofile.soft', 'unlimited', RANGE, 'at most the hard limit'],
  [{ oomScoreAdj: 1001 }, 'oomScoreAdj', 1001, RANGE, 'an integer from -1000 to 1000'],
  [{ nice: 20 }, 'nice', 20, RANGE, 'an integer from -20 to 19'],
  [{ nice: '5' }, 'nice', '5', TYPE, 'a number'],
  [{ cpuAffinity: 0 }, 'cpuAffinity', 0, TYPE, 'an array of processor numbers'],
  [{ cpuAffinity: [] }, 'cpuAffinity', [], VALUE, 'at least one'],
  [{ cpuAffinity: [0, 1024] }, 'cpuAffinity[1]', 1024, RANGE, 'an integer from 0 to 1023'],
  [{ capabilities: 'NET_RAW' }, 'capabilities', 'NET_RAW', TYPE, 'an array of names'],
  [{ capabilities: ['NET_ROW'] }, 'capabilities[0]', 'NET_ROW', VALUE, 'did you mean NET_RAW?'],
  [{ noNewPrivileges: 1 }, 'noNewPrivileges', 1, TYPE, 'true or false'],
  [{ cgroup: 7 }, 'cgroup', 7, TYPE, 'an object'],
  [{ cgroup: { name: 'a/b' } }, 'cgroup.name', 'a/b', VALUE, 'a name without /'],
  [{ cgroup: { name: '..' } }, 'cgroup.name', '..', VALUE, 'a name without /'],
  [{ cgroup: { parent: '/../x' } }, 'cgroup.parent', '/../x', VALUE, 'without ..'],
  [{ cgroup: { memory: { max: '1 Q' } } }, 'cgroup.memory.max', '1 Q', VALUE, "'256M'"],
  [{ cgroup: { cpu: { max: 0 } } }, 'cgroup.cpu.max', 0, RANGE, 'a number from'],
  [{ cgroup: { cpu: { max: NaN } } }, 'cgroup.cpu.max', NaN, RANGE, 'a number from'],
  [{ cgroup: { pids: { max: 0 } } }, 'cgroup.pids.max', 0, RANGE, 'an integer from 1'],
  // The run.
  [{ init: 'yes' }, 'init', 'yes', TYPE, 'true or false'],
  [{ timeout: 0 }, 'timeout', 0, RANGE, 'a number from 1'],
  [{ timeout: '1s' }, 'timeout', '1s', TYPE, 'a number'],
  [{ timeout: 2 ** 31 }, 'timeout', 2 ** 31, RANGE, 'a number from 1'],
  [{ killGrace: -1 }, 'killGrace', -1, RANGE, 'a number from 0'],
  [{ killSignal: 'SIGFOO' }, 'killSignal', 'SIGFOO', VALUE, "a signal's name"],
  [{ killSignal: 65 }, 'killSignal', 65, RANGE, 'an integer from 0 to 64'],
  [{ signal: {} }, 'signal', {}, TYPE, 'an AbortSignal'],
  [{ trace: 1 }, 'trace', 1, TYPE, 'true or false'],
];

const WRONG_WITHOUT_ROOT: readonly Row[] = [
  [{ ns: [], user: 0 }, 'user', 0, VALUE, 'no other user without root'],
  [{ ns: [], capabilities: ['NET_RAW'] }, 'capabilities', ['NET_RAW'], VALUE, 'none without root'],
  [{ user: 'nobody' }, 'user', 'nobody', VALUE, 'a uidMap with more than the one id'],
  [{ user: { uid: 0, groups: [5] } }, 'user.groups', [5], VALUE, "gidMap: 'auto'"],
];

/** The error of a call that must throw before it returns. */
function thrownBy(options: object): OptionError {
  try {
    spawnContained({ command: 'true', ...options } as Parameters<typeof spawnContained>[0] & { command: string });
  } catch (error) {
    if (error instanceof OptionError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(options)} was accepted`);
}

t.test('wrong options throw an OptionError at once that says where, what and what instead, and nothing is touched', async t => {
  const before = surroundings();
  for (const [options, path, value, code, expected] of [...WRONG, ...root ? [] : WRONG_WITHOUT_ROOT]) {
    const title = JSON.stringify(options).slice(0, 100);
    try {
      const error = thrownBy(options);
      t.strictSame({ path: error.path, value: error.value, code: error.code }, { path, value, code }, title);
      t.ok(error.expected.includes(expected), `${title}: ${error.expected}`);
      t.ok(error instanceof TypeError && error.message.startsWith(`${path}: expected ${error.expected}, got `), `${title}: ${error.message}`);
    } catch (error) {
      t.fail(`${title}: ${(error as Error).message}`);
    }
  }
  t.equal(native().launcherPid(), 0, 'not even the launcher has been started');
  t.strictSame(surroundings(), before);
});

t.test('explain and run refuse what spawnContained refuses', async t => {
  t.throws(() => explain({ command: 'true', hostname: '' }), { name: 'OptionError', path: 'hostname' });
  await t.rejects(run({ command: 'true', hostname: '' }), { name: 'OptionError', path: 'hostname' });
  await t.rejects(run({ command: 'true', encoding: 'utf-9' as BufferEncoding }), { name: 'OptionError', path: 'encoding' });
  await t.rejects(run({ command: 'true', maxOutput: -1 }), { name: 'OptionError', path: 'maxOutput' });
  t.throws(() => spawnContained('true', 'x' as unknown as string[], {}), { name: 'OptionError', path: 'args' });
  t.throws(() => explain({ comand: ['true'] } as never), { name: 'OptionError', path: 'comand', message: /did you mean command/ });
  t.throws(() => explain({} as never), { name: 'OptionError', path: 'command' });
  t.throws(() => spawnContained(undefined as unknown as string), { name: 'OptionError', path: 'options' });
});

type Named<K extends Op['op']> = Extract<Op, { op: K }>;
const all = <K extends Op['op']>(program: Program, op: K): Named<K>[] => program.child.filter((o): o is Named<K> => o.op === op);

t.test('every default is the one that types/options.ts promises', async t => {
  const program = explain({ command: 'true' });
  const none = 0x2c02_0000 | 0x4000_0000;
  t.equal(program.clone, root ? none : none + 0x1000_0000, 'mnt, pid, net, ipc, uts; without root also user; cgroup follows');
  t.same(all(program, 'unshare').map(op => op.flags), [0x200_0000]);
  t.equal(all(program, 'loopback').length, 1, "network: 'none'");
  t.same(all(program, 'sethostname').map(op => op.name), ['contained']);
  t.equal(all(program, 'setdomainname').length, 0);
  t.same(all(program, 'setrlimit').map(op => op.resource), [4, 7]);
  t.equal(all(program, 'setrlimit')[0]!.soft, 0);
  t.equal(all(program, 'setrlimit')[1]!.soft, 1024);
  t.match(all(program, 'setaffinity')[0]!.mask, /^f+$/);
  t.equal(all(program, 'setpriority').length, 0);
  t.notOk(program.child.some(op => op.op === 'write'), 'oom_score_adj is inherited');
  t.same(all(program, 'capset').map(op => [op.permitted, op.inheritable]), [[0, 0]]);
  t.same(all(program, 'boundingSet').map(op => op.keep), [0]);
  t.ok(all(program, 'prctl').some(op => op.option === 38 && op.argument === 1), 'no new privileges');
  t.same(all(program, 'chdir').map(op => op.path), ['/']);
  t.equal(all(program, 'umask').at(-1)!.mask, 0o022);
  t.same(all(program, 'stdio').map(op => op.count), [3]);
  t.equal(all(program, 'init').length, 0);
  t.same(all(program, 'setresuid').at(-1)!.uid, root ? 65534 : process.getuid!());
  t.same([program.host, program.undo], [[], []], 'no cgroup');
  const [exec] = all(program, 'exec');
  t.same([exec!.argv, exec!.env], [['true'], ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']]);
  t.same(all(program, 'open').find(op => op.path === '/')?.path, '/', "the host's root");
  const size = (target: string): string | undefined => {
    const at = all(program, 'moveMount').find(op => op.path === target)!;
    return all(program, 'fsmount').find(op => op.to === at.from)!.options.join(' ');
  };
  t.match(size('/tmp'), /size 67108864 mode 1777/);
  t.match(size('/run'), /size 16777216 mode 755/);
  t.match(size('/dev/shm'), /size 67108864 mode 1777/);
  t.ok(all(program, 'mask').some(op => op.path === '/proc/kcore'));
  t.ok(all(program, 'readonly').some(op => op.path === '/proc/sys'));
});

t.test('as root a rootfs makes the command uid 0, and the host own files make it nobody', { skip: needsRoot }, async t => {
  const uid = (options: object): number => all(explain({ command: 'true', ...options }), 'setresuid').at(-1)!.uid;
  t.equal(uid({}), 65534);
  t.equal(uid({ rootfs: '/' }), 65534, 'however it is written');
  t.equal(uid({ ns: ['pid'] }), 65534, 'without mnt too');
  t.equal(uid({ rootfs: scratch(t) }), 0);
});

t.test('without root a gid or groups that cannot be had are refused, not dropped', { skip: needsUser }, async t => {
  const uid = process.getuid!();
  t.throws(() => explain({ command: 'true', ns: [], user: { uid, gid: process.getgid!() + 1 } }), { name: 'OptionError' });
  t.throws(() => explain({ command: 'true', ns: [], user: { uid, groups: [process.getgid!() + 1] } }), { name: 'OptionError' });
});

t.test('an option that is undefined is as if it were not there', async t => {
  const given = explain({ command: 'true', ns: undefined, rootfs: undefined, env: undefined, cwd: undefined, nonsense: undefined } as { command: string });
  t.equal(String(given), String(explain({ command: 'true' })));
});

t.test('a relative path counts from the directory that is current at the call, also the second time', async t => {
  const [one, two, start] = [scratch(t), scratch(t), process.cwd()];
  t.teardown(() => process.chdir(start));
  const { writeFileSync } = await import('node:fs');
  for (const directory of [one, two]) writeFileSync(resolve(directory, 'where'), directory);
  const where = async (): Promise<string> => (await run({ command: ['cat', '/tmp/where'], mounts: [{ type: 'bind', source: 'where', target: '/tmp/where' }] })).stdout;
  process.chdir(one);
  t.equal(await where(), one);
  process.chdir(two);
  t.equal(await where(), two);
});

t.test('options are read once: what the caller changes afterwards has no effect on the run', async t => {
  const before = surroundings();
  const env: Record<string, string> = { A: 'before' };
  const result = run({ command: ['sh', '-c', 'echo $A'], env });
  env['A'] = 'after';
  t.equal((await result).stdout, 'before\n');
  t.same((await sameAs(before)).children, before.children);
});
