// The limits of all controllers, and what is written for them on this host.
import { join } from 'node:path';
import { notSupported, type ContainedError } from '../../errors.js';
import { cgroupHost, occupiedGroup } from '../../host/cgroups.js';
import type { CgroupWrite, Placement } from '../settings.js';
import { hugetlb, misc, pids, rdma } from './counts.js';
import { cpu, cpuset } from './cpu.js';
import { io } from './io.js';
import type { Limit, Options, Write } from './limit.js';
import { memory } from './memory.js';
import { network } from './network.js';
import { unified } from './unified.js';

/** Names of the options that are limits. */
export const LIMITS = ['memory', 'cpu', 'cpuset', 'io', 'pids', 'hugetlb', 'rdma', 'misc', 'netCls', 'netPrio', 'unified'] as const;

/** In the order of writing. Throws an OptionError for what is wrong whatever the host is like. */
export const resolveLimits = (options: Options): Limit[] =>
  [memory, cpu, cpuset, io, pids, hugetlb, rdma, misc, network, unified].flatMap(limitsOf => limitsOf(options));

function whyNone(): string {
  const { readOnly } = cgroupHost();
  if (readOnly !== undefined) return `${readOnly} is mounted read-only, as in a container: start that with a writable cgroup of its own (docker run --cgroupns=private and a mount of it, podman, or delegate: true here)`;
  const occupied = occupiedGroup();
  if (occupied !== undefined) {
    return `${occupied} has processes in it, so groups below it get no controllers (cgroup v2, "No Internal Process Constraint"): `
      + 'move them, Node among them, into a group below it before Node starts; or await createCgroup() first, which asks systemd for a group';
  }
  return 'no hierarchy with that controller is writable for this user: run as root, or under a delegated group, as by '
    + '`systemd-run --user --scope -p Delegate=yes node …`';
}

export const noCgroup = (what: string): ContainedError => notSupported(`find a cgroup for ${what}`, whyNone());

export const notInGroup = (what: string): ContainedError =>
  notSupported(`set ${what}`, 'the group was made without that controller; give createCgroup a limit of it, so that it gets one');

const noController = ({ path, controller }: Limit): ContainedError =>
  notSupported(`find a cgroup for ${path}`, `this kernel has no controller ${controller}, or it is turned off (cgroup_disable=), or not mounted; see /proc/cgroups`);

const nothingLike = ({ path, controller, v1Controller }: Limit, version: 1 | 2): ContainedError => version === 1
  ? notSupported(`set ${path}`, `this host has the controller ${v1Controller ?? controller} on cgroup v1, which has nothing like it`)
  : notSupported(`set ${path}`, 'cgroup v2 has nothing like it, and this host has that controller not on v1');

/** Where a limit belongs on this host: its v1 name, `''` for v2. */
export function hierarchyOf(limit: Limit): string {
  const { unified: v2, v1 } = cgroupHost();
  const v1Name = limit.v1Controller ?? limit.controller;
  if (v2?.controllers.includes(limit.controller) || (v2 && limit.controller === 'cgroup')) {
    if (!limit.v2) throw nothingLike(limit, 2);
    return '';
  }
  if (v1.has(v1Name)) {
    if (!limit.v1) throw nothingLike(limit, 1);
    return v1Name;
  }
  throw limit.v2 ? noController(limit) : nothingLike(limit, 2);
}

/** The files of a group that the limits mean. */
export function writesOf(limits: readonly Limit[], { unified: v2, v1 }: Placement, missing = noCgroup): CgroupWrite[] {
  return limits.flatMap(limit => {
    const hierarchy = hierarchyOf(limit);
    const onV2 = v2 && (v2.controllers.includes(limit.controller) || limit.controller === 'cgroup') ? v2.directory : undefined;
    const directory = hierarchy === '' ? onV2 : v1.get(hierarchy);
    if (directory === undefined) throw missing(limit.path);
    return (hierarchy === '' ? limit.v2! : limit.v1!)
      .map(({ file, text, optional }: Write) => ({ path: join(directory, file), text, optional: optional ?? false }));
  });
}
