// What goes on: `contained cgroup stats` and `events`.
import type { Cgroup, CgroupEvent, CgroupStats, CgroupStatsStep } from '../../types/cgroup.js';
import { printable } from './columns.js';
import { printed, untilInterrupted } from './output.js';
import { bytes, milliseconds } from './words.js';

/** A group, and the word that it was named by. */
export interface Named {
  word: string;
  group: Cgroup;
}

type Reading = CgroupStats & Partial<Pick<CgroupStatsStep, 'delta'>>;

const or = <T>(value: T | undefined, text: (value: T) => string): string => value === undefined ? '-' : text(value);
const perSecond = (count: number | undefined, timeMs: number): string => or(count, n => bytes(Math.round(n * 1000 / timeMs)));

/** Title and width; the name is as wide as it must be. */
const COLUMNS: readonly [title: string, width: number, text: (reading: Reading) => string][] = [
  ['CPU', 8, ({ delta }) => or(delta?.cpus, cpus => `${(cpus * 100).toFixed(1)}%`)],
  ['MEMORY', 11, ({ memory }) => or(memory.current, bytes)],
  ['PEAK', 11, ({ memory }) => or(memory.peak, bytes)],
  ['PIDS', 6, ({ pids }) => or(pids.current, String)],
  ['READ/s', 11, ({ delta }) => or(delta, ({ readBytes, timeMs }) => perSecond(readBytes, timeMs))],
  ['WRITE/s', 11, ({ delta }) => or(delta, ({ writeBytes, timeMs }) => perSecond(writeBytes, timeMs))],
  ['THROTTLED', 11, ({ cpu }) => or(cpu.throttledMs, milliseconds)],
  ['OOM KILLS', 11, ({ memory }) => or(memory.events.oomKill, String)],
];

class Table {
  readonly #width: number;

  constructor(words: readonly string[]) {
    this.#width = Math.max('NAME'.length, ...words.map(word => printable(word).length));
  }

  head(): string {
    return 'NAME'.padEnd(this.#width) + COLUMNS.map(([title, width]) => title.padStart(width)).join('');
  }

  line(word: string, reading: Reading): string {
    return printable(word).padEnd(this.#width) + COLUMNS.map(([, width, text]) => text(reading).padStart(width)).join('');
  }
}

type Round = readonly { word: string; reading: Reading }[];

/** Readings of all groups at once, of those that are still there. */
async function* rounds(series: readonly { word: string; steps: AsyncIterator<CgroupStatsStep> }[]): AsyncGenerator<Round> {
  for (let running = series; ;) {
    const results = await Promise.all(running.map(async one => ({ ...one, result: await one.steps.next() })));
    const readings = results.flatMap(({ word, result }) => result.done ? [] : [{ word, reading: result.value }]);
    if (readings.length === 0) return;
    yield readings;
    running = results.filter(({ result }) => !result.done);
  }
}

/** In the place of what it has drawn before; what is too long or too wide for the terminal is cut off, or it would wrap. */
function painter(): (lines: readonly string[]) => Promise<void> {
  let above = 0;
  return async lines => {
    const { rows = 24, columns = 80 } = process.stdout;
    const shown = lines.slice(0, Math.max(1, rows - 1)).map(line => line.slice(0, Math.max(1, columns)));
    await printed(`${above > 0 ? `\x1b[${above}A` : ''}\r\x1b[J${shown.join('\n')}\n`);
    above = shown.length;
  };
}

export interface StatsFlags {
  json?: boolean;
  interval?: number;
  stream?: boolean;
}

export function showStats(groups: readonly Named[], { json = false, interval = 1000, stream = true }: StatsFlags): Promise<number> {
  const table = new Table(groups.map(({ word }) => word));
  const lines = (round: Round): string[] => round.map(({ word, reading }) => table.line(word, reading));
  return untilInterrupted(async () => {
    const series = groups.map(({ word, group }) => ({ word, steps: group.stats({ interval })[Symbol.asyncIterator]() }));
    const live = stream && !json && process.stdout.isTTY;
    const paint = painter();
    // So that a terminal is not empty until the first interval is over.
    if (live) await paint([table.head(), ...lines(await Promise.all(groups.map(async ({ word, group }) => ({ word, reading: await group.stats() }))))]);
    let head = json ? [] : [table.head()];
    for await (const round of rounds(series)) {
      if (live) await paint([table.head(), ...lines(round)]);
      else await printed([...head, ...json ? round.map(({ word, reading }) => JSON.stringify({ name: word, ...reading })) : lines(round)].join('\n'));
      head = [];
      if (!stream) return;
    }
  });
}

function detail(event: CgroupEvent): string {
  switch (event.type) {
    case 'populated': case 'frozen': return ` ${event.value}`;
    case 'memoryPressure': return ` ${event.level}`;
    case 'removed': return '';
    default: return ` ${event.count}`;
  }
}

export function showEvents(group: Cgroup, json = false): Promise<number> {
  return untilInterrupted(async () => {
    for await (const event of group.events()) {
      const time = new Date().toISOString();
      await printed(json ? JSON.stringify({ time, ...event }) : `${time} ${event.type}${detail(event)}`);
    }
  });
}
