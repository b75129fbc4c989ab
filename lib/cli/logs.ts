// `contained logs`: what a detached container has written.
import type { LogEntry } from '../../types/registry.js';
import type { Command } from './command.js';
import { untilInterrupted, writtenTo } from './output.js';
import { find, ID, one } from './targets.js';
import { duration, integer, UsageError } from './values.js';

interface Given {
  follow?: boolean;
  since?: Date;
  tail?: number;
  timestamps?: boolean;
}

/** `10m` ago, or a time as `2026-01-31T12:00`. */
function moment(text: string): Date {
  if (/^\d+(\.\d+)?(ms|s|m|h)$/.test(text)) return new Date(Date.now() - duration(text));
  const date = new Date(/^\d+$/.test(text) ? Number(text) * 1000 : text);
  if (Number.isNaN(date.getTime())) throw new UsageError(`expected a time as 2026-01-31T12:00, seconds since 1970, or how long ago, as 10m, got ${JSON.stringify(text)}`);
  return date;
}

function lineCount(text: string): number {
  if (text === 'all') return Infinity;
  const count = integer(text);
  return count < 0 ? Infinity : count;
}

const NEWLINE = 0x0a;

/** Where the lines of a chunk begin: 0, and behind each newline that something follows. */
function starts(data: Buffer): number[] {
  const found = [0];
  for (let at = data.indexOf(NEWLINE); at >= 0 && at + 1 < data.length; at = data.indexOf(NEWLINE, at + 1)) found.push(at + 1);
  return found;
}

type Stream = LogEntry['stream'];

/** Which of the chunks begin in the middle of a line. */
class Lines {
  readonly #open = new Set<Stream>();

  /** The pieces of a chunk, each with whether a line begins there. */
  split({ stream, data }: LogEntry): { piece: Buffer; begins: boolean }[] {
    const at = starts(data);
    const pieces = at.map((start, i) => ({ piece: data.subarray(start, at[i + 1]), begins: i > 0 || !this.#open.has(stream) }));
    if (data.at(-1) === NEWLINE) this.#open.delete(stream);
    else this.#open.add(stream);
    return pieces;
  }
}

/** The last lines of what is there, and up to where that was: the entries of the last millisecond have to be counted. */
async function lastLines(entries: AsyncIterable<LogEntry>, most: number): Promise<{ kept: LogEntry[]; until: Date | undefined; seen: number }> {
  const lines = new Lines();
  const kept: { entry: LogEntry; begins: boolean }[] = [];
  let count = 0, seen = 0;
  let until: Date | undefined;
  for await (const entry of entries) {
    seen = until?.getTime() === entry.time.getTime() ? seen + 1 : 1;
    until = entry.time;
    for (const { piece, begins } of lines.split(entry)) {
      kept.push({ entry: { ...entry, data: piece }, begins });
      if (begins) ++count;
    }
    while (count > most || (kept[0] && !kept[0].begins)) if (kept.shift()!.begins) --count;
  }
  return { kept: kept.map(({ entry }) => entry), until, seen };
}

async function show(id: string, { follow = false, since, tail = Infinity, timestamps = false }: Given): Promise<void> {
  const { child } = await find(id);
  const lines = new Lines();
  const write = async (entry: LogEntry): Promise<void> => {
    const head = `${entry.time.toISOString()} `;
    const data = timestamps ? Buffer.concat(lines.split(entry).flatMap(({ piece, begins }) => begins ? [Buffer.from(head), piece] : [piece])) : entry.data;
    await writtenTo(process[entry.stream], data);
  };
  const from = (date: Date | undefined): { since?: Date } => date ? { since: date } : {};
  let rest = child.logs({ follow, ...from(since) });
  let skip = 0;
  if (tail !== Infinity) {
    const { kept, until, seen } = await lastLines(child.logs(from(since)), tail);
    for (const entry of kept) await write(entry);
    if (!follow) return;
    rest = child.logs({ follow, ...from(until ?? since) });
    skip = seen;
  }
  for await (const entry of rest) if (skip-- <= 0) await write(entry);
}

export const LOGS: Command<Given> = {
  usage: 'NAME', about: 'what a detached container has written', words: ['container'], options: ID,
  more: 'What came by its standard output is printed to ours, and what came by its standard error to that.',
  flags: [
    { name: 'follow', short: 'f', section: 'Flags', option: 'follow', help: 'go on until the container has ended', read: on => ({ follow: on }) },
    { name: 'tail', short: 'n', argument: 'NUMBER', section: 'Flags', option: 'tail', help: 'only the last lines; all or -1: all (default: all)', read: text => ({ tail: lineCount(text) }) },
    { name: 'since', argument: 'TIME', section: 'Flags', option: 'since', help: 'nothing that is older: a time as 2026-01-31T12:00, or how long ago, as 10m', read: text => ({ since: moment(text) }) },
    { name: 'timestamps', short: 't', section: 'Flags', option: 'timestamps', help: 'the time before each line', read: on => ({ timestamps: on }) },
  ],
  act: async (words, given) => await untilInterrupted(() => show(one(words), given)),
};
