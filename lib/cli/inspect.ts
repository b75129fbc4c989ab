// `contained inspect`: all that is known of containers.
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { atLeastOne, find, ID, noteFailure } from './targets.js';
import { UsageError } from './values.js';

/** What was written down of it, and what the kernel tells. */
async function inspect(id: string): Promise<Record<string, unknown>> {
  const { child, info } = await find(id);
  const { state: _, started, ...told } = await child.inspect();
  const { state, created, labels, detached, exitCode, signal } = info;
  return { ...told, id, state, created, started, labels, detached, exitCode, signal };
}

/** `namespaces.net.inode`; names with dots are not reached. */
function fieldOf(value: unknown, path: string): unknown {
  let found = value;
  for (const key of path.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) throw new UsageError(`--field: there is no ${path}`);
    found = (found as Record<string, unknown>)[key];
  }
  return found;
}

export const INSPECT: Command<{ field?: string }> = {
  usage: 'NAME...', about: 'all that is known of containers, as JSON', aliases: ['state'], words: ['container'], options: ID,
  more: 'A list with an object for each: what it was started with, and of one that runs what the kernel tells of its namespaces, mounts, limits and privileges.',
  examples: ['contained inspect --field pid web', 'contained inspect --field namespaces.net.inode web'],
  flags: [
    { name: 'field', short: 'f', argument: 'PATH', section: 'Flags', option: 'field', help: 'only this of each, a line each: text as it is, all else as JSON', read: text => ({ field: text }) },
    { name: 'json', section: 'Flags', option: 'json', help: 'the default', read: () => ({}) },
  ],
  async act(words, { field }) {
    const found: Record<string, unknown>[] = [];
    let code = 0;
    for (const id of atLeastOne(words)) {
      await inspect(id).then(one => found.push(one), (error: unknown) => {
        noteFailure(id, error);
        code = 1;
      });
    }
    // As docker: a list, whatever is in it.
    const plain = JSON.parse(JSON.stringify(found)) as unknown[];
    if (field === undefined) printJson(plain);
    else for (const value of plain.map(one => fieldOf(one, field))) print(typeof value === 'string' ? value : JSON.stringify(value));
    return code;
  },
};
