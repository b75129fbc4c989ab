// The table of the flags of `run`, `explain` and, as far as they are of one command, `exec`: parsing, help and completion read
// it. Values are only brought into shape here; whether they are right is for the library to say.
import { readFileSync } from 'node:fs';
import type { CgroupOptions } from '../../types/cgroup.js';
import type { Mount, NamespaceKind, NamespaceMap, OutputLimit, Rlimit, SpawnOptions } from '../../types/options.js';
import { didYouMean } from '../options/check.js';
import { CAPABILITIES } from '../program/constants.js';
import { readOutput } from './capture.js';
import type { Flag, Used } from './flag.js';
import { LIMIT_FLAGS, LIMITS_REFUSED } from './limits.js';
import { readMount, readTmpfs, readVolume } from './mounts.js';
import { affinity, duration, idRange, integer, octal, pair, seconds, signalName, SIGNALS, UsageError } from './values.js';

/** What flags make: the options of `spawnContained`, and what only the command line knows. */
export interface Given extends SpawnOptions {
  /** Print the outcome to stderr. */
  stats?: boolean;
  /** Hand standard input on; without `tty` that is always so. */
  interactive?: boolean;
  cgroup?: CgroupOptions;
  maxOutput?: OutputLimit;
  /** Name of a container whose network it is to have. */
  networkOf?: string;
  /** Name of a group that is there. */
  joined?: string;
  /** Whether to come back as soon as the command runs. */
  background?: boolean;
  /** Files that are told the name and the pid. */
  cidfile?: string;
  pidfile?: string;
  /** See `withSwap`. */
  memorySwap?: string;
}

function namespaces(text: string): Given {
  const parts = text.split(',').filter(part => part !== '');
  if (/^\d+$/.test(text)) return { ns: Number(text) };
  if (!parts.some(part => part.includes('='))) return { ns: parts as NamespaceKind[] };
  const sources = parts.map(part => {
    const [kind, source] = part.includes('=') ? pair(part, 'KIND=PATH') : [part, 'new'];
    return [kind, /^\d+$/.test(source) ? Number(source) : source] as const;
  });
  return { ns: Object.fromEntries(sources) as NamespaceMap };
}

/** `K=V`, or `K` for the value that it has here; one that is not set here is left out. */
function variable(text: string): Given {
  const at = text.indexOf('=');
  const name = at < 0 ? text : text.slice(0, at);
  const value = at < 0 ? process.env[name] : text.slice(at + 1);
  return { env: value === undefined ? {} : { [name]: value } };
}

/** As docker reads them: a variable each line, none in lines that begin with #. */
function variables(file: string): Given {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
  const lines = text.split(/\r?\n/).map(line => line.trimStart()).filter(line => line !== '' && !line.startsWith('#'));
  return { env: Object.assign({}, ...lines.map(line => variable(line).env)) };
}

/** None is kept unless it is added. */
function dropped(text: string): Given {
  for (const name of text.split(',')) {
    const short = name.toUpperCase().replace(/^CAP_/, '');
    if (short !== 'ALL' && !(CAPABILITIES as readonly string[]).includes(short)) throw new UsageError(`no such capability ${JSON.stringify(name)}${didYouMean(short, ['ALL', ...CAPABILITIES])}`);
  }
  return {};
}

function ulimit(text: string): Given {
  const [name, values] = pair(text, 'NAME=SOFT[:HARD]');
  const limit = (value: string): number | 'unlimited' => value === 'unlimited' || value === '-1' ? 'unlimited' : integer(value);
  const [soft = '', hard] = values.split(':');
  const both: Rlimit = hard === undefined ? limit(soft) : { soft: limit(soft), hard: limit(hard) };
  return { rlimits: { [name]: both } };
}

/** docker: `container:web`. */
const network = (text: string): Given => text.startsWith('container:') ? { networkOf: text.slice('container:'.length) } : { network: text as 'none' };

const mount = (value: Mount): Given => ({ mounts: [value] });

