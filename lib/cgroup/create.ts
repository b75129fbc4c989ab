// Making groups, and finding those that are there.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Cgroup, CreateCgroupOptions } from '../../types/cgroup.js';
import { ContainedError, errnoName } from '../errors.js';
import { controllersOf, groupsOf } from '../host/cgroups.js';
import { systemdOwns, useScope } from './systemd.js';
import * as check from '../options/check.js';
import { managerOf, resolveStandingGroup } from '../options/cgroup.js';
import { resolveExisting } from '../options/place.js';
import type { Placement } from '../options/settings.js';
import { makeOps, removeOps } from '../program/cgroup.js';
import { Slots } from '../program/slots.js';
import { Group } from './group.js';
import { perform } from './perform.js';

const existing = ({ unified, v1 }: Placement): Placement => ({
  unified: unified && existsSync(unified.directory) ? unified : undefined,
  v1: new Map([...v1].filter(([, directory]) => existsSync(directory))),
});

/**
 * Makes a group with limits, on all hierarchies of the host that this user may write to. It stays until `remove()`; one
 * without a `name` is removed by `sweep()` when the process that made it is gone.
 *
 * Rejects with an {@link OptionError} for what is wrong in the options, and with a {@link ContainedError} for what the host
 * cannot do; nothing is left of it then.
 */
export async function createCgroup(options: CreateCgroupOptions = {}): Promise<Cgroup> {
  if ((managerOf(options) ?? (systemdOwns() ? 'systemd' : 'cgroupfs')) === 'systemd') await useScope();
  const { setting, where } = resolveStandingGroup(options);
  const ops = makeOps(setting, new Slots(0));
  await perform(ops, removeOps(setting, ops));
  const unified = where.unified && { directory: where.unified.directory, controllers: controllersOf(where.unified.directory) };
  return new Group({ ...where, unified }, setting.devices?.setting);
}

const none = (step: string, path: string, errno: number, hint: string): ContainedError => new ContainedError({
  code: errnoName(errno), errno: -errno, syscall: undefined, path, dest: undefined, step, hint,
});

/**
 * A group that is there: by the `name` and `parent` that it was made with, or by its path below the root of the
 * hierarchies, as in /proc/PID/cgroup. Rejects with ENOENT.
 */
export async function openCgroup(which: string | Pick<CreateCgroupOptions, 'name' | 'parent'>): Promise<Cgroup> {
  const where = existing(resolveExisting(which));
  if (!where.unified && where.v1.size === 0) {
    const text = typeof which === 'string' ? which : which.name!;
    throw none(`find the cgroup ${text}`, text, 2, 'there is none of this name on any hierarchy');
  }
  return await Promise.resolve(new Group(where));
}

/** The group that a process is in. Rejects with ESRCH when there is no such process. */
export async function cgroupOf(pid: number): Promise<Cgroup> {
  check.integer('pid', pid, 1, 2 ** 22);
  const path = `/proc/${pid}/cgroup`;
  const text = await readFile(path, 'utf8').catch(() => { throw none(`find the cgroup of ${pid}`, path, 3, 'there is no such process'); });
  return new Group(existing(groupsOf(text)));
}
