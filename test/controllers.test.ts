// Every limit: what it means on v2 and on v1, word for word, and in which order it is written.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import t from 'tap';
import { ContainedError } from 'spawn-contained';
import type { CgroupLimits } from 'spawn-contained';
import { hierarchyOf, resolveLimits } from '../dist/lib/options/controllers/limits.js';
import type { Limit, Write } from '../dist/lib/options/controllers/limit.js';

const limitsOf = (options: object): Limit[] => resolveLimits(options as Record<string, unknown>);
const texts = (writes: readonly Write[] | undefined): string[] | null => writes?.map(({ file, text }) => `${file} ${text}`) ?? null;
/** All writes in their order; null where the hierarchy has nothing like one of them. */
const onV2 = (options: object): (string | null)[] => limitsOf(options).flatMap(({ v2 }) => texts(v2) ?? [null]);
const onV1 = (options: object): (string | null)[] => limitsOf(options).flatMap(({ v1 }) => texts(v1) ?? [null]);
const M = 2 ** 20;

/** Options; what is written on v2; what is written on v1. */
type Row = [options: CgroupLimits, v2: (string | null)[], v1: (string | null)[]];

function rows(title: string, table: readonly Row[]): void {
  void t.test(title, t => {
    for (const [options, v2, v1] of table) {
      t.same(onV2(options), v2, `v2: ${JSON.stringify(options)}`);
      t.same(onV1(options), v1, `v1: ${JSON.stringify(options)}`);
    }
    t.end();
  });
}

rows('memory', [
  [{ memory: { max: '64M' } },
    [`memory.max ${64 * M}`, 'memory.swap.max 0', 'memory.oom.group 1'], [`memory.limit_in_bytes ${64 * M}`, `memory.memsw.limit_in_bytes ${64 * M}`]],
  [{ memory: { max: 64 * M, swapMax: '16M' } },
    [`memory.max ${64 * M}`, `memory.swap.max ${16 * M}`, 'memory.oom.group 1'], [`memory.limit_in_bytes ${64 * M}`, `memory.memsw.limit_in_bytes ${80 * M}`]],
  [{ memory: { max: '64M', swapMax: 0 } },
    [`memory.max ${64 * M}`, 'memory.swap.max 0', 'memory.oom.group 1'], [`memory.limit_in_bytes ${64 * M}`, `memory.memsw.limit_in_bytes ${64 * M}`]],
  [{ memory: { max: '64M', swapMax: 'max' } },
    [`memory.max ${64 * M}`, 'memory.swap.max max', 'memory.oom.group 1'], [`memory.limit_in_bytes ${64 * M}`, 'memory.memsw.limit_in_bytes -1']],
  [{ memory: { max: 'max' } }, ['memory.max max', 'memory.swap.max max'], ['memory.limit_in_bytes -1', 'memory.memsw.limit_in_bytes -1']],
  [{ memory: { max: '1G', oomGroup: false } },
    [`memory.max ${1024 * M}`, 'memory.swap.max 0', 'memory.oom.group 0'], [`memory.limit_in_bytes ${1024 * M}`, `memory.memsw.limit_in_bytes ${1024 * M}`]],
  [{ memory: { oomGroup: true } }, ['memory.oom.group 1'], [null]],
  [{ memory: { oomGroup: false } }, ['memory.oom.group 0'], []],
  [{ memory: { high: '32M' } }, [`memory.high ${32 * M}`], [null]],
  [{ memory: { high: 'max' } }, ['memory.high max'], [null]],
  [{ memory: { low: '8M' } }, [`memory.low ${8 * M}`], [`memory.soft_limit_in_bytes ${8 * M}`]],
  [{ memory: { low: 0 } }, ['memory.low 0'], ['memory.soft_limit_in_bytes 0']],
  [{ memory: { low: 'max' } }, ['memory.low max'], ['memory.soft_limit_in_bytes -1']],
  [{ memory: { min: 4096 } }, ['memory.min 4096'], [null]],
  [{ memory: { min: 0 } }, ['memory.min 0'], [null]],
  [{ memory: { min: 'max' } }, ['memory.min max'], [null]],
  [{ memory: {} }, [], []],
]);

