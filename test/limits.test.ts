// Limits that make no sense: each is refused before anything is touched, with its place in the options.
import t from 'tap';
import { createCgroup, openCgroup, OptionError, spawnContained } from 'spawn-contained';
import type { Cgroup } from 'spawn-contained';
import { resolveLimits } from '../dist/lib/options/controllers/limits.js';

const TYPE = 'ERR_INVALID_ARG_TYPE', VALUE = 'ERR_INVALID_ARG_VALUE', RANGE = 'ERR_OUT_OF_RANGE';
type Row = [options: object, path: string, code: string];

function refused(title: string, table: readonly Row[]): void {
  void t.test(title, t => {
    for (const [options, path, code] of table) {
      const about = JSON.stringify(options);
      try {
        resolveLimits(options as Record<string, unknown>);
        t.fail(`${about} is refused`);
      } catch (error) {
        t.ok(error instanceof OptionError, `${about} ${String(error)}`);
        t.match(error, { path, code }, about);
        t.ok((error as Error).message.startsWith(`${path}: expected `), (error as Error).message);
      }
    }
    t.end();
  });
}

const sizes = (group: string, key: string, more: Record<string, unknown> = {}): Row[] => [
  ...[-1, 1.5, NaN, Infinity, 2 ** 53].map((v): Row => [{ [group]: { ...more, [key]: v } }, `cgroup.${group}.${key}`, RANGE]),
  ...['lots', '1X', '-1', '1 000', '0x10', ''].map((v): Row => [{ [group]: { ...more, [key]: v } }, `cgroup.${group}.${key}`, VALUE]),
  ...[true, null, {}, [1], 1n].map((v): Row => [{ [group]: { ...more, [key]: typeof v === 'bigint' ? Symbol.iterator : v } }, `cgroup.${group}.${key}`, TYPE]),
];

refused('memory', [
  ...sizes('memory', 'max'), ...sizes('memory', 'high'), ...sizes('memory', 'low'), ...sizes('memory', 'min'), ...sizes('memory', 'swapMax', { max: '1G' }),
  [{ memory: { max: 0 } }, 'cgroup.memory.max', RANGE], [{ memory: { high: 0 } }, 'cgroup.memory.high', RANGE], [{ memory: { max: '99999T' } }, 'cgroup.memory.max', RANGE],
  [{ memory: { oomGroup: 1 } }, 'cgroup.memory.oomGroup', TYPE], [{ memory: { oomGroup: 'true' } }, 'cgroup.memory.oomGroup', TYPE],
  [{ memory: { mx: 1 } }, 'cgroup.memory.mx', VALUE], [{ memory: 5 }, 'cgroup.memory', TYPE], [{ memory: [] }, 'cgroup.memory', TYPE],
]);

refused('swap without a limit of memory', [
  [{ memory: { swapMax: '1M' } }, 'cgroup.memory.swapMax', VALUE], [{ memory: { swapMax: 0 } }, 'cgroup.memory.swapMax', VALUE],
  [{ memory: { swapMax: '1M', max: 'max' } }, 'cgroup.memory.swapMax', VALUE],
]);

refused('cpu', [
  ...[0, -1, 0.001, NaN, Infinity, 1e6].map((max): Row => [{ cpu: { max } }, 'cgroup.cpu.max', RANGE]),
  ...['0.5', 'lots', true, null, {}].map((max): Row => [{ cpu: { max } }, 'cgroup.cpu.max', TYPE]),
  ...[0, 10_001, 1.5, NaN].map((weight): Row => [{ cpu: { weight } }, 'cgroup.cpu.weight', RANGE]),
  [{ cpu: { weight: '100' } }, 'cgroup.cpu.weight', TYPE], [{ cpu: { weight: 'max' } }, 'cgroup.cpu.weight', TYPE],
  ...[-1, NaN, 1e6].map((burst): Row => [{ cpu: { max: 1, burst } }, 'cgroup.cpu.burst', RANGE]), [{ cpu: { max: 1, burst: 'max' } }, 'cgroup.cpu.burst', TYPE],
  [{ cpu: { idle: 1 } }, 'cgroup.cpu.idle', TYPE], [{ cpu: { shares: 5 } }, 'cgroup.cpu.shares', VALUE],
]);

