// What is kept of containers with a name: reading it, whoever wrote it and whenever that ended.
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as actions from '../cgroup/actions.js';
import { ContainedError } from '../errors.js';
import { bootId, startTimeOf } from '../host/facts.js';
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
  /** What was written at the end; undefined before. */
  outcome: string | undefined;
}

export const lives = (process: Incarnation | undefined): boolean => process !== undefined && startTimeOf(process.pid) === process.start;

/** The text before the line that says that it is whole. */
export const wholeOutcome = (text: string): string | undefined => text.endsWith('\nend\n') ? text.slice(0, -5) : undefined;

const textOf = async (path: string): Promise<string> => await readFile(path, 'utf8').catch(() => '');

/** Undefined when there is none, or no more. */
export async function readKept(id: string): Promise<Kept | undefined> {
  const directory = join(registryPath(), id);
  const [state, pids, outcome] = await Promise.all(['state.json', 'pid', 'outcome'].map(name => textOf(join(directory, name))));
  let record: ContainerRecord;
  try {
    record = JSON.parse(state!) as ContainerRecord;
  } catch {
    return undefined;  // it is being made, or removed
  }
  const [pid, start, keeper, keeperStart] = pids!.trim().split(' ');
  // After a boot the numbers are of others.
  const known = record.boot === bootId() && keeperStart !== undefined;
  return {
    directory, record,
    first: known ? { pid: Number(pid), start: start! } : undefined,
    keeper: known ? { pid: Number(keeper), start: keeperStart } : undefined,
    outcome: wholeOutcome(outcome!),
  };
}

/** All of this user's, the oldest first. */
export async function allKept(): Promise<Kept[]> {
  const names = await actions.orGone(readdir(registryPath()), []);
  const found = await Promise.all(names.map(readKept));
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

export const noSuchContainer = (id: string, others: string): ContainedError => new ContainedError({
  code: 'ENOENT', errno: -2, syscall: undefined, path: undefined, dest: undefined, step: `find the container ${id}`,
  hint: `there is none of this name${others || '; `containers()` and `contained ps --all` tell which there are'}`,
});
