// The option `maxOutput`: what comes out of stdout and stderr is counted, and cut off, held back, or the end of the container.
import { Readable } from 'node:stream';
import type { OutputCount } from '../../types/contained.js';
import type { OutputSetting } from '../options/settings.js';

/** Most that is kept for a reader who does not read, so that a limit is noticed all the same; then the command waits. */
const MOST_KEPT = 16 * 2 ** 20;
const USUALLY_KEPT = 2 ** 16;

/** Milliseconds between two portions of what has a rate, and how much of a rate that was not used is made up for. */
const TICK = 20;
const SAVED = 0.1;

/** How long an end that does not come is waited for: who has left the container may still hold the pipe. */
const PATIENCE = 50;

type Name = 'stdout' | 'stderr';

/** How many of these bytes hold no more than `lines` newlines, and how many newlines that is. */
function linesIn(chunk: Buffer, lines: number): { size: number; found: number } {
  let size = 0, found = 0;
  while (found < lines) {
    const at = chunk.indexOf(10, size);
    if (at < 0) return { size: chunk.length, found };
    size = at + 1;
    ++found;
  }
  return { size, found };
}

/** What a stream says, as far as it is let through. */
class Governed extends Readable {
  readonly name: Name;
  readonly #source: Readable;
  readonly #governor: Governor;
  /** Read, and to be let through at its time. */
  #held: Buffer | undefined;
  #full = false;

  constructor(name: Name, source: Readable, governor: Governor, kept: number) {
    super({ highWaterMark: kept });
    this.name = name;
    this.#source = source;
    this.#governor = governor;
    source.on('data', (chunk: Buffer) => {
      this.#held = chunk;
      governor.move();
    });
    source.once('end', () => governor.move());
    source.once('error', error => this.destroy(error));
    source.once('close', () => governor.move());
    governor.move();
  }

  get #ended(): boolean {
    return this.#source.readableEnded || this.#source.destroyed;
  }

  /** Whether nothing more comes, or can come before somebody reads. */
  get still(): boolean {
    return this.destroyed || (this.#held === undefined && this.#ended) || (this.#full && !this.#governor.over);
  }

  /** Lets through what may be; returns whether something stays behind for want of allowance. */
  move(): boolean {
    if (this.destroyed) return false;
    if (this.#full && !this.#governor.over) {
      this.#source.pause();
      return false;
    }
    if (this.#held) {
      const chunk = this.#held;
      const part = this.#governor.portion(chunk.length);
      if (part > 0) {
        const kept = this.#governor.take(this.name, chunk.subarray(0, part));
        if (kept.length > 0 && !this.push(kept)) this.#full = true;
      }
      this.#held = part < chunk.length ? chunk.subarray(part) : undefined;
    }
    if (this.#held) this.#source.pause();
    else if (this.#ended) this.push(null);
    else if (!this.#full || this.#governor.over) this.#source.resume();
    return this.#held !== undefined;
  }

  override _read(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#governor.move();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#source.destroy();
    done(error);
    this.#governor.move();
  }
}

/** One for both streams of a container: the limits are of their sum. */
export class Governor {
  /** For the outcome; it goes on counting until the streams have ended. */
  readonly count: OutputCount = { stdoutBytes: 0, stderrBytes: 0, truncated: false };
  readonly #limit: OutputSetting;
  readonly #kill: () => void;
  readonly #streams: Governed[] = [];
  #bytes = 0;
  #lines = 0;
  #allowance = 0;
  #time = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #settle: (() => void) | undefined;
  #patience: NodeJS.Timeout | undefined;
  #moving = false;
  #again = false;
  #ended = false;

  constructor(limit: OutputSetting, kill: () => void) {
    this.#limit = limit;
    this.#kill = kill;
  }

  /** Whether a limit is passed: what comes now is read and dropped. */
  get over(): boolean {
    return this.count.truncated;
  }

  /** A stream in the place of that one. */
  watch(name: Name, source: Readable): Readable {
    const { bytes, lines } = this.#limit;
    const kept = bytes === Infinity && lines === Infinity ? USUALLY_KEPT : Math.min(bytes, MOST_KEPT) + 1;  // or the one byte too many would not be seen
    const stream = new Governed(name, source, this, kept);
    this.#streams.push(stream);
    return stream;
  }

  /** How many of `wanted` bytes the rate allows now. */
  portion(wanted: number): number {
    const { rate } = this.#limit;
    // What is dropped need not wait when there is nobody any more to be held back.
    if (rate === Infinity || (this.over && this.#ended)) return wanted;
    const now = performance.now();
    this.#allowance = Math.min(this.#allowance + (now - this.#time) * rate / 1000, Math.max(1, rate * SAVED));
    this.#time = now;
    const part = Math.min(wanted, Math.floor(this.#allowance));
    this.#allowance -= part;
    return part;
  }

  /** Counts; returns what of it is delivered. */
  take(name: Name, chunk: Buffer): Buffer {
    if (this.over) return chunk.subarray(0, 0);
    const { size, found } = this.#limit.lines === Infinity ? { size: chunk.length, found: 0 } : linesIn(chunk, this.#limit.lines - this.#lines);
    const kept = chunk.subarray(0, Math.min(size, this.#limit.bytes - this.#bytes));
    this.#bytes += kept.length;
    this.#lines += found;
    this.count[`${name}Bytes`] += kept.length;
    if (kept.length < chunk.length) {
      this.count.truncated = true;
      if (this.#limit.kill) this.#kill();
    }
    return kept;
  }

  /** Lets each stream go on as far as it may. */
  move(): void {
    this.#again = true;
    // From within, as by a reader who destroys one of them.
    if (this.#moving) return;
    this.#moving = true;
    try {
      while (this.#again) this.#round();
    } finally {
      this.#moving = false;
    }
    if (this.#settle && this.#streams.every(({ still }) => still)) this.#finish();
  }

  #round(): void {
    const before = this.over;
    this.#again = false;
    const waiting = this.#streams.filter(stream => stream.move());
    // The other one is not held back for its reader any more.
    if (this.over && !before) this.#again = true;
    if (waiting.length === 0) return;
    // They take turns at being the first to use what the rate allows.
    this.#streams.reverse();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.move();
    }, TICK);
  }

  /** Calls back when the container has ended and what it had written has been counted, so that a limit is noticed that it has passed at its end. */
  settle(done: () => void): void {
    this.#ended = true;
    // What has a rate is not waited for.
    if (this.#limit.rate !== Infinity) return void setImmediate(done);
    this.#settle = done;
    // If the event loop was held up, what is there to be read is read first.
    this.#patience = setTimeout(() => setImmediate(() => this.#finish()), PATIENCE);
    setImmediate(() => this.move());
  }

  #finish(): void {
    const done = this.#settle;
    this.#settle = undefined;
    clearTimeout(this.#patience);
    done?.();
  }
}