refused('processor time that contradicts itself', [
  [{ cpu: { max: 1, burst: 1.01 } }, 'cgroup.cpu.burst', RANGE], [{ cpu: { max: 'max', burst: 1 } }, 'cgroup.cpu.burst', RANGE],
  [{ cpu: { idle: true, weight: 100 } }, 'cgroup.cpu.weight', VALUE],
]);

refused('cpuset', [
  ...['', 'a', '1-', '-1', '3-1', '1,,2', '1;2', '0-100000', '1\n2'].map((cpus): Row => [{ cpuset: { cpus } }, 'cgroup.cpuset.cpus', VALUE]),
  [{ cpuset: { cpus: [] } }, 'cgroup.cpuset.cpus', VALUE], [{ cpuset: { cpus: 3 } }, 'cgroup.cpuset.cpus', TYPE], [{ cpuset: { mems: {} } }, 'cgroup.cpuset.mems', TYPE],
  [{ cpuset: { cpus: [0, -1] } }, 'cgroup.cpuset.cpus[1]', RANGE], [{ cpuset: { mems: ['0'] } }, 'cgroup.cpuset.mems[0]', TYPE], [{ cpuset: { cpus: [1e6] } }, 'cgroup.cpuset.cpus[0]', RANGE],
  [{ cpuset: { partition: 'root' } }, 'cgroup.cpuset.partition', VALUE], [{ cpuset: { partition: 'isolated', mems: '0' } }, 'cgroup.cpuset.partition', VALUE],
  [{ cpuset: { cpus: '0', partition: 'lone' } }, 'cgroup.cpuset.partition', VALUE], [{ cpuset: { cpus: '0', partition: true } }, 'cgroup.cpuset.partition', TYPE],
]);

refused('io', [
  ...[0, 10_001, 0.5].map((weight): Row => [{ io: { weight } }, 'cgroup.io.weight', RANGE]), [{ io: { weight: '5' } }, 'cgroup.io.weight', TYPE],
  [{ io: { max: {} } }, 'cgroup.io.max', TYPE], [{ io: { max: ['/dev/sda'] } }, 'cgroup.io.max[0]', TYPE], [{ io: { max: [{ rbps: 1 }] } }, 'cgroup.io.max[0].device', TYPE],
  [{ io: { max: [{ device: 'sda', rbps: 1 }] } }, 'cgroup.io.max[0].device', VALUE], [{ io: { max: [{ device: '', rbps: 1 }] } }, 'cgroup.io.max[0].device', VALUE],
  [{ io: { max: [{ device: '8:0', rBps: 1 }] } }, 'cgroup.io.max[0].rBps', VALUE], [{ io: { latency: [{ targetUs: 1 }] } }, 'cgroup.io.latency[0].device', TYPE],
  [{ io: { latency: [5] } }, 'cgroup.io.latency[0]', TYPE], [{ io: { speed: 1 } }, 'cgroup.io.speed', VALUE],
]);

refused('what counts', [
  ...[0, -1, 1.5, 2 ** 22 + 1, NaN].map((max): Row => [{ pids: { max } }, 'cgroup.pids.max', RANGE]), [{ pids: { max: '7' } }, 'cgroup.pids.max', TYPE],
  [{ pids: 7 }, 'cgroup.pids', TYPE], [{ pids: { min: 7 } }, 'cgroup.pids.min', VALUE],
  [{ rdma: { a: {} } }, 'cgroup.rdma.a', VALUE], [{ rdma: { 'a b': { hcaHandle: 1 } } }, 'cgroup.rdma.a b', VALUE], [{ rdma: { a: { hcaHandle: -1 } } }, 'cgroup.rdma.a.hcaHandle', RANGE],
  [{ rdma: { a: { handles: 1 } } }, 'cgroup.rdma.a.handles', VALUE], [{ rdma: { a: 5 } }, 'cgroup.rdma.a', TYPE], [{ rdma: [] }, 'cgroup.rdma', TYPE],
  [{ misc: { 'a\nb': 1 } }, 'cgroup.misc.a\nb', VALUE], [{ misc: { sev: -1 } }, 'cgroup.misc.sev', RANGE], [{ misc: { sev: '1' } }, 'cgroup.misc.sev', TYPE],
  [{ hugetlb: 5 }, 'cgroup.hugetlb', TYPE], [{ hugetlb: { big: 5 } }, 'cgroup.hugetlb.big', VALUE],
]);

