import { readlinkSync } from 'node:fs';
import type { NamespaceKind } from '../../types/options.js';

/** Those of the kinds in which a process has another namespace than we have, or the error of looking. */
export function foreignNamespaces(pid: number, kinds: readonly NamespaceKind[]): NamespaceKind[] | NodeJS.ErrnoException {
  const link = (who: number | 'self', kind: NamespaceKind): string => readlinkSync(`/proc/${who}/ns/${kind}`);
  try {
    return kinds.filter(kind => link(pid, kind) !== link('self', kind));
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}
