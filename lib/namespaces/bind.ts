// Namespaces held by files: a bind mount of /proc/PID/ns/KIND, namespaces(7), "The /proc/pid/ns/ directory".
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, statfs } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { basename, dirname } from 'node:path';
import type { NamespaceKind } from '../../types/options.js';
import { perform } from '../cgroup/perform.js';
import { ContainedError, errnoName, OptionError } from '../errors.js';
import { hostFacts } from '../host/facts.js';
import * as check from '../options/check.js';
import { KINDS } from '../options/namespaces.js';
import { MNT, MS, OPEN_TREE_CLONE } from '../program/constants.js';
import { CWD, type Op } from '../program/ops.js';
import { processHint } from '../program/words.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY } = constants;
const O_PATH = 0o10000000;

/** NSFS_MAGIC, linux/magic.h */
const NSFS = 0x6e736673;

/** Where `ip netns` looks: ip-netns(8). */
const NETNS = '/run/netns';

/** A namespace that is open here, and the file that is to hold it. */
export interface Binding {
  fd: number;
  path: string;
}

export const failed = (error: unknown, step: string, hint?: string): ContainedError => {
  if (error instanceof ContainedError) return error;
  const { errno = 0, syscall, path } = error as NodeJS.ErrnoException;
  return new ContainedError({ code: errnoName(-errno), errno, syscall, path, dest: undefined, step, hint });
};

const refused = (code: 'EPERM' | 'ESRCH' | 'EINVAL', path: string | undefined, step: string, hint: string): ContainedError =>
  new ContainedError({ code, errno: -os.errno[code], syscall: undefined, path, dest: undefined, step, hint });

/** That the kinds can be held by files, and that this caller may. */
export function checkPersistent(path: string, kinds: readonly NamespaceKind[], value: unknown): void {
  if (kinds.includes('pid')) throw new OptionError(path, value, 'no pid: that namespace ends with its first process, so it cannot be held by a file; createNamespaces without `path` holds one by a process');
}

export function refuseUnprivileged(path: string): void {
  if (!hostFacts().privileged) throw refused('EPERM', path, `hold namespaces at ${path}`, 'mounting needs CAP_SYS_ADMIN: run as root, or leave `path` out, and a process holds them');
}

/** A descriptor of a namespace of a process. */
export function openNamespace(pid: number, kind: NamespaceKind): number {
  try {
    return openSync(`/proc/${pid}/ns/${kind}`, O_RDONLY);
  } catch (error) {
    throw failed(error, `open the ${kind} namespace of process ${pid}`, processHint((error as NodeJS.ErrnoException).code ?? ''));
  }
}

/** What is mounted in the private directory is not mounted in copies of it: what holds a mount namespace cannot be. */
export function privateOps(directory: string): { ops: Op[]; undo: Op[] } {
  return {
    ops: [
      { op: 'open', path: '/', to: 0, at: CWD, flags: O_PATH | O_DIRECTORY },
      { op: 'openTree', path: directory, to: 1, at: CWD, flags: OPEN_TREE_CLONE },
      { op: 'moveMount', path: directory, from: 1, root: 0 },
      { op: 'mountSetattr', path: directory, at: CWD, set: 0, propagation: MS.PRIVATE, flags: 0 },
    ],
    undo: [{ ...unmount(directory), after: 2 }],
  };
}

const unmount = (target: string): Op => ({ op: 'umount', target, flags: MNT.DETACH | MNT.NOFOLLOW });
const unlink = (path: string): Op => ({ op: 'unlink', path, at: CWD });

/** Makes a file for each, which must not be there, and mounts the namespace on it. The directory is looked up once. */
export function bindOps(bindings: readonly Binding[], before = 0): { ops: Op[]; undo: Op[] } {
  const ops: Op[] = [];
  const undo: Op[] = [];
  const [directory, file, mount] = [2, 3, 4];
  for (const { fd, path } of bindings) {
    const at = before + ops.length;
    const name = basename(path);
    ops.push(
      { op: 'open', path: dirname(path), to: directory, at: CWD, flags: O_PATH | O_DIRECTORY },
      { op: 'open', path: name, to: file, at: directory, flags: O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW },
      { op: 'openTree', path: `/proc/self/fd/${fd}`, to: mount, at: CWD, flags: OPEN_TREE_CLONE },
      { op: 'moveMount', path: name, from: mount, root: directory },
    );
    undo.unshift({ ...unmount(path), after: at + 3 }, { ...unlink(path), after: at + 1 });
  }
  return { ops, undo };
}

