// Containers that are named on the command line.
import type { Contained } from '../../types/contained.js';
import type { ContainerInfo } from '../../types/registry.js';
import { attach, containers } from '../attach.js';
import { ContainedError, OptionError } from '../errors.js';
import type { Used } from './flag.js';
import { note } from './note.js';
import { print } from './output.js';
import { UsageError } from './values.js';

const FAILED = 1;

/** For errors of the library. */
export const ID: readonly Used[] = [{ word: 'NAME', option: 'id' }];

export interface Target {
  id: string;
  child: Contained;
  info: ContainerInfo;
}

export const runs = ({ state }: ContainerInfo): boolean => state === 'running' || state === 'paused';

export async function find(id: string): Promise<Target> {
  const child = await attach(id);
  const info = (await containers()).find(other => other.id === id);
  // It is gone meanwhile, and as if it had never been there.
  return info ? { id, child, info } : await find(id);
}

/** One that has not ended. */
export async function findRunning(id: string, step: string): Promise<Target> {
  const target = await find(id);
  if (!runs(target.info)) throw notRunning(id, step);
  return target;
}

export const notRunning = (id: string, step: string): ContainedError =>
  new ContainedError({ code: 'ESRCH', errno: -3, syscall: undefined, path: undefined, dest: undefined, step: `${step} ${id}`, hint: 'it has ended' });

export function one(words: readonly string[]): string {
  if (words[0] === undefined) throw new UsageError('no container given; see `contained ps`');
  if (words.length > 1) throw new UsageError(`one container only, so not ${JSON.stringify(words[1])}`);
  return words[0];
}

export function atLeastOne(words: readonly string[]): readonly string[] {
  if (words.length === 0) throw new UsageError('no container given; see `contained ps`');
  return words;
}

/** What is wrong with one of several containers is told in a line, and the others are still seen to. */
export function noteFailure(id: string, error: unknown): void {
  if (error instanceof OptionError && error.path === 'id') note(`${JSON.stringify(id)} is no name of a container: expected ${error.expected}`);
  else if (error instanceof ContainedError) note(error.step.includes(id) ? error.message : `${id}: ${error.message}`);
  else throw error;
}

/** Does it to each and prints the names of those that it could be done to, or the texts that come of it. */
export async function each(words: readonly string[], act: (id: string) => Promise<string | void>): Promise<number> {
  let code = 0;
  for (const id of atLeastOne(words)) {
    try {
      print(await act(id) ?? id);
    } catch (error) {
      noteFailure(id, error);
      code = FAILED;
    }
  }
  return code;
}
