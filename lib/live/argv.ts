// The arguments of a process, out of its own memory.
import { headOf } from './proc.js';

/** Bytes. The kernel lets a command have megabytes of arguments: execve(2). */
const MOST = 4096;

/** Milliseconds. */
const PATIENCE = 1000;

/**
 * Whoever puts the pages of its arguments on a file system of its own (FUSE), or has a userfaultfd(2) for them, makes those
 * who read them wait for as long as it likes. So one is read at a time, and while it waits no other: it costs a single
 * thread of the event loop's pool.
 */
let waiting = false;
let turn: Promise<unknown> = Promise.resolve();

async function read(pid: number): Promise<readonly string[] | undefined> {
  const bytes = await headOf(`/proc/${pid}/cmdline`, MOST).catch(() => undefined);
  if (!bytes) return undefined;
  const words = bytes.toString('utf8').split('\0');
  if (words.at(-1) === '') words.pop();
  return words;
}

async function readInTime(pid: number): Promise<readonly string[] | undefined> {
  if (waiting) return undefined;
  waiting = true;
  const reading = read(pid).finally(() => { waiting = false; });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>(resolve => { timer = setTimeout(resolve, PATIENCE, undefined); });
  return await Promise.race([reading, late]).finally(() => clearTimeout(timer));
}

/** Undefined when it is gone, or does not let itself be read. */
export async function argvOf(pid: number): Promise<readonly string[] | undefined> {
  const mine = turn.then(() => readInTime(pid));
  turn = mine;
  return await mine;
}
