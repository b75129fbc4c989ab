// What tests of containers with a name share: Nodes that start them, and what must not be left.
import { execFileSync, spawn, type ChildProcess, type SpawnOptions as NodeSpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { attach, containers, type Contained, type LogEntry, type SpawnOptions } from 'spawn-contained';
import { makeRegistry, registryPath } from '../dist/lib/host/registry.js';
import { fixture, processesWith, until } from './env.js';

makeRegistry();  // it stays

export const directoryOf = (id: string): string => join(registryPath(), id);

const names: string[] = [];

/** A name that only this test has. */
export function name(): string {
  names.push(`t${process.pid}-${names.length + 1}`);
  return names.at(-1)!;
}

// What a test that has failed in its middle would leave.
t.teardown(async () => {
  for (const id of names.filter(id => existsSync(directoryOf(id)))) await attach(id).then(found => found.remove({ force: true }), () => rmSync(directoryOf(id), { recursive: true, force: true }));
});

export type Kind = SpawnOptions & { command: readonly string[] };

export interface Starter {
  node: ChildProcess;
  launcher: number;
  pids: number[];
  /** All that it has said. */
  said(): string;
}

/** A Node that starts these as `how` says, once it has said its first line. */
export async function starter(kinds: readonly Kind[], how: 'end' | 'wait' | 'stay' | 'start', options: NodeSpawnOptions = {}): Promise<Starter> {
  const node = spawn(process.execPath, [fixture('detached.mjs'), JSON.stringify(kinds), how], { stdio: ['ignore', 'pipe', 'inherit'], ...options, env: { ...process.env, ...options.env, NODE_OPTIONS: '' } });
  let text = '';
  node.stdout!.on('data', (data: Buffer) => { text += String(data); });
  if (!await until(() => text.includes('\n') || node.exitCode !== null)) throw new Error('the fixture says nothing');
  return { node, said: () => text, ...JSON.parse(text.slice(0, text.indexOf('\n'))) as { launcher: number; pids: number[] } };
}

export async function ended({ node }: Pick<Starter, 'node'>): Promise<number | null> {
  if (node.exitCode === null && node.signalCode === null) await once(node, 'exit');
  return node.exitCode;
}

/** SIGKILL, the launcher first or last as it is needed: a Node that lives starts another. */
export async function killBoth(one: Starter): Promise<void> {
  one.node.kill('SIGSTOP');
  process.kill(one.launcher, 'SIGKILL');
  one.node.kill('SIGKILL');
  await ended(one);
}

export function alive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Its cgroups, on whatever hierarchy. */
export const groupsOf = (id: string): string[] =>
  execFileSync('sh', ['-c', 'find /sys/fs/cgroup -type d -name "contained.$1" 2>/dev/null || :', 'sh', id], { encoding: 'utf8' }).split('\n').filter(Boolean);

export const stateOf = async (id: string): Promise<string | undefined> => (await containers()).find(one => one.id === id)?.state;

/** What is left of it, in words; '' for nothing. */
export function leftOf(id: string, word?: string): string {
  const left = [existsSync(directoryOf(id)) && 'directory', groupsOf(id).length > 0 && 'group', word !== undefined && processesWith(word).length > 0 && 'process'];
  return left.filter(Boolean).join(' ');
}

export const nothingLeft = (id: string, word?: string): Promise<boolean> => until(() => leftOf(id, word) === '');

export async function entriesOf(container: Contained, options = {}): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const entry of container.logs(options)) entries.push(entry);
  return entries;
}

export const textOf = (entries: readonly LogEntry[], stream?: string): string => Buffer.concat(entries.filter(entry => stream === undefined || entry.stream === stream).map(({ data }) => data)).toString();

/** Bytes of what is kept of its output. */
export const logSizeOf = (id: string): number => ['log', 'log.1'].map(file => `${directoryOf(id)}/${file}`).reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
