// The group of a command in a container that runs: below the container's, so that its limits hold too, and what the command
// leaves can be found and killed without the rest.
import { join } from 'node:path';
import { notSupported, OptionError } from '../errors.js';
import { enabledIn, groupName } from '../host/cgroups.js';
import { byDirectory, countersOf, killingGroup, timeIn, v1Cpuset } from './cgroup.js';
import * as check from './check.js';
import type { Limit } from './controllers/limit.js';
import { hierarchyOf, LIMITS, resolveLimits, writesOf } from './controllers/limits.js';
import { resolveDevices } from './devices.js';
import { isPlaced, v1Places } from './place.js';
import type { CgroupSetting, Entered, Placement } from './settings.js';

/** What tells that the members of a group stand still, also where that is the doing of a group above it. */
function frozenBy({ unified, v1 }: Placement): Entered['frozen'] {
  if (unified) return { path: join(unified.directory, 'cgroup.events'), lines: ['frozen 1'] };
  const freezer = v1.get('freezer');
  return freezer === undefined ? undefined : { path: join(freezer, 'freezer.state'), lines: ['FROZEN', 'FREEZING'] };
}

/** The directories, and the controllers that the container's v2 group must first give to those below it. */
function placeIn(above: Placement, limits: readonly Limit[]): { where: Placement; missing: readonly string[] } {
  const name = groupName();
  const hierarchies = limits.map(limit => ({ limit, hierarchy: hierarchyOf(limit) }));
  const onV2 = [...new Set(hierarchies.filter(({ limit, hierarchy }) => hierarchy === '' && limit.controller !== 'cgroup').map(({ limit }) => limit.controller))];
  const lacking = hierarchies.find(({ limit, hierarchy }) => hierarchy === '' && !above.unified?.controllers.includes(limit.controller) && limit.controller !== 'cgroup');
  if (lacking) throw notSupported(`set ${lacking.limit.path}`, "the container's group has not that controller: give the container a limit of it, so that it gets one");
  const enabled = above.unified ? enabledIn(above.unified.directory) : [];
  // Where the container has no group on a v1 hierarchy there is nothing of it to be below of.
  const elsewhere = v1Places([...new Set(hierarchies.map(({ hierarchy }) => hierarchy))].filter(c => c !== '' && !above.v1.has(c)), undefined, name);
  return {
    where: {
      unified: above.unified && { directory: join(above.unified.directory, name), controllers: [...new Set([...enabled, ...onV2])] },
      v1: new Map([...[...above.v1].map(([controller, directory]) => [controller, join(directory, name)] as const), ...elsewhere]),
    },
    missing: onV2.filter(controller => !enabled.includes(controller)),
  };
}

/** `above`: the group of the container; undefined when it has none. `alone`: whether it is that of nobody else. */
export function resolveSubgroup(value: unknown, above: Placement | undefined, alone: boolean): { cgroup: CgroupSetting | undefined; entered: Omit<Entered, 'container'> } {
  if (isPlaced(value)) throw new OptionError('cgroup', value, 'limits: what runs in a container is in a group of that container');
  const options = check.object('cgroup', value ?? {});
  check.knownKeys('cgroup', options, [...LIMITS, 'devices']);
  const limits = resolveLimits(options);
  const devices = check.optional(options['devices'], v => resolveDevices('cgroup.devices', v), undefined);
  if (!above) {
    if (limits.length > 0 || devices) throw notSupported('limit a command in the container', 'the container has no group of its own: start it with `cgroup: {}`');
    return { cgroup: killingGroup(), entered: { frozen: undefined, divide: undefined } };
  }
  const { where, missing } = placeIn(above, limits);
  if (missing.length > 0 && !alone) {
    throw notSupported('limit a command in the container', `others are in its group too, and would have to be moved; give the container one of its own in it, or let the group hand on ${missing.join(', ')}`);
  }
  const writes = [...v1Cpuset(limits, where.v1.get('cpuset')), ...writesOf(limits, where)];
  // They are there only when the container's group has been divided.
  const late = (path: string): boolean => missing.length > 0 && path.startsWith(`${where.unified!.directory}/`);
  return {
    cgroup: {
      made: true,
      where,
      unified: where.unified?.directory,
      enable: [],
      v1: byDirectory(where.v1),
      limits: writes.filter(({ path }) => !late(path)),
      devices: devices && { setting: devices, v1: where.unified ? undefined : where.v1.get('devices') },
      owner: undefined,
      counters: countersOf(where),
      time: timeIn(where),
    },
    entered: {
      frozen: frozenBy(above),
      divide: missing.length === 0 ? undefined : { directory: above.unified!.directory, controllers: missing, limits: writes.filter(({ path }) => late(path)) },
    },
  };
}
