// What a group uses: one shape on all hosts, and numbers that follow what is done in it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'spawn-contained';
import type { Cgroup, CgroupStats, CgroupStatsStep } from 'spawn-contained';
import { until } from './env.js';
import { directoriesOf, ended, errorOf, group, grouping, loopDevice, member, reopened, root, unified, version } from './groups.js';

const M = 2 ** 20;
const BUSY = 'while :; do :; done';
const hold = (bytes: number): string => `x=$(head -c ${bytes} /dev/zero | tr '\\0' x); read y < /dev/null; sleep 1000; echo "$x"`;
const has = (made: Cgroup, ...files: string[]): boolean => directoriesOf(made).some(directory => files.some(file => existsSync(join(directory, file))));

grouping('the same shape on v1 and v2; what the host does not tell is undefined, and no number is made up', async t => {
  const made = await group();
  const stats = await made.stats();
  t.same(Object.keys(stats).sort(), ['cpu', 'hugetlb', 'io', 'memory', 'pids', 'pressure', 'timeMs']);
  t.same(Object.keys(stats.cpu).sort(), ['periods', 'systemMs', 'throttledMs', 'throttledPeriods', 'usageMs', 'userMs']);
  t.same(Object.keys(stats.memory).sort(), ['anon', 'current', 'events', 'file', 'peak', 'swap']);
  t.same(Object.keys(stats.memory.events).sort(), ['high', 'low', 'max', 'oom', 'oomKill']);
  t.same(Object.keys(stats.pids).sort(), ['current', 'peak', 'refused']);
  t.same(Object.keys(stats.pressure).sort(), ['cpu', 'io', 'memory']);
  t.ok(Math.abs(stats.timeMs - performance.now()) < 60_000);
  const v2 = (controller: string): boolean => version(controller) === 2;
  const told: [string, number | undefined, boolean][] = [
    ['usageMs', stats.cpu.usageMs, unified !== undefined || has(made, 'cpuacct.usage')], ['userMs', stats.cpu.userMs, unified !== undefined || has(made, 'cpuacct.usage_user')],
    ['periods', stats.cpu.periods, version('cpu') !== undefined], ['throttledMs', stats.cpu.throttledMs, version('cpu') !== undefined],
    ['current', stats.memory.current, version('memory') !== undefined], ['anon', stats.memory.anon, version('memory') !== undefined], ['file', stats.memory.file, version('memory') !== undefined],
    ['memory peak', stats.memory.peak, has(made, 'memory.peak', 'memory.max_usage_in_bytes')],
    ['low', stats.memory.events.low, v2('memory')], ['high', stats.memory.events.high, v2('memory')], ['oom', stats.memory.events.oom, v2('memory')],
    ['max', stats.memory.events.max, version('memory') === 2], ['oomKill', stats.memory.events.oomKill, version('memory') !== undefined],
    ['pids', stats.pids.current, version('pids') !== undefined], ['pids peak', stats.pids.peak, has(made, 'pids.peak')], ['refused', stats.pids.refused, version('pids') !== undefined],
  ];
  for (const [name, value, known] of told) t.equal(typeof value, known ? 'number' : 'undefined', name);
  t.equal(Boolean(stats.hugetlb), version('hugetlb') !== undefined && (version('hugetlb') === 2 ? unified !== undefined : 'hugetlb' in made.paths));
  for (const resource of ['cpu', 'memory', 'io'] as const) {
    const pressure = stats.pressure[resource];
    t.equal(pressure !== undefined, unified !== undefined && existsSync('/proc/pressure/cpu') && has(made, `${resource}.pressure`), `pressure of ${resource}`);
    if (pressure) t.same(Object.keys(pressure.some).sort(), ['avg10', 'avg300', 'avg60', 'totalUs']);
  }
}, root);

