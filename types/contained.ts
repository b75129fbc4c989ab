import type { EventEmitter } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { NamespaceKind, TerminalSize } from './options.js';
import type { ExecOptions } from './exec.js';
import type { LogEntry, LogOptions } from './registry.js';
import type { CgroupLimits } from './cgroup.js';
import type { ContainedEvent, ContainedEventsOptions, ContainedProcessInfo, Inspection, Stats, StatsStep } from './live.js';

/**
 * Why a container ended. `exit`: the command exited. `signal`: it was ended by a signal that this library did not send.
 * `oom`: the kernel killed in it because of its memory limit, and the command failed. `timeout`, `aborted`: the option
 * of that name. `cpu-timeout`: `cpuTimeout`. `output`: `maxOutput` with the action `'kill'`. `seccomp`: SIGSYS, which is how a
 * system call filter ends a process (seccomp(2), SECCOMP_RET_KILL_PROCESS). `killed`: `kill()` or `killAll()`.
 */
export type Reason = 'exit' | 'signal' | 'oom' | 'timeout' | 'cpu-timeout' | 'output' | 'seccomp' | 'aborted' | 'killed';

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
  /** Milliseconds for which it was held back by `cpu.max`, of all processors together; only in a group with that controller. */
  throttledMs: number | undefined;
  /**
   * Bytes read from block devices; what the page cache had is not among them. Only in a group with the controller `io`, and on v1
   * only when `io.max` limits reading.
   */
  ioReadBytes: number | undefined;
  /** Bytes written to block devices; what is written back after the end is not among them. As `ioReadBytes`. */
  ioWriteBytes: number | undefined;
  /** How often the first process, and those it waited for, waited for something: getrusage(2), ru_nvcsw. */
  voluntarySwitches: number | undefined;
  /** How often they had to give way to others: ru_nivcsw. */
  involuntarySwitches: number | undefined;
  /** Page faults of theirs without input: ru_minflt. */
  minorFaults: number | undefined;
  /** Page faults of theirs that had to read from a disk: ru_majflt. */
  majorFaults: number | undefined;
}

/** What came out of a container with `maxOutput`. */
export interface OutputCount {
  /** Bytes of stdout that the reader was given. */
  stdoutBytes: number;
  /** Bytes of stderr that the reader was given. */
  stderrBytes: number;
  /** Whether there was more, which was dropped. */
  truncated: boolean;
}

/** How a container ended. */
export interface Outcome {
  reason: Reason;
  /** Exit code, null when a signal ended it. */
  code: number | null;
  /** Signal that ended it, null when it exited. A real-time signal, which has no name in Node, is `SIG40`. */
  signal: NodeJS.Signals | null;
  usage: Usage;
  /** Only with the option `maxOutput` of `spawnContained`. With a `rate` it goes on counting until `close`. */
  output?: OutputCount;
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
  /** The name by which other processes find it, see the option `id`; undefined without one. */
  readonly id: string | undefined;
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
  /**
   * Resolves when the container is gone: no process, cgroup or mount of it is left. Rejects with a ContainedError: of the step that
   * failed; of `rmdir`, when a group of it cannot be removed; of `undo` (EBUSY), when its processes have not ended half a minute after
   * SIGKILL, since they hold each other up.
   */
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
  /**
   * Holds a namespace of the container by a file, which is made, so that it outlives the container; a `net` at /run/netns/NAME
   * is one that `ip netns` knows. `removeNamespace` takes it away. Not for `pid`, which ends with its first process; `mnt` needs a
   * path on a private mount: mount_namespaces(7). Rejects with a ContainedError: EEXIST when something is there, ESRCH when
   * the container has ended, EPERM without CAP_SYS_ADMIN.
   */
  persist(kind: NamespaceKind, path: string): Promise<void>;
  /**
   * Changes the size of its terminal, which the foreground job is told of by SIGWINCH: ioctl_tty(2), TIOCSWINSZ. Before
   * `spawn` it is done as soon as the command runs; when the container has ended it does nothing. Throws an OptionError
   * when it is no size, and a ContainedError (`ENOTTY`) without the option `tty`.
   */
  resize(size: TerminalSize): void;
  resize(columns: number, rows: number): void;
  /** Kills everything in the container at once and resolves when nothing is left; rejects as `exited` does when something is. */
  killAll(): Promise<void>;
  /**
   * Runs another command in the container: a `Contained` of its own, with its own streams, group, limits, deadline and outcome.
   * It sees what the first command sees and has what that was started with, unless the options say otherwise, and its end,
   * by itself, by `kill`, `timeout` or `signal`, is the end of everything that it has started. It ends with the container.
   * A container that is paused refuses it with EBUSY, one that does not run (yet, or any more) with ESRCH: as `spawnContained`
   * this throws OptionErrors only, all else is told by the handle.
   */
  exec(command: string | readonly [file: string, ...args: string[]], options?: ExecOptions): Contained;
  /**
   * What a detached container has written, from what is kept of it on; see the options `detached` and `logSize`. Throws a ContainedError
   * with the code ENOTSUP for one that is not detached, or writes elsewhere.
   */
  logs(options?: LogOptions): AsyncIterable<LogEntry>;
  /** Forgets one that has ended, which frees its name; EBUSY when it has not, unless `force`, which kills it first. */
  remove(options?: { force?: boolean }): Promise<void>;
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
  /** Whether the container keeps Node running; `spawnContained` starts with ref; detached ones only keep it when `exited` is asked for. */
  ref(): void;
  unref(): void;
  /** `killAll`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
