// Finds and types the addon; the only file that knows of `.node`.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ContainedError } from './errors.js';
import { checkPlatform, unavailable } from './host/platform.js';

/** How a container ended, as csrc/addon/addon.cc tells it. */
export interface NativeExit {
  code: number | null;
  /** Number of the signal that ended it, or 0. */
  signal: number;
  /** The signal that was asked for when the launcher had to carry out its default action, or 0. */
  requestedSignal: number;
  lost: boolean;
  list: number;
  index: number;
  errno: number;
  undoIndex: number;
  undoErrno: number;
  userMs: number;
  systemMs: number;
  maxRss: number;
  voluntarySwitches: number;
  involuntarySwitches: number;
  minorFaults: number;
  majorFaults: number;
  /** What the `read` ops read, each followed by NUL. */
  counters: string;
}

/** Where the addon puts the numbers of an end. */
const ending = new Float64Array(16);

/** In the order of `put_ending` in csrc/addon/addon.cc. */
const endingOf = (counters: string): NativeExit => ({
  code: ending[0]! < 0 ? null : ending[0]!,
  signal: ending[1]!,
  requestedSignal: ending[2]!,
  lost: ending[3] !== 0,
  list: ending[4]!,
  index: ending[5]!,
  errno: ending[6]!,
  undoIndex: ending[7]!,
  undoErrno: ending[8]!,
  userMs: ending[9]!,
  systemMs: ending[10]!,
  maxRss: ending[11]!,
  voluntarySwitches: ending[12]!,
  involuntarySwitches: ending[13]!,
  minorFaults: ending[14]!,
  majorFaults: ending[15]!,
  counters,
});

/**
 * Called twice for a container: when the command runs, with the master of its terminal, and with `counters` when nothing of
 * it is left.
 */
type NativeListener = (id: number, pid: number, trace: Buffer | undefined, counters: string | undefined, terminal: number | undefined) => void;

/** The same with all that is told of the end. */
export type Hear = (id: number, pid: number, trace: Buffer | undefined, exit: NativeExit | undefined, terminal: number | undefined) => void;

/** `opened`: it is. `events`: how many there were since the last call. `errno`: negative, and the last call, when the watch is over. */
export type NativeWatchListener = (id: number, opened: boolean, events: number, text: string, errno: number, step: string) => void;

/** The text of each file, or its negative errno. */
export interface NativeTexts extends ReadonlyArray<string | number> {
  /** Milliseconds since they were read: JavaScript may hear of it late. */
  readonly age: number;
}

/** Files that are kept open. */
export interface NativeFiles {
  read(): Promise<NativeTexts>;
  close(): void;
}

interface Native {
  listen(listener: NativeListener, ending: Float64Array): void;
  /** `fds`: owned, and closed when they are sent; ~fd: borrowed. Returns the container's id. */
  spawn(request: ArrayBuffer, size: number, fds: Int32Array): number;
  /** Waits for the end of a container that another launcher has started; returns an id for it. */
  attend(pid: number, startTime: number, cloneFlags: number, init: boolean): number;
  signal(id: number, signal: number): void;
  /** Puts read end, write end, … of `count` pipes into `ends`. 0, or a negative errno and there is none. */
  pipes(count: number, ends: Int32Array): number;
  /** A copy of a descriptor, or a negative errno. */
  duplicate(fd: number): number;
  /** A stream has taken over this end of a pipe, or a terminal. */
  claim(fd: number): void;
  close(...fds: number[]): void;
  ref(): void;
  unref(): void;
  launcherPid(): number;
  /** It is started by the first request otherwise. `launcherPid` is 0 until it is there. */
  startLauncher(): void;
  /** Whether systemd has marked a cgroup directory as given away: https://systemd.io/CGROUP_DELEGATION. */
  delegated(directory: string): boolean;
  apply(section: ArrayBuffer, fds: Int32Array): number;
  /** Writes each of `pids` to a file of a cgroup's directory, off the event loop; resolves to an errno each. */
  writeProcs(directory: number, file: string, pids: Int32Array): Promise<Int32Array>;
  /** The first list of ops off the event loop, and the second where one of the first fails: `index`, with `errno`. */
  perform(section: ArrayBuffer): Promise<{ errno: number; index: number }>;
  /** For `openFiles`. */
  Files: new (paths: string) => NativeFiles;
  /** Must come before `watch`. Keeps Node running only between `watchRef` and `watchUnref`. */
  watchListen(listener: NativeWatchListener): void;
  /** 0: a file that notifies; 1: a PSI trigger; 2: an eventfd of cgroup v1. Opens later; returns the watch's id. */
  watch(kind: 0 | 1 | 2, path: string, argument: string): number;
  unwatch(id: number): void;
  watchRef(): void;
  watchUnref(): void;
  /** 0 or a negative errno. The foreground job of the terminal gets SIGWINCH. */
  setWindowSize(fd: number, columns: number, rows: number): number;
  /** [columns, rows]; undefined where the descriptor is no terminal. */
  windowSize(fd: number): [number, number] | undefined;
  /** cfmakeraw(3). The mode that the terminal had, for `setMode`, or a negative errno. */
  makeRaw(fd: number): Buffer | number;
  /** 0 or a negative errno. */
  setMode(fd: number, mode: Buffer): number;
  opcodes(): Record<string, number>;
}

const root = fileURLToPath(new URL('../../', import.meta.url));

/** musl's loader is in the process's own maps, whatever the distribution is called. */
function libc(): string {
  try {
    return readFileSync('/proc/self/maps', 'latin1').includes('ld-musl-') ? 'musl' : 'glibc';
  } catch (error) {
    const { code = 'UNKNOWN', errno = 0, syscall, path } = error as NodeJS.ErrnoException;
    throw new ContainedError({ code, errno, syscall, path, dest: undefined, step: 'find the addon', hint: undefined });
  }
}

/** Ready-made first, then what `npm run compile` left. Never anywhere else: this code runs as whoever loads it. */
const candidates = (): string[] => [
  `${root}prebuilds/linux-${process.arch}/spawn-contained.${libc()}.node`,
  `${root}build/Release/spawn_contained.node`,
];

function load(): Native {
  checkPlatform();
  const file = candidates().find(existsSync);
  if (file === undefined) throw unavailable(`find the addon for linux-${process.arch} (${libc()})`, `run \`npm run compile\` in ${root}`);
  try {
    return createRequire(import.meta.url)(file) as Native;
  } catch (error) {
    throw unavailable(`load ${file}`, 'it may be for another system; run `npm run compile`', error);
  }
}

let loaded: Native | undefined;

/** The addon; loaded at first use, so that importing this package works everywhere. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

/** Files that are read off the event loop again and again. */
export const openFiles = (paths: readonly string[]): NativeFiles => new (native().Files)(paths.join('\0'));

/** Must come before anything else is asked of the addon; once. */
export function hearOfContainers(hear: Hear): void {
  native().listen((id, pid, trace, counters, terminal) => hear(id, pid, trace, counters === undefined ? undefined : endingOf(counters), terminal), ending);
}
