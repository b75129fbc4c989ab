// The option `tty`, and the size of a terminal wherever it is given.
import type { TerminalSize } from '../../types/options.js';
import { OptionError } from '../errors.js';
import * as check from './check.js';

/** As a VT100; what programs assume where they are told nothing. */
const DEFAULT: TerminalSize = { columns: 80, rows: 24 };

/** struct winsize has 16 bits for each: ioctl_tty(2). */
const cells = (path: string, value: unknown): number => check.integer(path, value, 1, 0xffff);

export function resolveTty(value: unknown): TerminalSize | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return DEFAULT;
  const { columns, rows } = sizeBag('tty', value, 'true, false or { columns, rows }');
  return {
    columns: check.optional(columns, v => cells('tty.columns', v), DEFAULT.columns),
    rows: check.optional(rows, v => cells('tty.rows', v), DEFAULT.rows),
  };
}

function sizeBag(path: string, value: unknown, expected: string): Record<string, unknown> {
  const given = check.object(path, value, expected);
  check.knownKeys(path === 'size' ? '' : path, given, ['columns', 'rows']);
  return given;
}

/** What `resize` takes: one object, or two numbers. */
export function resolveSize(first: unknown, second: unknown): TerminalSize {
  const { columns, rows } = typeof first === 'number' ? { columns: first, rows: second } : sizeBag('size', first, '{ columns, rows }');
  return { columns: cells('columns', columns), rows: cells('rows', rows) };
}

/** Where there is a terminal it is what the first three are; more may follow. */
export function checkStdio(stdio: unknown): void {
  const expected = "undefined or 'pipe' where `tty` makes the stream";
  if (typeof stdio === 'string' && stdio !== 'pipe') throw new OptionError('stdio', stdio, expected);
  if (!Array.isArray(stdio)) return;
  stdio.slice(0, 3).forEach((entry: unknown, i) => {
    if (entry !== undefined && entry !== null && entry !== 'pipe') throw new OptionError(`stdio[${i}]`, entry, expected);
  });
}
