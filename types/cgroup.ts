import type { Size } from './options.js';
import type { DeviceRule } from './devices.js';

/** A limit that can be lifted again: `'max'` is none. */
export type Max<T> = T | 'max';

/** What one block device may do. Default of each: no limit. */
export interface IoLimit {
  /** Path of a whole disk (`/dev/sda`), or its numbers (`'8:0'`). */
  device: string;
  /** Bytes read in a second. v1: blkio.throttle.read_bps_device. */
  rbps?: Max<Size>;
  /** Bytes written in a second. */
  wbps?: Max<Size>;
  /** Reads in a second. */
  riops?: Max<number>;
  /** Writes in a second. */
  wiops?: Max<number>;
}

/**
 * Limits, by the names of cgroup v2 (kernel document admin-guide/cgroup-v2); where the host has the controller on v1 they
 * are translated, and what v1 has nothing like is a ContainedError with the code ENOTSUP. All are unset by default.
 */
export interface CgroupLimits {
  memory?: {
    /** Most memory, in bytes; above it the kernel kills (the outcome's reason is `'oom'`). v1: memory.limit_in_bytes. */
    max?: Max<Size>;
    /** Above it the processes are slowed down and must give memory back. v2 only. */
    high?: Max<Size>;
    /** What is taken away last when the host is short of memory. v1: memory.soft_limit_in_bytes. */
    low?: Max<Size> | 0;
    /** What is never taken away. v2 only. */
    min?: Max<Size> | 0;
    /** Most swap, beside `max`. Default: none where `max` is given. v1: memory.memsw.limit_in_bytes, which is both; it needs `max`. */
    swapMax?: Max<Size> | 0;
    /** Whether all processes of the group die when one must: v2 only. Default: true where `max` is given. */
    oomGroup?: boolean;
  };
  cpu?: {
    /** Most processor time, in processors: 0.5 is half of one, 2 is two. The period is 100 ms. v1: cpu.cfs_quota_us. */
    max?: Max<number>;
    /** Share among groups that compete, 1 … 10000; 100 is what a group has by itself. v1: cpu.shares, where 100 is 1024. */
    weight?: number;
    /** What may be saved up and spent at once beyond `max`, in the same unit; at most `max`. cpu.max.burst, cpu.cfs_burst_us. */
    burst?: number;
    /** Whether the group runs only when nobody else wants to: SCHED_IDLE of groups, cpu.idle. */
    idle?: boolean;
  };
  cpuset?: {
    /** Processors, as `'0-3,5'` or a list of numbers. */
    cpus?: string | readonly number[];
    /** Memory nodes, likewise. v1 needs both: where one is missing it is the parent's. */
    mems?: string | readonly number[];
    /** v2 only. `'isolated'`: without load balancing. Needs `cpus`. */
    partition?: 'member' | 'root' | 'isolated';
  };
  io?: {
    /** Share among groups that compete, 1 … 10000; 100 is what a group has by itself. io.weight, io.bfq.weight, blkio.bfq.weight, whichever there is; BFQ's end at 1000. */
    weight?: number;
    max?: readonly IoLimit[];
    /** Aim for the time of one request, in microseconds; who misses it makes the others wait. v2 only. */
    latency?: readonly { device: string; targetUs: number }[];
  };
  pids?: {
    /** Most processes and threads at once. */
    max?: Max<number>;
  };
  /** Most memory in huge pages, by page size: `{ '2MB': '64M' }`; the sizes are those of /sys/kernel/mm/hugepages. */
  hugetlb?: Readonly<Record<string, Max<Size> | 0>>;
  /** Most objects of an RDMA device: `{ mlx4_0: { hcaHandle: 2, hcaObject: 2000 } }`. */
  rdma?: Readonly<Record<string, { hcaHandle?: Max<number>; hcaObject?: Max<number> }>>;
  /** Most of a scalar resource: `{ sev: 10 }`; what there is stands in misc.capacity of the root group. */
  misc?: Readonly<Record<string, Max<number>>>;
  /** Devices that may be used, as a list of rules, of which later ones win; see {@link DeviceRule}. v2: an eBPF program. Only for root. */
  devices?: readonly DeviceRule[];
  /** Mark of the packets sent, for tc(8) and iptables: `{ classid: 0x10001 }`. v1 only. */
  netCls?: { classid: number };
  /** Priority of the packets sent, by network device: `{ eth0: 5 }`. v1 only. */
  netPrio?: Readonly<Record<string, number>>;
  /** Anything else of v2, file by file: `{ 'memory.zswap.max': '0' }`. */
  unified?: Readonly<Record<string, string>>;
}

