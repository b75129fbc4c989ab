import type { Readable, Writable } from 'node:stream';
import type { Cgroup, CgroupOptions } from './cgroup.js';
import type { Contained } from './contained.js';
import type { Namespaces } from './namespaces.js';

/** The kinds of Linux namespaces: namespaces(7). */
export type NamespaceKind = 'mnt' | 'pid' | 'net' | 'ipc' | 'uts' | 'user' | 'cgroup' | 'time';

/**
 * Where a namespace comes from: `'new'`, `'host'` (the caller's own, as without it), the path of a namespace file
 * (`/run/netns/blue`, `/proc/7/ns/net`), the pid of a process in it, a running container, or what `createNamespaces` made.
 */
export type NamespaceSource = 'new' | 'host' | (string & {}) | number | Contained | Namespaces;

/** Whose namespaces are all entered, as `nsenter --all` does: those that are not the caller's own anyway. */
export type NamespaceOwner = number | Contained | Namespaces;

/** A source for each; `all` is where those come from that are not named. */
export type NamespaceMap = Partial<Record<NamespaceKind, NamespaceSource>> & { all?: NamespaceOwner };

/** A size in bytes, or a string with a unit of 1024: `'512K'`, `'64M'`, `'2G'`, `'1T'`. */
export type Size = number | (string & {});

/** A row of a user or group id map: user_namespaces(7), "User and group ID mappings". */
export interface IdRange {
  /** First id inside the container. */
  inside: number;
  /** First id on the host, as seen from the caller's user namespace. */
  outside: number;
  /** How many ids. */
  count: number;
}

/** An overlay of directories: kernel document filesystems/overlayfs. */
export interface OverlayRoot {
  /** Layers that are only read, the uppermost first. */
  lower: string | readonly string[];
  /** Directory that takes the writes, and keeps them. Default: a tmpfs that vanishes with the container. */
  upper?: string;
  /** Empty directory on the file system of `upper`. Required with `upper`. */
  work?: string;
}

interface MountBase {
  /** Absolute path inside the container. It is made when it is missing, and never leaves the root. */
  target: string;
  /** Default false. For a bind, everything below it too. */
  readonly?: boolean;
  /** mount_namespaces(7), "SHARED SUBTREES". Default `'private'`. */
  propagation?: 'private' | 'slave' | 'shared' | 'unbindable';
}

/** A directory or a file of the host, seen at another place. */
export interface BindMount extends MountBase {
  type: 'bind';
  /** Path on the host; a relative one counts from the current directory. */
  source: string;
  /** Whether mounts below `source` come along. Default true; without root it must be true. */
  recursive?: boolean;
}

/** A file system in memory: tmpfs(5). Its pages count towards the memory limit of the container. */
export interface TmpfsMount extends MountBase {
  type: 'tmpfs';
  /** Most it may hold. Default `'64M'`. */
  size?: Size;
  /** Permissions of its root directory. Default 0o1777. */
  mode?: number;
}

/** An overlay of directories at a place inside the container. */
export interface OverlayMount extends MountBase, OverlayRoot {
  type: 'overlay';
}

/** A file system of the kernel: proc(5), sysfs(5), devpts, mq_overview(7); `cgroup` is cgroups v2, cgroups(7), and needs a new `cgroup` in ns. */
export interface KernelMount extends MountBase {
  type: 'proc' | 'sysfs' | 'devpts' | 'mqueue' | 'cgroup';
}

/** One mount; they are made in the order given. All are nosuid and nodev. */
export type Mount = BindMount | TmpfsMount | OverlayMount | KernelMount;

/** Names as in getrlimit(2), without RLIMIT_ and in lower case. */
export type RlimitName =
  | 'as' | 'core' | 'cpu' | 'data' | 'fsize' | 'locks' | 'memlock' | 'msgqueue' | 'nice' | 'nofile' | 'nproc' | 'rss'
  | 'rtprio' | 'rttime' | 'sigpending' | 'stack';

