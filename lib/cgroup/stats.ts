// What a group uses: files of v1 and v2 → one shape.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupStats, CgroupStatsStep, IoStats, Pressure } from '../../types/cgroup.js';
import { ContainedError, errnoName } from '../errors.js';
import { openFiles, type NativeFiles } from '../native.js';
import type { Placement } from '../options/settings.js';
import { keyed, scaled, single } from '../host/texts.js';

const V2 = [
  'cpu.stat', 'cpu.pressure', 'memory.current', 'memory.peak', 'memory.stat', 'memory.swap.current', 'memory.events', 'memory.pressure',
  'pids.current', 'pids.peak', 'pids.events', 'io.stat', 'io.pressure',
];
const V1: Record<string, readonly string[]> = {
  memory: ['memory.usage_in_bytes', 'memory.max_usage_in_bytes', 'memory.stat', 'memory.failcnt', 'memory.memsw.failcnt', 'memory.oom_control'],
  cpuacct: ['cpuacct.usage', 'cpuacct.usage_user', 'cpuacct.usage_sys'],
  cpu: ['cpu.stat'],
  pids: ['pids.current', 'pids.peak', 'pids.events'],
  blkio: ['blkio.throttle.io_service_bytes_recursive', 'blkio.throttle.io_serviced_recursive'],
};
const HUGE = /^hugetlb\.(\w+)\.(current|usage_in_bytes)$/;

/** By `v2/FILE` or `v1/FILE`. */
type Texts = ReadonlyMap<string, string>;

async function filesIn(directory: string, prefix: string, wanted: readonly string[]): Promise<[string, string][]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => { throw gone(directory, error.code ?? 'UNKNOWN', error.errno ?? 0); });
  return names.filter(name => wanted.includes(name) || (wanted.includes('hugetlb') && HUGE.test(name))).map(name => [`${prefix}/${name}`, join(directory, name)]);
}

const gone = (path: string, code: string, errno: number): ContainedError => new ContainedError({
  code, errno, syscall: 'read', path, dest: undefined, step: 'read what the cgroup uses', hint: /ENOENT|ENODEV/.test(code) ? 'somebody has removed the group' : undefined,
});

/** `device rbytes=N wbytes=N rios=N …` */
function unifiedIo(text: string | undefined): IoStats[] | undefined {
  return text?.split('\n').flatMap(line => {
    const [device, ...fields] = line.split(' ');
    const value = (key: string): number => Number(fields.find(field => field.startsWith(`${key}=`))?.slice(key.length + 1) ?? 0);
    return fields.length === 0 ? [] : [{ device: device!, readBytes: value('rbytes'), writeBytes: value('wbytes'), reads: value('rios'), writes: value('wios') }];
  });
}

/**
 * `device Read N`, `device Write N`, …, `Total N`. A 0 may mean that nobody counts: that begins with a limit for that direction
 * of that disk (block/blk-throttle.c, has_rules).
 */
function v1Io(bytes: string | undefined, counts: string | undefined): IoStats[] | undefined {
  const value = (text: string | undefined, device: string, kind: string): number | undefined => keyed(text, `${device} ${kind}`) || undefined;
  const devices = [...new Set([...(bytes ?? '').matchAll(/^(\d+:\d+) /gm)].map(match => match[1]!))].map(device => ({
    device, readBytes: value(bytes, device, 'Read'), writeBytes: value(bytes, device, 'Write'),
    reads: value(counts, device, 'Read'), writes: value(counts, device, 'Write'),
  })).filter(({ readBytes, writeBytes }) => readBytes !== undefined || writeBytes !== undefined);
  return devices.length > 0 ? devices : undefined;
}

function pressure(text: string | undefined): Pressure | undefined {
  const line = (kind: string): Pressure['full'] => {
    const match = new RegExp(`^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)`, 'm').exec(text ?? '');
    return match ? { avg10: Number(match[1]), avg60: Number(match[2]), avg300: Number(match[3]), totalUs: Number(match[4]) } : undefined;
  };
  const some = line('some');
  return some && { some, full: line('full') };
}

function hugetlb(texts: Texts): Record<string, number> | undefined {
  const sizes = [...texts].flatMap(([name, text]) => {
    const match = HUGE.exec(name.slice(3));
    return match ? [[match[1]!, Number(text)] as const] : [];
  });
  return sizes.length > 0 ? Object.fromEntries(sizes) : undefined;
}

/** v1 counts at whichever of the two limits was met, and on some kernels (6.18) at neither, so that 0 tells nothing. */
const failures = (memory: string | undefined, swap: string | undefined): number | undefined => (single(memory) ?? 0) + (single(swap) ?? 0) || undefined;

