// Limits that are changed while they are in force: all of them, or none.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ContainedError, run } from 'spawn-contained';
import type { Cgroup, CgroupLimits } from 'spawn-contained';
import { until } from './env.js';
import { directoriesOf, errorOf, group, grouping, loopDevice, member, root, textOf, version } from './groups.js';

const M = 2 ** 20;

/** The text of every file that is a limit. */
const limitsOf = (made: Cgroup): Record<string, string> => Object.fromEntries(directoriesOf(made).flatMap(directory => readdirSync(directory)
  .filter(name => /^(memory|cpu|cpuset|pids|io|blkio|hugetlb|misc)\..*(max|high|low|min|limit_in_bytes|weight|shares|quota_us|burst_us|burst|idle|cpus|mems|_device)$/.test(name) && !/failcnt|usage|kmem|effective/.test(name))
  .map(name => [join(directory, name), readFileSync(join(directory, name), 'utf8')] as const)));

/** A process with so much memory that is no file's. */
const hold = (bytes: number): string => `x=$(head -c ${bytes} /dev/zero | tr '\\0' x); read y < /dev/null; sleep 1000; echo "$x"`;

grouping('limits are lowered, raised and lifted again', async t => {
  const made = await group({ memory: { max: '64M' }, cpu: { max: 1, weight: 100 }, pids: { max: 10 }, cpuset: { cpus: '0' } });
  const memory = (): string => textOf(made, 'memory.max', 'memory.limit_in_bytes');
  for (const size of [32, 128, 16, 64]) {
    await made.update({ memory: { max: size * M } });
    t.equal(memory(), String(size * M), `${size} MB`);
    const both = [...directoriesOf(made)].map(directory => join(directory, 'memory.memsw.limit_in_bytes')).find(existsSync);
    if (both !== undefined) t.equal(readFileSync(both, 'utf8').trim(), String(size * M), 'and with swap the same');
  }
  await made.update({ cpu: { max: 0.3, weight: 20 }, pids: { max: 3 }, cpuset: { cpus: '0' } });
  t.match([textOf(made, 'cpu.max', 'cpu.cfs_quota_us'), textOf(made, 'pids.max')], [/^30000( 100000)?$/, '3']);
  t.match(textOf(made, 'cpu.weight', 'cpu.shares'), version('cpu') === 2 ? /^20$/ : /^205$/);
  t.equal(memory(), String(64 * M), 'what is not given stays');
  await made.update({ cpu: { idle: true } });
  t.equal(textOf(made, 'cpu.idle'), '1');
  await made.update({ cpu: { idle: false, weight: 50 } });
  t.match([textOf(made, 'cpu.idle'), textOf(made, 'cpu.weight', 'cpu.shares')], ['0', version('cpu') === 2 ? '50' : '512']);
  await made.update({ memory: { max: 'max' }, cpu: { max: 'max' }, pids: { max: 'max' } });
  t.match([textOf(made, 'cpu.max', 'cpu.cfs_quota_us'), textOf(made, 'pids.max')], [/^(max 100000|-1)$/, 'max']);
  t.ok(memory() === 'max' || Number(memory()) > 2 ** 50, memory());
  await made.update({});
}, root);

grouping('what may be saved up goes with the limit, up and down', async t => {
  const made = await group({ cpu: { max: 2, burst: 1 } });
  for (const [max, burst] of [[0.5, 0.1], [3, 2.5], [0.2, 0], [1, 1]] as const) {
    await made.update({ cpu: { max, burst } });
    t.match([textOf(made, 'cpu.max', 'cpu.cfs_quota_us'), textOf(made, 'cpu.max.burst', 'cpu.cfs_burst_us')], [new RegExp(`^${max * 1e5}( 100000)?$`), String(burst * 1e5)], `${max} ${burst}`);
  }
  t.match(await errorOf(() => made.update({ cpu: { max: 0.5, burst: 0.6 } })), { name: 'OptionError', path: 'cgroup.cpu.burst' });
}, root);

grouping('a limit below what is used is EBUSY, nobody dies of it, and the old limits stand', async t => {
  if (version('memory') === undefined) return void t.match(await errorOf(() => group({ memory: { max: '4M' } })), { code: 'ENOTSUP' });
  const made = await group({ memory: { max: '128M' }, pids: { max: 10 } });
  const child = await member(made, hold(20 * M));
  t.ok(await until(async () => (await made.stats()).memory.anon! > 19 * M));
  const before = limitsOf(made);
  const error = await errorOf(() => made.update({ pids: { max: 9 }, memory: { max: '4M' } }));
  t.match(error, { name: 'ContainedError', code: 'EBUSY', path: /memory\.(max|limit_in_bytes)$/, errno: -16 });
  t.ok(error.message.length > 20 && (error as ContainedError).hint !== undefined, `with cause and remedy: ${error.message}`);
  t.same(limitsOf(made), before);
  t.same([child.exitCode, child.signalCode], [null, null]);
  t.equal((await made.stats()).memory.events.oomKill ?? 0, 0);
  await made.update({ memory: { max: '100M' } });
  t.equal(textOf(made, 'memory.max', 'memory.limit_in_bytes'), String(100 * M));
}, root);