/** Where a group is, and what it limits. */
export interface CgroupOptions extends CgroupLimits {
  /** Name of the group. Default: a name that tells whose it is, so that `sweep()` can remove it after a crash. */
  name?: string;
  /**
   * The group to make it in, which must exist: a `Cgroup`, the name that it was made with (`'web'`, or `'web/blue'` for one
   * in it), or a path below the root of each hierarchy (`'/web'`). Default: found on the host, see the README.
   */
  parent?: string | Cgroup;
  /**
   * Whether the group is given into the hands of whoever runs in it: it belongs to the command's user, who can make groups
   * in it but not change its limits, and has them at /sys/fs/cgroup (kernel document cgroup-v2, "Delegation"): up to 1000, 32 deep, unless
   * `unified` sets cgroup.max.descendants and cgroup.max.depth. v2 only.
   * For `createCgroup`: the ids that it is to belong to.
   */
  delegate?: boolean | { uid: number; gid: number };
}

/** Options of `createCgroup`. */
export interface CreateCgroupOptions extends CgroupOptions {
  /** Whether threads of one process may be in different groups below it: cgroups(7), "Thread mode". v2 only, and without controllers of memory or io. */
  threaded?: boolean;
  /** Who makes it. `'systemd'`: a transient scope by the manager of the system or, without root, of the user. Default: systemd where it owns the tree and none is delegated to us. */
  manager?: 'cgroupfs' | 'systemd';
}

/** How long processes have waited for a resource: kernel document accounting/psi. */
export interface Pressure {
  /** Share of the time in which some process waited, in percent, over 10, 60 and 300 seconds, and in all in microseconds. */
  some: { avg10: number; avg60: number; avg300: number; totalUs: number };
  /** The same for the time in which all waited. The kernel does not tell it for every resource. */
  full: { avg10: number; avg60: number; avg300: number; totalUs: number } | undefined;
}

/** What one block device has done for a group. v1 counts reads or writes of a disk only while there is a limit for them; undefined else. */
export interface IoStats {
  /** Numbers of the device, as `'8:0'`. */
  device: string;
  readBytes: number | undefined;
  writeBytes: number | undefined;
  reads: number | undefined;
  writes: number | undefined;
}

/** What a group uses, the same on v1 and v2. What the host does not tell is undefined, never 0. */
export interface CgroupStats {
  /** When it was read, as of performance.now(). */
  timeMs: number;
  cpu: {
    /** Processor time of all processes that are or were in the group and those below it. */
    usageMs: number | undefined;
    userMs: number | undefined;
    systemMs: number | undefined;
    /** Periods of `cpu.max` that have passed while it wanted to run, those in which it had to wait, and for how long. */
    periods: number | undefined;
    throttledPeriods: number | undefined;
    throttledMs: number | undefined;
  };
  memory: {
    /** Bytes; page cache counts in. */
    current: number | undefined;
    peak: number | undefined;
    /** Memory that is no file's. */
    anon: number | undefined;
    /** Page cache. */
    file: number | undefined;
    swap: number | undefined;
    /** How often: it was taken from below `low`; slowed down by `high`; at `max` (v1: undefined until it was); out of memory; processes killed for it. */
    events: { low: number | undefined; high: number | undefined; max: number | undefined; oom: number | undefined; oomKill: number | undefined };
  };
  pids: {
    current: number | undefined;
    peak: number | undefined;
    /** Forks that `pids.max` has refused. */
    refused: number | undefined;
  };
  /** By device; undefined without the controller, empty when nothing was read or written; on v1 undefined when no disk has a limit. */
  io: readonly IoStats[] | undefined;
  /** Bytes in huge pages by page size. */
  hugetlb: Readonly<Record<string, number>> | undefined;
  /** Undefined where the kernel was built or booted without PSI, and on v1. */
  pressure: { cpu: Pressure | undefined; memory: Pressure | undefined; io: Pressure | undefined };
}

/** One of a series: what it uses, and what it has used since the one before. */
export interface CgroupStatsStep extends CgroupStats {
  delta: {
    /** Milliseconds since the step before. */
    timeMs: number;
    /** Processors used in that time: 1 is one all the time. */
    cpus: number | undefined;
    /** Bytes, of all devices. */
    readBytes: number | undefined;
    writeBytes: number | undefined;
  };
}

