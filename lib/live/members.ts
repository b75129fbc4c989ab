// Which processes are of a container.
import { readdir } from 'node:fs/promises';
import { Group } from '../cgroup/group.js';
import { inChunks, namespaceOf, parseStat, statusNumbers, textsOf } from './proc.js';
import { ownGroup, type Subject } from './subject.js';

export const allPids = async (): Promise<number[]> => (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number);

/** Whether it has a pid namespace that no other container has made. */
async function ownsPids({ create, pid }: Subject): Promise<boolean> {
  if (create) return create.has('pid');
  const [status] = await textsOf([`/proc/${pid}/status`]);
  return statusNumbers(status, 'NSpid').length > 1;
}

/** Kernel threads are nobody's: their parent is kthreadd, and it has none. */
const KTHREADD = 2;

/** Of these processes, those whose pid namespace is the same as that of the first that this user may look at. */
async function sameNamespace(sure: readonly number[], others: readonly number[]): Promise<number[]> {
  let namespace: string | undefined;
  for (const pid of sure) if ((namespace ??= await namespaceOf(pid, 'pid')) !== undefined) break;
  if (namespace === undefined || namespace === await namespaceOf('self', 'pid')) return [];
  return await inChunks(others, async chunk => {
    const found = await Promise.all(chunk.map(pid => namespaceOf(pid, 'pid')));
    return chunk.filter((_, i) => found[i] === namespace);
  });
}

/**
 * Without a group. All in a pid namespace but those that have entered it descend from its first process, whatever they do:
 * pid_namespaces(7); without such a namespace who has lost its parent is not found.
 */
async function family(subject: Subject): Promise<number[]> {
  const pids = await allPids();
  const stats = (await textsOf(pids.map(pid => `/proc/${pid}/stat`))).map(parseStat);
  const children = new Map<number, number[]>();
  stats.forEach((stat, i) => stat && children.set(stat.parent, [...children.get(stat.parent) ?? [], pids[i]!]));
  const found = new Set<number>();
  const add = (pid: number): void => {
    const open = [pid];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (found.has(next)) continue;
      found.add(next);
      open.push(...children.get(next) ?? []);
    }
  };
  if (stats[pids.indexOf(subject.pid)]) add(subject.pid);
  if (await ownsPids(subject)) {
    const others = pids.filter((pid, i) => !found.has(pid) && stats[i] && stats[i].parent !== KTHREADD && pid !== KTHREADD);
    for (const pid of await sameNamespace([...found], others)) add(pid);
  }
  return [...found].sort((a, b) => a - b);
}

/** Pids on the host, ascending. */
export async function membersOf(subject: Subject): Promise<number[]> {
  const where = ownGroup(subject);
  // 0: not in our pid namespace, so that nothing can be asked of it.
  return where ? (await new Group(where).processes({ recursive: true })).filter(pid => pid > 0) : await family(subject);
}

/** Whether what `membersOf` finds is all of it. */
export const knowsMembers = async (subject: Subject): Promise<boolean> => ownGroup(subject) !== undefined || await ownsPids(subject);
