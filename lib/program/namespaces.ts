import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import type { NamespaceKind } from '../../types/options.js';
import type { IdMap, Identity, Namespaces, Settings } from '../options/settings.js';
import { AT, CLONE, MOUNT_ATTR, MS, PR } from './constants.js';
import { CWD, type Op } from './ops.js';
import type { Slots } from './slots.js';

const { EINVAL } = os.errno;

export const CLONE_FLAG: Record<NamespaceKind, number> = {
  mnt: CLONE.NEWNS, pid: CLONE.NEWPID, net: CLONE.NEWNET, ipc: CLONE.NEWIPC, uts: CLONE.NEWUTS, user: CLONE.NEWUSER,
  cgroup: CLONE.NEWCGROUP, time: CLONE.NEWTIME,
};

/** A new cgroup namespace begins at the group of the process that makes it, and a clone makes it too early. */
const NOT_BY_CLONE: readonly NamespaceKind[] = ['cgroup', 'time'];

/**
 * Whether another process must go ahead: pid and time namespaces are entered by children only (setns(2),
 * time_namespaces(7)), and what is to belong to an entered user namespace must be made after entering it.
 */
export const separates = ({ create, join }: Namespaces): boolean =>
  create.has('time') || join.has('pid') || join.has('time') || join.has('user');

export function cloneFlags({ create }: Namespaces, apart: boolean): { child: number; intermediate: number } {
  const flags = (kinds: Iterable<NamespaceKind>): number => [...kinds].reduce((sum, kind) => sum + CLONE_FLAG[kind], 0);
  const kinds = [...create].filter(kind => !NOT_BY_CLONE.includes(kind));
  if (!apart) return { child: flags(kinds), intermediate: 0 };
  return { child: flags(kinds.filter(kind => kind !== 'user')), intermediate: flags(kinds.filter(kind => kind === 'user')) };
}

export interface Sources {
  ops: readonly Op[];
  slots: ReadonlyMap<NamespaceKind, number>;
  /** Every slot that has one. */
  all: readonly number[];
}

/** Descriptors that come with the request, after the streams. */
export const heldFds = ({ join }: Namespaces): number[] => [...join.values()].flatMap(source => 'fd' in source ? [source.fd] : []);

/**
 * Namespace files are opened by the launcher: their paths are the host's, whatever has been entered by then. `held`: slot
 * of the first of `heldFds`. Who enters a container ends with it, even where that has no namespaces to enter.
 */
export function openSources({ namespaces: { join }, entered }: Pick<Settings, 'namespaces' | 'entered'>, slots: Slots, held: number): Sources {
  const ops: Op[] = [];
  const opened = new Map<NamespaceKind, number>();
  const pidfds = new Map<number, number>();
  if (entered) {
    const to = slots.take();
    pidfds.set(entered.container, to);
    ops.push({ op: 'pidfd', to, container: entered.container, guest: 1 });
  }
  for (const [kind, source] of join) {
    if ('path' in source) {
      const to = slots.take();
      opened.set(kind, to);
      ops.push({ op: 'open', path: source.path, to, at: CWD, flags: constants.O_RDONLY });
    } else if ('fd' in source) {
      opened.set(kind, held++);
    } else {
      let to = pidfds.get(source.container);
      if (to === undefined) {
        to = slots.take();
        pidfds.set(source.container, to);
        ops.push({ op: 'pidfd', to, container: source.container, guest: 0 });
      }
      opened.set(kind, to);
    }
  }
  return { ops, slots: opened, all: [...new Set([...opened.values(), ...pidfds.values()])] };
}

/** The user namespace first: it gives the capabilities to enter the others. */
const ENTER_ORDER: readonly NamespaceKind[] = ['user', 'ipc', 'uts', 'net', 'pid', 'time', 'cgroup', 'mnt'];

/** Who is inside must not look into the process that comes: into its memory or descriptors (CVE-2016-9962). */
export function enterOps(settings: Settings, { slots }: Sources): Op[] {
  const { join } = settings.namespaces;
  const dumpable = (argument: 0 | 1): Op => ({ op: 'prctl', option: PR.SET_DUMPABLE, argument, more: 0 });
  // Who is not dumpable owns no file of its own /proc; nobody in there can see this process yet, but only its child.
  const offsets = settings.timeOffsets && join.has('user') && !settings.hostPrivileged
    ? [dumpable(1), ...timeOps(settings), dumpable(0)] : timeOps(settings);
  return [
    ...join.size > 0 ? [dumpable(0)] : [],
    // While they can be dropped: in there it may be forbidden, and groups of the host would stay.
    ...join.has('user') && settings.hostPrivileged ? [{ op: 'setgroups', groups: '' } as const] : [],
    ...setnsOps(offsets.length === 0 ? ENTER_ORDER : ENTER_ORDER.filter(kind => kind !== 'mnt'), slots),
    ...offsets,            // they are fixed once a process is in: time_namespaces(7)
    ...offsets.length === 0 ? [] : setnsOps(['mnt'], slots),  // it changes what paths mean, those of /proc among them
  ];
}