/** One number for both, or soft and hard; `'unlimited'` stands for RLIM_INFINITY. Units are those of getrlimit(2). */
export type Rlimit =
  | number | 'unlimited' | { soft: number | 'unlimited'; hard: number | 'unlimited' };

/**
 * What one descriptor of the command is: `'pipe'` to a stream of the handle, which from index 3 on can only be read (one that goes
 * both ways would be a socket, and a socket of the host's is a way into the host's network: SIOCGIFCONF, SIOCGSKNS), `'inherit'`
 * Node's own of that number,
 * `'ignore'` /dev/null, a number an open descriptor of Node, a Buffer a pipe that holds these bytes (index 0 and up),
 * or a stream that has a descriptor.
 */
export type StdioEntry = 'pipe' | 'inherit' | 'ignore' | number | Uint8Array | Readable | Writable | null | undefined;

/** One for all three, or one each; a fourth entry is the command's descriptor 3, and so on. */
export type Stdio = 'pipe' | 'inherit' | 'ignore' | readonly StdioEntry[];

/** How much may come out of stdout and stderr. Of the three limits at least one. */
export interface OutputLimit {
  /** Bytes of both streams together. 0 is allowed: nothing. */
  bytes?: Size;
  /** Lines of both streams together, which end with a newline. */
  lines?: number;
  /**
   * Bytes per second of both together. The command waits when it is faster: its output is read at that rate, in portions of 20 ms,
   * and nothing is lost.
   */
  rate?: Size;
  /**
   * What happens to the first byte beyond `bytes` or `lines`. `'truncate'`: it and all that follows is read and dropped, so that
   * the command goes on. `'kill'`: the container is ended as by `timeout`, with the reason `'output'`. `'pause'` belongs to a
   * `rate` alone, which never loses anything. Default: `'truncate'` with `bytes` or `lines`.
   */
  action?: 'truncate' | 'kill' | 'pause';
}

/** Size of a terminal in characters; 1 to 65535 each. */
export interface TerminalSize {
  columns: number;
  rows: number;
}

/** Options of `spawnContained`. */
export interface SpawnOptions {
  /**
   * Namespaces that the command gets. A list: these are new. An object: each new, or entered, and those not named the
   * caller's, or with `all` somebody else's. A pid, a container or a pod: all of that one, short for `{ all: … }`. Default:
   * all but `time`, and `user` only where it is needed, that is without root.
   *
   * Who enters `mnt` has its root as `/`, also where the process that is entered has changed its own by chroot(2); the
   * working directory is `cwd` there, the environment `env`. No mounts are made then, and no `rootfs` can be given. The user
   * is `user`: by default nobody (root of the entered `user` namespace, where there is one), unlike nsenter(1), which
   * stays root. Without root the `user` namespace of a container or a pod is entered with any other of it.
   *
   * `exited` rejects with ENOENT or ESRCH where there is no such process or file, EINVAL where a file is no namespace, or
   * one of another kind, EACCES or EPERM where the caller may not enter: setns(2).
   */
  ns?: readonly NamespaceKind[] | NamespaceMap | NamespaceOwner;
  /** `'none'`: a new network namespace in which only the loopback device is there. `'host'`: the caller's. Default `'none'`. */
  network?: 'none' | 'host';
  /**
   * What the command sees as `/`: a directory, or an overlay. Default: the host's own `/`, read-only, with a private
   * /tmp, /run, /dev and /proc. Needs `mnt`.
   */
  rootfs?: string | OverlayRoot;
  /** Whether the root is read-only. Default: true for the host's `/`, else false. Mounts have their own `readonly`. */
  readonly?: boolean;
  /** More mounts. One at the place of a default mount takes its place. Needs `mnt`. */
  mounts?: readonly Mount[];
  /** Short for tmpfs mounts: a list of paths, or an object of path → size or options. Needs `mnt`. */
  tmpfs?: readonly string[] | Record<string, Size | { size?: Size; mode?: number; readonly?: boolean }>;
  /** Paths that read as empty. Default: runc's list. Needs `mnt`. */
  maskedPaths?: readonly string[];
  /** Paths that cannot be written to. Default: runc's list. Needs `mnt`. */
  readonlyPaths?: readonly string[];

