// The processor time of a pid namespace where no group counts it: the sum over its processes, proc_pid_stat(5).
import { readdir } from 'node:fs/promises';
import { openFiles } from '../native.js';
import type { TimeReader } from './cputime.js';

/** sysconf(_SC_CLK_TCK) is 100 on all of Linux: USER_HZ, include/asm-generic/param.h. */
const MS_PER_TICK = 10;

interface Stat {
  parent: number;
  start: string;
  /** Its own time and that of the children it has waited for. */
  userMs: number;
  systemMs: number;
}

/** The name may hold spaces and parentheses; behind it stand the fields from the third on. */
function statOf(text: string): Stat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ms = (own: number, children: number): number => (Number(fields[own]) + Number(fields[children])) * MS_PER_TICK;
  return { parent: Number(fields[1]), start: fields[19]!, userMs: ms(11, 13), systemMs: ms(12, 14) };
}

/**
 * Who is orphaned in a pid namespace goes to its init, so that all of its processes are descendants of that. The readings of
 * one round are not of one moment: a child that is waited for meanwhile is counted twice, or not at all. So two rounds must say
 * a thing. And a sum that goes down has lost children whose parent ignores SIGCHLD, who are counted nowhere
 * (getrusage(2), NOTES): that is remembered.
 */
export class ProcessTimes implements TimeReader {
  readonly longest = 100;
  readonly #init: () => number | undefined;
  /** When each that was found to be in it was started. */
  readonly #members = new Map<number, string>();
  #others = new Set<number>();
  #sure = 0;
  #lost = 0;
  #userShare = 0;

  constructor(init: () => number | undefined) {
    this.#init = init;
  }

  async read(): Promise<number | undefined> {
    const init = this.#init();
    if (init === undefined) return undefined;
    const one = await this.#sum(init), other = await this.#sum(init);
    if (one === undefined || other === undefined) return undefined;
    const low = Math.min(one, other), high = Math.max(one, other);
    if (high < this.#sure) this.#lost += this.#sure - high;
    this.#sure = high < this.#sure ? high : Math.max(this.#sure, low);
    return this.#sure + this.#lost;
  }

  /** Who dies with its pid namespace is waited for by nobody, so that the rusage of its init does not tell of it. */
  seen(): { userMs: number; systemMs: number } {
    const all = this.#sure + this.#lost;
    return { userMs: all * this.#userShare, systemMs: all * (1 - this.#userShare) };
  }

  close(): void {}

  async #sum(init: number): Promise<number | undefined> {
    const pids = (await readdir('/proc').catch(() => [])).map(Number).filter(pid => pid > 0);
    const stats = await this.#stats(pids.filter(pid => !this.#others.has(pid)));
    if (!stats.has(init)) return undefined;
    const there = new Set(pids);
    this.#others = new Set([...this.#others].filter(pid => there.has(pid)));
    const inside = (pid: number, stat: Stat): boolean | undefined => {
      if (pid === init || this.#members.get(pid) === stat.start) return true;
      if (stat.parent === 0 || this.#others.has(stat.parent)) return false;
      const parent = stats.get(stat.parent);
      return parent && inside(stat.parent, parent);
    };
    let user = 0, system = 0;
    for (const [pid, stat] of stats) {
      const found = inside(pid, stat);
      if (found) {
        this.#members.set(pid, stat.start);
        user += stat.userMs;
        system += stat.systemMs;
      } else if (found === false) {
        this.#others.add(pid);
      }
    }
    for (const pid of this.#members.keys()) if (!stats.has(pid)) this.#members.delete(pid);
    if (user + system > 0) this.#userShare = user / (user + system);
    return user + system;
  }

  async #stats(pids: readonly number[]): Promise<Map<number, Stat>> {
    const files = openFiles(pids.map(pid => `/proc/${pid}/stat`));
    const texts = await files.read();
    files.close();
    return new Map(pids.flatMap((pid, i) => {
      const text = texts[i];
      return typeof text === 'string' && text !== '' ? [[pid, statOf(text)] as const] : [];
    }));
  }
}
