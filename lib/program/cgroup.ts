import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import type { CgroupSetting, CgroupWrite, DeviceSetting, Settings } from '../options/settings.js';
import { attachDevices, writeDevices } from './devices.js';
import { CWD, type Op } from './ops.js';
import type { Slots } from './slots.js';

const { EEXIST, ENOENT } = os.errno;

export interface Group {
  setting: CgroupSetting | undefined;
  /** Before the clone. */
  host: readonly Op[];
  /** After it, while the process does what does not depend on its groups; empty when they are not made then. */
  release: readonly Op[];
  /** Slot of the v2 directory, or −1. */
  slot: number;
  /** Slots of the v1 `tasks` files; the process is handed those that are opened after the clone. */
  tasks: readonly number[];
}

/** What `delegate` gives away: kernel document cgroup-v2, "Model of Delegation". The limits stay ours. */
const DELEGATED = ['', '/cgroup.procs', '/cgroup.threads', '/cgroup.subtree_control'];

/** What may be made in it: all of it is ours to remove. `unified` may say otherwise. */
const BELOW = { '/cgroup.max.depth': '32', '/cgroup.max.descendants': '1000' };

/** v2 has no file for it but a program that is attached to the directory. */
export function deviceOps({ setting, v1 }: NonNullable<CgroupSetting['devices']>, unified: string | undefined, slots: Slots, from?: DeviceSetting): Op[] {
  if (v1 !== undefined) return writeDevices(setting, v1, from);
  const fd = slots.take();
  return [
    { op: 'open', path: unified!, to: fd, at: CWD, flags: constants.O_RDONLY | constants.O_DIRECTORY },
    attachDevices(setting, fd),
    { op: 'close', fd },
  ];
}

const writeOp = ({ path, text, optional }: CgroupWrite): Op => ({ op: 'write', path, text, at: CWD, ...optional ? { forgive: ENOENT } : {} });

/** Making the directories, that of v2 first, and setting the limits. */
export function makeOps(setting: CgroupSetting, slots: Slots): Op[] {
  const { unified, v1, enable, limits, devices, owner } = setting;
  const host: Op[] = [];
  for (const { directory, controllers } of enable) {
    host.push({ op: 'write', path: `${directory}/cgroup.subtree_control`.replace('//', '/'), text: controllers.map(c => `+${c}`).join(' '), at: CWD });
  }
  for (const path of [...unified !== undefined ? [unified] : [], ...v1.map(({ directory }) => directory)]) {
    host.push({ op: 'mkdir', path, at: CWD, mode: 0o755 });
  }
  if (owner && unified !== undefined) {
    for (const [file, text] of Object.entries(BELOW)) host.push({ op: 'write', path: unified + file, text, at: CWD });
  }
  host.push(...limits.map(writeOp));
  if (devices) host.push(...deviceOps(devices, unified, slots));
  if (owner && unified !== undefined) {
    const fd = slots.take();
    for (const file of DELEGATED) {
      host.push({ op: 'open', path: unified + file, to: fd, at: CWD, flags: constants.O_RDONLY }, { op: 'fchown', fd, uid: owner.uid, gid: owner.gid });
    }
    host.push({ op: 'close', fd });
  }
  return host;
}

const readOp = ({ path }: CgroupSetting['counters'][number]): Op => ({ op: 'read', path });

/**
 * The launcher makes, limits and opens the directories. A process is born into its v2 group; the rest, four fifths of the
 * work on a host with v1, may be done `meanwhile`, before it is to join or run anything.
 */
export function makeGroups(setting: CgroupSetting | undefined, slots: Slots, meanwhile: boolean): Group {
  if (!setting) return { setting, host: [], release: [], slot: -1, tasks: [] };
  const { unified, v1, made, counters } = setting;
  const make = made ? makeOps(setting, slots) : counters.map(readOp);
  const early = meanwhile && made ? make.findIndex(op => op.op === 'mkdir' && op.path === unified) + 1 : make.length;
  const slot = unified !== undefined ? slots.take() : -1;
  const first = slots.take(v1.length);
  const open = unified === undefined ? [] : [{ op: 'open', path: unified, to: slot, at: CWD, flags: constants.O_RDONLY | constants.O_DIRECTORY } as const];
  const openTasks = v1.map(({ directory }, i): Op => ({ op: 'open', path: `${directory}/tasks`, to: first + i, at: CWD, flags: constants.O_WRONLY }));
  const tasks = v1.map((_, i) => first + i);
  if (early === make.length) return { setting, host: [...make, ...open, ...openTasks], release: [], slot, tasks };
  const go: Op[] = v1.length === 0 ? [] : [{ op: 'go', from: first, count: v1.length }];
  return { setting, host: [...make.slice(0, early), ...open], release: [...make.slice(early), ...openTasks, ...go], slot, tasks };
}

