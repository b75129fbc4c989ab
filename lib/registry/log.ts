// What a detached container has written: records that its launcher appends to `log`; when that is full it becomes `log.1`.
import { watch } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { LogEntry, LogOptions } from '../../types/registry.js';

/** csrc/launcher/record.cc: nanoseconds since 1970, which stream, how many bytes. */
const HEAD = 16;
const CHUNK = 1 << 18;

function entryOf(head: Buffer, data: Buffer): LogEntry {
  return { time: new Date(Number(head.readBigUInt64LE(0) / 1_000_000n)), stream: head.readUInt32LE(8) === 2 ? 'stderr' : 'stdout', data };
}

/** One of the two files, read as it grows. */
class LogFile {
  readonly #file: FileHandle;
  #at = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async inode(): Promise<number> {
    return (await this.#file.stat()).ino;
  }

  /** The records that are there by now; one that is being written comes the next time. */
  async *entries(): AsyncGenerator<LogEntry> {
    for (let left = Buffer.alloc(0); ;) {
      const { buffer, bytesRead } = await this.#file.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, this.#at + left.length);
      if (bytesRead === 0) return;
      left = Buffer.concat([left, buffer.subarray(0, bytesRead)]);
      while (left.length >= HEAD && left.length >= HEAD + left.readUInt32LE(12)) {
        const end = HEAD + left.readUInt32LE(12);
        yield entryOf(left.subarray(0, HEAD), left.subarray(HEAD, end));
        this.#at += end;
        left = left.subarray(end);
      }
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function openLog(path: string): Promise<LogFile | undefined> {
  try {
    return new LogFile(await open(path, 'r'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Resolves when something has changed in the directory since the last time, or it is said to be over. */
class Changes {
  #changed = false;
  #over = false;
  #wake: (() => void) | undefined;
  readonly #watcher;
  readonly #signal: AbortSignal | undefined;
  readonly #end = (): void => { this.#over = true; this.#wake?.(); };

  constructor(directory: string, ended: Promise<unknown>, signal: AbortSignal | undefined) {
    this.#watcher = watch(directory, () => { this.#changed = true; this.#wake?.(); }).on('error', this.#end);
    this.#signal = signal;
    void ended.then(this.#end, this.#end);
    if (signal?.aborted) this.#end();
    signal?.addEventListener('abort', this.#end, { once: true });
  }

  /** Whether there is more to come. */
  async next(): Promise<boolean> {
    if (this.#over) return false;
    if (!this.#changed) await new Promise<void>(resolve => { this.#wake = resolve; });
    this.#changed = false;
    return true;
  }

  close(): void {
    this.#watcher.close();
    this.#signal?.removeEventListener('abort', this.#end);
  }
}

/** Both as they stand at one moment: the newer, and what it has taken the place of. */
async function openBoth(path: string): Promise<{ newer: LogFile | undefined; older: LogFile | undefined }> {
  for (let tries = 0; ; ++tries) {
    const newer = await openLog(path), older = await openLog(`${path}.1`);
    const now = await stat(path).catch(() => undefined);
    if (newer && (!now || now.ino === await newer.inode())) return { newer, older };
    // For a moment there is only the older; for longer when a launcher was killed in it.
    if (!newer && (!older || tries > 100)) return { newer: older, older: undefined };
    await Promise.all([newer?.close(), older?.close()]);
  }
}

async function* following(path: string, ended: Promise<unknown>, { follow = false, signal }: LogOptions): AsyncGenerator<LogEntry> {
  const changes = follow ? new Changes(dirname(path), ended, signal) : undefined;
  let { newer, older } = await openBoth(path);
  try {
    if (older && newer) yield* older.entries();
    for (let more = true; newer;) {
      yield* newer.entries();
      const next = await openBoth(path);
      const before = newer;
      const turned = next.newer !== undefined && await next.newer.inode() !== await before.inode();
      if (turned) yield* before.entries();  // what came before it was turned over
      // It may have been turned over twice; what three times is gone.
      if (turned && next.older && await next.older.inode() !== await before.inode()) yield* next.older.entries();
      await next.older?.close();
      if (!turned) await next.newer?.close();
      else {
        newer = next.newer;
        await before.close();
        continue;
      }
      if (!more) return;
      more = await changes?.next() ?? false;
    }
  } finally {
    changes?.close();
    await Promise.all([older?.close(), newer?.close()]);
  }
}

/** `ended`: when nothing more is written. */
export async function* readLog(path: string, ended: Promise<unknown>, options: LogOptions): AsyncGenerator<LogEntry> {
  for await (const entry of following(path, ended, options)) {
    if (options.since === undefined || entry.time >= options.since) yield entry;
  }
}
