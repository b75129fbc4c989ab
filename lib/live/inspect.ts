// What a container is, as the kernel tells it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Inspection, Privileges, RlimitInspection } from '../../types/live.js';
import type { RlimitName } from '../../types/options.js';
import { keyed } from '../host/texts.js';
import type { Placement } from '../options/settings.js';
import { CAPABILITIES, RLIMITS } from '../program/constants.js';
import { insideOf, isOwnMap, mapRows } from './maps.js';
import { membersOf } from './members.js';
import { mountsOf } from './mounts.js';
import { namespacesOf } from './namespaces.js';
import { dateOf, parseStat, statusNumbers, statusWords, textsOf } from './proc.js';
import { ownGroup, type Subject } from './subject.js';

/** /proc/PID/limits has a line for each resource, in the order of their numbers: fs/proc/base.c, proc_pid_limits. */
function rlimitsOf(text: string | undefined): Record<RlimitName, RlimitInspection> | undefined {
  const lines = text?.split('\n').slice(1);
  const value = (word: string): number | 'unlimited' => word === 'unlimited' ? word : Number(word);
  const pairs = lines && RLIMITS.map((name, i): [RlimitName, RlimitInspection] | undefined => {
    const match = /^Max .*?\s{2,}(\S+)\s+(\S+)/.exec(lines[i] ?? '');
    return match ? [name, { soft: value(match[1]!), hard: value(match[2]!) }] : undefined;
  });
  return pairs?.every(pair => pair !== undefined) ? Object.fromEntries(pairs) as Record<RlimitName, RlimitInspection> : undefined;
}

/** A set of proc_pid_status(5); a bit that is newer than our list is told by its number. */
function capabilitiesOf(status: string, key: string): string[] {
  const set = BigInt(`0x${statusWords(status, key)[0] ?? '0'}`);
  return Array.from({ length: 64 }, (_, bit) => bit).filter(bit => set >> BigInt(bit) & 1n).map(bit => CAPABILITIES[bit] ?? String(bit));
}

const SECCOMP = ['off', 'strict', 'filter'] as const;

function privilegesOf(status: string | undefined, maps: readonly (string | undefined)[], ours: readonly (string | undefined)[]): Privileges | undefined {
  const [, hostUid] = statusNumbers(status, 'Uid'), [, hostGid] = statusNumbers(status, 'Gid');
  if (status === undefined || hostUid === undefined || hostGid === undefined) return undefined;
  const hostGroups = statusNumbers(status, 'Groups');
  const [uidMap, gidMap] = maps.map(mapRows);
  const [uids, gids] = [uidMap, gidMap].map((rows, i) => isOwnMap(maps[i], ours[i]) ? undefined : rows);
  const set = (key: string): string[] => capabilitiesOf(status, key);
  return {
    capabilities: { effective: set('CapEff'), permitted: set('CapPrm'), inheritable: set('CapInh'), bounding: set('CapBnd'), ambient: set('CapAmb') },
    noNewPrivileges: statusNumbers(status, 'NoNewPrivs')[0] === 1,
    seccomp: SECCOMP[statusNumbers(status, 'Seccomp')[0] ?? 0] ?? 'off',
    hostUid, hostGid, hostGroups,
    uid: insideOf(uids, hostUid), gid: insideOf(gids, hostGid), groups: hostGroups.flatMap(id => insideOf(gids, id) ?? []),
    uidMap: uidMap!, gidMap: gidMap!,
  };
}

/** Whether all of the group stands still, whoever has stopped it. */
async function isFrozen(where: Placement | undefined): Promise<boolean> {
  const text = async (path: string): Promise<string> => await readFile(path, 'utf8').catch(() => '');
  if (where?.unified) return keyed(await text(join(where.unified.directory, 'cgroup.events')), 'frozen') === 1;
  const freezer = where?.v1.get('freezer');
  return freezer !== undefined && await text(join(freezer, 'freezer.state')) === 'FROZEN\n';
}

/** The command: with an init its first child. */
async function commandPid({ pid, init }: Subject): Promise<number> {
  const [children] = init ? await textsOf([`/proc/${pid}/task/${pid}/children`]) : [];
  return Number(children?.trim().split(' ')[0] || pid);
}

const variables = (env: readonly string[]): Record<string, string> =>
  Object.fromEntries(env.map(entry => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]));

/** What is known of it without asking the kernel. */
export function endedInspection({ id, pid, command, env, cwd, hostname, where }: Subject): Inspection {
  return {
    id, pid, state: 'ended', started: undefined, command: [...command], env: variables(env), cwd, hostname,
    cgroup: { ...where?.unified ? { unified: where.unified.directory } : {}, ...Object.fromEntries(where?.v1 ?? []) },
    namespaces: undefined, mounts: undefined, rlimits: undefined, privileges: undefined,
  };
}

export async function inspect(subject: Subject): Promise<Inspection> {
  const pid = await commandPid(subject);
  const maps = (of: number | 'self'): string[] => ['uid_map', 'gid_map'].map(file => `/proc/${of}/${file}`);
  const [[stat, uptime, status, limits, ...ids], frozen, mounts, members] = await Promise.all([
    textsOf([`/proc/${subject.pid}/stat`, '/proc/uptime', `/proc/${pid}/status`, `/proc/${pid}/limits`, ...maps(pid), ...maps('self')]),
    isFrozen(ownGroup(subject)), mountsOf(pid), membersOf(subject),
  ]);
  const started = parseStat(stat);
  const known = endedInspection(subject);
  if (!started || started.state === 'Z' || started.state === 'X') return known;
  return {
    ...known,
    state: frozen ? 'paused' : 'running',
    started: dateOf(started.startMs, uptime ?? '0'),
    namespaces: await namespacesOf(pid, members),
    mounts, rlimits: rlimitsOf(limits), privileges: privilegesOf(status, ids.slice(0, 2), ids.slice(2)),
  };
}
