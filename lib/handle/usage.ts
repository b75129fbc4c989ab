// The counters that were read before the cgroup was removed → what the container used.
import type { Usage } from '../../types/contained.js';
import { keyed, scaled, single } from '../host/texts.js';
import type { NativeExit } from '../native.js';

/** `names`: what the texts in `exit.counters` are, in their order. */
export function usageOf(names: readonly string[], exit: NativeExit, wallMs: number): Usage {
  const texts = new Map<string, string>();
  if (names.length > 0) {
    const parts = exit.counters.split('\0');
    names.forEach((name, i) => texts.set(name, parts[i] ?? ''));
  }
  const cpu = texts.get('unified/cpu.stat');
  return {
    wallMs,
    userMs: scaled(keyed(cpu, 'user_usec'), 1e-3) ?? scaled(single(texts.get('v1/cpuacct.usage_user')), 1e-6) ?? exit.userMs,
    systemMs: scaled(keyed(cpu, 'system_usec'), 1e-3) ?? scaled(single(texts.get('v1/cpuacct.usage_sys')), 1e-6) ?? exit.systemMs,
    memoryPeak: single(texts.get('unified/memory.peak')) ?? single(texts.get('v1/memory.max_usage_in_bytes')) ?? (exit.maxRss || undefined),
    pidsPeak: single(texts.get('unified/pids.peak')) ?? single(texts.get('v1/pids.peak')),
    oomKills: keyed(texts.get('unified/memory.events'), 'oom_kill') ?? keyed(texts.get('v1/memory.oom_control'), 'oom_kill'),
  };
}