/** The errors of mounting, with what they mean here. */
export function explained(error: unknown, path: string): unknown {
  if (!(error instanceof ContainedError)) return error;
  const hint = error.syscall === 'open' && error.code === 'EEXIST' ? 'something is there: removeNamespace() or openNamespaces(…).remove() takes away what holds a namespace; else give another path'
    : error.syscall === 'open' && error.code === 'ENOENT' ? `there is no directory ${dirname(path)}: make it`
    : error.syscall === 'openTree' || error.syscall === 'moveMount' ? mountHint(error.code) : error.hint;
  const { code, errno, syscall, dest } = error;
  return new ContainedError({ code, errno, syscall, path, dest, step: `hold a namespace at ${path}`, hint });
}

// fs/namespace.c, mnt_ns_loop: or two of them could hold each other for ever.
const mountHint = (code: string): string | undefined => code === 'EINVAL'
  ? 'a mount namespace can be held on a private mount only: mount --bind DIR DIR && mount --make-private DIR, which createNamespaces does for its path'
  : code === 'ELOOP' ? 'a mount namespace can be held only in one that is older than it; Linux 6.18 may take a new one for older, unless this process is in the first of the machine'
  : code === 'EPERM' ? 'mounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace: run as root' : undefined;

/** `process`: pid of a running process, undefined when it has ended. For `Contained.persist`. */
export async function persist(kind: NamespaceKind, path: string, process: () => Promise<number | undefined>): Promise<void> {
  checkPersistent('kind', [check.oneOf('kind', kind, KINDS)], kind);
  const place = check.insidePath('path', path);
  refuseUnprivileged(place);
  const pid = await process();
  if (pid === undefined) throw refused('ESRCH', undefined, `hold the ${kind} namespace of a container`, 'the container has ended');
  const fd = openNamespace(pid, kind);
  try {
    // `ip netns` makes it when it is first needed.
    if (dirname(place) === NETNS) await mkdir(NETNS, { recursive: true, mode: 0o755 });
    const { ops, undo } = bindOps([{ fd, path: place }]);
    await perform(ops, undo);
  } catch (error) {
    throw explained(failed(error, `make ${NETNS}`), place);
  } finally {
    closeSync(fd);
  }
}

export const isNamespace = async (path: string): Promise<boolean> => (await statfs(path)).type === NSFS;

/**
 * Takes away what holds a namespace: unmounts the file and deletes it, and so every copy of the mount that another mount
 * namespace has (Linux 3.18, commit 8ed936b5671b). Whoever is in the namespace goes on in it.
 *
 * Rejects with a {@link ContainedError}: ENOENT when there is no such file, EINVAL when it holds no namespace, EPERM without
 * CAP_SYS_ADMIN.
 */
export async function removeNamespace(path: string): Promise<void> {
  const place = check.insidePath('path', path);
  const step = `remove the namespace at ${place}`;
  const holds = await isNamespace(place).catch((error: unknown) => { throw failed(error, step, 'there is no such file, or it has been removed'); });
  if (!holds) throw refused('EINVAL', place, step, 'that file holds no namespace');
  if (!hostFacts().privileged) throw refused('EPERM', place, step, 'unmounting needs CAP_SYS_ADMIN: run as root');
  await perform([unmount(place), unlink(place)]);
}

/** The directory that `privateOps` has mounted on itself; one in which somebody else has mounted something stays. */
export const unmountDirectory = async (directory: string): Promise<void> =>
  await perform([{ op: 'umount', target: directory, flags: MNT.NOFOLLOW, forgive: os.errno.EBUSY }]);
