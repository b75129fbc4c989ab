// Checks of options. Each takes the place of the value in the options, for the error, and returns the value typed.
import { OptionError } from '../errors.js';

type Bag = Record<string, unknown>;

export function object(path: string, value: unknown, expected = 'an object'): Bag {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new OptionError(path, value, expected, 'ERR_INVALID_ARG_TYPE');
  return value as Bag;
}

/** How many letters must change to make one word of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; ++i) {
    const next = [i];
    for (let j = 1; j <= b.length; ++j) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

export function didYouMean(name: string, known: readonly string[]): string {
  const near = known
    .map(candidate => ({ candidate, away: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ away }) => away <= Math.max(2, name.length / 3))
    .sort((a, b) => a.away - b.away)[0];
  return near ? ` (did you mean ${near.candidate}?)` : '';
}

/** What others call it: child_process, execa, docker. */
const INSTEAD: Readonly<Record<string, string>> = {
  shell: "give ['sh', '-c', 'command line'] as the command", uid: 'give user: { uid, gid }', gid: 'give user: { uid, gid }',
  volumes: 'give mounts', memory: 'give cgroup: { memory: { max } }', cpus: 'give cgroup: { cpu: { max } }', stdin: 'give stdio', stdout: 'give stdio', stderr: 'give stdio',
};

/** Refuses a name that is not known, with the nearest that is. */
export function knownKeys(path: string, value: Bag, known: readonly string[]): void {
  for (const key in value) {
    if (value[key] === undefined || known.includes(key)) continue;
    const instead = path === '' && Object.hasOwn(INSTEAD, key) ? ` (${INSTEAD[key]})` : didYouMean(key, known);
    throw new OptionError(path ? `${path}.${key}` : key, value[key], `no such option${instead}`);
  }
}

export function oneOf<T extends string>(path: string, value: unknown, allowed: readonly T[]): T {
  if (typeof value === 'string' && (allowed as readonly string[]).includes(value)) return value as T;
  const hint = typeof value === 'string' ? didYouMean(value, allowed) : '';
  throw new OptionError(path, value, `one of ${allowed.join(', ')}${hint}`, typeof value === 'string' ? undefined : 'ERR_INVALID_ARG_TYPE');
}

/** A string that the kernel can take: no NUL. */
export function string(path: string, value: unknown, expected = 'a string'): string {
  if (typeof value !== 'string') throw new OptionError(path, value, expected, 'ERR_INVALID_ARG_TYPE');
  if (value.includes('\0')) throw new OptionError(path, value, `${expected} without NUL`);
  return value;
}

export function nonEmpty(path: string, value: unknown, expected = 'a string that is not empty'): string {
  if (string(path, value, expected) === '') throw new OptionError(path, value, expected);
  return value as string;
}

/** An absolute path inside the container. `..` is refused rather than resolved: what it means depends on symlinks. */
export function insidePath(path: string, value: unknown): string {
  const text = nonEmpty(path, value, 'an absolute path');
  if (!text.startsWith('/')) throw new OptionError(path, value, 'an absolute path');
  if (text.split('/').includes('..')) throw new OptionError(path, value, 'a path without ..');
  return text.length > 1 ? text.replace(/\/+/g, '/').replace(/\/$/, '') : text;
}

export function integer(path: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') throw new OptionError(path, value, 'a number', 'ERR_INVALID_ARG_TYPE');
  if (!Number.isInteger(value) || value < min || value > max) throw new OptionError(path, value, `an integer from ${min} to ${max}`, 'ERR_OUT_OF_RANGE');
  return value;
}

export function number(path: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') throw new OptionError(path, value, 'a number', 'ERR_INVALID_ARG_TYPE');
  if (!(value >= min && value <= max)) throw new OptionError(path, value, `a number from ${min} to ${max}`, 'ERR_OUT_OF_RANGE');
  return value;
}

export function boolean(path: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new OptionError(path, value, 'true or false', 'ERR_INVALID_ARG_TYPE');
  return value;
}

export function abortSignal(path: string, value: unknown): AbortSignal {
  if (!(typeof value === 'object' && value !== null && 'aborted' in value)) throw new OptionError(path, value, 'an AbortSignal', 'ERR_INVALID_ARG_TYPE');
  return value as AbortSignal;
}

export function array(path: string, value: unknown, expected = 'an array'): readonly unknown[] {
  if (!Array.isArray(value)) throw new OptionError(path, value, expected, 'ERR_INVALID_ARG_TYPE');
  return value;
}

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes, or a string with a unit of 1024. */
export function size(path: string, value: unknown): number {
  const expected = "a number of bytes, or a string such as '256M'";
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value <= 0) throw new OptionError(path, value, expected, 'ERR_OUT_OF_RANGE');
    return value;
  }
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(string(path, value, expected));
  if (!match) throw new OptionError(path, value, expected);
  const bytes = Math.floor(Number(match[1]) * UNITS[match[2]!.toUpperCase()]!);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw new OptionError(path, value, expected, 'ERR_OUT_OF_RANGE');
  return bytes;
}

/** `value`, or `fallback` where it is undefined. */
export const optional = <T, D>(value: unknown, check: (value: unknown) => T, fallback: D): T | D =>
  value === undefined ? fallback : check(value);