/**
 * v1: writing 0 to `tasks` moves the one thread that writes. Unlike every write to cgroup.procs it does not take the
 * kernel's cgroup_threadgroup_rwsem and so does not wait for an RCU grace period of some 10 ms
 * (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
 */
export const joinGroups = ({ tasks, release }: Group): Op[] => [
  ...tasks.length > 0 && release.length > 0 ? [{ op: 'wait', to: tasks[0]!, count: tasks.length } as const] : [],
  ...tasks.map((fd): Op => ({ op: 'writeFd', text: '0', fd })),
];

/** The launcher looks before anybody is made who would stand still too, and wait for ever to be let in. */
export const refuseFrozen = ({ entered }: Settings): Op[] =>
  entered?.frozen?.lines.map((line): Op => ({ op: 'unless', path: entered.frozen!.path, line, forgive: ENOENT })) ?? [];

/** By the process that comes in, since the first write to cgroup.procs waits for an RCU grace period; before its own group has limits. */
export function divideOps({ entered }: Settings): Op[] {
  if (!entered?.divide) return [];
  const { directory, controllers, limits } = entered.divide;
  return [
    { op: 'mkdir', path: `${directory}/main`, at: CWD, mode: 0o755, forgive: EEXIST },
    { op: 'moveMembers', from: directory, to: `${directory}/main` },
    { op: 'write', path: `${directory}/cgroup.subtree_control`, text: controllers.map(c => `+${c}`).join(' '), at: CWD },
    ...limits.map(writeOp),
  ];
}

/**
 * When the first process has ended: whoever is left is killed, the counters are read, the directories removed. In a pid
 * namespace nobody is left, unless somebody was put into the group from outside; then the directory is busy. `outside`: what
 * the launcher has done, in its order.
 */
export function removeGroups(settings: Settings, { setting }: Group, outside: readonly Op[]): Op[] {
  const alone = settings.namespaces.create.has('pid');
  if (!setting?.made) return [...alone ? [] : [{ op: 'killGroup', forgive: os.errno.ESRCH } as const], ...setting?.counters.map(readOp) ?? []];
  const { unified, v1, counters } = setting;
  const whenBusy = alone ? 1 : 0;
  const directoryOf = (file: string): string => file.slice(0, file.lastIndexOf('/'));
  const freezer = unified === undefined ? setting.where.v1.get('freezer') : undefined;
  // Also done with each SIGKILL: launcher/kill.cc, thaw.
  const thaw: Op[] = freezer === undefined ? [] : [{ op: 'write', path: `${freezer}/freezer.state`, text: 'THAWED', at: CWD, forgive: ENOENT, ...after(freezer, outside) }];
  const kill: Op[] = unified !== undefined
    ? [{ op: 'killCgroup', path: unified, unified: 1, whenBusy, forgive: ENOENT, ...after(unified, outside) }]
    : v1.slice(0, 1).map(({ directory }) => ({ op: 'killCgroup', path: directory, unified: 0, whenBusy, forgive: ENOENT, ...after(directory, outside) }));
  return [...thaw, ...kill, ...counters.map(({ path }): Op => ({ op: 'read', path, ...after(directoryOf(path), outside) })), ...removeOps(setting, outside)];
}

/** Which of the ops makes the directory. */
const after = (path: string, ops: readonly Op[]): { after: number } => ({ after: ops.findIndex(op => op.op === 'mkdir' && op.path === path) });

/** The directories that `ops` made, the last first, with what the container has made in them. */
export const removeOps = ({ unified, v1 }: CgroupSetting, ops: readonly Op[]): Op[] =>
  [...v1.map(({ directory }) => directory).reverse(), ...unified !== undefined ? [unified] : []]
    .map((path): Op => ({ op: 'rmdir', path, tree: 1, forgive: ENOENT, ...after(path, ops) }));
