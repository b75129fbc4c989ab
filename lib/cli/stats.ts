// `contained stats`: what containers use.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Stats, StatsStep } from '../../types/live.js';
import { containers } from '../attach.js';
import { ContainedError } from '../errors.js';
import { stepOf } from '../live/stats.js';
import type { Command } from './command.js';
import { CounterTable, WITH_NETWORK } from './counters.js';
import { print, printed, untilInterrupted } from './output.js';
import { painter } from './screen.js';
import { find, findRunning, ID, noteFailure, runs, type Target } from './targets.js';
import { duration } from './values.js';

interface Given {
  json?: boolean;
  interval?: number;
  stream?: boolean;
}

interface Watched extends Target {
  before: Stats | undefined;
}

/** Undefined when it has ended. */
const read = (target: Target): Promise<Stats | undefined> => target.child.stats().catch((error: unknown) => {
  if (error instanceof ContainedError && error.code === 'ESRCH') return undefined;
  throw error;
});

const codesOfAbsence = ['ENOENT', 'ESRCH'];

/** Those that are named, or all that run, also those that begin later. */
class Watch {
  readonly #all: boolean;
  #watched: Watched[] = [];

  constructor(named: readonly Target[] | undefined) {
    this.#all = named === undefined;
    this.#watched = (named ?? []).map(target => ({ ...target, before: undefined }));
  }

  async #look(): Promise<void> {
    if (!this.#all) return;
    const known = new Set(this.#watched.map(({ id }) => id));
    for (const { id } of (await containers()).filter(info => runs(info) && !known.has(info.id))) {
      const target = await find(id).catch((error: unknown) => {
        if (error instanceof ContainedError && codesOfAbsence.includes(error.code)) return undefined;
        throw error;
      });
      if (target) this.#watched.push({ ...target, before: undefined });
    }
  }

  /** The names, and what was used since the last round; undefined: none is left to watch. */
  async round(): Promise<{ id: string; reading: Stats | StatsStep }[] | undefined> {
    await this.#look();
    const readings = await Promise.all(this.#watched.map(async watched => ({ watched, now: await read(watched) })));
    const there = readings.flatMap(({ watched, now }) => now ? [{ watched, now }] : []);
    this.#watched = there.map(({ watched, now }) => ({ ...watched, before: now }));
    if (there.length === 0 && !this.#all) return undefined;
    return there.map(({ watched: { id, before }, now }) => ({ id, reading: before ? stepOf(now, before) : now }));
  }
}

async function named(words: readonly string[]): Promise<{ found: Target[]; failed: boolean }> {
  const found: Target[] = [];
  for (const id of new Set(words)) await findRunning(id, 'read what is used by').then(target => found.push(target), (error: unknown) => noteFailure(id, error));
  return { found, failed: found.length < new Set(words).size };
}

async function show(watch: Watch, { json = false, interval = 1000, stream = true }: Given): Promise<void> {
  const live = stream && !json && process.stdout.isTTY;
  const paint = painter();
  let headed = json;
  for (let first = true; ; first = false) {
    const round = await watch.round();
    if (!round) return;
    const table = new CounterTable(WITH_NETWORK, round.map(({ id }) => id));
    const lines = json ? round.map(({ id, reading }) => JSON.stringify({ id, ...reading })) : round.map(({ id, reading }) => table.line(id, reading));
    // There is nothing to compare the first with, but a terminal should not be empty meanwhile.
    if (live) await paint([table.head(), ...lines]);
    else if (!first && (lines.length > 0 || !headed)) {
      await printed([...headed ? [] : [table.head()], ...lines].join('\n'));
      headed = true;
    }
    if (!first && !stream) return;
    await sleep(interval);
  }
}

export const STATS: Command<Given> = {
  usage: '[NAME...]', about: 'what containers use', words: ['running'], options: ID,
  more: 'Of all that run, or of those named: on a terminal a table that is kept up to date, in a pipe a line each time. CPU is in percent of one processor; what the host does not tell is a dash. It ends with the last of those named, or with ^C.',
  flags: [
    { name: 'interval', argument: 'TIME', section: 'Flags', option: 'interval', help: 'time between readings, as 500 (ms), 5s (default: 1s)', read: text => ({ interval: duration(text) }) },
    { name: 'no-stream', section: 'Flags', option: 'stream', help: 'one reading, after one interval, and no more', read: on => ({ stream: !on }) },
    { name: 'json', section: 'Flags', option: 'json', help: 'an object in each line', read: on => ({ json: on }) },
  ],
  async act(words, given) {
    if (words.length === 0) {
      if (given.stream === false && !(await containers()).some(runs)) {
        if (!given.json) print(new CounterTable(WITH_NETWORK, []).head());
        return 0;
      }
      return await untilInterrupted(() => show(new Watch(undefined), given));
    }
    const { found, failed } = await named(words);
    const code = found.length === 0 ? 0 : await untilInterrupted(() => show(new Watch(found), given));
    return failed ? 1 : code;
  },
};
