// What happens in a container: what its group tells, and how it ends.
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupEvent } from '../../types/cgroup.js';
import type { Outcome } from '../../types/contained.js';
import type { ContainedEvent } from '../../types/live.js';
import type { PressureEvent } from '../cgroup/events.js';

/** What the group tells from now on, or will when there is one; undefined: there is none. */
export type Source = AsyncIterableIterator<CgroupEvent | PressureEvent> | undefined;

/** Milliseconds. The group is removed before the end is told, and that it is ends its events. */
const LAST_WORDS = 1000;

/** A group that is gone is that of a container that has ended meanwhile, whose end is told. */
async function openedOf(opening: Source | Promise<Source>, exited: Promise<Outcome>): Promise<Source> {
  try {
    return await opening;
  } catch (error) {
    const ended = await Promise.race([exited.then(() => true, () => false), sleep(LAST_WORDS, false, { ref: false })]);
    if (!ended) throw error;
    return undefined;
  }
}

/** `stop` ends the source; `signal`, for the caller, does so too. */
export async function* eventsOf(opening: Source | Promise<Source>, exited: Promise<Outcome>, stop: AbortController, signal: AbortSignal | undefined): AsyncGenerator<ContainedEvent> {
  let kills = 0;
  const stopped = new Promise<undefined>(resolve => stop.signal.addEventListener('abort', () => resolve(undefined), { once: true }));
  const end = (): void => stop.abort();
  if (signal?.aborted) end();
  else signal?.addEventListener('abort', end, { once: true });
  exited.then(() => sleep(LAST_WORDS, undefined, { ref: false }), () => {}).then(end, end);
  try {
    const source = await openedOf(opening, exited);
    for await (const event of source ?? []) {
      if (event.type === 'removed') break;
      if (event.type === 'oomKill') kills = event.count;
      yield event;
    }
    const outcome = await Promise.race([exited, stopped]);
    if (!outcome) return;
    // The group may be gone before that file of it was looked at.
    if (source && (outcome.usage.oomKills ?? 0) > kills) yield { type: 'oomKill', count: outcome.usage.oomKills! };
    yield { type: 'exit', outcome };
  } finally {
    signal?.removeEventListener('abort', end);
    end();
  }
}
