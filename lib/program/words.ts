// What an op does, in words: for errors, for `explain` and for traces.
import type { TraceEntry } from '../../types/contained.js';
import type { Program } from '../../types/program.js';
import { ContainedError, errnoName } from '../errors.js';
import { CAPABILITIES, RLIMITS } from './constants.js';
import { LISTS } from './encode.js';
import { OPS, type Op } from './ops.js';

/** The step without numbers that only matter to the kernel: `mount proc`, `write 1000 to /sys/…/pids.max`. */
export function stepOf(op: Op): string {
  switch (op.op) {
    case 'write': return `write ${JSON.stringify(op.text)} to ${op.path}`;
    case 'writeFd': return 'join the cgroup';
    case 'writeProc': return `write ${op.file}`;
    case 'newidmap': return `${op.tool} ${op.map}`;
    case 'openTree': return `open ${op.path || 'a mount'}`;
    case 'fsmount': return `make a ${op.type} mount`;
    case 'overlay': return 'make the overlay mount';
    case 'mountSetattr': return `set attributes of the mount${op.path ? ` ${op.path}` : ''}`;
    case 'moveMount': return `mount on ${op.path ?? 'the root'}`;
    case 'ensure': return `make the mount point ${op.path}`;
    case 'readonly': return `make ${op.path} read-only`;
    case 'pivotRoot': return 'change the root';
    case 'setaffinity': return 'choose the processors';
    case 'setns': return 'enter the namespace';
    case 'pidfd': return 'find the container whose namespace is entered';
    case 'pause': return 'hold the namespaces';
    case 'loopback': return 'bring the loopback device up';
    case 'user': return `look up the user ${op.group === null ? op.name : `${op.name}:${op.group}`} in /etc/passwd and /etc/group`;
    case 'setrlimit': return `set the limit ${RLIMITS[op.resource] ?? op.resource}`;
    case 'ambient': case 'capset': case 'boundingSet': return 'set capabilities';
    case 'wait': return 'wait for the launcher';
    case 'go': return 'let the process go on';
    case 'stdio': return 'place the standard streams';
    case 'unless': return `look whether ${op.path} says ${JSON.stringify(op.line)}`;
    case 'moveMembers': return `move the processes in ${op.from} to ${op.to}`;
    case 'attachDevices': return 'attach the device filter';
    case 'log': return `make ${op.path}`;
    case 'create': return `make ${op.path}`;
    case 'terminal': return `make a terminal by ${op.path}`;
    case 'controllingTerminal': return 'make it the controlling terminal';
    case 'exec': return `execute ${op.file}`;
    default: {
      const first = OPS[op.op].strings[0];
      const text = first === undefined ? undefined : (op as unknown as Record<string, string | null>)[first];
      return typeof text === 'string' ? `${op.op} ${text}` : op.op;
    }
  }
}

const capabilityNames = (mask: number): string =>
  CAPABILITIES.filter((_, i) => Math.floor(mask / 2 ** i) % 2 === 1).join(',') || 'none';

/** The op with all its fields, for `explain`; but of a device filter the rules and not the instructions. */
function lineOf(op: Op, { host }: Pick<Program, 'host'>): string {
  const { op: name, forgive, after, ...fields } = op;
  const texts = Object.entries(fields).filter(([key, value]) => value !== null && !(name === 'attachDevices' && key === 'program')).map(([key, value]) => {
    if (Array.isArray(value)) return `${key}=${JSON.stringify(value)}`;
    if (/^(keep|permitted|inheritable|capabilities)$/.test(key)) return `${key}=${capabilityNames(value as number)}`;
    if (/^(flags|set|mode)$/.test(key) && typeof value === 'number') return `${key}=0${key === 'mode' ? 'o' : 'x'}${value.toString(key === 'mode' ? 8 : 16)}`;
    return `${key}=${typeof value === 'string' ? JSON.stringify(value) : value}`;
  });
  if (forgive) texts.push(`forgive=${errnoName(forgive)}`);
  if (after !== undefined) texts.push(after < host.length ? `after=host[${after}]` : `after=release[${after - host.length}]`);
  return [name, ...texts].join(' ');
}

/** The whole program, a line per op. */
export function print(program: Omit<Program, 'toString'>): string {
  const lines = [`clone flags=0x${program.clone.toString(16)}${program.cgroupSlot < 0 ? '' : ` cgroup=${program.cgroupSlot}`}`];
  if (program.join.length > 0) lines.push(`intermediate clone flags=0x${program.joinClone.toString(16)}`);
  for (const list of ['host', 'join', 'release', 'child', 'undo'] as const) {
    if (program[list].length === 0) continue;
    lines.push(`${list}:`);
    program[list].forEach((op, i) => lines.push(`  ${String(i).padStart(3)}  ${lineOf(op, program)}`));
  }
  return lines.join('\n');
}

