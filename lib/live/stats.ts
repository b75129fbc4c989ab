// What a container uses: its group's counters, its network's, and sums over its processes where no group counts.
import { readFile } from 'node:fs/promises';
import type { CgroupStats, IoStats } from '../../types/cgroup.js';
import type { NetStats, Stats, StatsStep } from '../../types/live.js';
import { stepOf as groupStep, type StatsReader } from '../cgroup/stats.js';
import { keyed } from '../host/texts.js';
import { knowsMembers, membersOf } from './members.js';
import { namespaceOf, parseStat, statusBytes, textsAt } from './proc.js';
import type { Subject } from './subject.js';

/** Columns of /proc/PID/net/dev after the name: net/core/net-procfs.c, dev_seq_printf_stats. */
function netOf(line: string): NetStats[] {
  const match = /^\s*(\S+):\s*(.*)$/.exec(line);
  if (!match) return [];
  const value = match[2]!.split(/\s+/).map(Number);
  return [{
    interface: match[1]!,
    rxBytes: value[0]!, rxPackets: value[1]!, rxErrors: value[2]!, rxDropped: value[3]!,
    txBytes: value[8]!, txPackets: value[9]!, txErrors: value[10]!, txDropped: value[11]!,
  }];
}

/** Whether it is in another network than we; an init that is not ours to look at is where it was made to be. */
async function ownNetwork({ pid, create }: Subject): Promise<boolean> {
  const [theirs, ours] = await Promise.all([namespaceOf(pid, 'net'), namespaceOf('self', 'net')]);
  return theirs === undefined ? create?.has('net') ?? false : theirs !== ours;
}

async function net(subject: Subject): Promise<readonly NetStats[] | undefined> {
  if (!await ownNetwork(subject)) return undefined;
  // A file that is kept open would keep the namespace.
  const text = await readFile(`/proc/${subject.pid}/net/dev`, 'utf8').catch(() => undefined);
  return text?.split('\n').slice(2).flatMap(netOf);
}

const NOTHING: Omit<CgroupStats, 'timeMs'> = {
  cpu: { usageMs: undefined, userMs: undefined, systemMs: undefined, periods: undefined, throttledPeriods: undefined, throttledMs: undefined },
  memory: {
    current: undefined, peak: undefined, anon: undefined, file: undefined, swap: undefined,
    events: { low: undefined, high: undefined, max: undefined, oom: undefined, oomKill: undefined },
  },
  pids: { current: undefined, peak: undefined, refused: undefined },
  io: undefined, hugetlb: undefined, pressure: { cpu: undefined, memory: undefined, io: undefined },
};

/** Undefined when one of them is: a part of a sum is no sum. */
const total = (values: readonly (number | undefined)[]): number | undefined =>
  values.reduce<number | undefined>((sum, value) => sum === undefined || value === undefined ? undefined : sum + value, 0);

/** proc_pid_io(5): only for those who may trace the process. */
function ioOf(texts: readonly (string | undefined)[]): IoStats[] | undefined {
  const value = (key: string): number | undefined => total(texts.map(text => keyed(text, `${key}:`)));
  const readBytes = value('read_bytes'), writeBytes = value('write_bytes');
  return readBytes === undefined ? undefined : [{ device: '*', readBytes, writeBytes, reads: undefined, writes: undefined }];
}

type Sums = Pick<CgroupStats, 'timeMs' | 'cpu' | 'memory' | 'pids' | 'io'>;

/** Over those that are there. Who is gone is counted by the parent that has waited for it. */
async function sums(subject: Subject): Promise<Sums> {
  const pids = await membersOf(subject);
  const { texts, timeMs } = await textsAt(pids.flatMap(pid => ['stat', 'status', 'io'].map(file => `/proc/${pid}/${file}`)));
  const there = pids.flatMap((_, i) => {
    const stat = parseStat(texts[3 * i]), status = texts[3 * i + 1];
    return stat && status !== undefined ? [{ stat, status, io: texts[3 * i + 2] }] : [];
  });
  // A zombie has no memory, and no line that says so.
  const bytes = (...keys: string[]): number => there.reduce((sum, { status }) => keys.reduce((all, key) => all + (statusBytes(status, key) ?? 0), sum), 0);
  const userMs = total(there.map(({ stat }) => stat.totalUserMs))!, systemMs = total(there.map(({ stat }) => stat.totalSystemMs))!;
  return {
    timeMs,
    cpu: { ...NOTHING.cpu, usageMs: userMs + systemMs, userMs, systemMs },
    memory: { ...NOTHING.memory, current: bytes('VmRSS'), anon: bytes('RssAnon'), file: bytes('RssFile', 'RssShmem'), swap: bytes('VmSwap') },
    pids: { ...NOTHING.pids, current: total(there.map(({ stat }) => stat.threads)) },
    io: ioOf(there.map(({ io }) => io)),
  };
}

const filled = <T extends object>(told: T, sum: T): T =>
  Object.fromEntries(Object.entries(told).map(([key, value]) => [key, value ?? (sum as Record<string, unknown>)[key]])) as T;

/** `reader`: of its own group. */
export async function statsOf(subject: Subject, reader: StatsReader | undefined): Promise<Stats> {
  const [told, network] = await Promise.all([reader ? reader.read() : { timeMs: performance.now(), ...NOTHING }, net(subject)]);
  const complete = told.cpu.usageMs !== undefined && told.memory.current !== undefined && told.pids.current !== undefined;
  if (complete || !await knowsMembers(subject)) return { ...told, net: network };
  const sum = await sums(subject);
  return {
    ...told,
    ...told.cpu.usageMs === undefined && { cpu: sum.cpu, timeMs: sum.timeMs },
    memory: told.memory.current === undefined ? filled(told.memory, sum.memory) : told.memory,
    pids: filled(told.pids, sum.pids),
    io: told.io ?? sum.io,
    net: network,
  };
}

/** Of all interfaces but the loopback, and of those only that were there before. */
function carried(now: Stats['net'], before: Stats['net'], key: 'rxBytes' | 'txBytes'): number | undefined {
  if (!now || !before) return undefined;
  const earlier = new Map(before.map(entry => [entry.interface, entry[key]]));
  return now.filter(entry => entry.interface !== 'lo').reduce((sum, entry) => sum + entry[key] - (earlier.get(entry.interface) ?? 0), 0);
}

export const stepOf = (now: Stats, before: Stats): StatsStep => ({
  ...now,
  delta: { ...groupStep(now, before).delta, rxBytes: carried(now.net, before.net, 'rxBytes'), txBytes: carried(now.net, before.net, 'txBytes') },
});
