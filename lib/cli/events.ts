// `contained events`: what happens in containers.
import { watch } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainedEvent } from '../../types/live.js';
import { containers } from '../attach.js';
import { ContainedError } from '../errors.js';
import { makeRegistry, registryPath } from '../host/registry.js';
import { isOneAnnounced } from '../registry/records.js';
import type { Command } from './command.js';
import { toldCode } from './exit.js';
import { printed, untilInterrupted } from './output.js';
import { find, findRunning, ID, noteFailure, runs, type Target } from './targets.js';

type Event = ContainedEvent | { type: 'start' };

function detail(event: Event): string {
  switch (event.type) {
    case 'populated': case 'frozen': return ` ${event.value}`;
    case 'memoryPressure': return ` ${event.level}`;
    case 'pressure': return ` ${event.resource} ${event.kind}`;
    case 'exit': {
      const code = toldCode(event.outcome);
      return code === undefined ? '' : ` ${code} ${event.outcome.reason}`;
    }
    case 'start': return '';
    default: return ` ${event.count}`;
  }
}

const tell = (id: string, event: Event, json: boolean): Promise<void> => {
  const time = new Date().toISOString();
  return printed(json ? JSON.stringify({ time, id, ...event }) : `${time} ${id} ${event.type}${detail(event)}`);
};

async function follow({ id, child }: Target, json: boolean): Promise<void> {
  try {
    for await (const event of child.events()) await tell(id, event, json);
  } catch (error) {
    noteFailure(id, error);
  }
}

/** Those that run now, and those that begin later, for ever. */
async function followAll(json: boolean): Promise<void> {
  const all = await containers();
  const known = new Set(all.filter(({ state }) => state !== 'starting').map(({ id, created }) => `${id} ${created.toISOString()}`));
  const now = all.filter(runs);
  let wake = (): void => {};
  // What a container is and that its command runs is written into its own directory; what is watched is the directory of all, so it is looked for a little later.
  makeRegistry();
  watch(registryPath(), () => wake());
  for (const { id } of now) await find(id).then(target => void follow(target, json), () => {});
  for (let wait = SOON; ; wait = Math.min(2 * wait, LATER)) {
    const changed = new Promise<void>(resolve => { wake = resolve; });
    let starting = await isOneAnnounced();  // before the list: it may be there in a moment
    for (const info of await containers()) {
      const key = `${info.id} ${info.created.toISOString()}`;
      if (known.has(key)) continue;
      if (info.state === 'starting') {
        starting = true;
        continue;
      }
      known.add(key);
      const target = await find(info.id).catch((error: unknown) => {
        if (error instanceof ContainedError) return undefined;
        throw error;
      });
      await tell(info.id, { type: 'start' }, json);
      if (target) void follow(target, json);
    }
    await Promise.race([changed.then(() => { wait = SOON; }), ...starting ? [sleep(wait)] : []]);
  }
}

/** Milliseconds until one that is on its way is looked at again: first, and at most. */
const SOON = 20;
const LATER = 500;

export const EVENTS: Command<{ json?: boolean }> = {
  usage: '[NAME...]', about: 'what happens in containers from now on', words: ['running'], options: ID,
  more: 'A line each: the time, the name of the container and the event: oom, oomKill, high, max and pidsMax with how often, populated, frozen, memoryPressure; exit with the exit code and the reason. It ends with the last of those named; without names it tells of all, also of those that start later, until ^C; of one that lives for some milliseconds only perhaps not.',
  flags: [{ name: 'json', section: 'Flags', option: 'json', help: 'an object in each line', read: on => ({ json: on }) }],
  async act(words, { json = false }) {
    if (words.length === 0) return await untilInterrupted(() => followAll(json));
    const found: Target[] = [];
    for (const id of new Set(words)) await findRunning(id, 'watch').then(target => found.push(target), (error: unknown) => noteFailure(id, error));
    const code = await untilInterrupted(async () => void await Promise.all(found.map(target => follow(target, json))));
    return found.length < new Set(words).size ? 1 : code;
  },
};
