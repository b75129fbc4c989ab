// The processes of a container, as ps(1) would list them.
import type { ContainedProcessInfo, IdMapRow, ProcessState } from '../../types/live.js';
import { argvOf } from './argv.js';
import { insideOf, isOwnMap, mapRows } from './maps.js';
import { membersOf } from './members.js';
import { dateOf, inChunks, parseStat, statusBytes, statusNumbers, textsOf } from './proc.js';
import type { Subject } from './subject.js';

const STATES: Record<string, ProcessState> = {
  R: 'running', S: 'sleeping', D: 'waiting', T: 'stopped', t: 'traced', Z: 'zombie', X: 'dead', x: 'dead', I: 'idle', P: 'idle',
};

/** How the container numbers what the host numbers otherwise. */
interface Frame {
  /** Which of the pids of a process is the one in the container: NSpid of proc_pid_status(5). */
  depth: number;
  uids: readonly IdMapRow[] | undefined;
  gids: readonly IdMapRow[] | undefined;
  uptime: string;
}

async function frameOf({ pid }: Subject): Promise<Frame> {
  const [status, uids, gids, ownUids, ownGids, uptime] = await textsOf([
    `/proc/${pid}/status`, `/proc/${pid}/uid_map`, `/proc/${pid}/gid_map`, '/proc/self/uid_map', '/proc/self/gid_map', '/proc/uptime',
  ]);
  return {
    depth: Math.max(0, statusNumbers(status, 'NSpid').length - 1),
    uids: isOwnMap(uids, ownUids) ? undefined : mapRows(uids),
    gids: isOwnMap(gids, ownGids) ? undefined : mapRows(gids),
    uptime: uptime ?? '0',
  };
}

type Found = Omit<ContainedProcessInfo, 'command' | 'innerParent'> & { parent: number };

function found(pid: number, stat: string | undefined, status: string | undefined, { depth, uids, gids, uptime }: Frame): Found | undefined {
  const parsed = parseStat(stat);
  const [, hostUid] = statusNumbers(status, 'Uid'), [, hostGid] = statusNumbers(status, 'Gid');
  if (!parsed || hostUid === undefined || hostGid === undefined) return undefined;
  const { name, state, parent, userMs, systemMs, threads, startMs } = parsed;
  return {
    pid, parent, innerPid: statusNumbers(status, 'NSpid')[depth],
    name, state: STATES[state] ?? 'running',
    uid: insideOf(uids, hostUid), gid: insideOf(gids, hostGid), hostUid, hostGid,
    threads, userMs, systemMs, rss: statusBytes(status, 'VmRSS') ?? 0, started: dateOf(startMs, uptime),
  };
}

/** Those that are there at the beginning and at the end: who has gone meanwhile may have left its pid to somebody else. */
export async function processesOf(subject: Subject): Promise<readonly ContainedProcessInfo[]> {
  const frame = await frameOf(subject);
  const list = await inChunks(await membersOf(subject), async pids => {
    const texts = await textsOf(pids.flatMap(pid => [`/proc/${pid}/stat`, `/proc/${pid}/status`]));
    return pids.flatMap((pid, i) => found(pid, texts[2 * i], texts[2 * i + 1], frame) ?? []);
  });
  const commands = await Promise.all(list.map(({ pid }) => argvOf(pid)));
  const still = new Set(await membersOf(subject));
  const inner = new Map(list.map(({ pid, innerPid }) => [pid, innerPid]));
  return list.map(({ parent, ...rest }, i): ContainedProcessInfo => ({ ...rest, innerParent: inner.get(parent) ?? 0, command: commands[i] }))
    .filter(({ pid }) => still.has(pid));
}
