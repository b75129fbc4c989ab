import type { CgroupEvent, CgroupStats, CgroupStatsStep, PressureTrigger } from './cgroup.js';
import type { Outcome } from './contained.js';
import type { NamespaceKind, RlimitName } from './options.js';

/** What one interface of a network namespace has carried since it was made: proc_pid_net(5), dev. */
export interface NetStats {
  /** Its name, as `'lo'`. */
  interface: string;
  rxBytes: number;
  rxPackets: number;
  /** Packets that were broken, and those that there was no room for. */
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/**
 * What a container uses: the counters of its group and, what no group counts, its network. What no group of its own tells
 * is the sum over its processes where they are known (processor time, memory, threads): pages that they share count for
 * each, `io` is one entry with the device `'*'`, and peaks and events are undefined.
 */
export interface Stats extends CgroupStats {
  /** By interface; undefined when the network is the caller's. In a namespace that containers share it is that of all of them. */
  net: readonly NetStats[] | undefined;
}

/** One of a series: what it uses, and what it has used since the one before. */
export interface StatsStep extends Stats {
  delta: CgroupStatsStep['delta'] & {
    /** Bytes, of all interfaces but the loopback. */
    rxBytes: number | undefined;
    txBytes: number | undefined;
  };
}

/** Options of `events`. */
export interface ContainedEventsOptions {
  /** Ends the loop. */
  signal?: AbortSignal;
  /** Pressure to be told of. Needs a group of its own on cgroup v2. Default: none. */
  pressure?: readonly PressureTrigger[];
}

/**
 * Something that has happened in a container: what its group tells, `{ type: 'pressure' }` for a trigger that was given, and
 * at last how it ended.
 */
export type ContainedEvent =
  | Exclude<CgroupEvent, { type: 'removed' }>
  | { type: 'pressure'; resource: PressureTrigger['resource']; kind: 'some' | 'full' }
  | { type: 'exit'; outcome: Outcome };

/** What a process does: proc_pid_stat(5), field 3. `waiting`: in the kernel, where no signal reaches it (D). */
export type ProcessState = 'running' | 'sleeping' | 'waiting' | 'stopped' | 'traced' | 'zombie' | 'dead' | 'idle';

/** One process of a container. All but the ids is what it says of itself and may be made up by it. */
export interface ContainedProcessInfo {
  /** On the host. */
  pid: number;
  /** In the container; undefined for one that was put into its group from outside. */
  innerPid: number | undefined;
  /** Its parent in the container; 0: none there. */
  innerParent: number;
  /** Name of the main thread, up to 15 bytes: proc_pid_comm(5). */
  name: string;
  /** Its arguments, of their first 4096 bytes. Empty for a zombie; undefined when they could not be read within a second. */
  command: readonly string[] | undefined;
  state: ProcessState;
  /** Effective ids as the container numbers them; undefined: not mapped. */
  uid: number | undefined;
  gid: number | undefined;
  /** The same as the caller numbers them. */
  hostUid: number;
  hostGid: number;
  threads: number;
  /** Milliseconds of processor time, in steps of 10. */
  userMs: number;
  systemMs: number;
  /** Memory that is resident, in bytes. */
  rss: number;
  started: Date;
}

/** A namespace of a container. */
export interface NamespaceInspection {
  /** Inode number, as lsns(8) and the links in /proc/PID/ns tell it. */
  inode: number;
  /** Whether it is another one than the caller's. */
  own: boolean;
  /** Pids of processes in it that are not of the container: up to 16. */
  sharedWith: readonly number[];
}

/** A mount as the container sees it: proc_pid_mountinfo(5). */
export interface MountInspection {
  /** Path inside the container. */
  target: string;
  /** What is mounted: a device, or a word. */
  source: string;
  /** Of the file system, as `'tmpfs'`. */
  type: string;
  /** Which directory of the file system. */
  root: string;
  /** Of the mount, as `'ro'`, `'nosuid'`. */
  options: readonly string[];
  /** Of the file system. */
  superOptions: readonly string[];
  propagation: 'private' | 'shared' | 'slave' | 'shared,slave' | 'unbindable';
}

/** A soft and a hard limit; units are those of getrlimit(2). */
export interface RlimitInspection {
  soft: number | 'unlimited';
  hard: number | 'unlimited';
}

/** A row of an id map, with `outside` as the caller numbers the ids. */
export interface IdMapRow {
  inside: number;
  outside: number;
  count: number;
}

/** Privileges of the command. */
export interface Privileges {
  /** Names as in capabilities(7), without `CAP_`. */
  capabilities: Record<'effective' | 'permitted' | 'inheritable' | 'bounding' | 'ambient', readonly string[]>;
  noNewPrivileges: boolean;
  seccomp: 'off' | 'strict' | 'filter';
  /** Effective ids and supplementary groups, as the caller numbers them. */
  hostUid: number;
  hostGid: number;
  hostGroups: readonly number[];
  /** The same as the container numbers them; those that are not mapped are undefined, or left out. */
  uid: number | undefined;
  gid: number | undefined;
  groups: readonly number[];
  uidMap: readonly IdMapRow[];
  gidMap: readonly IdMapRow[];
}

/**
 * What a container is, as the kernel tells it of the command; plain data, for JSON. What is undefined cannot be told: it has
 * ended, or this user may not look.
 */
export interface Inspection {
  id: string | undefined;
  /** Of its first process, on the host. */
  pid: number;
  state: 'running' | 'paused' | 'ended';
  started: Date | undefined;
  /** As given: file and arguments. */
  command: readonly string[];
  /** As given; what the command makes of it is its own affair. */
  env: Readonly<Record<string, string>>;
  cwd: string | undefined;
  hostname: string | undefined;
  /** Directories of its cgroups by hierarchy. */
  cgroup: Readonly<Record<string, string>>;
  namespaces: Partial<Record<NamespaceKind, NamespaceInspection>> | undefined;
  /** Those of the first 4 MiB of the kernel's list. */
  mounts: readonly MountInspection[] | undefined;
  rlimits: Record<RlimitName, RlimitInspection> | undefined;
  privileges: Privileges | undefined;
}
