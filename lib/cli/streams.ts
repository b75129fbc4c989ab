// What goes on: `contained cgroup stats` and `events`.
import type { Cgroup, CgroupEvent, CgroupStatsStep } from '../../types/cgroup.js';
import { COUNTERS, CounterTable, type Reading } from './counters.js';
import { printed, untilInterrupted } from './output.js';
import { painter } from './screen.js';

/** A group, and the word that it was named by. */
export interface Named {
  word: string;
  group: Cgroup;
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

export interface StatsFlags {
  json?: boolean;
  interval?: number;
  stream?: boolean;
}

export function showStats(groups: readonly Named[], { json = false, interval = 1000, stream = true }: StatsFlags): Promise<number> {
  const table = new CounterTable(COUNTERS, groups.map(({ word }) => word));
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
