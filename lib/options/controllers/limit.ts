// What a limit is, and the checks that all controllers share.
import { OptionError } from '../../errors.js';
import * as check from '../check.js';

/** One file of a group, and what is written to it. */
export interface Write {
  file: string;
  text: string;
  /** Whether a kernel may be without it. */
  optional?: boolean;
}

/** One option: what it means on v2 and on v1. */
export interface Limit {
  /** Where it stands in the options. */
  path: string;
  /** v2's name of the controller. */
  controller: string;
  /** v1's, where it is another. */
  v1Controller?: string;
  /** Undefined: there is nothing like it. */
  v2: readonly Write[] | undefined;
  v1: readonly Write[] | undefined;
}

export type Options = Record<string, unknown>;

/** The part of the options that is the controller's, with no name in it that is not known. */
export function part(options: Options, key: string, known: readonly string[]): Options {
  const value = check.object(`cgroup.${key}`, options[key] ?? {});
  check.knownKeys(`cgroup.${key}`, value, known);
  return value;
}

const orMax = <T>(value: unknown, other: (value: unknown) => T): string => value === 'max' ? 'max' : String(other(value));

/** Bytes as text, or `max`. */
export const size = (path: string, value: unknown): string => orMax(value, v => check.size(path, v));
export const sizeOrZero = (path: string, value: unknown): string => value === 0 ? '0' : size(path, value);
export const count = (path: string, value: unknown, min: number, max: number): string => orMax(value, v => check.integer(path, v, min, max));

/** v1 takes −1 for no limit. */
export const v1Max = (text: string): string => text === 'max' ? '-1' : text;

/** A key of an option that is a name in the kernel's files too. */
export function word(path: string, name: string): string {
  if (!/^[\w.:-]+$/.test(name)) throw new OptionError(path, name, 'a name of letters, digits and . : - _');
  return name;
}

/** The limit that an option means, none where it is not given. */
export const given = <T>(options: Options, path: string, key: string, make: (value: unknown, path: string) => T): T[] =>
  options[key] === undefined ? [] : [make(options[key], `${path}.${key}`)];
