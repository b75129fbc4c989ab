// Flags that are limits of a cgroup, which `run` and `cgroup` share: docker's words, and for all else the library's own.
import type { CgroupOptions, IoLimit, Max } from '../../types/cgroup.js';
import type { DeviceAccess, DeviceRule } from '../../types/devices.js';
import * as check from '../options/check.js';
import type { Flag } from './flag.js';
import { integer, number, pair, UsageError } from './values.js';

export interface Limited {
  cgroup?: CgroupOptions;
  /** Memory and swap together, as docker counts: `withSwap` makes it what the library counts. */
  memorySwap?: string;
}

/** docker: −1 is no limit, and for pids 0 too. */
const orMax = (text: string): number | 'max' => text === 'max' || text === '-1' || text === '0' ? 'max' : integer(text);

/** In docker 1024 is what a group has by itself, in the library, as on v2, 100; which goes to 10000. */
function weightOf(text: string): number {
  const shares = integer(text);
  if (shares < 2 || shares > 102_400) throw new UsageError(`expected an integer from 2 to 102400, got ${text}`);
  return Math.max(1, Math.round(shares * 100 / 1024));
}

/** `/dev/sda:10M`, `8:0:10M`. */
function ioLimit(key: keyof IoLimit, value: (text: string) => Max<string | number>): (text: string) => Limited {
  return text => {
    const at = text.lastIndexOf(':');
    if (at < 1) throw new UsageError(`expected DEVICE:RATE, as /dev/sda:10M, got ${JSON.stringify(text)}`);
    return { cgroup: { io: { max: [{ device: text.slice(0, at), [key]: value(text.slice(at + 1)) }] } } };
  };
}

const RULE = /^(?:(allow|deny) +)?(?:(a)|([bc]) +(\*|\d+):(\*|\d+)|(\/\S+))(?: +([rwm]+))?$/;

/** `c 10:229 rwm`, `deny /dev/fuse w`, `allow a`. */
function deviceRule(text: string): DeviceRule {
  const [matched, verb, all, type, major, minor, path, access] = RULE.exec(text.trim()) ?? [];
  if (matched === undefined) throw new UsageError(`expected [deny] b|c MAJOR:MINOR [rwm], [deny] /dev/NAME [rwm], or [deny] a, got ${JSON.stringify(text)}`);
  const numeral = (part: string): number | '*' => part === '*' ? part : Number(part);
  return {
    allow: verb !== 'deny',
    ...all !== undefined ? { type: 'a' } : path !== undefined ? { path } : { type: type as 'b' | 'c', major: numeral(major!), minor: numeral(minor!) },
    ...access === undefined ? {} : { access: access as DeviceAccess },
  };
}

const PLAIN = /^(?:unified|cpuset)\.|^(?:name|parent|manager)$/;