/** What a file of a cgroup means by its errno: the kernel documents name few of them. */
function writeHint(path: string, errno: string): string | undefined {
  const file = path.slice(path.lastIndexOf('/') + 1);
  if (file === 'cgroup.subtree_control') {
    return errno === 'EBUSY' ? 'a cgroup v2 group with processes in it cannot have controllers for its children; give cgroup.parent'
      : errno === 'ENOENT' ? 'the group does not exist, or has not these controllers itself' : undefined;
  }
  if (!/^(cgroup|memory|cpu|cpuset|io|blkio|pids|hugetlb|rdma|misc|devices|freezer|net_cls|net_prio)\./.test(file)) return undefined;
  switch (errno) {
    case 'ENOENT': return `somebody has removed the group, or this kernel has no ${file}, or the controller is not enabled for the group: see cgroup.controllers there`;
    case 'ENODEV': return file.startsWith('io.') || file.startsWith('blkio.') ? 'no such block device; a partition cannot be limited, but its disk can' : 'somebody else has removed the group';
    case 'EBUSY': return file.startsWith('memory.') ? 'more is in use than that, and the kernel cannot take it away' : 'processes in the group, or groups below it, stand against it';
    case 'EINVAL': return file === 'cpuset.cpus' || file === 'cpuset.mems' ? 'not all of them are there, or the parent group has not all of them'
      : file.startsWith('cpu.') ? 'more than the parent group has, or beside what the other files of cpu say' : undefined;
    case 'ERANGE': return file.startsWith('cpuset.') ? 'the host has not so many' : undefined;
    case 'EACCES': case 'EPERM': return 'this user may not change the group, only who made it may';
    case 'EOPNOTSUPP': return 'the parent or the kind of the group (cgroup.type) does not allow it';
    default: return undefined;
  }
}

/** Why a process cannot be looked into: ptrace(2), "Ptrace access mode checking". */
export const processHint = (errno: string): string | undefined => errno === 'ENOENT' || errno === 'ESRCH' ? 'there is no such process, or it has ended'
  : errno === 'EACCES' || errno === 'EPERM' ? 'the process is of another user, or has privileges that you have not: only root may enter it' : undefined;

