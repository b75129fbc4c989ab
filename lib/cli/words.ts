// Reports in words.
import type { Outcome, TraceEntry, Usage } from '../../types/contained.js';
import type { HostReport } from '../../types/probe.js';
import type { SweepReport } from '../../types/sweep.js';

export const milliseconds = (ms: number): string => `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    ++unit;
  }
  return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}

const SPANS: readonly [seconds: number, name: string][] = [[7 * 86400, 'week'], [86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']];

/** As `5 minutes`: since then, in the largest unit of which there are two. */
export function elapsed(since: Date, now = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - since.getTime()) / 1000));
  const [size, name] = SPANS.find(([span]) => seconds >= 2 * span) ?? [1, 'second'];
  const count = Math.floor(seconds / size);
  return count === 0 ? 'less than a second' : `${count} ${name}${count === 1 ? '' : 's'}`;
}

/** `1:02.50`, as ps and top write it. */
export function clock(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  return `${minutes}:${((ms - minutes * 60_000) / 1000).toFixed(2).padStart(5, '0')}`;
}

const how = ({ code, signal }: Outcome): string => signal === null ? `exit code ${code}` : signal;

function usage({ wallMs, userMs, systemMs, memoryPeak, pidsPeak, oomKills, throttledMs, ioReadBytes, ioWriteBytes }: Usage): string[] {
  return [
    `wall ${milliseconds(wallMs)}`,
    `user ${milliseconds(userMs)}`,
    `system ${milliseconds(systemMs)}`,
    ...memoryPeak === undefined ? [] : [`memory peak ${bytes(memoryPeak)}`],
    ...pidsPeak === undefined ? [] : [`pids peak ${pidsPeak}`],
    ...throttledMs ? [`throttled ${milliseconds(throttledMs)}`] : [],
    ...ioReadBytes === undefined ? [] : [`read ${bytes(ioReadBytes)}`],
    ...ioWriteBytes === undefined ? [] : [`written ${bytes(ioWriteBytes)}`],
    ...oomKills ? [`oom kills ${oomKills}`] : [],
  ];
}

export const statsLine = (outcome: Outcome): string =>
  [`${outcome.reason}, ${how(outcome)}`, ...usage(outcome.usage)].join('; ');

/** What the exit code alone does not tell. */
export function notice(outcome: Outcome): string | undefined {
  switch (outcome.reason) {
    case 'oom': return `out of memory: the kernel killed ${outcome.usage.oomKills === 1 ? 'a process' : `${outcome.usage.oomKills} processes`} in the container (${how(outcome)})`;
    case 'timeout': return `timed out after ${milliseconds(outcome.usage.wallMs)} (${how(outcome)})`;
    case 'cpu-timeout': return `used up its processor time: ${milliseconds(outcome.usage.userMs + outcome.usage.systemMs)} (${how(outcome)})`;
    case 'output': return `wrote more than is allowed: ended after ${passed(outcome)} (${how(outcome)})`;
    case 'seccomp': return `made a system call that a filter forbids (${how(outcome)})`;
    default: return outcome.output?.truncated ? `wrote more than is allowed: cut off after ${passed(outcome)}` : undefined;
  }
}

const passed = ({ output }: Outcome): string => bytes((output?.stdoutBytes ?? 0) + (output?.stderrBytes ?? 0));

/** Affinity masks and id maps are long, and a line of the table should stay one. */
const MOST = 80;
const clip = (text: string): string => text.length > MOST ? `${text.slice(0, MOST)}…` : text;

export function traceTable(trace: readonly TraceEntry[]): string {
  const line = (time: number, list: string, step: string): string => `${(time / 1e3).toFixed(1).padStart(9)} µs  ${list.padEnd(7)}  ${clip(step)}`;
  const total = trace.reduce((sum, { ns }) => sum + ns, 0);
  return [...trace.map(({ ns, list, step }) => line(ns, list, step)), line(total, 'all', `${trace.length} steps`)].join('\n');
}

export function probeTable({ kernel, node, mode, cgroups, abilities }: HostReport): string {
  const width = Math.max(...abilities.map(({ name }) => name.length));
  const rows = abilities.flatMap(({ name, available, detail, remedy }) => [
    `  ${available ? 'yes' : 'no '}  ${name.padEnd(width)}  ${detail}`,
    ...remedy === undefined ? [] : [`       ${' '.repeat(width)}  remedy: ${remedy}`],
  ]);
  return [`kernel ${kernel}, node ${node}, mode ${mode}, cgroups ${cgroups}`, ...rows].join('\n');
}

export function sweepList({ removed, killed, failed }: SweepReport): string {
  return [
    ...removed.map(path => `removed ${path}`),
    ...failed.map(({ path, error }) => `failed ${path}: ${error.message}`),
    `${removed.length} removed, ${killed} killed, ${failed.length} failed`,
  ].join('\n');
}

/** An Error has no fields that JSON would show. */
export const sweepJson = ({ removed, killed, failed }: SweepReport): object =>
  ({ removed, killed, failed: failed.map(({ path, error }) => ({ path, error: error.message })) });
