import type { NamespaceKind, SpawnOptions } from '../../types/options.js';
import { ContainedError, errnoName, OptionError } from '../errors.js';
import type { HostFacts } from '../host/facts.js';
import { foreignNamespaces } from '../host/namespaces.js';
import { processHint } from '../program/words.js';
import * as check from './check.js';
import type { JoinSource, Namespaces } from './settings.js';

export const KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];

/** A handle tells the launcher's number of its container; handle/contained.ts sets it. */
export const containerId = Symbol('spawn-contained.id');

/** What has namespaces tells which, and where each is to be found; none when they are gone. */
export const heldSources = Symbol('spawn-contained.namespaces');

/** A handle tells which namespaces its container has that we have not. */
export const containedKinds = Symbol('spawn-contained.kinds');

interface Owner {
  kinds: readonly NamespaceKind[];
  of(kind: NamespaceKind): JoinSource;
}

interface Handle {
  readonly [containerId]: number | undefined;
  readonly [containedKinds]: readonly NamespaceKind[];
  readonly pid: number | undefined;
  readonly exitCode: unknown;
  readonly signalCode: unknown;
}

/** The container, or the namespaces of `createNamespaces`, that `value` is. */
function ownerOf(path: string, value: unknown): Owner | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (containerId in value) {
    const handle = value as Handle;
    const running = handle.pid !== undefined && handle.exitCode === null && handle.signalCode === null;
    if (!running) throw new OptionError(path, value, 'a container that is running (await its `ready`)');
    return { kinds: handle[containedKinds], of: () => ({ container: handle[containerId]!, pid: handle.pid }) };
  }
  if (!(heldSources in value)) return undefined;
  const held = (value as { [heldSources]: ReadonlyMap<NamespaceKind, JoinSource> })[heldSources];
  if (held.size === 0) throw new OptionError(path, value, 'namespaces that are there: these have been removed');
  return {
    kinds: [...held.keys()],
    of(kind) {
      const source = held.get(kind);
      if (!source) throw new OptionError(path, value, `namespaces with \`${kind}\` among them`);
      return source;
    },
  };
}

const pidOf = (path: string, value: number): number => check.integer(path, value, 1, 2 ** 22);

function sourceOf(path: string, kind: NamespaceKind, value: unknown): JoinSource | 'new' | 'host' {
  if (value === 'new' || value === 'host') return value;
  if (typeof value === 'number') return { path: `/proc/${pidOf(path, value)}/ns/${kind}`, pid: value };
  if (typeof value === 'string') {
    const pid = /^\/proc\/(\d+)\/ns\//.exec(value)?.[1];
    if (value.startsWith('/') && !value.includes('\0')) return { path: value, pid: pid === undefined ? undefined : Number(pid) };
  }
  const owner = ownerOf(path, value);
  if (owner) return owner.of(kind);
  throw new OptionError(path, value, "'new', 'host', an absolute path, a pid, a running container, or namespaces of createNamespaces");
}

interface Found {
  create: Set<NamespaceKind>;
  join: Map<NamespaceKind, JoinSource>;
  unknown?: ContainedError;
  momentary?: boolean;
}

function cannotLook(pid: number, { errno = 0, syscall, path }: NodeJS.ErrnoException): ContainedError {
  const code = errnoName(-errno);
  return new ContainedError({ code, errno, syscall, path, dest: undefined, step: `find the namespaces of process ${pid}`, hint: processHint(code) });
}

/** All that a process, a container or a pod has and we have not: `nsenter --all`. */
function enterAll(path: string, value: unknown, found: Found): void {
  const owner = ownerOf(path, value);
  if (owner) return owner.kinds.forEach(kind => found.join.set(kind, owner.of(kind)));
  if (typeof value !== 'number') throw new OptionError(path, value, 'a pid, a running container, or namespaces of createNamespaces');
  const pid = pidOf(path, value);
  found.momentary = true;
  const kinds = foreignNamespaces(pid, KINDS);
  if (kinds instanceof Error) found.unknown = cannotLook(pid, kinds);
  else for (const kind of kinds) found.join.set(kind, { path: `/proc/${pid}/ns/${kind}`, pid });
}

function enterEach(given: Record<string, unknown>, found: Found): void {
  check.knownKeys('ns', given, [...KINDS, 'all']);
  if (given['all'] !== undefined) enterAll('ns.all', given['all'], found);
  for (const kind of KINDS) {
    if (given[kind] === undefined) continue;
    const from = sourceOf(`ns.${kind}`, kind, given[kind]);
    found.join.delete(kind);
    if (from === 'new') found.create.add(kind);
    else if (from !== 'host') found.join.set(kind, from);
  }
}

/** Without root what belongs to a user namespace can be entered from inside that one only. */
function enterOwner(given: Record<string, unknown>, { join }: Found): void {
  if (given['user'] !== undefined || join.has('user')) return;
  for (const kind of KINDS) {
    const owner = ownerOf(`ns.${kind}`, given[kind]);
    if (owner?.kinds.includes('user')) return void join.set('user', owner.of('user'));
  }
}

export function resolveNamespaces(options: SpawnOptions, host: HostFacts): Namespaces {
  const found: Found = { create: new Set(), join: new Map() };
  const { create, join } = found;
  const { ns } = options;
  if (ns === undefined) {
    for (const kind of KINDS) if (kind !== 'time' && kind !== 'user') create.add(kind);
  } else if (Array.isArray(ns)) {
    ns.forEach((kind, i) => create.add(check.oneOf(`ns[${i}]`, kind, KINDS)));
  } else if (typeof ns === 'number' || ownerOf('ns', ns)) {
    enterAll('ns', ns, found);
  } else {
    const given = check.object('ns', ns, 'an array of namespaces, an object of namespace → source, a pid, or a running container');
    enterEach(given, found);
    if (!host.privileged) enterOwner(given, found);
  }
  const network = check.optional(options.network, v => check.oneOf('network', v, ['none', 'host'] as const), undefined);
  if (network === 'none' && !create.has('net')) throw new OptionError('network', network, "a new `net` in ns with 'none'");
  if (network === 'host') {
    if (ns !== undefined && (create.has('net') || join.has('net'))) throw new OptionError('network', network, "no `net` in ns with 'host'");
    create.delete('net');
  }
  // Without root a namespace can only be made inside a user namespace of our own.
  if (!host.privileged && create.size > 0 && !join.has('user')) create.add('user');
  return found;
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
