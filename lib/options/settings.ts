// What the options mean: everything filled in and checked. The one type that all of program/ is written against.
import type { NamespaceKind, TerminalSize } from '../../types/options.js';
import type { ContainedError } from '../errors.js';

/** `fd`: a descriptor of Node's that is sent along, −1 when it has been closed. `pid`: of a process in it, where that is known. */
export type JoinSource = ({ path: string } | { container: number } | { fd: number }) & { pid: number | undefined };

export interface Namespaces {
  create: ReadonlySet<NamespaceKind>;
  join: ReadonlyMap<NamespaceKind, JoinSource>;
  /** Why they cannot be known, as of a process that is gone. */
  unknown?: ContainedError;
  /** Whether the same options may mean others later. */
  momentary?: boolean;
}

export interface IdMap {
  ranges: readonly { inside: number; outside: number; count: number }[];
  /** The setuid tool that must write it, or undefined when we may. */
  tool: string | undefined;
}

export interface Identity {
  /** The user to become; undefined: stay who we are. */
  user: { uid: number; gid: number; groups: readonly number[] } | { name: string; group: string | null } | undefined;
  /** Maps of a new user namespace. */
  maps: { uid: IdMap; gid: IdMap } | undefined;
  /** Whether groups can be set: with `deny` in /proc/PID/setgroups they cannot. */
  setgroups: boolean;
}

export type RootSetting =
  | { kind: 'directory'; source: string; host: boolean }
  | ({ kind: 'overlay' } & OverlaySetting);

export interface OverlaySetting {
  lower: readonly string[];
  writable: { upper: string; work: string } | undefined;
}

interface MountBase {
  target: string;
  readonly: boolean;
  propagation: number;
}

export type MountSetting = MountBase & (
  | { type: 'bind'; source: string; recursive: boolean }
  | { type: 'tmpfs'; size: number; mode: number }
  | ({ type: 'overlay' } & OverlaySetting)
  | { type: 'proc' | 'sysfs' | 'devpts' | 'mqueue' | 'cgroup' }
  | { type: 'dev' }
);

export interface FileSystem {
  root: RootSetting;
  readonly: boolean;
  mounts: readonly MountSetting[];
  maskedPaths: readonly string[];
  readonlyPaths: readonly string[];
}

/** A file of a group and what is written to it. */
export interface CgroupWrite {
  path: string;
  text: string;
  /** Whether a kernel may be without it. */
  optional: boolean;
}

/** A group: its directories, on v2 and on v1 by controller. Several controllers may share one. */
export interface Placement {
  unified: { directory: string; controllers: readonly string[] } | undefined;
  v1: ReadonlyMap<string, string>;
}

export type DeviceNumber = number | '*';

/** The devices of a pattern. `access`: bits of DEVICE_ACCESS. */
export interface Devices {
  readonly type: 'b' | 'c';
  readonly major: DeviceNumber;
  readonly minor: DeviceNumber;
  readonly access: number;
}

/** What `allow` says holds for every device, but for the exceptions, for which the contrary holds. */
export interface DeviceSetting {
  readonly allow: boolean;
  readonly exceptions: readonly Devices[];
}

export interface CgroupSetting {
  /** Whether it is ours to make and remove; else it is there, and joined. */
  made: boolean;
  /** The same directories, by every controller that they are for. */
  where: Placement;
  /** v2 directory. */
  unified: string | undefined;
  /** Whether that depends on a v2 group that may be made anew: one that is given by its name or path. */
  momentary?: boolean;
  /** What its ancestors must enable first, from the top. */
  enable: readonly { directory: string; controllers: readonly string[] }[];
  /** v1 directories, by one of the controllers of each. */
  v1: readonly { controller: string; directory: string }[];
  /** Limits, in the order of writing. */
  limits: readonly CgroupWrite[];
  /** What its processes may do with devices; the v1 directory where it is not a matter of the v2 one. */
  devices: { setting: DeviceSetting; v1: string | undefined } | undefined;
  /** Whom it is given to: ids of the host. */
  owner: { uid: number; gid: number } | undefined;
  /** Files that tell what was used, by what they are called in handle/usage.ts. Of a group that is not ours alone: before, and after. */
  counters: readonly { name: string; path: string }[];
  /** The file that tells the processor time of all its processes, where they are of this container alone. */
  time: string | undefined;
}

/** How much may come out of stdout and stderr together. */
export interface OutputSetting {
  bytes: number;
  lines: number;
  /** Bytes per second. */
  rate: number;
  /** Whether it is ended when more comes; else that is dropped. */
  kill: boolean;
}

/** What a command that is run in a container later has from it: plain data, since another process may run it. */
export interface Inheritance {
  /** What the container has that its caller has not. */
  namespaces: readonly NamespaceKind[];
  identity: Pick<Identity, 'user' | 'setgroups'>;
  cwd: string;
  env: readonly string[];
  umask: number;
  rlimits: Settings['rlimits'];
  affinity: string | undefined;
  capabilities: number;
  noNewPrivileges: boolean;
}

/** Of a command that is run in a container that is there. */
export interface Entered {
  /** Its number with the launcher. */
  container: number;
  /** What tells that the container stands still: nobody gets anywhere in it then. */
  frozen: { path: string; lines: readonly string[] } | undefined;
  /** cgroup v2: the container's group, whose members must go into one below it before another below it can have these controllers. */
  divide: { directory: string; controllers: readonly string[]; limits: readonly CgroupWrite[] } | undefined;
}

/** Everything but the command and what concerns the handle alone: one of these serves many runs. */
export interface Settings {
  cwd: string;
  namespaces: Namespaces;
  timeOffsets: { monotonic: number; boottime: number } | undefined;
  hostname: string | undefined;
  domainname: string | undefined;
  fileSystem: FileSystem | undefined;
  identity: Identity;
  /** Whether the caller itself has them. */
  hostPrivileged: boolean;
  /** Whether the setup may do what needs capabilities, of the caller's own or of a new user namespace. */
  privileged: boolean;
  umask: number;
  /** `lowers`: that it takes no privilege to set. */
  rlimits: readonly { resource: number; soft: number; hard: number; lowers: boolean }[];
  oomScoreAdj: number | undefined;
  nice: number | undefined;
  affinity: string | undefined;
  /** Bit mask. */
  capabilities: number;
  noNewPrivileges: boolean;
  cgroup: CgroupSetting | undefined;
  /** What the host cannot do although the options are right; for `exited` to tell. */
  impossible: ContainedError | undefined;
  init: boolean;
  /** Its terminal's first size, if it gets one. */
  tty: TerminalSize | undefined;
  entered: Entered | undefined;
  registration: Registration | undefined;
}

/** What other processes are to know of it. */
export interface Registration {
  id: string;
  directory: string;
  /** Of the kernel, which tells when pids are of before. */
  boot: string;
  created: string;
  maker: { pid: number; start: string };
  labels: Readonly<Record<string, string>>;
  /** Whether it goes on when Node ends. */
  detached: boolean;
  /** Whether it is remembered when it has ended. */
  keep: boolean;
  /** Bytes of what it writes that are kept; undefined: it goes elsewhere. */
  logSize: number | undefined;
}

/** What concerns the handle and not the program. */
export interface Life {
  timeout: number | undefined;
  cpuTimeout: number | undefined;
  output: OutputSetting | undefined;
  signal: AbortSignal | undefined;
  killSignal: number;
  killGrace: number;
  trace: boolean;
}