/** Directories and processes of the host, which nobody in there must get from who comes (CVE-2024-21626). */
export const leaveOps = ({ join }: Namespaces, descriptors: readonly number[]): Op[] =>
  join.size > 0 ? descriptors.map((fd): Op => ({ op: 'close', fd })) : [];

/** Those of one process are entered at once, or not at all: setns(2) with a pidfd, Linux 5.8. */
function setnsOps(kinds: readonly NamespaceKind[], slots: Sources['slots']): Op[] {
  const flags = new Map<number, number>();
  for (const kind of kinds) {
    const fd = slots.get(kind);
    if (fd !== undefined) flags.set(fd, (flags.get(fd) ?? 0) + CLONE_FLAG[kind]);
  }
  return [...flags].map(([fd, all]): Op => ({ op: 'setns', fd, flags: all }));
}

function timeOps({ timeOffsets }: Settings): Op[] {
  if (!timeOffsets) return [];
  const { monotonic, boottime } = timeOffsets;
  const text = `monotonic ${monotonic} 0\nboottime ${boottime} 0\n`;
  return [
    { op: 'unshare', flags: CLONE.NEWTIME },
    ...monotonic === 0 && boottime === 0 ? [] : [{ op: 'write', path: '/proc/self/timens_offsets', text, at: CWD } as const],
  ];
}

const mapText = ({ ranges }: IdMap): string => ranges.map(r => `${r.inside} ${r.outside} ${r.count}`).join('\n');

/** user_namespaces(7). The launcher writes the maps while the process waits. */
export function idMapOps({ maps, setgroups }: Identity): Op[] {
  if (!maps) return [];
  const write = (file: string, map: IdMap): Op => map.tool
    ? { op: 'newidmap', tool: map.tool, map: mapText(map).replaceAll('\n', ' ') }
    : { op: 'writeProc', file, text: mapText(map) };
  return [
    ...setgroups ? [] : [{ op: 'writeProc', file: 'setgroups', text: 'deny' } as const],
    write('uid_map', maps.uid),
    write('gid_map', maps.gid),
  ];
}

/** Setup goes on as an id that the user namespace knows; its root, where that is mapped. */
export function insideRootOps({ identity: { maps, user }, namespaces }: Settings): Op[] {
  if (!maps) {
    // In one that is entered the caller may be mapped to whatever; EINVAL says that its root is nobody.
    return namespaces.join.has('user') && user
      ? [{ op: 'setresgid', gid: 0, forgive: EINVAL }, { op: 'setresuid', uid: 0, forgive: EINVAL }] : [];
  }
  const first = ({ ranges }: IdMap): number => ranges.some(r => r.inside === 0) ? 0 : ranges[0]!.inside;
  return [{ op: 'setresgid', gid: first(maps.gid) }, { op: 'setresuid', uid: first(maps.uid) }];
}

/**
 * What holds namespaces has no use for files: a mount namespace of its own with nothing in it, so that nobody gets from it
 * to the host's.
 */
export function emptyRootOps(slots: Slots): Op[] {
  const root = slots.take();
  return [
    { op: 'unshare', flags: CLONE.NEWNS },
    { op: 'mountSetattr', path: '/', at: CWD, set: 0, propagation: MS.PRIVATE, flags: AT.RECURSIVE },
    { op: 'fsmount', type: 'tmpfs', options: ['mode', '0555', 'size', '4096'], to: root, attributes: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC },
    { op: 'moveMount', path: null, from: root, root: CWD },
    { op: 'pivotRoot', root, stacked: 0 },
  ];
}

export const unshareCgroupOps = ({ create }: Namespaces): Op[] =>
  create.has('cgroup') ? [{ op: 'unshare', flags: CLONE.NEWCGROUP }] : [];

export const loopbackOps = ({ create }: Namespaces): Op[] => create.has('net') ? [{ op: 'loopback' }] : [];