/** Cause and remedy, where step and errno tell. */
function hintFor(op: Op | undefined, list: string, errno: string): string | undefined {
  if (op?.op === 'write') return writeHint(op.path ?? '', errno);
  const at = `${op?.op ?? list} ${errno}`;
  switch (at) {
    case 'exec ENOENT': if (/\s/.test((op as { file: string }).file)) return "a string is a file, and no command line: give ['file', 'argument'], or ['sh', '-c', 'command line']";
      return 'no such file in the container, or the interpreter or loader that it names is missing there';
    case 'exec EACCES': return 'not executable for this user, or on a file system mounted noexec';
    case 'exec ENOEXEC': return 'neither a program of this architecture nor a script with #!';
    case 'unless EBUSY': return 'the container is paused; resume it first';
    case 'moveMembers EBUSY': return 'they fork faster than they can be moved: pause the container, or give it a pids.max';
    case 'setns ESRCH': case 'pidfd ESRCH': return 'the container has ended';
    case 'user ENOENT': return 'give a number, or add it to the /etc/passwd of the root';
    case 'setns EINVAL': return 'the file is no namespace, or one of another kind; or the user namespace is the one that the caller is in anyway';
    case 'setns EPERM': return 'only root may enter it, or who enters the user namespace that owns it as well: name `user` in ns too';
    case 'umount EINVAL': return 'nothing is mounted there';
    case 'open ENOENT': case 'open ESRCH': case 'open EACCES': case 'open EPERM': case 'openTree ENOENT':
      if (/^\/proc\/\d+\/ns\//.test((op as { path?: string }).path ?? '')) return processHint(errno);
      if (!errno.startsWith('ENO')) return undefined;
      return /\/tasks$|cgroup/.test((op as { path?: string }).path ?? '') ? 'somebody has removed the group' : 'the directory or file does not exist on the host';
    case 'open ENOTDIR': case 'openTree ENOTDIR': return 'a directory is wanted there';
    case 'overlay ELOOP': return 'one layer lies inside another';
    case 'overlay EINVAL': return 'the kernel log (dmesg) tells which directory it refuses; upper and work must be on one file system that is no overlay itself';
    case 'ensure EROFS': return 'the root is read-only and has no such path: mount on one that is there, below /tmp or /run, or give a rootfs';
    case 'chdir ENOENT': return 'make it, or give another cwd';
    case 'newidmap EPERM': return 'the range must be granted to you in /etc/subuid and /etc/subgid';
    case 'newidmap ENOENT': return "install Debian's package uidmap";
    case 'setpriority EACCES': case 'setpriority EPERM': return 'a lower nice value needs root or RLIMIT_NICE';
    case 'setrlimit EPERM': return 'a hard limit can be raised by root only';
    case 'mkdir EEXIST': return /\/spawn-contained(\.\d+)?\/[^/]+$/.test((op as { path: string }).path) ? 'another container has this name; remove() it, or give another id' : 'a cgroup of this name exists; give another name';
    case 'mkdir EACCES': case 'mkdir EROFS': return 'this user may not make cgroups there; give a delegated group as cgroup.parent, or run as root';
    case 'rmdir EBUSY': return 'there are processes or groups in it: kill() and remove({ recursive: true })';
    case 'killCgroup ENOENT': case 'killCgroup ENODEV': return 'somebody else has removed the group';
    case 'attachDevices EPERM': return 'only root of the host can filter devices; without root leave cgroup.devices out: mknod is impossible then, and a device that is mounted in is one that the user may open anyway';
    case 'attachDevices EINVAL': return 'the kernel was built without CONFIG_CGROUP_BPF';
    case 'terminal ENOENT': case 'terminal ENODEV': case 'terminal EACCES': return 'a terminal needs a devpts with ptmxmode=0666 on /dev/pts, which is there unless `mounts` says otherwise';
    case 'terminal EPERM': return 'cgroup.devices must allow c 5:2 and c 136:*';
    case 'terminal ENOSPC': return 'there are as many terminals as kernel.pty.max allows';
    case 'fsmount EPERM': return 'the kernel refuses a new mount of this kind here, as when /proc of an outer container is partly covered';
    case 'clone EPERM': return 'user namespaces may be forbidden: see kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns and the seccomp profile of an outer container';
    case 'clone ENOSPC': return 'a limit of user.max_*_namespaces is reached';
    case 'clone EBADF': return 'a descriptor in stdio is not open';
    case 'clone EMFILE': return 'too many open files: raise RLIMIT_NOFILE, or start fewer at once';
    case 'clone EDQUOT': return 'this user has as many keys as kernel.keys.maxkeys allows: keyrings(7)';
    case 'clone EAGAIN': return 'pids.max, RLIMIT_NPROC or kernel.pid_max is reached';
    case 'clone EACCES': return 'this user may not put a process into that cgroup; the common ancestor must be delegated too';
    case 'undo EBUSY': return 'processes in it stop each other on their way out (PTRACE_O_TRACEEXIT): no signal ends them, they stay until the machine restarts';
    case 'execve ECHILD': return 'killed before execve; with a small memory.max by the kernel';
    default: return undefined;
  }
}

/** The error for an op that has failed, or for what is no op: clone, execve. */
export function opError(op: Op | undefined, list: string, errno: number): ContainedError {
  const code = errnoName(errno);
  const fields = (op ?? {}) as Record<string, unknown>;
  const text = (key: string): string | undefined => typeof fields[key] === 'string' ? fields[key] as string : undefined;
  return new ContainedError({
    code,
    errno: -errno,
    syscall: op?.op ?? list,
    path: text('path') ?? text('file') ?? text('source'),
    dest: text('target'),
    step: op ? stepOf(op) : list === 'clone' ? 'clone the process' : list === 'undo' ? 'end the processes' : 'set the process up',
    hint: hintFor(op, list, code),
  });
}

/** The error for a failed step of a program. */
export function stepError(program: Program, listNumber: number, index: number, errno: number): ContainedError {
  const list = LISTS[listNumber] ?? 'clone';
  return opError(list === 'execve' || list === 'clone' ? undefined : program[list][index], list, errno);
}

/** The nanoseconds that each step took, as the launcher tells them. */
export function traceOf(program: Program, bytes: Buffer): TraceEntry[] {
  const lists = ['host', 'join', 'release', 'child'] as const;
  const steps = lists.flatMap(list => program[list].map(op => ({ list, step: stepOf(op) })));
  return steps.map((step, i) => ({ ...step, ns: bytes.readUInt32LE(i * 4) }));
}
