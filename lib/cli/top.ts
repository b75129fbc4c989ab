// `contained top`: the processes of a container.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contained } from '../../types/contained.js';
import type { ContainedProcessInfo } from '../../types/live.js';
import { ContainedError } from '../errors.js';
import { printable, table } from './columns.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { onScreen } from './screen.js';
import { findRunning, ID, one } from './targets.js';
import { duration } from './values.js';
import { bytes, clock } from './words.js';

interface Given {
  json?: boolean;
  interval?: number;
  stream?: boolean;
}

/** Processor time by process, in milliseconds, when it was read. */
interface Reading {
  at: number;
  used: ReadonlyMap<number, number>;
}

const timeOf = ({ userMs, systemMs }: ContainedProcessInfo): number => userMs + systemMs;

const readingOf = (processes: readonly ContainedProcessInfo[]): Reading =>
  ({ at: performance.now(), used: new Map(processes.map(process => [process.pid, timeOf(process)])) });

/** Percent of one processor since the reading before, or since it was started. */
function share(process: ContainedProcessInfo, now: Reading, before: Reading | undefined): number {
  const used = before?.used.get(process.pid);
  // Less than before is another process of that number.
  const [time, past] = before && used !== undefined && used <= timeOf(process) ? [timeOf(process) - used, now.at - before.at] : [timeOf(process), Date.now() - process.started.getTime()];
  return past > 0 ? Math.min(100 * time / past, 100 * process.threads) : 0;
}

const TITLES = ['PID', 'INNER', 'UID', 'STATE', 'THREADS', 'CPU', 'TIME', 'MEMORY', 'COMMAND'] as const;
const NUMBERS = TITLES.filter(title => title !== 'STATE' && title !== 'COMMAND');

function rowOf(process: ContainedProcessInfo, cpu: number): string[] {
  const { pid, innerPid, uid, state, threads, rss, name, command } = process;
  const words = command === undefined || command.length === 0 ? `[${name}]` : command.join(' ');
  return [String(pid), String(innerPid ?? '-'), String(uid ?? '-'), state, String(threads), `${cpu.toFixed(1)}%`, clock(timeOf(process)), bytes(rss), printable(words)];
}

function linesOf(processes: readonly ContainedProcessInfo[], before: Reading | undefined, busiest: boolean): { lines: string[]; now: Reading; total: number } {
  const now = readingOf(processes);
  const shares = processes.map(process => ({ process, cpu: share(process, now, before) }));
  if (busiest) shares.sort((a, b) => b.cpu - a.cpu || a.process.pid - b.process.pid);
  return { lines: table(TITLES, shares.map(({ process, cpu }) => rowOf(process, cpu)), NUMBERS).split('\n'), now, total: shares.reduce((sum, { cpu }) => sum + cpu, 0) };
}

async function live(id: string, child: Contained, interval: number): Promise<number> {
  let over = false;
  child.exited.then(() => { over = true; }, () => { over = true; });
  return await onScreen(async draw => {
    for (let before: Reading | undefined; !over; await sleep(interval)) {
      const processes = await child.processes().catch((error: unknown) => {
        if (error instanceof ContainedError && error.code === 'ESRCH') return undefined;
        throw error;
      });
      if (!processes) return;
      const { lines, now, total } = linesOf(processes, before, true);
      await draw([`${id}: ${processes.length} ${processes.length === 1 ? 'process' : 'processes'}, ${total.toFixed(1)}% of a processor; q quits`, '', ...lines]);
      before = now;
    }
  });
}

export const TOP: Command<Given> = {
  usage: 'NAME', about: 'the processes of a container', words: ['running'], options: ID,
  more: 'On a terminal a screen that is kept up to date, the busiest first, until q, ^C or the end of the container; in a pipe a table. PID is that on the host, INNER that inside; CPU is in percent of one processor, since the last look or, at first, since the process began.',
  flags: [
    { name: 'interval', short: 'd', argument: 'TIME', section: 'Flags', option: 'interval', help: 'time between looks, as 500 (ms), 5s (default: 2s)', read: text => ({ interval: duration(text) }) },
    { name: 'no-stream', section: 'Flags', option: 'stream', help: 'one table on a terminal too', read: on => ({ stream: !on }) },
    { name: 'json', section: 'Flags', option: 'json', help: 'a list of objects, with all that is known of each', read: on => ({ json: on }) },
  ],
  async act(words, { json = false, interval = 2000, stream = true }) {
    const id = one(words);
    const { child } = await findRunning(id, 'list the processes of');
    if (stream && !json && process.stdout.isTTY) return await live(id, child, interval);
    const processes = await child.processes();
    if (json) printJson(processes);
    else print(linesOf(processes, undefined, false).lines.join('\n'));
    return 0;
  },
};