export const FLAGS: readonly Flag<Given>[] = [
  { name: 'ns', argument: 'LIST', values: 'namespaces', section: 'Isolation', option: 'ns', help: 'new namespaces of mnt,pid,net,ipc,uts,user,cgroup,time; KIND=PATH, KIND=PID or KIND=NAME (of `contained ns create`, or a container) enters one, all=PID or PID those of a process (default: all but time, and user only without root)', read: namespaces },
  { name: 'network', argument: 'MODE', values: ['none', 'host', 'container:'], section: 'Isolation', option: 'network', help: 'none: only the loopback device; host: that of the caller; container:NAME: that of a container (default: none)', read: network },

  { name: 'rootfs', argument: 'DIR', values: 'directory', section: 'File system', option: 'rootfs', help: "what the command sees as / (default: the host's own, read-only)", read: text => ({ rootfs: text }) },
  { name: 'overlay', argument: 'LOWER', values: 'directory', repeatable: true, section: 'File system', option: 'rootfs.lower', help: 'root of layers that stay as they are, the uppermost first; writes are thrown away', read: text => ({ rootfs: { lower: [text] } }) },
  { name: 'upper', argument: 'DIR', values: 'directory', section: 'File system', option: 'rootfs.upper', help: 'with --overlay: keep the writes here', read: text => ({ rootfs: { upper: text } as { lower: string; upper: string } }) },
  { name: 'work', argument: 'DIR', values: 'directory', section: 'File system', option: 'rootfs.work', help: 'with --upper: an empty directory on its file system', read: text => ({ rootfs: { work: text } as { lower: string; work: string } }) },
  { name: 'read-only', section: 'File system', option: 'readonly', help: "a root that cannot be written to (default for the host's /; --read-only=false is the opposite)", read: on => ({ readonly: on }) },
  { name: 'volume', short: 'v', argument: 'SRC:DST[:ro]', values: 'file', repeatable: true, section: 'File system', option: 'mounts', help: "show the host's SRC at DST", read: text => mount(readVolume(text)) },
  { name: 'mount', argument: 'type=…,target=…', repeatable: true, section: 'File system', option: 'mounts', help: 'type bind, tmpfs, overlay, proc, sysfs, devpts, mqueue or cgroup; source=, target=, readonly, propagation=, size=, mode=, lower=A:B, upper=, work=', read: text => mount(readMount(text)) },
  { name: 'tmpfs', argument: 'PATH[:size=…]', repeatable: true, section: 'File system', option: 'tmpfs', help: 'an empty file system in memory; also mode=, ro (default size: 64M)', read: text => ({ tmpfs: readTmpfs(text) }) },
  { name: 'masked-path', argument: 'PATH', repeatable: true, section: 'File system', option: 'maskedPaths', help: "a path that reads as empty, in place of runc's list", read: text => ({ maskedPaths: [text] }) },
  { name: 'readonly-path', argument: 'PATH', repeatable: true, section: 'File system', option: 'readonlyPaths', help: "a path that cannot be written to, in place of runc's list", read: text => ({ readonlyPaths: [text] }) },

  { name: 'name', argument: 'NAME', section: 'Names and environment', option: 'id', help: 'what `contained ps`, exec, stats and the like know it by (default: one that is made up)', read: text => ({ id: text }) },
  { name: 'label', short: 'l', argument: 'K[=V]', repeatable: true, section: 'Names and environment', option: 'labels', help: 'what `contained ps --filter label=K` finds it by', read: text => ({ labels: text.includes('=') ? Object.fromEntries([pair(text, 'K=V')]) : { [text]: '' } }) },
  { name: 'hostname', short: 'h', argument: 'NAME', section: 'Names and environment', option: 'hostname', help: 'host name (default: contained)', read: text => ({ hostname: text }) },
  { name: 'domainname', argument: 'NAME', section: 'Names and environment', option: 'domainname', help: 'NIS domain name', read: text => ({ domainname: text }) },
  { name: 'cwd', short: 'w', aliases: ['workdir'], argument: 'DIR', section: 'Names and environment', option: 'cwd', help: 'working directory inside (default: /)', read: text => ({ cwd: text }) },
  // Before `env`, which overrides what it brings.
  { name: 'env-inherit', section: 'Names and environment', option: 'env', help: "hand on the caller's environment (default: only PATH)", read: on => on ? { env: { ...process.env } } : {} },
  { name: 'env-file', argument: 'FILE', values: 'file', repeatable: true, section: 'Names and environment', option: 'env', help: 'the same for each line of a file; -e overrides it', read: variables },
  { name: 'env', short: 'e', argument: 'K[=V]', repeatable: true, section: 'Names and environment', option: 'env', help: 'set a variable, or hand on the one of this name', read: variable },

  { name: 'user', short: 'u', argument: 'USER', values: 'user', section: 'Identity and privileges', option: 'user', help: "uid, uid:gid, name or name:group (default: nobody for root on the host's /, root with --rootfs, else the caller)", read: text => ({ user: text }) },
  { name: 'uid-map', argument: 'IN:OUT:COUNT', repeatable: true, section: 'Identity and privileges', option: 'uidMap', help: 'ids of a user namespace (IN inside is OUT on the host), or auto', read: text => ({ uidMap: text === 'auto' ? text : [idRange(text)] }) },
  { name: 'gid-map', argument: 'IN:OUT:COUNT', repeatable: true, section: 'Identity and privileges', option: 'gidMap', help: 'the same for groups (default: as --uid-map auto)', read: text => ({ gidMap: text === 'auto' ? text : [idRange(text)] }) },
  { name: 'umask', argument: 'OCTAL', section: 'Identity and privileges', option: 'umask', help: 'file mode creation mask (default: 022)', read: text => ({ umask: octal(text) }) },
  { name: 'cap-add', argument: 'NAME', values: CAPABILITIES, repeatable: true, section: 'Identity and privileges', option: 'capabilities', help: 'a capability that the command keeps, as NET_RAW (default: none)', read: text => ({ capabilities: text.split(',') }) },
  { name: 'cap-drop', argument: 'NAME', values: ['ALL', ...CAPABILITIES], repeatable: true, section: 'Identity and privileges', option: 'capabilities', help: 'changes nothing: none is kept that is not added', read: dropped },
  { name: 'allow-new-privileges', section: 'Identity and privileges', option: 'noNewPrivileges', help: 'let setuid files and file capabilities work', read: on => ({ noNewPrivileges: !on }) },
  { name: 'no-new-privileges', section: 'Identity and privileges', option: 'noNewPrivileges', help: 'the opposite, which is the default', read: on => ({ noNewPrivileges: on }) },

  ...LIMIT_FLAGS,
  { name: 'cgroup', argument: 'NAME', section: 'Limits', option: 'joined', help: 'instead of limits: a group of `contained cgroup create`, which stays', read: text => ({ joined: text }) },
  { name: 'cgroup-name', argument: 'NAME', section: 'Limits', option: 'cgroup.name', help: 'name of its cgroup (default: one that sweep knows)', read: text => ({ cgroup: { name: text } }) },
  { name: 'cgroup-parent', argument: 'PATH', section: 'Limits', option: 'cgroup.parent', help: 'group to make it in (default: found on the host)', read: text => ({ cgroup: { parent: text } }) },
  { name: 'ulimit', argument: 'NAME=SOFT[:HARD]', repeatable: true, section: 'Limits', option: 'rlimits', help: 'a resource limit, as nofile=1024, in the units of getrlimit(2)', read: ulimit },
  { name: 'cpu-affinity', argument: 'LIST', section: 'Limits', option: 'cpuAffinity', help: 'processors that it may run on, as 0,2-3', read: text => ({ cpuAffinity: affinity(text) }) },
  { name: 'nice', argument: 'NUMBER', section: 'Limits', option: 'nice', help: '-20 to 19; a higher one gives way to others', read: text => ({ nice: integer(text) }) },
  { name: 'oom-score-adj', argument: 'NUMBER', section: 'Limits', option: 'oomScoreAdj', help: '-1000 to 1000; the highest is killed first when the host has no memory left', read: text => ({ oomScoreAdj: integer(text) }) },

  { name: 'detach', short: 'd', section: 'Life', option: 'detached', help: 'print its name and come back when the command runs; what it writes goes to `contained logs`', read: on => ({ background: on }) },
  { name: 'rm', section: 'Life', option: 'autoRemove', help: 'forget a detached one when it has ended; others always are', read: on => ({ autoRemove: on }) },
  { name: 'interactive', short: 'i', section: 'Life', option: 'interactive', help: 'with --tty: hand on what is typed; without it standard input is always handed on', read: on => ({ interactive: on }) },
  { name: 'tty', short: 't', section: 'Life', option: 'tty', help: "a terminal of its own, shown on the caller's (default: the caller's standard streams)", read: on => ({ tty: on }) },
  { name: 'init', section: 'Life', option: 'init', help: 'a reaper as pid 1 (default: the command is pid 1; true with --tty)', read: on => ({ init: on }) },
  { name: 'timeout', argument: 'TIME', section: 'Life', option: 'timeout', help: 'end it after this time, as 500 (ms), 5s, 2m', read: text => ({ timeout: duration(text) }) },
  { name: 'cpu-timeout', argument: 'TIME', section: 'Life', option: 'cpuTimeout', help: 'end it when all its processes together have used this much processor time', read: text => ({ cpuTimeout: duration(text) }) },
  { name: 'max-output', argument: 'SIZE', section: 'Life', option: 'maxOutput', help: 'end it when more than this has come out of stdout and stderr together, as 1M; also bytes=, lines=, rate= (bytes per second, at which it is held back), action=truncate (drop what is too much instead)', read: text => ({ maxOutput: readOutput(text) }) },
  { name: 'kill-signal', aliases: ['stop-signal'], argument: 'SIGNAL', values: SIGNALS, section: 'Life', option: 'killSignal', help: 'what these three send first, and `contained stop` (default: TERM)', read: text => ({ killSignal: signalName(text) }) },
  { name: 'kill-grace', argument: 'TIME', section: 'Life', option: 'killGrace', help: 'time from then until SIGKILL (default: 1s, and for `contained stop` 10s)', read: text => ({ killGrace: duration(text) }) },
  { name: 'stop-timeout', argument: 'SECONDS', section: 'Life', option: 'killGrace', help: 'the same in seconds', read: text => ({ killGrace: seconds(text) }) },
  { name: 'log-size', argument: 'SIZE', section: 'Life', option: 'logSize', help: 'most that `contained logs` keeps of a detached one (default: 16M)', read: text => ({ logSize: text }) },
  { name: 'cidfile', argument: 'FILE', values: 'file', section: 'Life', option: 'cidfile', help: 'write its name to a file, which must not be there', read: text => ({ cidfile: text }) },
  { name: 'pidfile', argument: 'FILE', values: 'file', section: 'Life', option: 'pidfile', help: 'write the pid of its first process to a file', read: text => ({ pidfile: text }) },

  { name: 'trace', section: 'Reports', option: 'trace', help: 'print the time of each step of the start to stderr', read: on => ({ trace: on }) },
  { name: 'stats', section: 'Reports', option: 'stats', help: 'print how it ended and what it used to stderr', read: on => ({ stats: on }) },
];

