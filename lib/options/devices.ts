// Which devices a container may open and make: rules in order → one answer and its exceptions, which is all that cgroup v1
// can express.
import { type Stats, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { ContainedError, OptionError } from '../errors.js';
import { deviceNumbers } from '../host/devices.js';
import { ALL_ACCESS, DEVICE_ACCESS } from '../program/constants.js';
import { devicesText, sameNumbers } from '../program/devices.js';
import * as check from './check.js';
import type { DeviceNumber, Devices, DeviceSetting } from './settings.js';

const { m: MAKE } = DEVICE_ACCESS;
/** Numbers of a device inside the kernel, linux/kdev_t.h: MINORBITS is 20 of 32. */
const MAX_MAJOR = 2 ** 12 - 1;
const MAX_MINOR = 2 ** 20 - 1;
/** So that the program stays below BPF_MAXINSNS, 4096. */
const MAX_EXCEPTIONS = 500;

const device = (type: 'b' | 'c', major: DeviceNumber, minor: DeviceNumber, access = ALL_ACCESS): Devices => ({ type, major, minor, access });

/** runc's AllowedDevices (libcontainer/specconv), without its /dev/net/tun. */
const DEFAULTS: readonly Devices[] = [
  device('c', '*', '*', MAKE), device('b', '*', '*', MAKE),
  device('c', 1, 3), device('c', 1, 5), device('c', 1, 7), device('c', 1, 8), device('c', 1, 9),  // null zero full random urandom
  device('c', 5, 0), device('c', 5, 2), device('c', 136, '*'),  // tty ptmx pts/*
];

interface Rule {
  allow: boolean;
  /** Undefined: all of them. */
  devices: Devices | undefined;
}

const notThere = (path: string, code: string, errno: number, hint: string): ContainedError => new ContainedError({
  code, errno: -errno, syscall: 'stat', path, dest: undefined, step: `find the device ${path}`, hint,
});

function deviceAt(path: string): { type: 'b' | 'c'; major: number; minor: number } {
  let found: Stats;
  try {
    found = statSync(path);
  } catch (error) {
    const { code = 'UNKNOWN', errno = 0 } = error as NodeJS.ErrnoException;
    throw notThere(path, code, -errno, code === 'ENOENT' ? 'there is no such device on the host; load its driver, or leave the rule out' : 'its numbers are looked up on the host');
  }
  if (!found.isBlockDevice() && !found.isCharacterDevice()) throw notThere(path, 'ENODEV', os.errno.ENODEV, 'it is no device');
  return { type: found.isBlockDevice() ? 'b' : 'c', ...deviceNumbers(found.rdev) };
}

function accessOf(path: string, value: unknown): number {
  const expected = "letters of 'rwm', each at most once";
  const letters = [...check.string(path, value, expected)];
  const bits = letters.map((letter): number => DEVICE_ACCESS[letter as 'r'] ?? 0);
  if (letters.length === 0 || bits.includes(0) || new Set(bits).size < bits.length) throw new OptionError(path, value, expected);
  return bits.reduce((all, bit) => all | bit);
}

function parse(path: string, value: unknown): Rule {
  const rule = check.object(path, value, 'a rule');
  check.knownKeys(path, rule, ['allow', 'type', 'major', 'minor', 'access', 'path']);
  const number = (key: 'major' | 'minor', max: number): DeviceNumber =>
    check.optional(rule[key], v => v === '*' ? v : check.integer(`${path}.${key}`, v, 0, max), '*');
  const allow = check.boolean(`${path}.allow`, rule['allow']);
  const access = check.optional(rule['access'], v => accessOf(`${path}.access`, v), ALL_ACCESS);
  const type = check.optional(rule['type'], v => check.oneOf<'a' | 'b' | 'c'>(`${path}.type`, v, ['a', 'b', 'c']), 'a' as const);
  const [major, minor] = [number('major', MAX_MAJOR), number('minor', MAX_MINOR)];
  if (rule['path'] !== undefined) {
    const name = check.nonEmpty(`${path}.path`, rule['path'], 'an absolute path');
    if (!name.startsWith('/')) throw new OptionError(`${path}.path`, name, 'an absolute path');
    for (const key of ['type', 'major', 'minor']) {
      if (rule[key] !== undefined) throw new OptionError(`${path}.${key}`, rule[key], 'nothing, since there is a path');
    }
    return { allow, devices: { ...deviceAt(name), access } };
  }
  if (type !== 'a') return { allow, devices: device(type, major, minor, access) };
  const numbered = (['major', 'minor'] as const).find(key => typeof rule[key] === 'number');
  if (numbered) throw new OptionError(`${path}.${numbered}`, rule[numbered], "'*', or with it the type 'b' or 'c'");
  if (access !== ALL_ACCESS) throw new OptionError(`${path}.access`, rule['access'], "'rwm', or a rule each for the types 'b' and 'c'");
  return { allow, devices: undefined };
}

/** The devices that both patterns match, with the access of both. */
function common(a: Devices, b: Devices): Devices | undefined {
  const both = (x: DeviceNumber, y: DeviceNumber): DeviceNumber | undefined => x === '*' ? y : y === '*' || x === y ? x : undefined;
  const [major, minor] = [both(a.major, b.major), both(a.minor, b.minor)];
  return a.type !== b.type || major === undefined || minor === undefined ? undefined : device(a.type, major, minor, a.access | b.access);
}

/** One exception must hold all of the access that is asked for, on v1 and v2, so those that overlap are added up. */
function withException(exceptions: readonly Devices[], added: Devices): Devices[] {
  const all = [...exceptions];
  for (const devices of [added, ...exceptions.flatMap(other => common(other, added) ?? [])]) {
    const at = all.findIndex(known => sameNumbers(known, devices));
    if (at < 0) all.push(devices);
    else all[at] = { ...devices, access: devices.access | all[at]!.access };
  }
  return all;
}

function withoutException(setting: DeviceSetting, gone: Devices, path: string, value: unknown): Devices[] {
  return setting.exceptions.flatMap(exception => {
    const both = common(exception, gone);
    if (!both) return [exception];
    if (sameNumbers(both, exception)) {
      const access = exception.access & ~gone.access;
      return access === 0 ? [] : [{ ...exception, access }];
    }
    const anyNode = !setting.allow && exception.major === '*' && exception.minor === '*' && gone.access !== MAKE;
    if (exception.access & gone.access & (anyNode ? ~MAKE : ALL_ACCESS)) {
      throw new OptionError(path, value, `a rule that takes back no part of another (${devicesText(gone)} of ${devicesText(exception)}), which cgroup v1 cannot express`);
    }
    return [exception];
  });
}

/** Checks the rules at `path` in the options. A device given by its path must be there. */
export function resolveDevices(path: string, value: unknown): DeviceSetting {
  const given = check.array(path, value, 'an array of rules');
  const rules = given.map((rule, i) => ({ ...parse(`${path}[${i}]`, rule), path: `${path}[${i}]`, value: rule }));
  const first = rules[0]?.devices === undefined ? 1 : 0;
  const defaults = DEFAULTS.map(devices => ({ allow: true, devices, path, value }));
  let setting: DeviceSetting = { allow: false, exceptions: [] };
  for (const { allow, devices, ...at } of [...rules.slice(0, first), ...defaults, ...rules.slice(first)]) {
    if (!devices) setting = { allow, exceptions: [] };
    else if (allow === setting.allow) setting = { allow, exceptions: withoutException(setting, devices, at.path, at.value) };
    else setting = { allow: setting.allow, exceptions: withException(setting.exceptions, devices) };
    if (setting.exceptions.length > MAX_EXCEPTIONS) throw new OptionError(path, value, `rules that come to at most ${MAX_EXCEPTIONS}`);
  }
  return setting;
}
