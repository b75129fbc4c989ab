import { constants as os } from 'node:os';
import type { IdMap, Settings } from '../options/settings.js';
import { CWD, type Op } from './ops.js';
import { PR, RLIMITS } from './constants.js';
import type { Command } from './encode.js';
import { controllingTerminalOps } from './terminal.js';

/** How the command's standard streams come: `count` descriptors with the request, and which of them are pipes of ours. */
export interface Streams {
  count: number;
  pipes: readonly number[];
}

const SIGKILL = 9;
const { EPERM } = os.errno;

/** Its own session: no terminal of Node's to push keystrokes into (TIOCSTI, CVE-2017-5226). */
export const afterFork = (): Op[] => [
  { op: 'setsid' },
  { op: 'umask', mask: 0 },  // or the modes of what is made below would not be what they say
];

export const nameOps = ({ hostname, domainname }: Settings): Op[] => [
  ...hostname === undefined ? [] : [{ op: 'sethostname', name: hostname } as const],
  ...domainname === undefined ? [] : [{ op: 'setdomainname', name: domainname } as const],
];

export const attributeOps = ({ oomScoreAdj, nice }: Settings): Op[] => [
  ...oomScoreAdj === undefined ? [] : [{ op: 'write', path: '/proc/self/oom_score_adj', text: String(oomScoreAdj), at: CWD } as const],
  ...nice === undefined ? [] : [{ op: 'setpriority', nice } as const],
];

/** A cpuset of v1 that is joined later would take it back before Linux 6.2. */
export const affinityOps = ({ affinity }: Settings): Op[] => affinity === undefined ? [] : [{ op: 'setaffinity', mask: affinity }];

const NOFILE = RLIMITS.indexOf('nofile'), NPROC = RLIMITS.indexOf('nproc');
const setrlimit = ({ resource, soft, hard }: Settings['rlimits'][number]): Op => ({ op: 'setrlimit', resource, soft, hard });

/**
 * Raising a hard limit takes a privilege. The setup itself needs more than a low limit leaves, see `execOps`: descriptors, and
 * where somebody goes ahead of the command a process.
 */
const isLate = ({ resource, lowers }: Settings['rlimits'][number], { entered }: Pick<Settings, 'entered'>): boolean =>
  lowers && (resource === NOFILE || (resource === NPROC && entered !== undefined));

export const limitOps = (settings: Settings): Op[] => settings.rlimits.filter(limit => !isLate(limit, settings)).map(setrlimit);

export function userOps({ identity: { user } }: Settings): Op[] {
  return user && 'name' in user ? [{ op: 'user', name: user.name, group: user.group }] : [];
}

/**
 * A pipe belongs to who made it, and /dev/stdout opens it anew: the command's user must own it. Only pipes of ours; the
 * caller's own streams keep their owner (crun 1.8 gives away the host's /dev/null).
 */
export function streamOps(settings: Settings, { pipes }: Streams): Op[] {
  const { identity, namespaces } = settings;
  if (!identity.user || outsideOwner(settings)) return [];
  // Who is not privileged over the pipe, as in a user namespace that was entered, leaves it as it is.
  const forgive = identity.maps || namespaces.join.has('user') ? { forgive: EPERM } : {};
  const { uid, gid } = 'name' in identity.user ? { uid: -1, gid: -1 } : identity.user;
  return uid === 0 && gid === 0 ? [] : pipes.map(fd => ({ op: 'fchown', fd, uid, gid, ...forgive }));
}

/** In a user namespace that root makes, nobody is privileged over root's pipe: it is given away before. */
function outsideOwner({ identity: { maps, user }, hostPrivileged }: Settings): { uid: number; gid: number } | undefined {
  if (!maps || !hostPrivileged || !user || 'name' in user) return undefined;
  const outside = ({ ranges }: IdMap, id: number): number => {
    const row = ranges.find(({ inside, count }) => id >= inside && id < inside + count)!;
    return row.outside + id - row.inside;
  };
  return { uid: outside(maps.uid, user.uid), gid: outside(maps.gid, user.gid) };
}

export function outsideStreamOps(settings: Settings, { pipes }: Streams): Op[] {
  const owner = outsideOwner(settings);
  return owner ? pipes.map(fd => ({ op: 'fchown', fd, ...owner })) : [];
}

/** capabilities(7). The bounding set goes first, while CAP_SETPCAP is there; groups before the id that may set them. */
export function credentialOps({ privileged, identity, capabilities, noNewPrivileges }: Settings): Op[] {
  const { user, setgroups } = identity;
  const id = (key: 'uid' | 'gid'): number => user && !('name' in user) ? user[key] : -1;
  const keep = capabilities !== 0;
  const asRoot = id('uid') === 0 || (user && 'name' in user && user.name === 'root');
  const groups = user && !('name' in user) ? user.groups.join(',') : null;
  return [
    ...privileged ? [{ op: 'boundingSet', keep: capabilities } as const] : [],
    ...keep ? [{ op: 'prctl', option: PR.SET_KEEPCAPS, argument: 1, more: 0 } as const] : [],
    ...user && setgroups ? [{ op: 'setgroups', groups } as const] : [],
    ...user ? [{ op: 'setresgid', gid: id('gid') } as const, { op: 'setresuid', uid: id('uid') } as const] : [],
    // Inheritable is empty unless ambient needs it (CVE-2022-29162): only root keeps what it is given without ambient.
    ...privileged ? [{ op: 'capset', permitted: capabilities, inheritable: keep && !asRoot ? capabilities : 0 } as const] : [],
    ...keep && !asRoot ? [{ op: 'ambient', capabilities } as const] : [],
    ...noNewPrivileges ? [{ op: 'prctl', option: PR.SET_NO_NEW_PRIVS, argument: 1, more: 0 } as const] : [],
  ];
}

/** A change of ids makes a process what fs.suid_dumpable says: proc_sys_fs(5). */
export const undumpable = (): Op[] => [{ op: 'prctl', option: PR.SET_DUMPABLE, argument: 0, more: 0 }];

export const pauseOps = (): Op[] => [{ op: 'wait', to: 0, count: 0 }, { op: 'pause' }];

/** Should both Node and the launcher be killed, nobody else would end it. */
export const deathSignal = ({ registration }: Pick<Settings, 'registration'>): Op[] =>
  registration?.detached ? [] : [{ op: 'prctl', option: PR.SET_PDEATHSIG, argument: SIGKILL, more: 0 }];

export function execOps(settings: Pick<Settings, 'cwd' | 'umask' | 'init' | 'rlimits' | 'tty' | 'entered'>, streams: Streams, command: Command): Op[] {
  return [
    { op: 'chdir', path: settings.cwd },
    { op: 'umask', mask: settings.umask },
    { op: 'stdio', first: 0, count: streams.count },
    ...settings.rlimits.filter(limit => isLate(limit, settings)).map(setrlimit),
    { op: 'wait', to: 0, count: 0 },  // the launcher must be there to clean up, and must know of us
    ...settings.init ? [{ op: 'init' } as const] : [],
    ...controllingTerminalOps(settings),
    { op: 'unmaskSignals' },
    { op: 'exec', ...command },
  ];
}
