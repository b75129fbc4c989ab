// What is kept of containers with a name: reading it, whoever wrote it and whenever that ended.
import type { Stats } from 'node:fs';
import { lstat, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as actions from '../cgroup/actions.js';
import { ContainedError } from '../errors.js';
import { bootId, hostFacts, isGone, startTimeOf } from '../host/facts.js';
import { registryPath } from '../host/registry.js';
import type { Placement } from '../options/settings.js';
import type { ContainerRecord } from '../program/record.js';

/** A process, and when it began, which no later process of that number shares. */
export interface Incarnation {
  pid: number;
  start: string;
}

export interface Kept {
  directory: string;
  record: ContainerRecord;
  /** Undefined while it is being made. */
  first: Incarnation | undefined;
  /** The launcher that watches it, and writes how it ended. */
  keeper: Incarnation | undefined;
  /** Whether its command has begun to run. */
  begun: boolean;
  /** What was written at the end; undefined before. */
  outcome: string | undefined;
}

export const lives = (process: Incarnation | undefined): boolean => process !== undefined && startTimeOf(process.pid) === process.start;

/** The text before the line that says that it is whole. */
export const wholeOutcome = (text: string): string | undefined => text.endsWith('\nend\n') ? text.slice(0, -5) : undefined;

/** '' where there is none. That it cannot be read tells nothing: whoever is then taken for dead would be killed. */
const textOf = async (path: string): Promise<string> => await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
  if (isGone(error)) return '';
  const { code = 'UNKNOWN', errno = 0, syscall } = error;
  throw new ContainedError({ code, errno, syscall, path, dest: undefined, step: 'read what is kept of a container', hint: code === 'EMFILE' ? 'too many open files: raise RLIMIT_NOFILE' : undefined });
});

/** Undefined where it is being made or removed, or is nothing that this version has written. */
function recordIn(text: string, id: string): ContainerRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<ContainerRecord> | null;
    const whole = record?.version === 1 && record.id === id && typeof record.boot === 'string' && typeof record.created === 'string'
      && Array.isArray(record.command) && record.maker && record.inheritance && Array.isArray(record.own) && record.labels
      && (record.group === null || (Array.isArray(record.group?.v1) && Array.isArray(record.group.counters)));
    return whole ? record as ContainerRecord : undefined;
  } catch {
    return undefined;
  }
}

/** A directory of this user's, and not what a link leads to: its files tell whom to kill. */
const isOwn = (found: Stats): boolean => found.isDirectory() && found.uid === hostFacts().uid;

async function isOurs(directory: string): Promise<boolean> {
  const found = await lstat(directory).catch(() => undefined);
  return found !== undefined && isOwn(found);
}

/** `pid start pid start begun`, as Container::record_pid() of csrc/launcher/record.cc writes it. After a boot the numbers are of others. */
function processesIn(text: string, boot: string): Pick<Kept, 'first' | 'keeper' | 'begun'> {
  const found = /^([1-9]\d*) (\d+) ([1-9]\d*) (\d+) ([01])\n$/.exec(text);
  if (!found || boot !== bootId()) return { first: undefined, keeper: undefined, begun: false };
  const [, pid, start, keeper, keeperStart, begun] = found;
  return { first: { pid: Number(pid), start: start! }, keeper: { pid: Number(keeper), start: keeperStart! }, begun: begun === '1' };
}

/** Who watches it now: where a launcher was killed, the one that has taken its place. */
export const keeperOf = async (directory: string, { boot }: ContainerRecord): Promise<Incarnation | undefined> => processesIn(await textOf(join(directory, 'pid')), boot).keeper;

/** Undefined when there is none, or no more. */
export async function readKept(id: string): Promise<Kept | undefined> {
  const directory = join(registryPath(), id);
  if (!await isOurs(directory)) return undefined;
  const [state, pids, outcome] = await Promise.all(['state.json', 'pid', 'outcome'].map(name => textOf(join(directory, name))));
  const record = recordIn(state!, id);
  return record && { directory, record, ...processesIn(pids!, record.boot), outcome: wholeOutcome(outcome!) };
}

/** Whether somebody is at work on its start. */
export const isBeingMade = ({ keeper, record: { boot, maker } }: Kept): boolean => !keeper && boot === bootId() && startTimeOf(maker.pid) === maker.start;

/** Longer than a launcher needs from the directory to the state in it; until then it may be at work. */
const HALF_MADE = 60_000;

/** Directories without a record, of those that were last changed so many milliseconds ago. */
async function halfMade(isOfAge: (ms: number) => boolean): Promise<string[]> {
  const found: string[] = [];
  for (const name of await actions.orGone(readdir(registryPath()), [])) {
    const directory = join(registryPath(), name);
    const made = await lstat(directory).catch(() => undefined);
    // The clock may have been set back.
    if (made && isOfAge(Math.abs(Date.now() - made.mtimeMs)) && isOwn(made) && await textOf(join(directory, 'state.json')) === '') found.push(directory);
  }
  return found;
}

/** Those whose maker was killed before it could write what they are. */
export const allAbandoned = (): Promise<string[]> => halfMade(ms => ms > HALF_MADE);

/** Whether one may be about to get its record. */
export const isOneAnnounced = async (): Promise<boolean> => (await halfMade(ms => ms <= HALF_MADE)).length > 0;

/** So that a thousand do not take three thousand descriptors. */
const AT_ONCE = 16;

/** All of this user's, the oldest first. */
export async function allKept(): Promise<Kept[]> {
  const names = await actions.orGone(readdir(registryPath()), []);
  const found: (Kept | undefined)[] = [];
  for (let i = 0; i < names.length; i += AT_ONCE) found.push(...await Promise.all(names.slice(i, i + AT_ONCE).map(readKept)));
  return found.filter(kept => kept !== undefined).sort((a, b) => a.record.created < b.record.created ? -1 : 1);
}

export const placeOf = ({ group }: ContainerRecord): Placement | undefined =>
  group ? { unified: group.unified ?? undefined, v1: new Map(group.v1) } : undefined;

/** What a launcher that was killed has left of it. */
export async function takeAwayGroup(record: ContainerRecord): Promise<void> {
  const where = placeOf(record);
  if (!where || !record.group!.made) return;
  await actions.kill(where);
  await actions.orGone(actions.remove(where, true), undefined);
}

/** Nothing is known of it any more. */
export const forget = (directory: string): Promise<void> => rm(directory, { recursive: true, force: true });

/** The same, unless the name belongs to another container by now. */
export async function forgetOwn({ id, directory, created, maker }: Pick<ContainerRecord, 'id' | 'created' | 'maker'> & { directory: string }): Promise<void> {
  const found = recordIn(await textOf(join(directory, 'state.json')), id);
  if (found?.created === created && found.maker.pid === maker.pid && found.maker.start === maker.start) await forget(directory);
}

export const noSuchContainer = (id: string, others: string): ContainedError => new ContainedError({
  code: 'ENOENT', errno: -2, syscall: undefined, path: undefined, dest: undefined, step: `find the container ${id}`,
  hint: `there is none of this name${others || '; `containers()` and `contained ps --all` tell which there are'}`,
});
