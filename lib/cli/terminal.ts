// A container's terminal, joined to that of the caller.
import { isatty } from 'node:tty';
import type { Contained } from '../../types/contained.js';
import type { SpawnOptions, TerminalSize } from '../../types/options.js';
import { native } from '../native.js';
import { UsageError } from './values.js';

const STDIN = 0;
const STDOUT = 1;

/** Of the terminal that the output is seen on, or the input comes from; undefined where neither is one, or has no size. */
function callerSize(): TerminalSize | undefined {
  for (const fd of [STDOUT, STDIN]) {
    const [columns, rows] = native().windowSize(fd) ?? [];
    if (columns && rows) return { columns, rows };
  }
  return undefined;
}

/** The size of the caller's terminal and what it is called, which `env` may say otherwise. */
export const onTerminal = <T extends Pick<SpawnOptions, 'tty' | 'env'>>(options: T): T => ({
  ...options,
  tty: callerSize() ?? true,
  env: options.env === 'inherit' ? 'inherit' : { TERM: process.env['TERM'] ?? 'xterm', ...options.env },
});

export function checkInput(): void {
  if (!isatty(STDIN)) throw new UsageError('the input device is not a terminal; for a terminal without input leave -i out');
}

/** The caller's terminal hands on every key as it is; returns what gives it back its mode. */
function makeRaw(): () => void {
  const mode = native().makeRaw(STDIN);
  return typeof mode === 'number' ? () => {} : () => void native().setMode(STDIN, mode);
}

export interface Attachment {
  /** Resolves when the container has ended and all that it has said is written. */
  readonly written: Promise<void>;
  /** Gives the caller's terminal back as it was. It is done at the exit of this process too. */
  detach(): void;
}

/**
 * Shows on the caller's terminal what a container with `tty` says, keeps the size of the one that of the other, and with `input`
 * hands on what is typed: the caller's terminal is raw then, so that ^C and ^Z are keys for the container.
 */
export function attach(child: Contained, input: boolean): Attachment {
  const { stdin, stdout } = child;
  if (!stdin || !stdout) throw new TypeError('not a container with a terminal');
  let restore = (): void => {};
  const resize = (): void => {
    const size = callerSize();
    if (size) child.resize(size);
  };
  // A shell that has stopped us gives the terminal back as it likes it.
  const goOn = (): void => {
    if (input) makeRaw();
    resize();
  };
  // Who has closed what we write to, has closed the terminal.
  const hangUp = (): void => void stdout.destroy();

  const written = new Promise<void>(resolve => child.once('close', () => process.stdout.write('', () => resolve())));
  process.stdout.on('error', hangUp);
  stdout.pipe(process.stdout);
  if (input) {
    restore = makeRaw();
    process.once('exit', restore);
    process.stdin.on('error', hangUp).once('end', hangUp);
    process.stdin.pipe(stdin, { end: false });
  }
  process.on('SIGWINCH', resize).on('SIGCONT', goOn);

  const detach = (): void => {
    process.off('SIGWINCH', resize).off('SIGCONT', goOn).off('exit', restore);
    stdout.unpipe(process.stdout);
    if (input) {
      process.stdin.unpipe(stdin);
      process.stdin.off('end', hangUp).pause();
    }
    restore();
  };
  return { written, detach };
}