  /** sethostname(2), up to 64 bytes. Default `'contained'`. Needs `uts`. */
  hostname?: string;
  /** setdomainname(2), up to 64 bytes. Default: left as it is. Needs `uts`. */
  domainname?: string;
  /** Seconds added to the clocks of a new time namespace: time_namespaces(7). Default 0. Needs `time`. */
  timeOffsets?: { monotonic?: number; boottime?: number };

  /** Working directory inside the container, absolute. Default `'/'`. */
  cwd?: string;
  /** Environment: exactly this, with a PATH added when there is none; `'inherit'` hands on Node's. Default: only PATH. */
  env?: Readonly<Record<string, string | undefined>> | 'inherit';
  /** Name that the command sees as its own (argv[0]). Default: the file. */
  argv0?: string;
  /**
   * Who the command runs as: an id (group the same), `'name'`, `'name:group'` or `'uid:gid'`, names being looked up in
   * the container's /etc/passwd and /etc/group. Default: 65534 (nobody) when root runs a command on the host's own `/`,
   * 0 when root gives a `rootfs`, the caller's id without root.
   */
  user?: number | string | { uid: number; gid?: number; groups?: readonly number[] };
  /**
   * Id maps of the new user namespace. `'auto'`: without root the caller and the ranges of /etc/subuid, by way of
   * newuidmap(1); as root 65536 ids from /etc/subuid. Default: without root only the caller's id; as root `'auto'`. Needs `user`.
   */
  uidMap?: readonly IdRange[] | 'auto';
  /** As `uidMap`, with /etc/subgid and newgidmap(1). Default: follows `uidMap`. */
  gidMap?: readonly IdRange[] | 'auto';
  /** umask(2). Default 0o022. */
  umask?: number;
  /** Resource limits. Default: `nofile` 1024 (Node raises its own, which would be inherited), `core` 0. */
  rlimits?: Partial<Record<RlimitName, Rlimit>>;
  /** −1000 … 1000, who is killed first when the host runs out of memory: proc_pid_oom_score_adj(5). Default: inherited. */
  oomScoreAdj?: number;
  /** −20 … 19, setpriority(2). Default: inherited. */
  nice?: number;
  /** Processors that the command may run on, sched_setaffinity(2). Default: all. */
  cpuAffinity?: readonly number[];
  /** Capabilities that the command keeps, as `'NET_BIND_SERVICE'` or `'CAP_NET_BIND_SERVICE'`: capabilities(7). Default: none. */
  capabilities?: readonly string[];
  /** Whether execve can never grant privileges, as by a setuid file: prctl(2) PR_SET_NO_NEW_PRIVS. Default true. */
  noNewPrivileges?: boolean;

  /**
   * Limits, or a group that is there (`createCgroup`), which the command is born into and which stays. Default: no cgroup of
   * its own, unless without a pid namespace it is what `killAll` needs.
   */
  cgroup?: CgroupOptions | Cgroup;

