// Settings → program. The order of the ops is the security policy of this library: it is written here, once; read it
// from top to bottom. Pure: what must be asked of the host is in the settings, or is an op.
import type { Program } from '../../types/program.js';
import type { Settings } from '../options/settings.js';
import { divideOps, joinGroups, makeGroups, refuseFrozen, removeGroups } from './cgroup.js';
import type { Command } from './encode.js';
import { fileSystemOps } from './filesystem.js';
import { cloneFlags, emptyRootOps, enterOps, heldFds, idMapOps, insideRootOps, leaveOps, loopbackOps, openSources, separates, unshareCgroupOps } from './namespaces.js';
import type { Op } from './ops.js';
import {
  affinityOps, afterFork, attributeOps, credentialOps, deathSignal, execOps, limitOps, nameOps, outsideStreamOps, pauseOps, streamOps, undumpable, userOps, type Streams,
} from './process.js';
import { recordOps } from './record.js';
import { Slots } from './slots.js';
import { terminalOps } from './terminal.js';
import { print } from './words.js';

/**
 * Whether the groups are made while the process mounts, and joined when it has: not when they are mounted too, nor by who is
 * not root, since by then the process may have ids that the caller may not move (kernel/cgroup/cgroup-v1.c,
 * __cgroup1_procs_write).
 */
const joinsLate = ({ cgroup, entered, fileSystem, hostPrivileged }: Settings, apart: boolean): boolean =>
  !apart && !entered && (hostPrivileged || cgroup?.v1.length === 0) && !fileSystem?.mounts.some(({ type }) => type === 'cgroup');

/** Without a command the process holds its namespaces for others, and does nothing else. */
export function compile(settings: Settings, streams: Streams, command: Command | undefined): Program {
  const slots = new Slots(streams.count + heldFds(settings.namespaces).length);
  const record = recordOps(settings, command);
  const apart = separates(settings.namespaces);
  const late = joinsLate(settings, apart);
  const sources = openSources(settings, slots, streams.count);
  const group = makeGroups(settings.cgroup, slots, late);
  const maps = idMapOps(settings.identity);
  const fileSystem = fileSystemOps(settings, slots);

  const join = [...joinGroups(group), ...affinityOps(settings)];
  // What a process does first, whichever process that is.
  const arrive: Op[] = [
    ...divideOps(settings),
    ...late ? [] : join,                       // while it is alone: a write to `tasks` moves one thread
    ...maps.length > 0 ? [{ op: 'wait', to: 0, count: 0 } as const] : [],  // without its id map a process is nobody
    ...attributeOps(settings),                 // before anything is entered: they are written to the host's /proc
    ...enterOps(settings, sources),
    ...leaveOps(settings.namespaces, [...group.slot < 0 ? [] : [group.slot], ...late ? [] : group.tasks, ...sources.all]),
  ];
  // What takes privileges, up to their end.
  const become: Op[] = [
    ...userOps(settings),                      // after the change of root: names are those of the container
    ...terminalOps(settings, slots),           // of the new root's devpts, by whoever has mounted that
    ...streamOps(settings, streams),           // before privileges go
    ...limitOps(settings),                     // likewise; after the mounts, which take descriptors
    ...credentialOps(settings),
  ];
  // Nobody in a pid namespace sees who goes ahead, but only its child: that has no more than the command will have.
  const ahead = apart && settings.entered ? [...insideRootOps(settings), ...become, ...undumpable()] : undefined;
  const child: Op[] = ahead ? afterFork() : [
    ...apart ? [] : arrive,
    ...fileSystem.open,                        // as the caller still: what it may read, it may hand in
    ...insideRootOps(settings),                // a file made by an id without a mapping is EOVERFLOW
    ...late ? [] : unshareCgroupOps(settings.namespaces),  // after the groups are joined: its root is the group one is in
    ...afterFork(),
    ...loopbackOps(settings.namespaces),
    ...nameOps(settings),
    ...fileSystem.build,                       // ends with the change of root
    ...late ? [...join, ...unshareCgroupOps(settings.namespaces)] : [],  // while it may: privileges go below
    ...command || settings.fileSystem ? [] : emptyRootOps(slots),
    ...become,
  ];
  child.push(
    ...deathSignal(settings),                  // after the ids: a change of them clears it, prctl(2)
    ...command ? execOps(settings, streams, command) : pauseOps(),
  );
  const host = [
    ...record.host,                            // a name that is taken is found before anything is made
    // A command in a container makes its group in that of the container, which must be there.
    ...settings.entered ? [...sources.ops, ...refuseFrozen(settings), ...group.host] : [...group.host, ...sources.ops],
    ...outsideStreamOps(settings, streams),
  ];
  const release: Op[] = [...maps.length > 0 ? [...maps, { op: 'go', from: 0, count: 0 } as const] : [], ...group.release];
  const program = {
    clone: cloneFlags(settings.namespaces, apart).child,
    joinClone: cloneFlags(settings.namespaces, apart).intermediate,
    cgroupSlot: group.slot,
    detached: settings.registration?.detached ?? false,
    host,
    join: apart ? [...arrive, ...ahead ?? []] : [],
    child,
    release,
    undo: [...removeGroups(settings, group, [...host, ...release]), ...record.undo],  // who waits for how it ended waits for all of it
  };
  return { ...program, toString: () => print(program) };
}

/** clone3 and execve and nothing between but what keeps Node's own things out of the process. */
export function bareProgram(flags: number, streams: number, command: Command): Program {
  const child: Op[] = [...afterFork(), ...deathSignal({ registration: undefined }), ...execOps({ cwd: '/', umask: 0o022, init: false, rlimits: [], tty: undefined, entered: undefined }, { count: streams, pipes: [] }, command)];
  const program = { clone: flags, joinClone: 0, cgroupSlot: -1, detached: false, host: [], join: [], release: [], child, undo: [] };
  return { ...program, toString: () => print(program) };
}
