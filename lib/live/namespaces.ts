// Which namespaces a process is in, and who else is: what lsns(8) would say.
import type { NamespaceInspection } from '../../types/live.js';
import type { NamespaceKind } from '../../types/options.js';
import { KINDS } from '../options/namespaces.js';
import { allPids } from './members.js';
import { namespaceOf } from './proc.js';

const MOST = 16;
const AT_ONCE = 32;

/** Pids of other processes in each of the namespaces: as many as are wanted, and no more are looked for. */
async function others(links: ReadonlyMap<NamespaceKind, string>, members: ReadonlySet<number>): Promise<Map<NamespaceKind, number[]>> {
  const found = new Map([...links.keys()].map(kind => [kind, [] as number[]]));
  const pids = (await allPids()).filter(pid => !members.has(pid));
  for (let i = 0; i < pids.length; i += AT_ONCE) {
    const open = [...found].filter(([, list]) => list.length < MOST);
    if (open.length === 0) break;
    await Promise.all(pids.slice(i, i + AT_ONCE).flatMap(pid => open.map(async ([kind, list]) => {
      if (await namespaceOf(pid, kind) === links.get(kind)) list.push(pid);
    })));
  }
  return found;
}

/** Undefined when this user may not look. `members`: the processes of the container. */
export async function namespacesOf(pid: number, members: readonly number[]): Promise<Partial<Record<NamespaceKind, NamespaceInspection>> | undefined> {
  const [theirs, ours] = await Promise.all([pid, 'self' as const].map(async of =>
    new Map((await Promise.all(KINDS.map(async kind => [kind, await namespaceOf(of, kind)] as const))).flatMap(([kind, link]) => link === undefined ? [] : [[kind, link] as const]))));
  if (theirs!.size === 0) return undefined;
  const shared = await others(theirs!, new Set([pid, ...members]));
  return Object.fromEntries([...theirs!].map(([kind, link]): [NamespaceKind, NamespaceInspection] => [kind, {
    inode: Number(/\[(\d+)\]/.exec(link)?.[1]), own: link !== ours!.get(kind),
    sharedWith: shared.get(kind)!.sort((a, b) => a - b).slice(0, MOST),
  }]));
}
