// A terminal of the command's own, in place of its three standard streams.
import { constants as os } from 'node:os';
import type { Settings } from '../options/settings.js';
import { AT, OPEN_TREE_CLONE } from './constants.js';
import { CWD, ENSURE, type Op } from './ops.js';
import type { Slots } from './slots.js';

const { EPERM } = os.errno;

/** chown(2): (gid_t) −1 leaves the group, which is `tty` (5) where the mount of devpts has said so. */
const KEEP = 0xffff_ffff;

/** Not by way of the link /dev/ptmx where we have mounted a devpts; on a host its own ptmx may be nobody's (devpts, "ptmxmode"). */
const ptmx = ({ fileSystem }: Settings): string => fileSystem?.mounts.some(({ type, target }) => type === 'devpts' && target === '/dev/pts') ? '/dev/pts/ptmx' : '/dev/ptmx';

/** As runc: what is written to the console of the container is seen on its terminal. Bound by fd: CVE-2025-52565. */
function consoleOps({ fileSystem }: Settings, slots: Slots): Op[] {
  const at = (path: string): string | undefined => fileSystem?.mounts.find(({ target }) => target === path)?.type;
  if (at('/dev') !== 'dev' || at('/dev/console') !== undefined) return [];
  const slot = slots.take();
  return [
    { op: 'ensure', path: '/dev/console', root: CWD, kind: ENSURE.file, like: -1 },
    { op: 'openTree', path: '', to: slot, at: 0, flags: OPEN_TREE_CLONE | AT.EMPTY_PATH },
    { op: 'moveMount', path: '/dev/console', from: slot, root: CWD },
  ];
}

/** The slave takes the slots 0 to 2. It is the command's own, so that /dev/tty and /dev/pts/0 can be opened again. */
export function terminalOps(settings: Settings, slots: Slots): Op[] {
  const { tty, identity: { user, maps }, namespaces } = settings;
  if (!tty) return [];
  const forgive = maps || namespaces.join.has('user') ? { forgive: EPERM } : {};
  const owner: Op[] = user ? [{ op: 'fchown', fd: 0, uid: 'name' in user ? -1 : user.uid, gid: KEEP, ...forgive }] : [];
  return [{ op: 'terminal', path: ptmx(settings), to: 0, columns: tty.columns, rows: tty.rows }, ...owner, ...consoleOps(settings, slots)];
}

/** By the leader of the session, which behind an init is not the process that has set all this up. */
export const controllingTerminalOps = ({ tty }: Pick<Settings, 'tty'>): Op[] => tty ? [{ op: 'controllingTerminal' }] : [];
