// The counters that were read before the cgroup was removed → what the container used.
import type { Usage } from '../../types/contained.js';
import { keyed, scaled, single } from '../host/texts.js';
import type { NativeExit } from '../native.js';

const OOM_COUNTERS = ['unified/memory.events', 'v1/memory.oom_control'] as const;

const killsIn = (texts: ReadonlyMap<string, string>): number | undefined => OOM_COUNTERS.map(name => keyed(texts.get(name), 'oom_kill')).find(count => count !== undefined);

/** What the kernel had counted before, in a group that others use too, is not of this container. */
function oomKillsOf(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): number | undefined {
  const count = killsIn(after);
  return count === undefined ? undefined : count - (killsIn(before) ?? 0);
}

/** `names`: what the texts in `exit.counters` are, in their order; of a `shared` group they stand there twice, before and after. */
export function usageOf(names: readonly string[], shared: boolean, exit: NativeExit, wallMs: number): Usage {
  const parts = names.length > 0 ? exit.counters.split('\0') : [];
  const from = (start: number): Map<string, string> => new Map(names.map((name, i) => [name, parts[start + i] ?? '']));
  const before = shared ? from(0) : new Map<string, string>();
  const texts = from(shared ? names.length : 0);
  const cpu = texts.get('unified/cpu.stat');
  return {
    wallMs,
    userMs: scaled(keyed(cpu, 'user_usec'), 1e-3) ?? scaled(single(texts.get('v1/cpuacct.usage_user')), 1e-6) ?? exit.userMs,
    systemMs: scaled(keyed(cpu, 'system_usec'), 1e-3) ?? scaled(single(texts.get('v1/cpuacct.usage_sys')), 1e-6) ?? exit.systemMs,
    memoryPeak: single(texts.get('unified/memory.peak')) ?? single(texts.get('v1/memory.max_usage_in_bytes')) ?? (exit.maxRss || undefined),
    pidsPeak: single(texts.get('unified/pids.peak')) ?? single(texts.get('v1/pids.peak')),
    oomKills: oomKillsOf(before, texts),
  };
}
