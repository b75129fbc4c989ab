// The counters that were read before the cgroup was removed → what the container used.
import type { Usage } from '../../types/contained.js';
import { keyed, scaled, single } from '../host/texts.js';
import type { NativeExit } from '../native.js';

const OOM_COUNTERS = ['unified/memory.events', 'v1/memory.oom_control'] as const;

/** The text of a file by its name; undefined where it is none of those that are read. */
type Texts = (name: string) => string | undefined;

const killsIn = (texts: Texts): number | undefined => keyed(texts(OOM_COUNTERS[0]), 'oom_kill') ?? keyed(texts(OOM_COUNTERS[1]), 'oom_kill');

/** What the kernel had counted before, in a group that others use too, is not of this container. */
function oomKillsOf(before: Texts | undefined, after: Texts): number | undefined {
  const count = killsIn(after);
  return count === undefined ? undefined : count - ((before && killsIn(before)) ?? 0);
}

/** v1 measures the whole, and tells user and system apart by the ticks that fell into each; v2 does so before it tells: kernel/sched/cputime.c, cputime_adjust. */
function timeOfV1(texts: Texts): { userMs: number; systemMs: number } | undefined {
  const all = single(texts('v1/cpuacct.usage')), user = single(texts('v1/cpuacct.usage_user')), system = single(texts('v1/cpuacct.usage_sys'));
  if (all === undefined || user === undefined || system === undefined) return undefined;
  const share = user + system > 0 ? user / (user + system) : 1;
  return { userMs: all * share * 1e-6, systemMs: all * (1 - share) * 1e-6 };
}

/** `8:0 rbytes=N wbytes=N …` on v2; `8:0 Read N` on v1, where a 0 may mean that nobody counts, see `v1Io` in cgroup/stats.ts. */
function ioOf(texts: Texts, direction: 'Read' | 'Write'): number | undefined {
  const sum = (text: string, pattern: RegExp): number => [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
  const v2 = texts('unified/io.stat'), v1 = texts('v1/blkio.throttle.io_service_bytes_recursive');
  // One that cannot be read is told as an empty text, which here is also what nothing is; the other file never is.
  if (v2 !== undefined && texts('unified/cpu.stat')) return sum(v2, direction === 'Read' ? / rbytes=(\d+)/g : / wbytes=(\d+)/g);
  return v1 === undefined ? undefined : sum(v1, new RegExp(`^\\d+:\\d+ ${direction} (\\d+)`, 'gm')) || undefined;
}

/** `seen`: time that was seen while it ran. `names`: what the texts in `exit.counters` are, in their order; of a `shared` group they stand there twice, before and after. */
export function usageOf(names: readonly string[], shared: boolean, exit: NativeExit, wallMs: number, seen: { userMs: number; systemMs: number } | undefined): Usage {
  const parts = names.length > 0 ? exit.counters.split('\0') : [];
  const from = (start: number): Texts => name => {
    const i = names.indexOf(name);
    return i < 0 ? undefined : parts[start + i] ?? '';
  };
  const before = shared ? from(0) : undefined;
  const texts = from(shared ? names.length : 0);
  const cpu = texts('unified/cpu.stat');
  const time = seen && seen.userMs + seen.systemMs > exit.userMs + exit.systemMs ? seen : exit;
  const v1 = timeOfV1(texts);
  // 0 when somebody else has reaped it.
  const reaped = exit.maxRss > 0 ? exit : undefined;
  return {
    wallMs,
    userMs: scaled(keyed(cpu, 'user_usec'), 1e-3) ?? v1?.userMs ?? time.userMs,
    systemMs: scaled(keyed(cpu, 'system_usec'), 1e-3) ?? v1?.systemMs ?? time.systemMs,
    memoryPeak: single(texts('unified/memory.peak')) ?? single(texts('v1/memory.max_usage_in_bytes')) ?? (exit.maxRss || undefined),
    pidsPeak: single(texts('unified/pids.peak')) ?? single(texts('v1/pids.peak')),
    oomKills: oomKillsOf(before, texts),
    throttledMs: scaled(keyed(cpu, 'throttled_usec'), 1e-3) ?? scaled(keyed(texts('v1/cpu.stat'), 'throttled_time'), 1e-6),
    ioReadBytes: ioOf(texts, 'Read'),
    ioWriteBytes: ioOf(texts, 'Write'),
    voluntarySwitches: reaped?.voluntarySwitches,
    involuntarySwitches: reaped?.involuntarySwitches,
    minorFaults: reaped?.minorFaults,
    majorFaults: reaped?.majorFaults,
  };
}
