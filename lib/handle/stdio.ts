// The stdio option → descriptors for the command, and streams for the caller.
import { openSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { Readable, Writable } from 'node:stream';
import type { SpawnOptions, StdioEntry } from '../../types/options.js';
import { ContainedError, errnoName, OptionError } from '../errors.js';
import { native } from '../native.js';
import { checkStdio, resolveTty } from '../options/tty.js';

export interface Streams {
  /** For `launch`: owned, or ~fd. */
  fds: number[];
  /** Our ends of the pipes, by index. */
  ours: Map<number, PipeEnd>;
}

export interface PipeEnd {
  fd: number;
  direction: 'read' | 'write';
  /** What is to be written before it is ended. */
  data: Uint8Array | undefined;
}

/** An entry of the option, with its default filled in; `terminal` where the option `tty` makes the stream. */
export type Entry = Exclude<StdioEntry, null | undefined> | typeof TERMINAL;

export const TERMINAL = Symbol('terminal');

const MOST_STREAMS = 200;

const SHORT = ['pipe', 'inherit', 'ignore'] as const;

const ALL = { pipe: ['pipe', 'pipe', 'pipe'], inherit: ['inherit', 'inherit', 'inherit'], ignore: ['ignore', 'ignore', 'ignore'] } as const;

/** The stdio option as one entry each, checked; nothing is opened yet. */
export function resolveStdio({ stdio, tty, detached = false }: Pick<SpawnOptions, 'stdio' | 'tty' | 'detached'>): readonly Entry[] {
  if (resolveTty(tty) !== undefined) {
    checkStdio(stdio);
    const rest = Array.isArray(stdio) ? resolveStdio({ stdio }).slice(3) : [];
    return [TERMINAL, TERMINAL, TERMINAL, ...rest];
  }
  if (stdio === undefined) return detached ? ALL.ignore : ALL.pipe;
  if (typeof stdio === 'string') {
    if (!SHORT.includes(stdio)) throw new OptionError('stdio', stdio, `one of ${SHORT.join(', ')}`);
    if (detached && stdio === 'pipe') throw noPipe('stdio', stdio);
    return ALL[stdio];
  }
  if (!Array.isArray(stdio)) throw new OptionError('stdio', stdio, 'a string or an array', 'ERR_INVALID_ARG_TYPE');
  if (stdio.length > MOST_STREAMS) throw new OptionError('stdio', stdio, `up to ${MOST_STREAMS} entries`, 'ERR_OUT_OF_RANGE');
  const entries: (StdioEntry)[] = [...stdio];
  while (entries.length < 3) entries.push(undefined);
  return entries.map((entry, i) => {
    const found = check(`stdio[${i}]`, entry ?? (i < 3 && !detached ? 'pipe' : 'ignore'), i);
    if (detached && isPipe(found)) throw noPipe(`stdio[${i}]`, found);
    return found;
  });
}

const noPipe = (path: string, entry: unknown): OptionError => new OptionError(path, entry, 'no pipe with detached: its other end would go with Node');

function check(path: string, entry: Entry, index: number): Entry {
  if (entry instanceof Uint8Array) {
    if (index === 1 || index === 2) throw new OptionError(path, entry, 'something to write to; a Buffer is for the command to read');
    return entry;
  }
  if (typeof entry === 'number') {
    if (!Number.isInteger(entry) || entry < 0 || entry >= 2 ** 31) throw new OptionError(path, entry, 'an open descriptor', 'ERR_OUT_OF_RANGE');
    return entry;
  }
  if (typeof entry === 'string' && (SHORT as readonly string[]).includes(entry)) return entry;
  if (typeof entry === 'object' && entry !== null && fdOf(entry) !== undefined) return entry;
  throw new OptionError(path, entry, "'pipe', 'inherit', 'ignore', an open descriptor, a Buffer, or a stream that has a descriptor");
}

function fdOf(stream: object): number | undefined {
  const { fd, _handle } = stream as { fd?: unknown; _handle?: { fd?: unknown } | null };
  const found = typeof fd === 'number' ? fd : _handle?.fd;
  return typeof found === 'number' && found >= 0 ? found : undefined;
}

let devNull = -1;

function nullDevice(): number {
  if (devNull >= 0) return devNull;
  try {
    return devNull = openSync('/dev/null', 'r+');
  } catch (error) {
    const { code = '', errno = 0 } = error as NodeJS.ErrnoException;
    throw stdioError(code, errno, 'open', 'open /dev/null for stdio');
  }
}

export const isPipe = (entry: Entry): boolean => entry === 'pipe' || entry instanceof Uint8Array;

/** A pipe from us: standard input, and what is given as bytes. All others come from the command, see `StdioEntry`. */
const isInput = (entry: Entry, index: number): boolean => index === 0 || entry !== 'pipe';

/** What a program must know of them. */
export const streamsOf = (entries: readonly Entry[]): { count: number; pipes: number[] } => ({
  count: entries.length,
  pipes: entries.flatMap((entry, i) => isPipe(entry) ? [i] : []),
});

/** The same as a text, for those with one program. */
export function shapeOf(entries: readonly Entry[]): string {
  let shape = '';
  for (const entry of entries) shape += isPipe(entry) ? 'p' : '-';
  return shape;
}

/** Only what comes through a pipe of ours can be counted. */
export function checkOutput(maxOutput: unknown, entries: readonly Entry[]): void {
  if (maxOutput !== undefined && entries[1] !== 'pipe' && entries[2] !== 'pipe' && entries[1] !== TERMINAL) throw new OptionError('maxOutput', maxOutput, "'pipe' as stdout or stderr beside it");
}

const stdioError = (code: string, errno: number, syscall: string | undefined, step: string): ContainedError => new ContainedError({
  code, errno, syscall, path: undefined, dest: undefined, step,
  hint: code === 'EMFILE' ? 'too many open files: raise RLIMIT_NOFILE, or start fewer at once' : code === 'EBADF' ? 'the stream has been closed' : undefined,
});

/** What the caller has open. A stream may have been closed since it was checked. */
function ownFd(entry: Entry, index: number): number {
  if (entry === 'ignore' || entry === TERMINAL) return nullDevice();
  const fd = entry === 'inherit' ? index : typeof entry === 'number' ? entry : fdOf(entry as object);
  if (fd === undefined) throw stdioError('EBADF', -constants.errno.EBADF, undefined, `hand on stdio[${index}]`);
  return fd;
}

/** Where the addon puts both ends of the pipes that it makes. */
const ends = new Int32Array(2 * MOST_STREAMS);

function makePipes(count: number): void {
  const errno = count === 0 ? 0 : native().pipes(count, ends);
  if (errno !== 0) throw stdioError(errnoName(-errno), errno, 'pipe2', 'make the pipes for stdio');
}

/** The descriptors for the command, and our ends of those that are pipes. On failure nothing stays open. */
export function openStdio(entries: readonly Entry[]): Streams {
  const fds: number[] = [], ours = new Map<number, PipeEnd>();
  let count = 0;
  for (let i = 0; i < entries.length; ++i) {
    if (isPipe(entries[i]!)) ++count;
    else fds[i] = ~ownFd(entries[i]!, i);
  }
  makePipes(count);
  for (let i = 0, next = 0; i < entries.length; ++i) {
    const entry = entries[i]!;
    if (!isPipe(entry)) continue;
    const read = ends[next++]!, write = ends[next++]!;
    const input = isInput(entry, i);
    fds[i] = input ? read : write;
    ours.set(i, { fd: input ? write : read, direction: input ? 'write' : 'read', data: entry === 'pipe' ? undefined : entry as Uint8Array });
  }
  return { fds, ours };
}

/** Gives up pipes that were never handed over. */
export function closeStdio({ fds, ours }: Streams): void {
  for (const fd of fds) if (fd >= 0) native().close(fd);
  closePipes(ours);
}

/** Those that no stream has taken over. */
export function closePipes(ours: Streams['ours']): void {
  if (ours.size > 0) native().close(...Array.from(ours.values(), ({ fd }) => fd));
}

/** Our end of a pipe as a stream. */
export function streamOf({ fd, direction, data }: PipeEnd): Readable | Writable {
  const socket = new Socket({ fd, readable: direction === 'read', writable: direction === 'write' });
  native().claim(fd);
  if (direction === 'write') {
    // The command may end, or close its end, without reading everything: as with child_process that is no error of
    // ours when the data came with the options.
    if (data !== undefined) {
      socket.on('error', () => {});
      socket.end(data);
    }
  }
  return socket;
}

/** In the place of a stream that nobody asked for while there was something to it. */
export function endedStream({ direction }: PipeEnd): Readable | Writable {
  const stream = direction === 'read' ? new Readable({ read() {} }) : new Writable();
  return stream.destroy();
}

/** Of a command that could not be started: there is nothing to read, and what is written is dropped. */
export function emptyStream(entry: Entry, index: number): Readable | Writable | null {
  if (!isPipe(entry)) return null;
  if (!isInput(entry, index)) return new Readable({ read() { this.push(null); } });
  const input = new Writable({ write(_chunk, _encoding, done) { done(); } });
  return entry === 'pipe' ? input : input.destroy();
}