/**
 * Something that has happened in a group. `count`: how often, since the group was made (`oom` on v1: since this loop began).
 * `oom`: at the limit with nothing to give back; `oomKill`: a process was killed for it; `high`, `max`: a limit of memory
 * was reached; `pidsMax`: a fork was refused; `populated`, `frozen`: `value` has become true or false; `memoryPressure`: v1
 * only, memory.pressure_level; `removed`: the last. v1 tells nothing of `high`, `max`, `populated` and `frozen`, but a v2
 * half of the host does of the last two.
 */
export type CgroupEvent =
  | { type: 'oom' | 'oomKill' | 'high' | 'max' | 'pidsMax'; count: number }
  | { type: 'populated' | 'frozen'; value: boolean }
  | { type: 'memoryPressure'; level: 'medium' | 'critical' }
  | { type: 'removed' };

/** What to be told of: `kind` processes waited for `resource` for `stallUs` of `windowUs` microseconds. */
export interface PressureTrigger {
  resource: 'cpu' | 'memory' | 'io';
  /** `'some'`: at least one process; `'full'`: all. Default `'some'`. */
  kind?: 'some' | 'full';
  stallUs: number;
  /** 500 000 … 10 000 000; without CAP_SYS_RESOURCE a multiple of 2 000 000. Default 2 000 000. */
  windowUs?: number;
}

/** What `move` has done. */
export interface MoveResult {
  /** Processes that are in the group now, on every hierarchy. */
  moved: number;
  /** Those that are not, with the reason; they are where they were on the hierarchy that refused, and on those after it. */
  errors: readonly { pid: number; code: string; errno: number }[];
}

/**
 * A group of processes, on every hierarchy of the host at once. Its methods reject with a ContainedError; with the code
 * ENOENT or ENODEV when somebody else has removed it.
 */
export interface Cgroup {
  readonly name: string;
  /** Directories by hierarchy: `unified`, and v1 ones by one of their controllers. */
  readonly paths: Readonly<Record<string, string>>;
  /**
   * Changes limits while it is used. A memory limit below what is used is EBUSY when the kernel cannot take that much
   * away; when one file cannot be written those before it are put back.
   */
  update(limits: CgroupLimits): Promise<void>;
  /** Reads what it uses: off the event loop, from files that are kept open. */
  stats(): Promise<CgroupStats>;
  /** The same every `interval` milliseconds, with the difference to the one before, until the loop is left, `signal` is aborted or the group is gone. */
  stats(options: { interval: number; signal?: AbortSignal }): AsyncIterable<CgroupStatsStep>;
  /** What happens from now on; ends with `removed`. Waits in the kernel, never polls. */
  events(options?: { signal?: AbortSignal }): AsyncIterable<CgroupEvent>;
  /** Calls `listener` whenever there is that much pressure, at most once a window. v2 only. Resolves, when the kernel has taken it, to what ends it. */
  onPressure(trigger: PressureTrigger, listener: () => void): Promise<() => void>;
  /** Pids of the processes in it. `recursive`: and in the groups below it. */
  processes(options?: { recursive?: boolean }): Promise<number[]>;
  /** Ids of the threads in it. */
  threads(): Promise<number[]>;
  /** Moves processes into it, on every hierarchy; the write waits for an RCU grace period once for all. */
  move(pids: readonly number[]): Promise<MoveResult>;
  /** Moves single threads. On v2 only between groups of one threaded tree. */
  moveThreads(tids: readonly number[]): Promise<MoveResult>;
  /**
   * Stops all processes in it and below, and resolves when they stand still. ETIMEDOUT after ten seconds: one waits in the
   * kernel. Freezing, thawing and updating by one handle come one after the other.
   */
  freeze(): Promise<void>;
  /** Lets them go on, and resolves when they do, or would but for a frozen group above. */
  thaw(): Promise<void>;
  /** Kills all processes in it and below, frozen ones too, and resolves when none is left; ETIMEDOUT after ten seconds. */
  kill(): Promise<void>;
  /** Has the kernel take that many bytes of memory away, as far as it can: resolves to whether it could. memory.reclaim, Linux 5.19. */
  reclaim(bytes: Size): Promise<boolean>;
  /** The groups directly in it. */
  children(): Promise<Cgroup[]>;
  /** Itself and all groups below it, each before those in it. */
  walk(): AsyncIterable<Cgroup>;
  /** Removes it. With processes or groups in it that is EBUSY, but `recursive` removes the groups below first. */
  remove(options?: { recursive?: boolean }): Promise<void>;
  /** `kill`, then `remove` with all below, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