function shape(texts: Texts, timeMs: number): CgroupStats {
  const v2 = (file: string): string | undefined => texts.get(`v2/${file}`);
  const v1 = (file: string): string | undefined => texts.get(`v1/${file}`);
  const cpu = v2('cpu.stat'), throttling = [cpu, v1('cpu.stat')].find(text => keyed(text, 'nr_periods') !== undefined);
  const memory = v2('memory.stat'), memoryV1 = v1('memory.stat'), events = v2('memory.events'), oomV1 = v1('memory.oom_control');
  return {
    timeMs,
    cpu: {
      usageMs: scaled(keyed(cpu, 'usage_usec'), 1e-3) ?? scaled(single(v1('cpuacct.usage')), 1e-6),
      userMs: scaled(keyed(cpu, 'user_usec'), 1e-3) ?? scaled(single(v1('cpuacct.usage_user')), 1e-6),
      systemMs: scaled(keyed(cpu, 'system_usec'), 1e-3) ?? scaled(single(v1('cpuacct.usage_sys')), 1e-6),
      periods: keyed(throttling, 'nr_periods'),
      throttledPeriods: keyed(throttling, 'nr_throttled'),
      throttledMs: scaled(keyed(throttling, 'throttled_usec'), 1e-3) ?? scaled(keyed(throttling, 'throttled_time'), 1e-6),
    },
    memory: {
      current: single(v2('memory.current')) ?? single(v1('memory.usage_in_bytes')),
      peak: single(v2('memory.peak')) ?? single(v1('memory.max_usage_in_bytes')),
      anon: keyed(memory, 'anon') ?? keyed(memoryV1, 'total_rss'),
      file: keyed(memory, 'file') ?? keyed(memoryV1, 'total_cache'),
      swap: single(v2('memory.swap.current')) ?? keyed(memoryV1, 'total_swap'),
      events: {
        low: keyed(events, 'low'), high: keyed(events, 'high'), max: keyed(events, 'max') ?? failures(v1('memory.failcnt'), v1('memory.memsw.failcnt')), oom: keyed(events, 'oom'),
        oomKill: keyed(events, 'oom_kill') ?? keyed(oomV1, 'oom_kill'),
      },
    },
    pids: {
      current: single(v2('pids.current')) ?? single(v1('pids.current')),
      peak: single(v2('pids.peak')) ?? single(v1('pids.peak')),
      refused: keyed(v2('pids.events'), 'max') ?? keyed(v1('pids.events'), 'max'),
    },
    io: unifiedIo(v2('io.stat')) ?? v1Io(v1('blkio.throttle.io_service_bytes_recursive'), v1('blkio.throttle.io_serviced_recursive')),
    hugetlb: hugetlb(texts),
    pressure: { cpu: pressure(v2('cpu.pressure')), memory: pressure(v2('memory.pressure')), io: pressure(v2('io.pressure')) },
  };
}

/** Reads a group's files, which it keeps open until `close`. */
export class StatsReader {
  readonly #placement: Placement;
  #opened: Promise<{ names: string[]; files: NativeFiles }> | undefined;
  #closed = false;

  constructor(where: Placement) {
    this.#placement = where;
  }

  async #open(): Promise<{ names: string[]; files: NativeFiles }> {
    const { unified, v1 } = this.#placement;
    const found = await Promise.all([
      ...unified ? [filesIn(unified.directory, 'v2', [...V2, 'hugetlb'])] : [],
      ...[...v1].map(([controller, directory]) => filesIn(directory, 'v1', V1[controller] ?? [controller])),
    ]);
    const entries = found.flat();
    return { names: entries.map(([name]) => name), files: openFiles(entries.map(([, path]) => path)) };
  }

  async read(): Promise<CgroupStats> {
    const where = this.#placement.unified?.directory ?? [...this.#placement.v1.values()][0]!;
    if (this.#closed) throw gone(where, 'ENODEV', -19);
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    const { names, files } = await this.#opened;
    const texts = await files.read();
    const timeMs = performance.now() - texts.age;
    // A single file may be unreadable (EOPNOTSUPP of pressure that is turned off); all of them are when the group is gone.
    const failure = texts.every(text => typeof text === 'number') ? texts[0] as number | undefined : undefined;
    if (failure !== undefined) throw gone(where, errnoName(-failure), failure);
    return shape(new Map(names.flatMap((name, i) => typeof texts[i] === 'string' ? [[name, texts[i]] as const] : [])), timeMs);
  }

  close(): void {
    this.#closed = true;
    void this.#opened?.then(({ files }) => files.close(), () => {});
  }
}

/** Of all devices; undefined when nobody counts. */
function sum(io: CgroupStats['io'], key: 'readBytes' | 'writeBytes'): number | undefined {
  const known = (io ?? []).flatMap(device => device[key] ?? []);
  return io && (known.length > 0 || io.length === 0) ? known.reduce((total, bytes) => total + bytes, 0) : undefined;
}
const minus = (a: number | undefined, b: number | undefined): number | undefined => a === undefined || b === undefined ? undefined : a - b;

/** What has been used between two readings. */
export function stepOf(now: CgroupStats, before: CgroupStats): CgroupStatsStep {
  const timeMs = now.timeMs - before.timeMs;
  return {
    ...now,
    delta: {
      timeMs,
      cpus: scaled(minus(now.cpu.usageMs, before.cpu.usageMs), timeMs > 0 ? 1 / timeMs : 0),
      readBytes: minus(sum(now.io, 'readBytes'), sum(before.io, 'readBytes')),
      writeBytes: minus(sum(now.io, 'writeBytes'), sum(before.io, 'writeBytes')),
    },
  };
}