grouping('when one is refused those before it are put back', async t => {
  if (version('cpuset') === undefined) return;
  const refused: CgroupLimits[] = [
    { cpuset: { cpus: '4000' } }, { cpu: { max: 0.2, weight: 7 }, cpuset: { cpus: '4000' } }, { memory: { max: '32M' }, cpu: { max: 'max' }, cpuset: { cpus: '4000' } },
    { memory: { max: '512M' }, cpuset: { cpus: '4000' } }, { memory: { max: 'max' }, cpuset: { cpus: '4000' } }, { memory: { low: '1M' }, cpuset: { mems: '900' } },
  ];
  for (const options of [{ memory: { max: '64M' }, cpu: { max: 1, burst: 0.1 } }, { memory: { max: '64M', swapMax: '64M' } }, {}] as CgroupLimits[]) {
    const made = await group({ cpuset: { cpus: '0', mems: '0' }, ...options });
    const before = limitsOf(made);
    for (const limits of refused) {
      t.match(await errorOf(() => made.update(limits)), { name: 'ContainedError', path: /cpuset\.(cpus|mems)$/ });
      t.same(limitsOf(made), before, `${JSON.stringify(limits)} of ${JSON.stringify(options)}`);
    }
  }
}, root);

grouping('limits of disks are put back too, those that were there and those that were not', async t => {
  if (version('io') === undefined) return;
  const disk = loopDevice(t), part = loopDevice(t);
  // A table of one partition: all of the disk but its first 2048 sectors.
  const table = Buffer.alloc(512);
  table.set([0, 0, 0, 0, 0x83, 0, 0, 0], 446);
  table.writeUInt32LE(2048, 454);
  table.writeUInt32LE(4096, 458);
  table.writeUInt16LE(0xaa55, 510);
  writeFileSync(part.path, table);
  execFileSync('partx', ['-a', part.path]);
  t.teardown(() => execFileSync('partx', ['-d', part.path], { stdio: 'ignore' }));
  const name = part.path.slice(5);
  const partition = readFileSync(`/sys/class/block/${name}/${name}p1/dev`, 'utf8').trim();
  const made = await group({ io: { max: [{ device: part.path, wbps: '9M' }] } });
  const before = limitsOf(made);
  const error = await errorOf(() => made.update({ io: { max: [{ device: disk.path, wbps: '1M', riops: 5 }, { device: part.path, wbps: '2M' }, { device: partition, wbps: '1M' }] } }));
  t.match(error, { name: 'ContainedError', path: /(io\.max|_device)$/ }, 'a partition has no limits of its own');
  t.same(limitsOf(made), before);
  await made.update({ io: { max: [{ device: disk.path, wbps: '1M' }, { device: part.path, wbps: 'max' }] } });
  if (version('io') === 2) t.equal(textOf(made, 'io.max'), `${disk.numbers} rbps=max wbps=${M} riops=max wiops=max`);
  else t.equal(textOf(made, 'blkio.throttle.write_bps_device'), `${disk.numbers} ${M}`);
}, root);

grouping('devices are allowed and taken back', async t => {
  if (directoriesOf(await group()).length === 0) return;
  const nothing = [{ allow: false, type: 'c' }, { allow: false, type: 'b' }] as const;
  const made = await group({ devices: [...nothing, { allow: true, path: '/dev/null' }] });
  const full = async (): Promise<string> => (await run({ command: ['sh', '-c', 'echo x > /dev/full'], cgroup: made, ns: [], reject: false })).stderr;
  t.match(await full(), /not permitted/);
  await made.update({ devices: [...nothing, { allow: true, path: '/dev/null' }, { allow: true, path: '/dev/full' }] });
  t.match(await full(), /No space left|I\/O error/);
  t.match(await errorOf(() => made.update({ devices: [{ allow: true, path: '/dev/no-such' }] })), { code: 'ENOENT' });
  t.match(await full(), /No space left|I\/O error/);
  await made.update({ devices: [...nothing, { allow: true, path: '/dev/null' }] });
  t.match(await full(), /not permitted/);
}, root);

grouping('a limit for which the group has no directory is refused, and why', async t => {
  const made = await group({ pids: { max: 5 } });
  if ('cpuset' in made.paths || version('cpuset') !== 1) return void await made.update({ pids: { max: 6 } });
  const error = await errorOf(() => made.update({ cpuset: { cpus: '0' }, pids: { max: 9 } }));
  t.match(error, { name: 'ContainedError', code: 'ENOTSUP', step: /cgroup\.cpuset\.cpus/ });
  t.notMatch((error as ContainedError).hint, /run as root/, 'which we are');
  t.equal(textOf(made, 'pids.max'), '5');
}, root);

grouping('a limit that is lowered acts at once', async t => {
  const made = await group({ pids: { max: 20 } });
  const forks = async (): Promise<string> => (await run({ command: ['sh', '-c', 'for i in 1 2 3 4 5 6; do sleep 0.2 & done; wait'], cgroup: made, ns: [], reject: false })).stderr;
  t.equal(await forks(), '');
  await made.update({ pids: { max: 3 } });
  t.match(await forks(), /fork/i);
  await made.update({ pids: { max: 'max' } });
  t.equal(await forks(), '');
}, root);
