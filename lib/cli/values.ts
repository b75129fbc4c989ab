// Texts of the command line → values of options.
import type { IdRange } from '../../types/options.js';
import { constants } from 'node:os';

/** What was typed is wrong; the message is all that the user needs. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

const wrong = (expected: string, text: string): UsageError => new UsageError(`expected ${expected}, got ${JSON.stringify(text)}`);

export function number(text: string): number {
  if (!/^-?(\d+\.?\d*|\.\d+)$/.test(text)) throw wrong('a number', text);
  return Number(text);
}

export function integer(text: string): number {
  if (!/^-?\d+$/.test(text)) throw wrong('an integer', text);
  return Number(text);
}

export function octal(text: string): number {
  if (!/^(0o)?[0-7]+$/.test(text)) throw wrong('an octal number, as 022', text);
  return parseInt(text.replace('0o', ''), 8);
}

const MILLISECONDS: Record<string, number> = { '': 1, ms: 1, s: 1e3, m: 6e4, h: 36e5 };

/** Milliseconds, or a number with a unit. */
export function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|)$/.exec(text);
  if (!match) throw wrong('milliseconds, or a time as 5s or 2m', text);
  return Number(match[1]) * MILLISECONDS[match[2]!]!;
}

/** As `duration`, but a number alone is seconds, as in docker. Milliseconds. */
export const seconds = (text: string): number => duration(/^\d+(\.\d+)?$/.test(text) ? `${text}s` : text);

/** `SIGTERM`, `term`, `15`. */
export function signalName(text: string): NodeJS.Signals | number {
  if (/^\d+$/.test(text)) return Number(text);
  const name = text.toUpperCase();
  const full = name.startsWith('SIG') ? name : `SIG${name}`;
  if (!(full in constants.signals)) throw wrong('a signal, as TERM, SIGTERM or 15', text);
  return full as NodeJS.Signals;
}

export const SIGNALS: readonly string[] = Object.keys(constants.signals).map(name => name.slice(3));

/** Both sides of the first `=`. */
export function pair(text: string, expected: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw wrong(expected, text);
  return [text.slice(0, at), text.slice(at + 1)];
}

export function idRange(text: string): IdRange {
  const parts = text.split(':');
  if (parts.length !== 3) throw wrong('INSIDE:OUTSIDE:COUNT, or auto', text);
  const [inside, outside, count] = parts.map(integer);
  return { inside: inside!, outside: outside!, count: count! };
}

const MOST_PROCESSORS = 1024;

/** `0,2-3` → 0, 2, 3. */
export function affinity(text: string): number[] {
  return text.split(',').flatMap(part => {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? first);
    if (!match || last < first || last >= MOST_PROCESSORS) throw wrong('processors as 0,2-3', text);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}
