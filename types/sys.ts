import type { Contained } from './contained.js';
import type { StdioEntry } from './options.js';

/** What `sys.clone` runs. */
export interface CloneOptions {
  /** Absolute path of a program. */
  file: string;
  /** argv, from argv[0] on. Default: the file. */
  argv?: readonly string[];
  /** Entries `NAME=value`. Default: none. */
  env?: readonly string[];
  /** Default: all three `'ignore'`. */
  stdio?: readonly StdioEntry[];
}

/** A pid that could not be moved. */
export interface WriteError {
  pid: number;
  /** As `'ESRCH'`: cgroups(7), "EINVAL", "EACCES" and so on. */
  code: string;
  /** Negative. */
  errno: number;
}

/** What `sys.writeProcs` did. */
export interface WriteResult {
  /** How many were moved. */
  moved: number;
  errors: readonly WriteError[];
}

/**
 * System calls as such: no defaults, no policy, nothing undone. But for `clone` and `writeProcs` they act on the calling
 * thread, which in Node is shared by everything that runs on it: call `unshare`, `setns` and `pivotRoot` in a process that
 * is there for it. Each throws a ContainedError with the errno.
 */
export interface Sys {
  /**
   * clone3(2) with `flags` (CLONE_NEW*) in the launcher, then execve(2). The process is a child of Node with its own
   * session; it is killed when Node ends.
   */
  clone(flags: number, options: CloneOptions): Contained;
  /** setns(2). `fd`: a namespace file or a pidfd; `flags`: which kinds, 0 for the kind of the file. */
  setns(fd: number, flags: number): void;
  /** unshare(2). A process with several threads, as Node is, cannot unshare its user or pid namespace for itself. */
  unshare(flags: number): void;
  /** pivot_root(2) to a directory that is a mount point, the old root being detached: `fd` is open on it. */
  pivotRoot(fd: number): void;
  /** mount(2). */
  mount(source: string | null, target: string, type: string | null, flags: number, data?: string): void;
  /** umount2(2). */
  umount(target: string, flags?: number): void;
  /**
   * Writes each pid to cgroup.procs of the directory that `fd` is open on, in one native loop off the event loop. The first
   * write waits for an RCU grace period (some 10 ms), the rest take microseconds.
   */
  writeProcs(fd: number, pids: Int32Array | readonly number[]): Promise<WriteResult>;
  readonly CLONE_NEWNS: number;
  readonly CLONE_NEWPID: number;
  readonly CLONE_NEWNET: number;
  readonly CLONE_NEWIPC: number;
  readonly CLONE_NEWUTS: number;
  readonly CLONE_NEWUSER: number;
  readonly CLONE_NEWCGROUP: number;
  readonly CLONE_NEWTIME: number;
  readonly MS_RDONLY: number;
  readonly MS_NOSUID: number;
  readonly MS_NODEV: number;
  readonly MS_NOEXEC: number;
  readonly MS_REMOUNT: number;
  readonly MS_NOATIME: number;
  readonly MS_BIND: number;
  readonly MS_MOVE: number;
  readonly MS_REC: number;
  readonly MS_UNBINDABLE: number;
  readonly MS_PRIVATE: number;
  readonly MS_SLAVE: number;
  readonly MS_SHARED: number;
  readonly MS_RELATIME: number;
  readonly MS_STRICTATIME: number;
  readonly MNT_FORCE: number;
  readonly MNT_DETACH: number;
  readonly MNT_EXPIRE: number;
}
