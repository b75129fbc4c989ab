// `contained cgroup tree`: a group and those below it.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cgroup } from '../../types/cgroup.js';
import { printable } from './columns.js';

export interface Branch {
  name: string;
  paths: Readonly<Record<string, string>>;
  /** Pids; undefined in a threaded group, which has threads only. */
  processes: readonly number[] | undefined;
  threads: number | undefined;
  /** By file, as they stand there, without those that say that there is none. */
  limits: Record<string, string> | undefined;
  children: readonly Branch[];
}

const code = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

const LIMIT_FILES = new RegExp(`^(?:${[
  'memory\\.(?:min|low|high|max|swap\\.max|zswap\\.max|oom\\.group|limit_in_bytes|soft_limit_in_bytes|memsw\\.limit_in_bytes)',
  'cpu\\.(?:max|max\\.burst|weight|idle|shares|cfs_quota_us|cfs_period_us|cfs_burst_us)',
  'cpuset\\.(?:cpus|mems|cpus\\.partition)',
  '(?:io|rdma|misc)\\.max|io\\.(?:weight|bfq\\.weight|latency)|pids\\.max',
  'blkio\\.(?:weight|bfq\\.weight|throttle\\.\\w+_device)',
  'hugetlb\\.\\w+\\.(?:max|limit_in_bytes)|cgroup\\.max\\.(?:depth|descendants)',
].join('|')})$`);

/** v1 shows no limit as a number of pages beyond any memory. */
const UNLIMITED = 2 ** 62;
const isLimit = (text: string): boolean => !['', 'max', '-1'].includes(text) && !/^max \d+$/.test(text) && !(Number(text) > UNLIMITED);

async function limitsOf({ paths }: Cgroup): Promise<Record<string, string>> {
  const directories = [...new Set(Object.values(paths))];
  const found = await Promise.all(directories.map(async directory => {
    const files = (await readdir(directory)).filter(name => LIMIT_FILES.test(name));
    return await Promise.all(files.map(async file => [file, (await readFile(join(directory, file), 'utf8').catch(() => '')).trim()] as const));
  }));
  return Object.fromEntries(found.flat().filter(([, text]) => isLimit(text)));
}

async function countOf(group: Cgroup): Promise<Pick<Branch, 'processes' | 'threads'>> {
  try {
    return { processes: await group.processes(), threads: undefined };
  } catch (error) {
    if (code(error) !== 'EOPNOTSUPP') throw error;
    return { processes: undefined, threads: (await group.threads()).length };
  }
}

export async function branchOf(group: Cgroup, name: string, withLimits: boolean): Promise<Branch> {
  const [count, limits, children] = await Promise.all([countOf(group), withLimits ? limitsOf(group) : undefined, group.children()]);
  const below = await Promise.all(children.map(async child => await branchOf(child, child.name, withLimits).catch((error: unknown) => {
    // Somebody has removed it meanwhile.
    if (['ENOENT', 'ENODEV'].includes(code(error))) return undefined;
    throw error;
  })));
  return { name, paths: group.paths, ...count, limits, children: below.filter(branch => branch !== undefined) };
}

/** On a hybrid host a process may be in different groups of different hierarchies, and is one all the same. */
const total = (branch: Branch): Set<number> => new Set([...branch.processes ?? [], ...branch.children.flatMap(child => [...total(child)])]);

function label(branch: Branch): string {
  const { name, processes, threads, children } = branch;
  const own = processes === undefined ? `${threads} ${threads === 1 ? 'thread' : 'threads'}` : String(processes.length);
  return `${printable(name)} (${own}${children.length > 0 ? `, ${total(branch).size} in all` : ''})`;
}

/** A line each. */
export function drawn(branch: Branch): string[] {
  const last = branch.children.length - 1;
  return [label(branch), ...branch.children.flatMap((child, i) =>
    drawn(child).map((line, j) => (j === 0 ? (i === last ? '└─ ' : '├─ ') : i === last ? '   ' : '│  ') + line))];
}

export const treeJson = ({ processes, children, ...rest }: Branch): object => ({ ...rest, processes: processes?.length, children: children.map(treeJson) });