grouping('processor time grows with what is computed, and its share is told step by step', async t => {
  const made = await group();
  const start = await made.stats();
  const child = await member(made, BUSY);
  t.ok(await until(async () => (await made.stats()).cpu.userMs! > start.cpu.userMs! + 50));
  const steps: CgroupStatsStep[] = [];
  for await (const step of made.stats({ interval: 200 })) {
    steps.push(step);
    if (steps.length === 4) break;
  }
  t.ok(steps.every(({ delta }) => delta.timeMs >= 195), JSON.stringify(steps.map(({ delta }) => delta)));
  t.ok(steps.some(({ delta }) => delta.cpus! > 0.1) && steps.every(({ delta }) => delta.cpus! < 2.1), JSON.stringify(steps.map(({ delta }) => delta.cpus)));
  for (const [i, step] of steps.entries()) {
    if (i > 0) t.ok(Math.abs(step.delta.cpus! - (step.cpu.usageMs! - steps[i - 1]!.cpu.usageMs!) / (step.timeMs - steps[i - 1]!.timeMs)) < 1e-6, 'the difference to the one before');
  }
  child.kill('SIGKILL');
  await ended(child);
  const end = (await made.stats()).cpu.usageMs!;
  t.ok(end >= steps.at(-1)!.cpu.usageMs!, 'the time of those that are gone counts');
}, root);

grouping('the time is that of the reading, however late JavaScript hears of it', async t => {
  const made = await group();
  await made.stats();
  const before = performance.now();
  const reading = made.stats();
  for (let i = 0; i < 10; ++i) await undefined;  // until it has been handed to its thread
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000);
  const now = performance.now();
  const { timeMs } = await reading;
  t.ok(timeMs > before && timeMs < now - 100, `${now - timeMs} ms ago`);
}, root);

grouping('the steps end when the group is removed, by us or by others', async t => {
  for (const remove of [(made: Cgroup) => made.remove(), async (made: Cgroup) => await (await reopened(made)).remove()]) {
    const made = await group();
    let steps = 0;
    for await (const { delta } of made.stats({ interval: 20 })) {
      if (++steps === 2) await remove(made);
      t.ok(delta.timeMs > 0);
    }
    t.ok(steps >= 2 && steps <= 3, `${steps}`);
    t.match(await errorOf(() => made.stats()), { name: 'ContainedError', code: /ENODEV|ENOENT/ });
    await made.remove();
  }
}, root);

grouping('beyond its processor time it is throttled, and for how long', async t => {
  if (version('cpu') === undefined) return;
  const made = await group({ cpu: { max: 0.1 } });
  await member(made, BUSY);
  let stats: CgroupStats | undefined;
  t.ok(await until(async () => (stats = await made.stats()).cpu.throttledPeriods! > 3 && stats.cpu.throttledMs! > 50));
  t.ok(stats!.cpu.periods! >= stats!.cpu.throttledPeriods!);
}, root);

grouping('memory grows with what is held, and goes with it', async t => {
  if (version('memory') === undefined) return;
  const made = await group();
  const before = await made.stats();
  const child = await member(made, hold(20 * M));
  t.ok(await until(async () => (await made.stats()).memory.anon! > before.memory.anon! + 19 * M));
  const held = await made.stats();
  // They are two files, read one after the other while it still grows.
  t.ok(held.memory.current! >= 19 * M && (held.memory.peak === undefined || held.memory.peak >= 19 * M), JSON.stringify(held.memory));
  t.equal(held.memory.swap ?? 0, 0);
  await made.kill();
  await ended(child);
  t.ok(await until(async () => (await made.stats()).memory.anon! < 2 * M));
  const after = await made.stats();
  t.ok(after.memory.peak === undefined || after.memory.peak > 19 * M, 'the peak stays');
  t.equal(after.memory.events.oomKill, 0);
}, root);

