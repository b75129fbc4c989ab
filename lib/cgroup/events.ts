// What happens in a group, as the kernel tells it: files of v2 that notify, eventfds of v1.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupEvent, PressureTrigger } from '../../types/cgroup.js';
import { watchEventfd, watchFile, watchPressure, type Watch } from './watch.js';
import { keyed } from '../host/texts.js';
import * as check from '../options/check.js';
import type { Placement } from '../options/settings.js';

/** That there was as much of it as was to be told. */
export type PressureEvent = { type: 'pressure'; resource: PressureTrigger['resource']; kind: 'some' | 'full' };

type Emit = (event: CgroupEvent | PressureEvent) => void;
type Take = (text: string, before: string) => void;

/** Key of the file → type of the event. */
const MEMORY = { oom: 'oom', oom_kill: 'oomKill', high: 'high', max: 'max' } as const;
const PIDS = { max: 'pidsMax' } as const;
const STATES = ['populated', 'frozen'] as const;

/** Tells of the numbers that have changed since the text before. */
function counting<T extends 'oom' | 'oomKill' | 'high' | 'max' | 'pidsMax'>(types: Record<string, T>, emit: Emit): Take {
  return (text, before) => {
    for (const [key, type] of Object.entries(types)) {
      const count = keyed(text, key);
      if (count !== undefined && count !== keyed(before, key)) emit({ type, count });
    }
  };
}

const states = (emit: Emit): Take => (text, before) => {
  for (const type of STATES) {
    const value = keyed(text, type);
    if (value !== undefined && value !== keyed(before, type)) emit({ type, value: value === 1 });
  }
};

/** A watch is opened a little later; what has happened by then has happened since this call. */
function watchText(path: string, take: Take, end: () => void): Watch {
  let before = textOf(path);
  return watchFile(path, text => {
    if (text === null) return end();
    const last = before;
    before = text;
    take(text, last);
  });
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';  // opening the watch tells why
  }
}

/** Milliseconds. */
const AFTER_OOM = [1, 10, 100, 1000];

/**
 * An oom on v1: an eventfd that says when, and a file that says how many were killed. The kernel signals the one before it
 * kills (mm/memcontrol-v1.c, mem_cgroup_oom_notify), so the other is looked at a little later.
 */
function watchOom(directory: string, emit: Emit, end: () => void): Watch {
  const path = join(directory, 'memory.oom_control');
  let ooms = 0, kills = keyed(textOf(path), 'oom_kill');
  const look = (): void => {
    const count = keyed(textOf(path), 'oom_kill');
    if (count !== undefined && count !== kills) emit({ type: 'oomKill', count });
    kills = count ?? kills;
  };
  const watch = watchEventfd(directory, 'memory.oom_control', '', (text, events) => {
    if (text === null) return end();
    emit({ type: 'oom', count: ooms += events });
    for (const delay of AFTER_OOM) setTimeout(look, delay);
  });
  watch.opened.then(look, () => {});
  return watch;
}

/** A trigger with its defaults. `at`: what stands before the names in an error. */
export function pressureTrigger(at: string, value: unknown): Required<PressureTrigger> {
  const given = check.object(at === '' ? 'trigger' : at.slice(0, -1), value);
  check.knownKeys(at.slice(0, -1), given, ['resource', 'kind', 'stallUs', 'windowUs']);
  const windowUs = check.optional(given['windowUs'], v => check.integer(`${at}windowUs`, v, 500_000, 10_000_000), 2_000_000);
  return {
    resource: check.oneOf(`${at}resource`, given['resource'], ['cpu', 'memory', 'io']),
    kind: check.optional(given['kind'], v => check.oneOf(`${at}kind`, v, ['some', 'full']), 'some'),
    stallUs: check.integer(`${at}stallUs`, given['stallUs'], 1, windowUs),
    windowUs,
  };
}

export const pressureWatch = (directory: string, { resource, kind, stallUs, windowUs }: Required<PressureTrigger>, listener: () => void): Watch =>
  watchPressure(join(directory, `${resource}.pressure`), `${kind} ${stallUs} ${windowUs}`, text => text === null || listener());

function watches({ unified, v1 }: Placement, pressure: readonly Required<PressureTrigger>[], emit: Emit, end: () => void): Watch[] {
  const file = (path: string, take: Take): Watch => watchText(path, take, end);
  const found: Watch[] = [];
  if (unified) {
    const { directory, controllers } = unified;
    found.push(file(join(directory, 'cgroup.events'), states(emit)));
    if (controllers.includes('memory')) found.push(file(join(directory, 'memory.events'), counting(MEMORY, emit)));
    if (controllers.includes('pids')) found.push(file(join(directory, 'pids.events'), counting(PIDS, emit)));
    for (const trigger of pressure) {
      const { resource, kind } = trigger;
      found.push(pressureWatch(directory, trigger, () => emit({ type: 'pressure', resource, kind })));
    }
  }
  const pids = v1.get('pids'), memory = v1.get('memory');
  if (pids !== undefined) found.push(file(join(pids, 'pids.events'), counting(PIDS, emit)));
  if (memory !== undefined) {
    found.push(watchOom(memory, emit, end));
    for (const level of ['medium', 'critical'] as const) {
      found.push(watchEventfd(memory, 'memory.pressure_level', level, text => {
        if (text !== null) emit({ type: 'memoryPressure', level });
      }));
    }
  }
  return found;
}

/** The events of a group from now on, in a queue for whoever loops over them. */
export function eventsOf(where: Placement, signal: AbortSignal | undefined): AsyncIterableIterator<CgroupEvent>;
export function eventsOf(where: Placement, signal: AbortSignal | undefined, pressure: readonly Required<PressureTrigger>[]): AsyncIterableIterator<CgroupEvent | PressureEvent>;
export function eventsOf(where: Placement, signal: AbortSignal | undefined, pressure: readonly Required<PressureTrigger>[] = []): AsyncIterableIterator<CgroupEvent | PressureEvent> {
  const queue: (CgroupEvent | PressureEvent)[] = [];
  const waiting: { resolve: (result: IteratorResult<CgroupEvent | PressureEvent>) => void; reject: (error: unknown) => void }[] = [];
  let over = false, failure: { error: unknown } | undefined;
  const close = (): void => {
    over = true;
    for (const watch of open) watch.close();
    signal?.removeEventListener('abort', close);
    for (const { resolve } of waiting.splice(0)) resolve({ done: true, value: undefined });
  };
  const emit: Emit = event => {
    if (over) return;
    const next = waiting.shift();
    if (!next) return void queue.push(event);
    // Only a loop that waits keeps Node running.
    if (waiting.length === 0) for (const watch of open) watch.unref();
    next.resolve({ done: false, value: event });
  };
  const end = (): void => {
    emit({ type: 'removed' });
    close();
  };
  const existed = existsSync(where.unified?.directory ?? [...where.v1.values()][0]!);
  const open = watches(where, pressure, emit, end);
  for (const watch of open) {
    watch.opened.catch((error: NodeJS.ErrnoException) => {
      // It was there when it was asked for, and has gone since.
      if (existed && (error.code === 'ENOENT' || error.code === 'ENODEV')) return over || end();
      failure ??= { error };
      waiting.shift()?.reject(error);
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
      return await new Promise((resolve, reject) => { waiting.push({ resolve, reject }); });
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