  /** Default `'pipe'` for the first three. With `tty` these are the terminal, and only entries from 3 on can be given. */
  stdio?: Stdio;
  /**
   * A terminal of the container's own (pty(7), from its own devpts) as the command's standard input, output and error, and its
   * controlling terminal, of this size; `true` stands for 80 × 24. `stdin` and `stdout` of the handle are its other side,
   * `stderr` is null: all output comes by one stream, with \r\n for \n. `stdin.end()` sends ^D. To destroy `stdin`
   * before it has finished, or `stdout`, hangs up (SIGHUP). Unless `env` has a TERM, it is `xterm`. Default: no terminal.
   */
  tty?: boolean | Partial<TerminalSize>;
  /**
   * A reaper as pid 1: forwards signals, reaps orphans, ends as the command ends. Default: false, so that the command is
   * pid 1; true with `tty` in a new `pid`, since a pid 1 without handlers ignores ^C and hang-ups (pid_namespaces(7)).
   */
  init?: boolean;
  /**
   * A name by which other processes find it: `attach(id)`, `containers()`, `contained ps`. Up to 100 letters, digits and `_.-`.
   * It is taken until the container has ended (see `autoRemove`); EEXIST when another has it. Kept in a directory of that name
   * in /run/spawn-contained, without root in $XDG_RUNTIME_DIR/spawn-contained. It has a cgroup wherever one can be had. Default: none, or a
   * random one with `detached`.
   */
  id?: string;
  /**
   * Whether it goes on when Node ends; the launcher (less than a megabyte) stays for it. It keeps Node
   * running only while it starts, or when `exited` is asked for; timeouts, which end with Node, cannot be given. What it writes goes to a log (`logs()`), unless `stdio` says where else, which then
   * may have no pipe. The launcher stays in the cgroup of Node: where a service manager kills that with the service
   * (systemd.kill(5), KillMode=), give the service KillMode=process, or start it from a scope of its own. Default false: it ends when
   * Node ends, in whatever way.
   */
  detached?: boolean;
  /** Texts that `containers()` and `inspect()` tell again. Needs `id` or `detached`. */
  labels?: Readonly<Record<string, string>>;
  /** Whether nothing is known of it any more when it has ended; else how it ended and its log are, until `remove()`. Default: not `detached`. */
  autoRemove?: boolean;
  /** Bytes of what a detached container writes that are kept; the older half is dropped when there is more. Default `'16M'`. */
  logSize?: Size;
  /** Milliseconds after which the command is killed, from the call on; time in the queue counts. Default: never. */
  timeout?: number;
  /**
   * Milliseconds of processor time that all processes of the container may use together; then it is ended as by `timeout`,
   * with the reason `'cpu-timeout'`. Default: no limit. Counted by its cgroup, and one is made for it where none is asked for and
   * one can be had (`cpu.stat` of v2, `cpuacct.usage` of v1); else, in a new pid namespace, by the sum over its processes
   * (proc_pid_stat(5), in steps of 10 ms, and of children whose parent ignores SIGCHLD what is seen every 100 ms). Where neither
   * can be had it is refused with ENOTSUP. It is looked at before it can be reached and then every 4 ms; so it may be passed by
   * that times the processors, or 20 ms of all of them when it had slept. A single process that has used it and a second more is
   * killed by the kernel, however busy Node is: getrlimit(2), RLIMIT_CPU.
   */
  cpuTimeout?: number;
  /**
   * How much may come out of stdout and stderr together; at least one of them must be a `'pipe'`, and what is none is not
   * counted. A size: these bytes, and the rest is read and dropped. Counted is what the reader gets. Both are read even when
   * nobody listens, so that the limit is noticed; up to 16 MiB are kept for the reader, and then the command waits. Default: no limit.
   */
  maxOutput?: Size | OutputLimit;
  /** Aborting it kills the command; `exited` still resolves, with the reason `'aborted'`. */
  signal?: AbortSignal;
  /** What `timeout`, `signal` and `kill()` send first. Default `'SIGTERM'`. */
  killSignal?: NodeJS.Signals | number;
  /** Milliseconds after `killSignal` until SIGKILL, for `timeout` and `signal`. Default 1000. */
  killGrace?: number;
  /** Time each step of the start; see `Contained.trace`. Default false. */
  trace?: boolean;
}

/** A file, or a file and its arguments. */
export type Command = string | readonly [file: string, ...args: string[]];

/** What `run` does with a command beyond starting it. */
export interface CollectOptions {
  /** Written to the command's standard input, which is then closed. Default: nothing. */
  input?: string | Uint8Array;
  /**
   * A size: bytes kept of each of stdout and stderr; what comes after is read and dropped. An object: as for `spawnContained`.
   * Default: no limit.
   */
  maxOutput?: Size | OutputLimit;
  /** How the output is returned. Default `'utf8'`. */
  encoding?: BufferEncoding | 'buffer';
  /** Whether a command that fails rejects. Default true. */
  reject?: boolean;
}

/** Options of `run`. */
export interface RunOptions extends SpawnOptions, CollectOptions {
  /** File, or file and arguments. */
  command: Command;
}
