// The errors of this library.
import { constants } from 'node:os';
import type { RunResult } from '../types/contained.js';

/** An option is wrong. Thrown at once, before anything is touched. */
export class OptionError extends TypeError {
  /** As Node's own: `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE`. */
  readonly code: string;
  /** Where in the options, as `mounts[2].target`. */
  readonly path: string;
  /** What stood there. */
  readonly value: unknown;
  /** What should stand there. */
  readonly expected: string;

  constructor(path: string, value: unknown, expected: string, code = 'ERR_INVALID_ARG_VALUE') {
    super(`${path}: expected ${expected}, got ${describe(value)}`);
    this.name = 'OptionError';
    this.code = code;
    this.path = path;
    this.value = value;
    this.expected = expected;
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

export interface ContainedErrorFields {
  /** Name of the errno, as `'ENOENT'`. */
  code: string;
  /** Negative, as libuv's; 0 when no system call failed. */
  errno: number;
  syscall: string | undefined;
  path: string | undefined;
  dest: string | undefined;
  /** The step that failed, in words. */
  step: string;
  /** Cause and remedy, where they are known. */
  hint: string | undefined;
}

/** A container could not be started, or not be taken away. */
export class ContainedError extends Error implements ContainedErrorFields {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string | undefined;
  readonly path: string | undefined;
  readonly dest: string | undefined;
  readonly step: string;
  readonly hint: string | undefined;

  constructor(fields: ContainedErrorFields) {
    super(`${fields.step}: ${fields.code}${fields.hint ? ` (${fields.hint})` : ''}`);
    this.name = 'ContainedError';
    this.code = fields.code;
    this.errno = fields.errno;
    this.syscall = fields.syscall;
    this.path = fields.path;
    this.dest = fields.dest;
    this.step = fields.step;
    this.hint = fields.hint;
  }
}

/** What this host cannot do, whoever asks: no system call has failed. */
export const notSupported = (step: string, hint: string): ContainedError => new ContainedError({
  code: 'ENOTSUP', errno: 0, syscall: undefined, path: undefined, dest: undefined, step, hint,
});

/** `ENOENT` for 2. */
export const errnoName = (errno: number): string => ERRNO_NAMES.get(errno) ?? `errno ${errno}`;

// Not util.getSystemErrorName: libuv does not know them all (ECHILD).
// Of two names for one number the first is the usual one: EAGAIN and not EWOULDBLOCK.
const ERRNO_NAMES = new Map(Object.entries(constants.errno).map(([name, number]): [number, string] => [number, name]).reverse());

/** What `run` rejects with when the command does not exit with 0: the whole result is in it. */
export class CommandFailed extends Error implements RunResult<string | Buffer> {
  readonly reason: RunResult['reason'];
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly usage: RunResult['usage'];
  readonly output?: NonNullable<RunResult['output']>;
  readonly stdout: string | Buffer;
  readonly stderr: string | Buffer;

  constructor(argv: readonly string[], result: RunResult<string | Buffer>) {
    const how = result.signal ? `ended by ${result.signal}` : `exit code ${result.code}`;
    const last = result.stderr.toString().trimEnd().split('\n').at(-1);
    super(`${argv.join(' ')}: ${result.reason === 'exit' || result.reason === 'signal' ? how : `${result.reason}, ${how}`}${last ? `: ${last}` : ''}`);
    this.name = 'CommandFailed';
    this.reason = result.reason;
    this.code = result.code;
    this.signal = result.signal;
    this.usage = result.usage;
    if (result.output) this.output = result.output;
    this.stdout = result.stdout;
    this.stderr = result.stderr;
  }
}