/** Numbers, true, false, and what begins as JSON does; all else is text, as is what the library takes as text only. */
function valueOf(option: string, text: string): unknown {
  if (PLAIN.test(option) && !/^["[]/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const EXPECTED = 'OPTION=VALUE, as memory.high=512M';
const optionIn = (text: string): string => pair(text, EXPECTED)[0];

/** `memory.high` → { memory: { high } }. What follows the first dot is one name, which may have dots; only rdma has two. */
function setting(text: string): Limited {
  const [option, value] = pair(text, EXPECTED);
  const [key, name, inner] = /^rdma\./.test(option) ? (/^(rdma)\.(.+)\.(\w+)$/.exec(option)?.slice(1) ?? [option])
    : (/^(.+?)\.(.*)$/.exec(option)?.slice(1) ?? [option]);
  const read = valueOf(option, value);
  const named = inner === undefined ? read : { [inner]: read };
  return { cgroup: { [key!]: name === undefined ? named : { [name]: named } } };
}

const limit = (cgroup: CgroupOptions): Limited => ({ cgroup });
const section = 'Limits';

export const LIMIT_FLAGS: readonly Flag<Limited>[] = [
  { name: 'memory', short: 'm', argument: 'SIZE', section, option: 'cgroup.memory.max', help: 'most memory, as 256M; above it the kernel kills', read: text => limit({ memory: { max: text } }) },
  { name: 'memory-swap', argument: 'SIZE', section, option: 'cgroup.memory.swapMax', help: 'most memory and swap together; max or -1: any swap (default: no swap beside --memory)', read: text => ({ memorySwap: text }) },
  { name: 'memory-reservation', argument: 'SIZE', section, option: 'cgroup.memory.low', help: 'memory that is taken away last', read: text => limit({ memory: { low: text } }) },
  { name: 'cpus', argument: 'NUMBER', section, option: 'cgroup.cpu.max', help: 'most processor time, in processors, as 0.5; or max', read: text => limit({ cpu: { max: text === 'max' ? text : number(text) } }) },
  { name: 'cpu-shares', argument: 'NUMBER', section, option: 'cgroup.cpu.weight', help: 'share among those that compete; 1024 is what others have', read: text => limit({ cpu: { weight: weightOf(text) } }) },
  { name: 'cpuset-cpus', argument: 'LIST', section, option: 'cgroup.cpuset.cpus', help: 'processors to run on, as 0,2-3', read: text => limit({ cpuset: { cpus: text } }) },
  { name: 'cpuset-mems', argument: 'LIST', section, option: 'cgroup.cpuset.mems', help: 'memory nodes, likewise', read: text => limit({ cpuset: { mems: text } }) },
  { name: 'pids-limit', argument: 'NUMBER', section, option: 'cgroup.pids.max', help: 'most processes and threads; or max', read: text => limit({ pids: { max: orMax(text) } }) },
  { name: 'blkio-weight', argument: 'NUMBER', section, option: 'cgroup.io.weight', help: 'share of disk time among those that compete; 100 is what others have', read: text => limit({ io: { weight: integer(text) } }) },
  { name: 'device-read-bps', argument: 'DEVICE:SIZE', repeatable: true, section, option: 'cgroup.io.max', help: 'most bytes read from a disk in a second, as /dev/sda:10M', read: ioLimit('rbps', text => text) },
  { name: 'device-write-bps', argument: 'DEVICE:SIZE', repeatable: true, section, option: 'cgroup.io.max', help: 'most bytes written to it', read: ioLimit('wbps', text => text) },
  { name: 'device-read-iops', argument: 'DEVICE:NUMBER', repeatable: true, section, option: 'cgroup.io.max', help: 'most reads from it in a second', read: ioLimit('riops', orMax) },
  { name: 'device-write-iops', argument: 'DEVICE:NUMBER', repeatable: true, section, option: 'cgroup.io.max', help: 'most writes to it', read: ioLimit('wiops', orMax) },
  { name: 'device-rule', argument: 'RULE', repeatable: true, section, option: 'cgroup.devices', help: "devices that may be used, as 'c 10:229 rw', 'deny /dev/tty', 'deny a'; later rules win", read: text => limit({ devices: [deviceRule(text)] }) },
  { name: 'set', argument: 'OPTION=VALUE', repeatable: true, section, option: 'cgroup', part: optionIn, help: "any other by the library's name (types/cgroup.ts), as memory.high=512M, cpu.idle=true; values may be JSON", read: setting },
  { name: 'unified', argument: 'FILE=VALUE', repeatable: true, section, option: 'cgroup.unified', part: text => pair(text, 'FILE=VALUE')[0], help: 'any other file of cgroup v2, as memory.zswap.max=0', read: text => limit({ unified: Object.fromEntries([pair(text, 'FILE=VALUE')]) }) },
];

/** docker's words that have no flag here. */
export const LIMITS_REFUSED: Readonly<Record<string, string>> = {
  'cpu-quota': 'it is --cpus here, in processors',
  'cpu-period': 'it is --cpus here, in processors',
  'device-cgroup-rule': 'it is --device-rule here, and can deny too',
  'oom-kill-disable': 'what the kernel cannot kill waits for ever; see --set memory.high',
};

/** docker counts memory and swap together, the library swap alone. */
export function withSwap<T extends Limited>({ memorySwap, ...given }: T): Omit<T, 'memorySwap'> {
  if (memorySwap === undefined) return given;
  const max = given.cgroup?.memory?.max;
  if (max === undefined || max === 'max') throw new UsageError('--memory-swap: needs --memory beside it, which is counted in');
  const memory = check.size('cgroup.memory.max', max);
  const both = memorySwap === '-1' || memorySwap === 'max' ? 'max' : check.size('cgroup.memory.swapMax', memorySwap);
  if (both !== 'max' && both < memory) throw new UsageError(`--memory-swap: memory and swap together, so not below --memory ${max}`);
  const swapMax = both === 'max' ? both : both === memory ? 0 : both - memory;
  return { ...given, cgroup: { ...given.cgroup, memory: { ...given.cgroup?.memory, swapMax } } };
}
