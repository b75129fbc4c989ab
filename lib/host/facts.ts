// What this process is, read once: everything here is about the caller, not about one container.
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { checkPlatform } from './platform.js';

export interface IdGrant {
  first: number;
  count: number;
}

export interface HostFacts {
  uid: number;
  gid: number;
  /** Whether the kernel lets us set up containers without a user namespace: CAP_SYS_ADMIN, capabilities(7). */
  privileged: boolean;
  /** Hard limit of open files: getrlimit(2). */
  files: number;
  /** Hard limit of processor time of one process, in seconds. */
  cpuSeconds: number;
  /** Who owns what is left behind: this pid and when it started, which no later process shares until the next boot. */
  owner: string;
}

const CAP_SYS_ADMIN = 21n;

function effectiveCapabilities(): bigint {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return BigInt(`0x${line?.[1] ?? '0'}`);
}

/** proc_pid_limits(5). */
function hardLimit(name: 'open files' | 'cpu time'): number {
  const line = new RegExp(`^Max ${name}\\s+\\S+\\s+(\\S+)`, 'm').exec(readFileSync('/proc/self/limits', 'latin1'));
  return line?.[1] === undefined || line[1] === 'unlimited' ? Infinity : Number(line[1]);
}

/**
 * When a process started, in ticks since boot: proc_pid_stat(5), field 22. Undefined when it has ended, also if nobody reaps it; one
 * whose first thread has ended goes on with the others. The name may hold spaces and parentheses. Throws where it cannot be known,
 * as for want of descriptors: that is not to have ended.
 */
export function startTimeOf(pid: number | 'self'): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, threads] = [fields[0]!, Number(fields[17])];
    return 'ZX'.includes(state) && threads <= 1 ? undefined : fields[19];
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** Of an error of a file in /proc, or in a directory that others remove: there is none. */
export const isGone = (error: unknown): boolean => ['ENOENT', 'ESRCH', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Differs for every boot: random(4). */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();

let facts: HostFacts | undefined;

export function hostFacts(): HostFacts {
  if (facts) return facts;
  checkPlatform();
  facts = {
    uid: process.getuid!(),
    gid: process.getgid!(),
    privileged: (effectiveCapabilities() >> CAP_SYS_ADMIN & 1n) === 1n,
    files: hardLimit('open files'),
    cpuSeconds: hardLimit('cpu time'),
    owner: `${process.pid}.${startTimeOf('self') ?? '0'}`,
  };
  return facts;
}

/** Rows of /proc/PID/uid_map or gid_map: inside, outside, count. None when the process is gone. */
export function readMap(path: string): number[][] {
  try {
    return readFileSync(path, 'latin1').trim().split('\n').map(line => line.trim().split(/\s+/).map(Number));
  } catch {
    return [];
  }
}

/** The caller's ranges in /etc/subuid or /etc/subgid: subuid(5). */
export function subordinateIds(file: '/etc/subuid' | '/etc/subgid', names: readonly string[]): IdGrant[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap(line => {
    const [name, first, count] = line.split(':');
    return name !== undefined && names.includes(name) && count !== undefined ? [{ first: Number(first), count: Number(count) }] : [];
  });
}

/** The names under which the caller may stand in /etc/subuid. */
export function callerNames(): string[] {
  const { uid } = hostFacts();
  try {
    return [userInfo().username, String(uid)];
  } catch {
    return [String(uid)];
  }
}
