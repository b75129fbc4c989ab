import type { Settings } from '../options/settings.js';
import { CWD, type Op } from './ops.js';
import { PR } from './constants.js';
import type { Streams } from './compile.js';
import type { Command } from './encode.js';

const SIGKILL = 9;

/** Its own session: no terminal of Node's to push keystrokes into (TIOCSTI, CVE-2017-5226). */
export const afterFork = (): Op[] => [
  { op: 'setsid' },
  { op: 'umask', mask: 0 },  // or the modes of what is made below would not be what they say
];

export const nameOps = ({ hostname, domainname }: Settings): Op[] => [
  ...hostname === undefined ? [] : [{ op: 'sethostname', name: hostname } as const],
  ...domainname === undefined ? [] : [{ op: 'setdomainname', name: domainname } as const],
];

export const attributeOps = ({ oomScoreAdj, rlimits, nice, affinity }: Settings): Op[] => [
  ...oomScoreAdj === undefined ? [] : [{ op: 'write', path: '/proc/self/oom_score_adj', text: String(oomScoreAdj), at: CWD } as const],
  ...rlimits.map(({ resource, soft, hard }): Op => ({ op: 'setrlimit', resource, soft, hard })),
  ...nice === undefined ? [] : [{ op: 'setpriority', nice } as const],
  ...affinity === undefined ? [] : [{ op: 'setaffinity', mask: affinity } as const],
];

export function userOps({ identity: { user } }: Settings): Op[] {
  return user && 'name' in user ? [{ op: 'user', name: user.name, group: user.group }] : [];
}

/**
 * A pipe belongs to who made it, and /dev/stdout opens it anew: the command's user must own it. Only pipes of ours; the
 * caller's own streams keep their owner (crun 1.8 gives away the host's /dev/null).
 */
export function streamOps({ identity }: Settings, { pipes }: Streams): Op[] {
  // In a user namespace we are not privileged over the pipe, and with the one id of the caller it is the same owner.
  if (!identity.user || identity.maps) return [];
  const { uid, gid } = 'name' in identity.user ? { uid: -1, gid: -1 } : identity.user;
  return uid === 0 && gid === 0 ? [] : pipes.map(fd => ({ op: 'fchown', fd, uid, gid }));
}

/** capabilities(7). The bounding set goes first, while CAP_SETPCAP is there; groups before the id that may set them. */
export function credentialOps({ privileged, identity, capabilities, noNewPrivileges }: Settings): Op[] {
  const { user, setgroups } = identity;
  const id = (key: 'uid' | 'gid'): number => user && !('name' in user) ? user[key] : -1;
  const keep = capabilities !== 0;
  const groups = user && !('name' in user) ? user.groups.join(',') : null;
  return [
    ...privileged ? [{ op: 'boundingSet', keep: capabilities } as const] : [],
    ...keep ? [{ op: 'prctl', option: PR.SET_KEEPCAPS, argument: 1, more: 0 } as const] : [],
    ...user && setgroups ? [{ op: 'setgroups', groups } as const] : [],
    ...user ? [{ op: 'setresgid', gid: id('gid') } as const, { op: 'setresuid', uid: id('uid') } as const] : [],
    // Inheritable is empty unless ambient needs it (CVE-2022-29162): only root keeps what it is given without ambient.
    ...privileged ? [{ op: 'capset', permitted: capabilities, inheritable: keep && id('uid') !== 0 ? capabilities : 0 } as const] : [],
    ...keep && id('uid') !== 0 ? [{ op: 'ambient', capabilities } as const] : [],
    ...noNewPrivileges ? [{ op: 'prctl', option: PR.SET_NO_NEW_PRIVS, argument: 1, more: 0 } as const] : [],
  ];
}

/** Should both Node and the launcher be killed, nobody else would end it. */
export const deathSignal = (): Op[] => [{ op: 'prctl', option: PR.SET_PDEATHSIG, argument: SIGKILL, more: 0 }];

export function execOps(settings: Pick<Settings, 'cwd' | 'umask' | 'init'>, streams: Streams, command: Command): Op[] {
  return [
    { op: 'chdir', path: settings.cwd },
    { op: 'umask', mask: settings.umask },
    { op: 'stdio', first: 0, count: streams.count },
    { op: 'wait' },  // the launcher must be there to clean up, and must know of us
    ...settings.init ? [{ op: 'init' } as const] : [],
    { op: 'unmaskSignals' },
    { op: 'exec', ...command },
  ];
}