void t.test('sizes are bytes, or text with units of 1024', t => {
  for (const [size, bytes] of [[1, 1], ['1', 1], ['1K', 1024], ['1k', 1024], ['1KiB', 1024], ['1.5M', 1.5 * M], ['2 GB', 2048 * M], ['1T', M * M], ['100B', 100]] as const) {
    t.equal(onV2({ memory: { max: size } })[0], `memory.max ${bytes}`, String(size));
  }
  t.end();
});

void t.test('swap that nobody asked for may be missing in the kernel, and what was asked for may not', t => {
  const swap = (memory: CgroupLimits['memory']): (boolean | undefined)[] =>
    limitsOf({ memory }).filter(({ path }) => path === 'cgroup.memory.swapMax').flatMap(({ v2, v1 }) => [v2![0]!.optional, v1![0]!.optional]);
  t.same(swap({ max: '64M' }), [true, true]);
  t.same(swap({ max: '64M', swapMax: '1M' }), [false, false]);
  t.end();
});

rows('cpu', [
  [{ cpu: { max: 0.5 } }, ['cpu.max 50000 100000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 50000']],
  [{ cpu: { max: 2 } }, ['cpu.max 200000 100000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 200000']],
  [{ cpu: { max: 0.01 } }, ['cpu.max 1000 100000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 1000']],
  [{ cpu: { max: 'max' } }, ['cpu.max max 100000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us -1']],
  [{ cpu: { max: 1, burst: 0.25 } },
    ['cpu.max 100000 100000', 'cpu.max.burst 25000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 100000', 'cpu.cfs_burst_us 25000']],
  [{ cpu: { max: 1, burst: 1 } },
    ['cpu.max 100000 100000', 'cpu.max.burst 100000'], ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 100000', 'cpu.cfs_burst_us 100000']],
  [{ cpu: { weight: 100 } }, ['cpu.weight 100'], ['cpu.shares 1024']],
  [{ cpu: { weight: 1 } }, ['cpu.weight 1'], ['cpu.shares 10']],
  [{ cpu: { weight: 10_000 } }, ['cpu.weight 10000'], ['cpu.shares 102400']],
  [{ cpu: { idle: true } }, ['cpu.idle 1'], ['cpu.idle 1']],
  [{ cpu: { idle: false, weight: 50 } }, ['cpu.idle 0', 'cpu.weight 50'], ['cpu.idle 0', 'cpu.shares 512']],
]);

rows('cpuset, processors before nodes before the partition', [
  [{ cpuset: { cpus: '0-3,5' } }, ['cpuset.cpus 0-3,5'], ['cpuset.cpus 0-3,5']],
  [{ cpuset: { cpus: [0] } }, ['cpuset.cpus 0'], ['cpuset.cpus 0']],
  [{ cpuset: { mems: [0, 1], cpus: [0, 2] } }, ['cpuset.cpus 0,2', 'cpuset.mems 0,1'], ['cpuset.cpus 0,2', 'cpuset.mems 0,1']],
  [{ cpuset: { cpus: '0', partition: 'isolated' } }, ['cpuset.cpus 0', 'cpuset.cpus.partition isolated'], ['cpuset.cpus 0', null]],
  [{ cpuset: { cpus: '0', partition: 'root' } }, ['cpuset.cpus 0', 'cpuset.cpus.partition root'], ['cpuset.cpus 0', null]],
  [{ cpuset: { partition: 'member' } }, ['cpuset.cpus.partition member'], [null]],
]);

rows('what counts', [
  [{ pids: { max: 7 } }, ['pids.max 7'], ['pids.max 7']],
  [{ pids: { max: 'max' } }, ['pids.max max'], ['pids.max max']],
  [{ rdma: { mlx4_0: { hcaHandle: 2, hcaObject: 2000 } } }, ['rdma.max mlx4_0 hca_handle=2 hca_object=2000'], ['rdma.max mlx4_0 hca_handle=2 hca_object=2000']],
  [{ rdma: { a: { hcaObject: 'max' }, b: { hcaHandle: 0 } } }, ['rdma.max a hca_object=max', 'rdma.max b hca_handle=0'], ['rdma.max a hca_object=max', 'rdma.max b hca_handle=0']],
  [{ misc: { sev: 10, sev_es: 'max' } }, ['misc.max sev 10', 'misc.max sev_es max'], ['misc.max sev 10', 'misc.max sev_es max']],
  [{ misc: { sev: 0 } }, ['misc.max sev 0'], ['misc.max sev 0']],
]);

rows('the network, which is of v1 only, and other files, which are of v2 only', [
  [{ netCls: { classid: 0x10001 } }, [null], ['net_cls.classid 65537']],
  [{ netPrio: { eth0: 5, 'eth0.7': 0 } }, [null, null], ['net_prio.ifpriomap eth0 5', 'net_prio.ifpriomap eth0.7 0']],
  [{ unified: { 'memory.zswap.max': '0', 'cgroup.max.descendants': '3' } }, ['memory.zswap.max 0', 'cgroup.max.descendants 3'], [null, null]],
]);

void t.test('huge pages, by the sizes of this machine as the files are named', t => {
  const sizes = existsSync('/sys/kernel/mm/hugepages') ? readdirSync('/sys/kernel/mm/hugepages').map(name => Number(/\d+/.exec(name)![0])) : [];
  for (const kB of sizes) {
    const page = kB >= 2 ** 20 ? `${kB / 2 ** 20}GB` : kB >= 1024 ? `${kB / 1024}MB` : `${kB}KB`;
    for (const key of [page, page.toLowerCase(), page.slice(0, -1)]) {
      t.same(onV2({ hugetlb: { [key]: '2G' } }), [`hugetlb.${page}.max ${2048 * M}`], key);
      t.same(onV1({ hugetlb: { [key]: '2G' } }), [`hugetlb.${page}.limit_in_bytes ${2048 * M}`], key);
    }
    t.same([onV2({ hugetlb: { [page]: 'max' } }), onV1({ hugetlb: { [page]: 'max' } })], [[`hugetlb.${page}.max max`], [`hugetlb.${page}.limit_in_bytes -1`]]);
    t.same([onV2({ hugetlb: { [page]: 0 } }), onV1({ hugetlb: { [page]: 0 } })], [[`hugetlb.${page}.max 0`], [`hugetlb.${page}.limit_in_bytes 0`]]);
  }
  t.throws(() => limitsOf({ hugetlb: { '3MB': '2M' } }), { name: 'OptionError', path: 'cgroup.hugetlb.3MB', expected: sizes.length > 0 ? /page size of this machine/ : /no huge pages/ });
  t.end();
});

/** A whole disk of this machine, if there is one. */
const disk = existsSync('/sys/dev/block') ? readdirSync('/sys/dev/block').find(numbers => !existsSync(`/sys/dev/block/${numbers}/partition`)) : undefined;

void t.test('io by devices', t => {
  for (const device of disk === undefined ? [] : [disk, `/dev/${basename(readlinkSync(`/sys/dev/block/${disk}`))}`].filter(at => !at.startsWith('/') || existsSync(at))) {
    t.same(onV2({ io: { max: [{ device, rbps: '1M', wbps: 2 * M, riops: 3, wiops: 4 }] } }), [`io.max ${disk} rbps=${M} wbps=${2 * M} riops=3 wiops=4`]);
    t.same(onV1({ io: { max: [{ device, rbps: '1M', wbps: 2 * M, riops: 3, wiops: 4 }] } }), [
      `blkio.throttle.read_bps_device ${disk} ${M}`, `blkio.throttle.write_bps_device ${disk} ${2 * M}`,
      `blkio.throttle.read_iops_device ${disk} 3`, `blkio.throttle.write_iops_device ${disk} 4`,
    ]);
    t.same(onV2({ io: { max: [{ device, wbps: 'max' }, { device, riops: 9 }] } }), [`io.max ${disk} wbps=max`, `io.max ${disk} riops=9`]);
    t.same(onV1({ io: { max: [{ device, wbps: 'max' }] } }), [`blkio.throttle.write_bps_device ${disk} 0`]);
    t.same(onV2({ io: { latency: [{ device, targetUs: 75_000 }] } }), [`io.latency ${disk} target=75000`]);
    t.same(onV1({ io: { latency: [{ device, targetUs: 75_000 }] } }), [null]);
  }
  t.match(onV2({ io: { weight: 200 } })[0]!, /^(io\.weight default 200|io\.bfq\.weight 200)$/);
  for (const [device, code] of [['/dev/no-such', 'ENOENT'], ['4095:1048575', 'ENODEV'], ['/dev/null', 'ENOTBLK'], ['/etc/passwd', 'ENOTBLK']] as const) {
    t.throws(() => limitsOf({ io: { max: [{ device, rbps: 1 }] } }), { name: 'ContainedError', code, step: `find the block device ${device}`, hint: /device/ });
  }
  t.end();
});

void t.test('all together: controller by controller, and in each what the kernel checks against comes first', t => {
  const all = { pids: { max: 3 }, cpuset: { mems: '0', cpus: '0' }, cpu: { burst: 0, max: 1, weight: 5 }, memory: { low: 1, max: 2 } };
  t.same(onV2(all), [
    'memory.low 1', 'memory.max 2', 'memory.swap.max 0', 'memory.oom.group 1', 'cpu.weight 5', 'cpu.max 100000 100000', 'cpu.max.burst 0',
    'cpuset.cpus 0', 'cpuset.mems 0', 'pids.max 3',
  ]);
  t.same(onV1(all), [
    'memory.soft_limit_in_bytes 1', 'memory.limit_in_bytes 2', 'memory.memsw.limit_in_bytes 2', 'cpu.shares 51', 'cpu.cfs_period_us 100000', 'cpu.cfs_quota_us 100000',
    'cpu.cfs_burst_us 0', 'cpuset.cpus 0', 'cpuset.mems 0', 'pids.max 3',
  ]);
  t.same(limitsOf({}), []);
  t.end();
});

const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map(line => line.split(' '));
const unified = mounts.find(words => words.at(-3) === 'cgroup2')?.[4];
const controllers = unified === undefined ? [] : readFileSync(`${unified}/cgroup.controllers`, 'utf8').trim().split(' ');
const v1 = new Set(mounts.filter(words => words.at(-3) === 'cgroup').flatMap(words => words.at(-1)!.split(',')));

void t.test('a limit is of the hierarchy that has its controller on this host, or it is told that there is none', t => {
  const table: [CgroupLimits, string, string][] = [
    [{ memory: { max: 1 } }, 'memory', 'memory'], [{ memory: { high: 1 } }, 'memory', ''], [{ memory: { min: 1 } }, 'memory', ''], [{ memory: { oomGroup: true } }, 'memory', ''],
    [{ cpu: { max: 1 } }, 'cpu', 'cpu'], [{ cpuset: { cpus: '0' } }, 'cpuset', 'cpuset'], [{ cpuset: { partition: 'member' } }, 'cpuset', ''],
    [{ pids: { max: 1 } }, 'pids', 'pids'], [{ rdma: { a: { hcaHandle: 1 } } }, 'rdma', 'rdma'], [{ misc: { sev: 1 } }, 'misc', 'misc'],
    [{ netCls: { classid: 1 } }, '', 'net_cls'], [{ netPrio: { lo: 1 } }, '', 'net_prio'], [{ unified: { 'memory.zswap.max': '0' } }, 'memory', ''],
    ...disk === undefined ? [] : [[{ io: { max: [{ device: disk, rbps: 1 }] } }, 'io', 'blkio'], [{ io: { latency: [{ device: disk, targetUs: 1 }] } }, 'io', '']] as [CgroupLimits, string, string][],
  ];
  const V1_NAMES: Record<string, string> = { io: 'blkio' };
  for (const [options, v2Name, v1Name] of table) {
    const [limit] = limitsOf(options);
    const found = ((): string | ContainedError => {
      try {
        return hierarchyOf(limit!);
      } catch (error) {
        return error as ContainedError;
      }
    })();
    const about = JSON.stringify(options);
    if (controllers.includes(v2Name)) t.equal(found, '', about);
    else if (v1Name !== '' && v1.has(v1Name)) t.equal(found, v1Name, about);
    else {
      t.ok(found instanceof ContainedError, about);
      const hint = v2Name === '' ? /v2 has nothing like it/ : v1.has(V1_NAMES[v2Name] ?? v2Name) ? /on cgroup v1, which has nothing like it/ : /no controller|nothing like it/;
      t.match(found, { code: 'ENOTSUP', step: new RegExp(limit!.path.replaceAll('.', '\\.')), hint });
    }
  }
  t.end();
});
