import type { NamespaceKind, SpawnOptions } from '../../types/options.js';
import { OptionError } from '../errors.js';
import type { HostFacts } from '../host/facts.js';
import * as check from './check.js';
import type { JoinSource, Namespaces } from './settings.js';

export const KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];

/** A handle tells the launcher's number of its container; handle/contained.ts sets it. */
export const containerId = Symbol('spawn-contained.id');

function source(path: string, value: unknown): JoinSource | 'new' {
  if (value === 'new') return 'new';
  if (typeof value === 'number') return { path: `/proc/${check.integer(path, value, 1, 2 ** 22)}/ns/`, pid: value };
  if (typeof value === 'string') {
    const pid = /^\/proc\/(\d+)\/ns\//.exec(value)?.[1];
    if (value.startsWith('/') && !value.includes('\0')) return { path: value, pid: pid === undefined ? undefined : Number(pid) };
  } else if (typeof value === 'object' && value !== null && containerId in value) {
    const handle = value as { [containerId]: number | undefined; pid: number | undefined; exitCode: unknown; signalCode: unknown };
    const running = handle.pid !== undefined && handle.exitCode === null && handle.signalCode === null;
    if (!running) throw new OptionError(path, value, 'a container that is running (await its `ready`)');
    return { container: handle[containerId]!, pid: handle.pid };
  }
  throw new OptionError(path, value, "'new', an absolute path, a pid, or a running container");
}

export function resolveNamespaces(options: SpawnOptions, host: HostFacts): Namespaces {
  const create = new Set<NamespaceKind>();
  const join = new Map<NamespaceKind, JoinSource>();
  const { ns } = options;
  if (ns === undefined) {
    for (const kind of KINDS) if (kind !== 'time' && kind !== 'user') create.add(kind);
  } else if (Array.isArray(ns)) {
    ns.forEach((kind, i) => create.add(check.oneOf(`ns[${i}]`, kind, KINDS)));
  } else {
    const given = check.object('ns', ns, 'an array of namespaces, or an object of namespace → source');
    check.knownKeys('ns', given, KINDS);
    for (const kind of KINDS) {
      if (given[kind] === undefined) continue;
      const from = source(`ns.${kind}`, given[kind]);
      if (from === 'new') create.add(kind);
      else join.set(kind, typeof given[kind] === 'number' && 'path' in from ? { ...from, path: from.path + kind } : from);
    }
  }
  const network = check.optional(options.network, v => check.oneOf('network', v, ['none', 'host'] as const), undefined);
  if (network === 'none' && !create.has('net')) throw new OptionError('network', network, "a new `net` in ns with 'none'");
  if (network === 'host') {
    if (ns !== undefined && (create.has('net') || join.has('net'))) throw new OptionError('network', network, "no `net` in ns with 'host'");
    create.delete('net');
  }
  // Without root a namespace can only be made inside a user namespace of our own.
  if (!host.privileged && create.size > 0 && !join.has('user')) create.add('user');
  return { create, join };
}

export function resolveTimeOffsets(options: SpawnOptions, { create }: Namespaces): { monotonic: number; boottime: number } | undefined {
  if (options.timeOffsets === undefined) return create.has('time') ? { monotonic: 0, boottime: 0 } : undefined;
  const offsets = check.object('timeOffsets', options.timeOffsets);
  if (!create.has('time')) throw new OptionError('timeOffsets', offsets, 'a new `time` in ns');
  check.knownKeys('timeOffsets', offsets, ['monotonic', 'boottime']);
  const seconds = (name: string): number =>
    check.optional(offsets[name], v => check.integer(`timeOffsets.${name}`, v, -(2 ** 33), 2 ** 33), 0);
  return { monotonic: seconds('monotonic'), boottime: seconds('boottime') };
}
