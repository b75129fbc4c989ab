// Waiting for what the kernel tells of a cgroup: no polling, and no system call on this thread.
import { AsyncResource } from 'node:async_hooks';
import { ContainedError, errnoName } from '../errors.js';
import { native } from '../native.js';

/** The file's text after the event (or `events` of them, when they came too fast), '' if it cannot be read; null, and the last call: the group is no more. */
export type WatchListener = (text: string | null, events: number) => void;

export interface Watch {
  /** Rejected with a ContainedError when the kernel refuses; settles, too, when the watch is closed before. */
  readonly opened: Promise<void>;
  close(): void;
  /** Keeps Node running from now on; a new watch does so only until it is opened. */
  ref(): void;
  unref(): void;
}

const WORDS = ['watch', 'watch the pressure of', 'be notified of'];
const HINTS: Record<string, string> = {
  'epoll_ctl EPERM 0': 'this file does not notify',
  'write EINVAL 1': 'without CAP_SYS_RESOURCE the window must be a multiple of 2000000 µs',
  'write EOPNOTSUPP 1': 'pressure is not measured; boot with psi=1',
};

type Report = (opened: boolean, events: number, text: string, errno: number, step: string) => void;
const live = new Map<number, { report: Report; scope: AsyncResource }>();
const keeping = new Set<number>();
let listening = false;

function hear(id: number, ...news: Parameters<Report>): void {
  const entry = live.get(id);
  try {
    entry?.scope.runInAsyncScope(() => entry.report(...news));
  } catch (error) {
    // Thrown by the listener. Node-API would only warn of it; it is to be an uncaught exception like any other.
    process.nextTick(() => { throw error; });
  }
}

function start(kind: 0 | 1 | 2, path: string, argument: string, listener: WatchListener): Watch {
  if (!listening) native().watchListen(hear);
  listening = true;
  let resolve!: () => void, reject!: (error: ContainedError) => void;
  const opened = new Promise<void>((yes, no) => { resolve = yes; reject = no; });
  const id = native().watch(kind, path, argument);
  let wanted = false, opening = true;
  const settle = (): void => {
    if (live.has(id) && (wanted || opening)) keeping.add(id);
    else keeping.delete(id);
    if (keeping.size > 0) native().watchRef();
    else native().watchUnref();
  };
  const report: Report = (isOpen, events, text, errno, step) => {
    if (isOpen) { opening = false; resolve(); }
    if (errno) live.delete(id);
    settle();
    if (opening) return reject(refused(kind, path, errno, step));
    if (events > 0) listener(text, events);
    if (errno) listener(null, 0);
  };
  live.set(id, { report, scope: new AsyncResource('spawn-contained.watch') });
  settle();
  return {
    opened,
    close: () => { if (live.delete(id)) { native().unwatch(id); settle(); resolve(); } },
    ref: () => { wanted = true; settle(); },
    unref: () => { wanted = false; settle(); },
  };
}

function refused(kind: number, path: string, errno: number, step: string): ContainedError {
  const code = errnoName(-errno);
  const hint = HINTS[`${step} ${code} ${kind}`] ?? (/^(ENOENT|ENODEV)$/.test(code) ? 'somebody has removed the group' : undefined);
  return new ContainedError({ code, errno, syscall: step, path, dest: undefined, step: `${WORDS[kind]} ${path}`, hint });
}

/** A file that notifies, as `cgroup.events`: the text it has, and each one it gets. */
export const watchFile = (path: string, listener: WatchListener): Watch => start(0, path, '', listener);

/** A `*.pressure` file and a trigger, as `some 150000 2000000`: 150 ms of waiting within 2 s. */
export const watchPressure = (path: string, trigger: string, listener: WatchListener): Watch => start(1, path, trigger, listener);

/** cgroup v1: a file that the group's `cgroup.event_control` knows, and its argument there: `memory.oom_control` and '', `memory.pressure_level` and 'low'. */
export const watchEventfd = (directory: string, file: string, argument: string, listener: WatchListener): Watch => start(2, `${directory}/${file}`, argument, listener);
