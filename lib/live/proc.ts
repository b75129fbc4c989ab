// Reading /proc of processes that nobody trusts, and that may be gone at any moment.
import { open, readlink } from 'node:fs/promises';
import { openFiles } from '../native.js';

/** At once, so that a thousand processes do not take a thousand descriptors. */
const AT_ONCE = 256;

export async function inChunks<T, R>(items: readonly T[], act: (chunk: readonly T[]) => Promise<readonly R[]>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < items.length; i += AT_ONCE) results.push(...await act(items.slice(i, i + AT_ONCE)));
  return results;
}

/** The texts of small files, undefined for those that cannot be read, and when they were read: one hop to a thread for all. */
export async function textsAt(paths: readonly string[]): Promise<{ texts: (string | undefined)[]; timeMs: number }> {
  let timeMs = performance.now();
  const texts = await inChunks(paths, async chunk => {
    const files = openFiles(chunk);
    try {
      const read = await files.read();
      timeMs = performance.now() - read.age;
      return read.map(text => typeof text === 'string' ? text : undefined);
    } finally {
      files.close();
    }
  });
  return { texts, timeMs };
}

export const textsOf = async (paths: readonly string[]): Promise<(string | undefined)[]> => (await textsAt(paths)).texts;

/** At most that many bytes of a file. */
export async function headOf(path: string, most: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const parts: Buffer[] = [];
    for (let left = most; left > 0;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, 65_536)));
      if (bytesRead === 0) break;
      parts.push(buffer.subarray(0, bytesRead));
      left -= bytesRead;
    }
    return Buffer.concat(parts);
  } finally {
    await file.close();
  }
}

/** A link in /proc/PID/ns, as `pid:[4026531836]`; undefined when the process is gone, or another user's. */
export const namespaceOf = async (pid: number | 'self', kind: string): Promise<string | undefined> =>
  await readlink(`/proc/${pid}/ns/${kind}`).catch(() => undefined);

/** USER_HZ: the unit of what /proc tells in ticks, on every architecture that Node runs on. */
const TICKS_PER_MS = 0.1;

export interface Stat {
  name: string;
  state: string;
  parent: number;
  userMs: number;
  systemMs: number;
  /** With that of the children it has waited for. */
  totalUserMs: number;
  totalSystemMs: number;
  threads: number;
  /** Milliseconds after the boot. */
  startMs: number;
}

/** proc_pid_stat(5). The name may hold anything, but what follows it has no parenthesis. */
export function parseStat(text: string | undefined): Stat | undefined {
  const end = text?.lastIndexOf(')') ?? -1;
  if (text === undefined || end < 0) return undefined;
  const fields = text.slice(end + 2).split(' ');
  const number = (field: number): number => Number(fields[field - 3]);
  const ms = (...wanted: number[]): number => wanted.reduce((sum, field) => sum + number(field), 0) / TICKS_PER_MS;
  return {
    name: text.slice(text.indexOf('(') + 1, end), state: fields[0]!, parent: number(4),
    userMs: ms(14), systemMs: ms(15), totalUserMs: ms(14, 16), totalSystemMs: ms(15, 17), threads: number(20), startMs: ms(22),
  };
}

/** Words of a line of /proc/PID/status. The kernel escapes newlines in the name: proc_pid_status(5). */
export const statusWords = (text: string | undefined, key: string): string[] => {
  const line = text === undefined ? undefined : new RegExp(`^${key}:[ \\t]*(.*)$`, 'm').exec(text)?.[1];
  return line === undefined || line === '' ? [] : line.trim().split(/\s+/);
};

export const statusNumbers = (text: string | undefined, key: string): number[] => statusWords(text, key).map(Number);

/** Bytes of a line `Key: N kB`. */
export const statusBytes = (text: string | undefined, key: string): number | undefined => {
  const [kilobytes] = statusNumbers(text, key);
  return kilobytes === undefined ? undefined : kilobytes * 1024;
};

/** When something has happened that many milliseconds after the boot. `uptime`: the text of /proc/uptime. */
export const dateOf = (startMs: number, uptime: string): Date => new Date(Math.round(Date.now() - parseFloat(uptime) * 1000 + startMs));
