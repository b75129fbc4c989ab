import type { EventEmitter } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { CgroupLimits } from './cgroup.js';
import type { ContainedEvent, ContainedEventsOptions, ContainedProcessInfo, Inspection, Stats, StatsStep } from './live.js';

/**
 * Why a container ended. `exit`: the command exited. `signal`: it was ended by a signal that this library did not send.
 * `oom`: the kernel killed in it because of its memory limit, and the command failed. `timeout`, `aborted`: the option
 * of that name. `killed`: `kill()` or `killAll()`.
 */
export type Reason = 'exit' | 'signal' | 'oom' | 'timeout' | 'aborted' | 'killed';

/** What the container used. A number that the host does not tell is undefined, never 0. */
export interface Usage {
  /** Milliseconds from the call to the end. */
  wallMs: number;
  /** Milliseconds of processor time in user mode, of all processes (cgroup) or else of the first and those it reaped. */
  userMs: number;
  /** The same in kernel mode. */
  systemMs: number;
  /** Most bytes of memory used at once; without a cgroup with a memory controller the largest resident set of one process. */
  memoryPeak: number | undefined;
  /** Most processes and threads at once. */
  pidsPeak: number | undefined;
  /** How often the kernel killed because of the memory limit; where a whole group dies (v2), its first victim may count twice; in a group that others use too, meanwhile. */
  oomKills: number | undefined;
}

/** How a container ended. */
export interface Outcome {
  reason: Reason;
  /** Exit code, null when a signal ended it. */
  code: number | null;
  /** Signal that ended it, null when it exited. */
  signal: NodeJS.Signals | null;
  usage: Usage;
}

/** What `run` resolves to. */
export interface RunResult<T = string> extends Outcome {
  stdout: T;
  stderr: T;
}

/** One step of the start and how long it took. */
export interface TraceEntry {
  /** `host`, `join`, `child` or `release`. */
  list: string;
  /** The step in words, as `explain` prints it. */
  step: string;
  /** Nanoseconds. */
  ns: number;
}

/**
 * A running container. An EventEmitter with the members and events of `ChildProcess`, so that code written for that works
 * unchanged: `spawn`, `exit` (code, signal), `close` (code, signal; the streams have ended too), `error`.
 */
export interface Contained extends EventEmitter {
  /** Pid on the host; undefined before `spawn`. */
  readonly pid: number | undefined;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Index i is the stream of the command's descriptor i, or null. */
  readonly stdio: readonly (Readable | Writable | null)[];
  readonly exitCode: number | null;
  readonly signalCode: NodeJS.Signals | null;
  /** Whether a signal has been sent by `kill`. */
  readonly killed: boolean;
  readonly spawnfile: string;
  readonly spawnargs: readonly string[];
  /** Resolves when execve has succeeded; rejects with a ContainedError. */
  readonly ready: Promise<this>;
  /** Resolves when the container is gone: no process, cgroup or mount of it is left. Rejects with a ContainedError. */
  readonly exited: Promise<Outcome>;
  /** Time of each step, with the option `trace`, once it is ready; else undefined. */
  readonly trace: readonly TraceEntry[] | undefined;
  /** Directories of its cgroups by hierarchy (`unified`, `memory`, …); empty when it has none. */
  readonly cgroup: Readonly<Record<string, string>>;
  /**
   * Sends a signal to the command (default: `killSignal`) and returns whether it was still there. A signal that pid 1 has
   * no handler for, which the kernel would drop (pid_namespaces(7)), does what it does to any other process.
   */
  kill(signal?: NodeJS.Signals | number): boolean;
  /** Kills everything in the container at once and resolves when nothing is left. */
  killAll(): Promise<void>;
  /** Whether `pause` is the last of the two that this handle has done. */
  readonly paused: boolean;
  /**
   * Stops everything in the container, and resolves when it stands still; the option `timeout` counts on. What is to end it
   * does so all the same: `kill()` with SIGKILL or `killSignal`, `killAll()`, `timeout` and `signal` let it go on as far as
   * they need; any other signal comes when it is resumed. As `resume` and `update` it needs a group of its own
   * (`cgroup: {}`), else it rejects with ENOTSUP. All that is asked of a container rejects with a ContainedError: with ESRCH
   * when it has ended. ETIMEDOUT, and running again, after ten seconds: one of the processes waits in the kernel.
   */
  pause(): Promise<void>;
  /** Lets it go on. */
  resume(): Promise<void>;
  /** Changes its limits, as `Cgroup.update` does. ENOTSUP for a controller that its group has not got: limit it from the start. */
  update(limits: CgroupLimits): Promise<void>;
  /** What it uses. */
  stats(): Promise<Stats>;
  /** The same every `interval` milliseconds, with the difference to the one before, until the loop is left, `signal` is aborted or the container has ended. */
  stats(options: { interval: number; signal?: AbortSignal }): AsyncIterable<StatsStep>;
  /** What happens in it from now on, up to `exit`, which comes in any case; without a group of its own it is all that is told. Throws what `exited` rejects with. */
  events(options?: ContainedEventsOptions): AsyncIterable<ContainedEvent>;
  /**
   * Its processes, by pid: those in its group or else in the pid namespace that was made for it; without either, the
   * descendants of the first.
   */
  processes(): Promise<readonly ContainedProcessInfo[]>;
  /** What the kernel tells of it; when it has ended, what was given. */
  inspect(): Promise<Inspection>;
  /** Whether the container keeps Node running; `spawnContained` starts with ref. */
  ref(): void;
  unref(): void;
  /** `killAll`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
