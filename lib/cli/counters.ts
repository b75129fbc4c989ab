// Counters of groups and containers in columns.
import type { CgroupStats, CgroupStatsStep } from '../../types/cgroup.js';
import type { StatsStep } from '../../types/live.js';
import { printable } from './columns.js';
import { bytes, milliseconds } from './words.js';

export type Reading = CgroupStats & { delta?: CgroupStatsStep['delta'] & Partial<Pick<StatsStep['delta'], 'rxBytes' | 'txBytes'>> };

const or = <T>(value: T | undefined, text: (value: T) => string): string => value === undefined ? '-' : text(value);
const perSecond = (count: number | undefined, timeMs: number): string => or(count, n => bytes(Math.round(n * 1000 / timeMs)));

/** Title and width; the name is as wide as it must be. */
type Columns = readonly (readonly [title: string, width: number, text: (reading: Reading) => string])[];

export const COUNTERS: Columns = [
  ['CPU', 8, ({ delta }) => or(delta?.cpus, cpus => `${(cpus * 100).toFixed(1)}%`)],
  ['MEMORY', 11, ({ memory }) => or(memory.current, bytes)],
  ['PEAK', 11, ({ memory }) => or(memory.peak, bytes)],
  ['PIDS', 6, ({ pids }) => or(pids.current, String)],
  ['READ/s', 11, ({ delta }) => or(delta, ({ readBytes, timeMs }) => perSecond(readBytes, timeMs))],
  ['WRITE/s', 11, ({ delta }) => or(delta, ({ writeBytes, timeMs }) => perSecond(writeBytes, timeMs))],
  ['THROTTLED', 11, ({ cpu }) => or(cpu.throttledMs, milliseconds)],
  ['OOM KILLS', 11, ({ memory }) => or(memory.events.oomKill, String)],
];

/** No group counts what a network has carried. */
export const WITH_NETWORK: Columns = [
  ...COUNTERS.slice(0, 6),
  ['NET IN/s', 11, ({ delta }) => or(delta, ({ rxBytes, timeMs }) => perSecond(rxBytes, timeMs))],
  ['NET OUT/s', 11, ({ delta }) => or(delta, ({ txBytes, timeMs }) => perSecond(txBytes, timeMs))],
];

export class CounterTable {
  readonly #columns: Columns;
  readonly #width: number;

  constructor(columns: Columns, words: readonly string[]) {
    this.#columns = columns;
    this.#width = Math.max('NAME'.length, ...words.map(word => printable(word).length));
  }

  head(): string {
    return 'NAME'.padEnd(this.#width) + this.#columns.map(([title, width]) => title.padStart(width)).join('');
  }

  line(word: string, reading: Reading): string {
    return printable(word).padEnd(this.#width) + this.#columns.map(([, width, text]) => text(reading).padStart(width)).join('');
  }
}