refused('the network and other files', [
  [{ netCls: { classid: -1 } }, 'cgroup.netCls.classid', RANGE], [{ netCls: { classid: 2 ** 32 } }, 'cgroup.netCls.classid', RANGE], [{ netCls: { classid: '1:1' } }, 'cgroup.netCls.classid', TYPE],
  [{ netCls: { id: 1 } }, 'cgroup.netCls.id', VALUE], [{ netPrio: { 'a b': 1 } }, 'cgroup.netPrio.a b', VALUE], [{ netPrio: { lo: -1 } }, 'cgroup.netPrio.lo', RANGE], [{ netPrio: 1 }, 'cgroup.netPrio', TYPE],
  ...['cgroup.procs', 'cgroup.kill', 'cgroup.freeze', 'cgroup.type', 'cgroup.subtree_control', '../x.y', 'a/b.c', 'memory', '', 'a b.c', 'memory.max\n'].map((file): Row =>
    [{ unified: { [file]: '1' } }, `cgroup.unified.${file}`, VALUE]),
  [{ unified: { 'memory.x': 1 } }, 'cgroup.unified.memory.x', TYPE], [{ unified: { 'memory.x': '' } }, 'cgroup.unified.memory.x', VALUE], [{ unified: { 'memory.x': 'a\0' } }, 'cgroup.unified.memory.x', VALUE],
]);

/** What all three ways to a group refuse, whoever asks. */
void t.test('of a group itself', async t => {
  const find = async (f: () => unknown): Promise<unknown> => {
    try {
      const made = await f();
      if (typeof made === 'object' && made !== null && 'remove' in made) await (made as Cgroup).remove();
      return made;
    } catch (error) {
      return error;
    }
  };
  const check = (found: unknown, path: string, about: string): void => {
    t.ok(found instanceof OptionError, `${about}: ${String(found)}`);
    t.equal((found as OptionError | undefined)?.path, path, about);
  };
  const wrong: [Record<string, unknown>, string][] = [
    ...['a/b', '..', '.', 'a\nb', '', 'cgroup.procs', 'a\0b', '/'].map((name): [Record<string, unknown>, string] => [{ name }, 'cgroup.name']),
    [{ name: 5 }, 'cgroup.name'], [{ name: null }, 'cgroup.name'],
    ...['../up', '/a/../../b', '/a\nb', '', '/a\0b', '/..'].map((parent): [Record<string, unknown>, string] => [{ parent }, 'cgroup.parent']),
    [{ parent: 5 }, 'cgroup.parent'], [{ parent: {} }, 'cgroup.parent'],
    [{ delegate: 1 }, 'cgroup.delegate'], [{ delegate: { uid: -1, gid: 0 } }, 'cgroup.delegate.uid'], [{ delegate: { uid: 0 } }, 'cgroup.delegate.gid'], [{ delegate: { uid: 0, gid: 0, pid: 0 } }, 'cgroup.delegate.pid'],
    [{ pids: { max: 0 } }, 'cgroup.pids.max'], [{ devices: {} }, 'cgroup.devices'],
  ];
  for (const [options, path] of wrong) {
    check(await find(() => createCgroup(options)), path, `createCgroup(${JSON.stringify(options)})`);
    if ('name' in options || 'parent' in options) check(await find(() => openCgroup({ name: 'x', ...options } as never)), path, `openCgroup(${JSON.stringify(options)})`);
    check(await find(() => spawnContained('true', { cgroup: options }).on('error', () => {})), path, `spawnContained(${JSON.stringify(options)})`);
  }
  const standing: [Record<string, unknown>, string][] = [
    [{ memroy: {} }, 'cgroup.memroy'], [{ delegate: true }, 'cgroup.delegate'], [{ threaded: 'yes' }, 'cgroup.threaded'],
    [{ threaded: true, memory: { max: '1M' } }, 'cgroup.threaded'], [{ threaded: true, io: { weight: 5 } }, 'cgroup.threaded'],
    [{ manager: 'docker' }, 'cgroup.manager'], [{ manager: 5 }, 'cgroup.manager'],
  ];
  for (const [options, path] of standing) check(await find(() => createCgroup(options)), path, `createCgroup(${JSON.stringify(options)})`);
  for (const options of [null, 5, 'name', []]) t.ok(await find(() => createCgroup(options as never)) instanceof OptionError, JSON.stringify(options));
  for (const which of [undefined, null, 5, '', 'a/b', '..', '/a/..', {}, { parent: '/' }]) t.ok(await find(() => openCgroup(which as never)) instanceof OptionError, JSON.stringify(which));
});