grouping('what is killed for its memory is counted, and what the limit stopped', async t => {
  if (version('memory') === undefined) return;
  const made = await group({ memory: { max: '16M', ...version('memory') === 2 ? { oomGroup: false } : {} } });
  await run({ command: ['sh', '-c', 'head -c 100M /dev/zero | tail -c 90M | wc -c'], cgroup: made, reject: false });
  const { events, peak } = (await made.stats()).memory;
  t.equal(events.oomKill, 1);
  t.ok(version('memory') === 2 ? events.max! > 0 : events.max !== 0, `${events.max}`);
  t.ok(events.oom === undefined || events.oom >= 1);
  t.ok(peak === undefined || peak <= 16 * M && peak > 12 * M, `${peak}`);
}, root);

grouping('processes are counted, and forks that were refused', async t => {
  if (version('pids') === undefined) return;
  const made = await group({ pids: { max: 5 } });
  const { stderr } = await run({ command: ['sh', '-c', 'for i in 1 2 3 4 5 6 7; do sleep 0.3 & done; wait'], cgroup: made, ns: [], reject: false });
  t.match(stderr, /fork/i);
  const { pids } = await made.stats();
  t.ok(await until(async () => (await made.stats()).pids.current === 0));
  t.ok(pids.refused! >= 1, `${pids.refused}`);
  t.ok(pids.peak === undefined || pids.peak === 5, `${pids.peak}`);
  const children = [await member(made), await member(made)];
  t.equal((await made.stats()).pids.current, 2);
  await made.kill();
  await Promise.all(children.map(ended));
}, root);

grouping('what is written to a disk is told, or that it is not known; never that there was nothing', async t => {
  if (version('io') === undefined) return void t.equal((await (await group()).stats()).io, undefined);
  const { path, numbers } = loopDevice(t);
  const write = ['dd', 'if=/dev/zero', `of=${path}`, 'bs=1M', 'count=8', 'oflag=direct', 'conv=fsync'] as const;
  const read = ['dd', `if=${path}`, 'of=/dev/null', 'bs=1M', 'count=4', 'iflag=direct'] as const;
  for (const options of [{}, { io: { max: [{ device: path, wbps: '1T', rbps: '1T' }] } }]) {
    const made = await group(options);
    await run({ command: write, cgroup: made, ns: [], user: 0 });
    await run({ command: read, cgroup: made, ns: [], user: 0 });
    const { io } = await made.stats();
    if (version('io') === 2 || 'io' in options) t.ok(io !== undefined, 'it is known');
    if (io === undefined) continue;
    const disk = io.find(({ device }) => device === numbers);
    t.ok(disk !== undefined && disk.writeBytes! >= 8 * M && disk.readBytes! >= 4 * M, `${JSON.stringify(options)}: ${JSON.stringify(io)}`);
    t.ok(disk !== undefined && disk.writes! >= 1 && disk.reads! >= 1, JSON.stringify(io));
    if (!disk) continue;
    const steps = made.stats({ interval: 400 })[Symbol.asyncIterator]();
    const next = steps.next();
    await run({ command: write, cgroup: made, ns: [], user: 0 });
    const deltas = [(await next).value.delta.writeBytes, (await steps.next()).value.delta.writeBytes];
    t.ok(deltas[0] + deltas[1] <= 9 * M, `${deltas.join()}: only what is new`);
    await steps.return!();
  }
}, root);

grouping('what is below counts in', async t => {
  const made = await group();
  const inside = await group({ name: 'inside', parent: made, ...version('pids') !== undefined ? { pids: { max: 50 } } : {} });
  await member(inside, BUSY);
  t.ok(await until(async () => (await made.stats()).cpu.usageMs! > 30));
  if (version('pids') !== undefined) t.equal((await made.stats()).pids.current, 1);
}, root);

grouping('many readings at once, and a removal between them', async t => {
  const made = await group();
  const all = await Promise.all(Array.from({ length: 50 }, () => made.stats()));
  t.equal(all.length, 50);
  const late = Promise.allSettled(Array.from({ length: 50 }, () => made.stats()));
  await made.remove();
  for (const result of await late) if (result.status === 'rejected') t.match(result.reason, { name: 'ContainedError', code: /ENODEV|ENOENT/ });
}, root);