/** What people who know docker try, and what to tell them. */
export const NOT_HERE: Readonly<Record<string, string>> = {
  ...LIMITS_REFUSED,
  p: 'there is no network but --network none, host or container:NAME',
  publish: 'there is no network but --network none, host or container:NAME',
  entrypoint: 'what follows the flags is run as it stands',
  privileged: 'name what it needs with --cap-add, --user 0 and --allow-new-privileges',
  restart: 'nothing watches over it; let a service manager start it again',
  'shm-size': 'it is --tmpfs /dev/shm:size=SIZE here',
  'security-opt': 'it is --no-new-privileges here, which is the default',
  pid: 'it is --ns here: leave pid out of the list, or pid=NAME',
  ipc: 'it is --ns here: leave ipc out of the list, or ipc=NAME',
  uts: 'it is --ns here: leave uts out of the list, or uts=NAME',
  'detach-keys': 'a terminal cannot be left; give --detach, and `contained exec -it` for a terminal in it',
};

export function checkTogether(used: readonly Used[]): void {
  const has = (name: string): boolean => used.some(({ word }) => word === `--${name}`);
  if (has('rootfs') && has('overlay')) throw new UsageError('--rootfs and --overlay: one of them, not both');
  for (const name of ['upper', 'work']) {
    if (has(name) && !has('overlay')) throw new UsageError(`--${name}: needs --overlay`);
  }
}
