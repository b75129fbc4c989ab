// How a container ended, as the launcher that watched it has written it.
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainedError } from '../errors.js';
import type { NativeExit } from '../native.js';
import type { ContainerRecord } from '../program/record.js';
import { keeperOf, lives, wholeOutcome, type Kept } from './records.js';

/** A line of numbers, and the counters: Container::record_end() of csrc/launcher/record.cc. */
export function exitOf(text: string): NativeExit {
  const end = text.indexOf('\n');
  const [status = -1, signal = 0, undoErrno = 0, userUs = 0, systemUs = 0, maxRss = 0, voluntarySwitches = 0, involuntarySwitches = 0, minorFaults = 0, majorFaults = 0] = end > 0 ? text.slice(0, end).split(' ').map(Number) : [];
  const ending = status & 0x7f;
  return {
    code: status >= 0 && ending === 0 ? status >> 8 : null,
    signal: status >= 0 ? ending : 0,
    requestedSignal: signal,
    lost: false, list: 0, index: 0, errno: 0, undoIndex: 0, undoErrno,
    userMs: userUs / 1000, systemMs: systemUs / 1000, maxRss: maxRss * 1024,
    voluntarySwitches, involuntarySwitches, minorFaults, majorFaults,
    counters: text.slice(end + 1),
  };
}

/** Not of one whose launcher was killed, and which ended while there was none. */
export const isKnown = ({ code, signal }: NativeExit): boolean => code !== null || signal !== 0;

/** How long another launcher needs to take over, in milliseconds. */
const SUCCESSION = 500;

export const unknownEnd = (id: string): ContainedError => new ContainedError({
  code: 'ECHILD', errno: -10, syscall: undefined, path: undefined, dest: undefined, step: `learn how the container ${id} has ended`,
  hint: 'the launcher that watched it was killed; `sweep()` takes away what is left of it',
});

/** What will be written there. Open from the beginning, since of a container that is not kept the file vanishes with the end. */
export class Ending {
  readonly #file: FileHandle;
  readonly #directory: string;
  readonly #record: ContainerRecord;

  private constructor(file: FileHandle, directory: string, record: ContainerRecord) {
    this.#file = file;
    this.#directory = directory;
    this.#record = record;
  }

  static async of({ directory, record }: Kept): Promise<Ending> {
    return new Ending(await open(join(directory, 'outcome'), 'r'), directory, record);
  }

  async #text(): Promise<string | undefined> {
    const { size } = await this.#file.stat();
    const { buffer, bytesRead } = await this.#file.read(Buffer.alloc(size), 0, size, 0);
    return wholeOutcome(buffer.toString('utf8', 0, bytesRead));
  }

  /** When that was written. */
  async time(): Promise<Date> {
    return (await this.#file.stat()).mtime;
  }

  /** Once the first process has ended: the launcher is at work on the rest. */
  async read(): Promise<NativeExit> {
    // After its launcher was killed its Node, if that goes on, starts another, which takes over: a moment without a keeper.
    for (let wait = 1, unkept = 0; ; wait = Math.min(wait * 2, 50)) {
      const living = lives(await keeperOf(this.#directory, this.#record));
      const text = await this.#text();
      const exit = text === undefined ? undefined : exitOf(text);
      if (exit && isKnown(exit)) return exit;
      unkept = living ? 0 : unkept + wait;
      if (exit || unkept > SUCCESSION) throw unknownEnd(this.#record.id);
      await sleep(wait);
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
