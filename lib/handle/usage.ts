// The counters that were read before the cgroup was removed → what the container used.
import type { Usage } from '../../types/contained.js';
import type { NativeExit } from '../native.js';

/** `key value` lines, as of cpu.stat and memory.events. */
function keyed(text: string | undefined, key: string): number | undefined {
  if (text === undefined) return undefined;
  const start = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1;
  if (start === 0 && !text.startsWith(`${key} `)) return undefined;
  return parseInt(text.slice(start + key.length + 1), 10);
}

function plain(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+\n?$/.test(text) ? Number(text) : undefined;
}

const scaled = (value: number | undefined, factor: number): number | undefined => value === undefined ? undefined : value * factor;

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
    userMs: scaled(keyed(cpu, 'user_usec'), 1e-3) ?? scaled(plain(texts.get('v1/cpuacct.usage_user')), 1e-6) ?? exit.userMs,
    systemMs: scaled(keyed(cpu, 'system_usec'), 1e-3) ?? scaled(plain(texts.get('v1/cpuacct.usage_sys')), 1e-6) ?? exit.systemMs,
    memoryPeak: plain(texts.get('unified/memory.peak')) ?? plain(texts.get('v1/memory.max_usage_in_bytes')) ?? (exit.maxRss || undefined),
    pidsPeak: plain(texts.get('unified/pids.peak')) ?? plain(texts.get('v1/pids.peak')),
    oomKills: keyed(texts.get('unified/memory.events'), 'oom_kill') ?? keyed(texts.get('v1/memory.oom_control'), 'oom_kill'),
  };
}
