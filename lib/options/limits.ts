// Priorities, limits and privileges of the process.
import { constants } from 'node:os';
import { OptionError } from '../errors.js';
import type { HostFacts } from '../host/facts.js';
import { CAPABILITIES, RLIM_INFINITY, RLIMITS } from '../program/constants.js';
import * as check from './check.js';
import type { Settings } from './settings.js';

const MAX_RLIMIT = Number.MAX_SAFE_INTEGER;

// Node raises its soft limit of files to the hard one; a command that closes every descriptor it may have would take
// for ever. 1024 is what login sessions and services get, and what select(2) can bear.
const FILES = 1024;

const rlimitValue = (path: string, value: unknown): number =>
  value === 'unlimited' ? RLIM_INFINITY : check.integer(path, value, 0, MAX_RLIMIT);

const entry = (resource: number, soft: number, hard: number, host: HostFacts): Settings['rlimits'][number] =>
  ({ resource, soft, hard, lowers: hard !== RLIM_INFINITY && hard <= host.files });

export function resolveRlimits(value: unknown, host: HostFacts): Settings['rlimits'] {
  const given = check.object('rlimits', value ?? {});
  check.knownKeys('rlimits', given, RLIMITS);
  return Object.entries({ nofile: Math.min(FILES, host.files), core: 0, ...given }).filter(([, limit]) => limit !== undefined).map(([name, limit]) => {
    const path = `rlimits.${name}`;
    const resource = (RLIMITS as readonly string[]).indexOf(name);
    if (typeof limit !== 'object') {
      const both = rlimitValue(path, limit);
      return entry(resource, both, both, host);
    }
    const pair = check.object(path, limit, "a number, 'unlimited' or { soft, hard }");
    check.knownKeys(path, pair, ['soft', 'hard']);
    const soft = rlimitValue(`${path}.soft`, pair['soft']);
    const hard = rlimitValue(`${path}.hard`, pair['hard']);
    if (hard !== RLIM_INFINITY && (soft === RLIM_INFINITY || soft > hard)) throw new OptionError(`${path}.soft`, pair['soft'], 'at most the hard limit', 'ERR_OUT_OF_RANGE');
    return entry(resource, soft, hard, host);
  });
}

/** As in /proc/PID/status: hexadecimal, the highest processor first. */
export function resolveAffinity(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const cpus = check.array('cpuAffinity', value, 'an array of processor numbers');
  if (cpus.length === 0) throw new OptionError('cpuAffinity', value, 'at least one processor');
  const mask = cpus.reduce<bigint>((bits, cpu, i) => bits | 1n << BigInt(check.integer(`cpuAffinity[${i}]`, cpu, 0, 1023)), 0n);
  return mask.toString(16);
}

/** All processors: a container must not inherit that Node itself was pinned (runc issue 4041). The kernel cuts it down. */
export const ALL_PROCESSORS = 'f'.repeat(256);

export function resolveCapabilities(value: unknown): number {
  if (value === undefined) return 0;
  return check.array('capabilities', value, 'an array of names').reduce<number>((mask, name, i) => {
    const path = `capabilities[${i}]`;
    const short = check.string(path, name).toUpperCase().replace(/^CAP_/, '');
    const bit = (CAPABILITIES as readonly string[]).indexOf(short);
    if (bit < 0) throw new OptionError(path, name, `a capability of capabilities(7)${check.didYouMean(short, CAPABILITIES)}`);
    const value = 2 ** bit;
    return Math.floor(mask / value) % 2 === 1 ? mask : mask + value;
  }, 0);
}

export function signalNumber(path: string, value: unknown): number {
  if (typeof value === 'number') return check.integer(path, value, 0, 64);
  const found = typeof value === 'string' ? (constants.signals as Record<string, number>)[value] : undefined;
  if (found === undefined) throw new OptionError(path, value, "a signal's name or number");
  return found;
}
