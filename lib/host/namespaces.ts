import { readlinkSync } from 'node:fs';
import type { NamespaceKind } from '../../types/options.js';
import { ContainedError, errnoName } from '../errors.js';

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such process, or no longer',
  ESRCH: 'the process has ended meanwhile',
  EACCES: 'the process is of another user, or has privileges that you have not: only root may look into it',
  EPERM: 'the process is of another user, or has privileges that you have not: only root may look into it',
};

/** Those of the kinds in which a process has another namespace than we have, or why that cannot be told. */
export function foreignNamespaces(pid: number, kinds: readonly NamespaceKind[]): NamespaceKind[] | ContainedError {
  const link = (who: number | 'self', kind: NamespaceKind): string => readlinkSync(`/proc/${who}/ns/${kind}`);
  try {
    return kinds.filter(kind => link(pid, kind) !== link('self', kind));
  } catch (error) {
    const { errno = 0, syscall, path } = error as NodeJS.ErrnoException;
    const code = errnoName(-errno);
    return new ContainedError({ code, errno, syscall, path, dest: undefined, step: `find the namespaces of process ${pid}`, hint: HINTS[code] });
  }
}
