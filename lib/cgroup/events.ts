// What happens in a group, as the kernel tells it: files of v2 that notify, eventfds of v1.
import { join } from 'node:path';
import type { CgroupEvent } from '../../types/cgroup.js';
import { watchEventfd, watchFile, type Watch } from '../host/watch.js';
import { keyed } from '../host/texts.js';
import type { Placement } from '../options/settings.js';

type Emit = (event: CgroupEvent) => void;

/** Key of the file → type of the event. */
const MEMORY = { oom: 'oom', oom_kill: 'oomKill', high: 'high', max: 'max' } as const;
const PIDS = { max: 'pidsMax' } as const;
const STATES = ['populated', 'frozen'] as const;

/** Tells of the numbers that have changed since the text before; the first text is where it starts. */
function counting<T extends 'oom' | 'oomKill' | 'high' | 'max' | 'pidsMax'>(types: Record<string, T>, emit: Emit): (text: string) => void {
  let before: string | undefined;
  return text => {
    for (const [key, type] of Object.entries(types)) {
      const count = keyed(text, key);
      if (before !== undefined && count !== undefined && count !== keyed(before, key)) emit({ type, count });
    }
    before = text;
  };
}

function states(emit: Emit): (text: string) => void {
  let before: string | undefined;
  return text => {
    for (const type of STATES) {
      const value = keyed(text, type);
      if (before !== undefined && value !== undefined && value !== keyed(before, type)) emit({ type, value: value === 1 });
    }
    before = text;
  };
}

function watches({ unified, v1 }: Placement, emit: Emit, end: () => void): Watch[] {
  const file = (path: string, take: (text: string) => void): Watch => watchFile(path, text => text === null ? end() : take(text));
  const found: Watch[] = [];
  if (unified) {
    const { directory, controllers } = unified;
    found.push(file(join(directory, 'cgroup.events'), states(emit)));
    if (controllers.includes('memory')) found.push(file(join(directory, 'memory.events'), counting(MEMORY, emit)));
    if (controllers.includes('pids')) found.push(file(join(directory, 'pids.events'), counting(PIDS, emit)));
  }
  const pids = v1.get('pids'), memory = v1.get('memory');
  if (pids !== undefined) found.push(file(join(pids, 'pids.events'), counting(PIDS, emit)));
  if (memory !== undefined) {
    let ooms = 0, kills: number | undefined;
    found.push(watchEventfd(memory, 'memory.oom_control', '', (text, events) => {
      if (text === null) return end();
      if (events > 0) emit({ type: 'oom', count: ooms += events });
      const count = keyed(text, 'oom_kill');
      if (count !== undefined && count !== kills) emit({ type: 'oomKill', count });
      kills = count;
    }));
    for (const level of ['medium', 'critical'] as const) {
      found.push(watchEventfd(memory, 'memory.pressure_level', level, text => {
        if (text !== null) emit({ type: 'memoryPressure', level });
      }));
    }
  }
  return found;
}

/** The events of a group from now on, in a queue for whoever loops over them. */
export function eventsOf(where: Placement, signal: AbortSignal | undefined): AsyncIterableIterator<CgroupEvent> {
  const queue: CgroupEvent[] = [];
  let waiting: { resolve: (result: IteratorResult<CgroupEvent>) => void; reject: (error: unknown) => void } | undefined;
  let over = false, failure: { error: unknown } | undefined;
  const close = (): void => {
    over = true;
    for (const watch of open) watch.close();
    signal?.removeEventListener('abort', close);
    waiting?.resolve({ done: true, value: undefined });
    waiting = undefined;
  };
  const emit: Emit = event => {
    if (over) return;
    if (!waiting) return void queue.push(event);
    const { resolve } = waiting;
    waiting = undefined;
    // Only a loop that waits keeps Node running.
    for (const watch of open) watch.unref();
    resolve({ done: false, value: event });
  };
  const end = (): void => {
    emit({ type: 'removed' });
    close();
  };
  const open = watches(where, emit, end);
  for (const watch of open) {
    watch.opened.catch((error: unknown) => {
      failure ??= { error };
      waiting?.reject(error);
      waiting = undefined;
      close();
    });
  }
  if (signal?.aborted) close();
  else signal?.addEventListener('abort', close, { once: true });
  return {
    async next() {
      const event = queue.shift();
      if (event) return { done: false, value: event };
      if (failure) throw failure.error;
      if (over) return { done: true, value: undefined };
      for (const watch of open) watch.ref();
      return await new Promise((resolve, reject) => { waiting = { resolve, reject }; });
    },
    return() {
      close();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
