// What is kept of a container that has a name, so that other processes can find it.
import type { NamespaceKind } from '../../types/options.js';
import type { DeviceSetting, Inheritance, Placement, Settings } from '../options/settings.js';
import { cloneFlags, separates } from './namespaces.js';
import type { Command } from './encode.js';
import { CWD, type Op } from './ops.js';

/** state.json of a container. Its pid stands in the file `pid`, and how it has ended in `outcome`, which the launcher writes. */
export interface ContainerRecord {
  version: 1;
  id: string;
  /** /proc/sys/kernel/random/boot_id: pids mean nothing after the next boot. */
  boot: string;
  created: string;
  command: readonly string[];
  labels: Readonly<Record<string, string>>;
  detached: boolean;
  /** Whether it is to be remembered when it has ended. */
  keep: boolean;
  /** Whether what it writes is. */
  logged: boolean;
  /** Who has made it, and when that began. */
  maker: { pid: number; start: string };
  cloneFlags: number;
  /** The namespaces that were made for it. */
  own: readonly NamespaceKind[];
  hostname?: string | undefined;
  init: boolean;
  inheritance: Inheritance;
  group: { unified: Placement['unified'] | null; v1: readonly (readonly [string, string])[]; made: boolean; counters: readonly string[]; devices?: DeviceSetting | undefined } | null;
}

/** What commands that come later have from a container. */
export function inheritanceOf(settings: Settings, command: Command): Inheritance {
  const { namespaces: { create, join }, identity: { user, setgroups }, cwd, umask, rlimits, affinity, capabilities, noNewPrivileges } = settings;
  return { namespaces: [...create, ...join.keys()], identity: { user, setgroups }, cwd, env: command.env, umask, rlimits, affinity, capabilities, noNewPrivileges };
}

function recordOf(settings: Settings, command: Command | undefined): ContainerRecord | undefined {
  const { registration, cgroup, namespaces, init } = settings;
  if (!registration || !command) return undefined;
  const { id, boot, created, labels, detached, keep, logSize, maker } = registration;
  return {
    version: 1, id, boot, created, command: command.argv, labels, detached, keep, init, own: [...namespaces.create], hostname: settings.hostname, logged: logSize !== undefined, maker,
    cloneFlags: cloneFlags(namespaces, separates(namespaces)).child,
    inheritance: inheritanceOf(settings, command),
    group: cgroup ? { unified: cgroup.where.unified ?? null, v1: [...cgroup.where.v1], made: cgroup.made, counters: cgroup.counters.map(({ name }) => name), devices: cgroup.devices?.setting } : null,
  };
}

/** The first of the host ops: the directory is the name's reservation, and whoever makes it has it. */
export function recordOps(settings: Settings, command: Command | undefined): { host: readonly Op[]; undo: readonly Op[] } {
  const { registration } = settings;
  const record = recordOf(settings, command);
  if (!registration || !record) return { host: [], undo: [] };
  const { directory, keep, logSize } = registration;
  return {
    host: [
      { op: 'mkdir', path: directory, at: CWD, mode: 0o700 },
      { op: 'create', path: `${directory}/outcome`, text: '' },
      { op: 'create', path: `${directory}/state.json`, text: JSON.stringify(record) },
      ...logSize === undefined ? [] : [{ op: 'log', path: `${directory}/log`, out: 1, errors: 2, most: logSize } as const],
    ],
    undo: [{ op: 'record', path: directory, keep: keep ? 1 : 0, most: logSize ?? 0, after: 0 }],
  };
}
