// System calls as such. Those on the calling thread are single ops of the launcher's interpreter, run by the addon.
import type { CloneOptions, Sys, WriteResult } from '../types/sys.js';
import { errnoName } from './errors.js';
import { ContainedProcess } from './handle/contained.js';
import { resolveStdio } from './handle/stdio.js';
import { native } from './native.js';
import * as check from './options/check.js';
import { CLONE, MNT, MS } from './program/constants.js';
import { encodeSection } from './program/encode.js';
import type { Op } from './program/ops.js';
import { bareTemplate } from './handle/template.js';
import { opError } from './program/words.js';

const SIGKILL = 9;

function apply(op: Op, fds: readonly number[] = []): void {
  const errno = native().apply(encodeSection([op]), new Int32Array(fds));
  if (errno !== 0) throw opError(op, 'host', errno);
}

const fdOf = (value: unknown): number => check.integer('fd', value, 0, 2 ** 31 - 1);
const flagsOf = (value: unknown): number => check.integer('flags', value, 0, 2 ** 32 - 1);
const textOrNull = (path: string, value: unknown): string | null => value === null ? null : check.string(path, value);

async function writeProcs(fd: number, pids: Int32Array | readonly number[]): Promise<WriteResult> {
  const list = pids instanceof Int32Array ? pids
    : Int32Array.from(check.array('pids', pids), (pid, i) => check.integer(`pids[${i}]`, pid, 0, 2 ** 22));
  const errnos = await native().writeProcs(fdOf(fd), 'cgroup.procs', list);
  const errors = [...errnos].flatMap((errno, i) => errno === 0 ? [] : [{ pid: list[i]!, code: errnoName(errno), errno: -errno }]);
  return { moved: list.length - errors.length, errors };
}

function clone(flags: number, options: CloneOptions): ContainedProcess {
  const given = check.object('options', options);
  check.knownKeys('', given, ['file', 'argv', 'env', 'stdio']);
  const file = check.nonEmpty('file', options.file);
  const strings = (path: string, value: readonly string[]): string[] => check.array(path, value).map((text, i) => check.string(`${path}[${i}]`, text));
  const entries = resolveStdio({ stdio: options.stdio ?? 'ignore' });
  const command = { file, search: '', argv: strings('argv', options.argv ?? [file]), env: strings('env', options.env ?? []) };
  const life = { timeout: undefined, cpuTimeout: undefined, output: undefined, signal: undefined, killSignal: SIGKILL, killGrace: 0, trace: false };
  return new ContainedProcess(bareTemplate(flagsOf(flags), entries.length), command, life, entries);
}

export const sys: Sys = {
  clone,
  setns: (fd, flags) => apply({ op: 'setns', fd: 0, flags: flagsOf(flags) }, [fdOf(fd)]),
  unshare: flags => apply({ op: 'unshare', flags: flagsOf(flags) }),
  pivotRoot: fd => apply({ op: 'pivotRoot', root: 0, stacked: 0 }, [fdOf(fd)]),
  mount: (source, target, type, flags, data) => apply({
    op: 'mount', source: textOrNull('source', source), target: check.string('target', target), type: textOrNull('type', type),
    data: data === undefined ? null : check.string('data', data), flags: flagsOf(flags),
  }),
  umount: (target, flags = 0) => apply({ op: 'umount', target: check.string('target', target), flags: flagsOf(flags) }),
  writeProcs,
  CLONE_NEWNS: CLONE.NEWNS, CLONE_NEWPID: CLONE.NEWPID, CLONE_NEWNET: CLONE.NEWNET, CLONE_NEWIPC: CLONE.NEWIPC,
  CLONE_NEWUTS: CLONE.NEWUTS, CLONE_NEWUSER: CLONE.NEWUSER, CLONE_NEWCGROUP: CLONE.NEWCGROUP, CLONE_NEWTIME: CLONE.NEWTIME,
  MS_RDONLY: MS.RDONLY, MS_NOSUID: MS.NOSUID, MS_NODEV: MS.NODEV, MS_NOEXEC: MS.NOEXEC, MS_REMOUNT: MS.REMOUNT,
  MS_NOATIME: MS.NOATIME, MS_BIND: MS.BIND, MS_MOVE: MS.MOVE, MS_REC: MS.REC, MS_UNBINDABLE: MS.UNBINDABLE,
  MS_PRIVATE: MS.PRIVATE, MS_SLAVE: MS.SLAVE, MS_SHARED: MS.SHARED, MS_RELATIME: MS.RELATIME, MS_STRICTATIME: MS.STRICTATIME,
  MNT_FORCE: MNT.FORCE, MNT_DETACH: MNT.DETACH, MNT_EXPIRE: MNT.EXPIRE,
};
