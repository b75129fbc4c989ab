// The option `cpuTimeout`: what the container has used is looked at before it can have used it all.
import { processors } from '../host/processors.js';
import { keyed, scaled, single } from '../host/texts.js';
import { openFiles } from '../native.js';

/** Milliseconds of processor time so far; undefined where that cannot be told now. Read off the event loop. */
export interface TimeReader {
  /** Milliseconds between two readings at most, where what is over before it is read is lost. */
  readonly longest?: number;
  read(): Promise<number | undefined>;
  /** What it has seen that nobody else will tell. */
  seen?(): { userMs: number; systemMs: number };
  close(): void;
}

/** By the file of a group: `cpu.stat` of v2, `cpuacct.usage` of v1. */
export class GroupTime implements TimeReader {
  readonly #file;

  constructor(path: string) {
    this.#file = openFiles([path]);
  }

  async read(): Promise<number | undefined> {
    const [text] = await this.#file.read();
    return typeof text === 'string' ? scaled(keyed(text, 'usage_usec'), 1e-3) ?? scaled(single(text), 1e-6) : undefined;
  }

  close(): void {
    this.#file.close();
  }
}

/** Milliseconds between two readings at least, and at most while nothing is used. */
const SHORTEST = 4;
const QUIET = 20;

/** Its timer does not keep Node running, see `Deadline`. */
export class TimeLimit {
  readonly #limit: number;
  readonly #reader: TimeReader;
  readonly #end: () => void;
  #timer: NodeJS.Timeout | undefined;
  #used = 0;
  #quiet = SHORTEST;
  #over = false;

  constructor(limit: number, reader: TimeReader, end: () => void) {
    this.#limit = limit;
    this.#reader = reader;
    this.#end = end;
    this.#wait();
  }

  get seen(): { userMs: number; systemMs: number } | undefined {
    return this.#reader.seen?.();
  }

  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#reader.close();
  }

  /** Until then even all processors together cannot use up what is left. */
  #wait(): void {
    const ms = Math.max(this.#quiet, Math.min((this.#limit - this.#used) / processors(), this.#reader.longest ?? Infinity));
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  async #look(): Promise<void> {
    const used = await this.#reader.read();
    // The reading may have opened the file once more.
    if (this.#over) return this.#reader.close();
    if (used !== undefined && used >= this.#limit) {
      this.stop();
      return this.#end();
    }
    // Who sleeps just below the limit is not to be looked at 250 times a second.
    this.#quiet = used !== undefined && used > this.#used ? SHORTEST : Math.min(this.#quiet * 2, QUIET);
    this.#used = used ?? this.#used;
    this.#wait();
  }
}
