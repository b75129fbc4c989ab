// What dead processes of this library left behind when neither they nor their launcher could clean up.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SweepReport } from '../types/sweep.js';
import * as actions from './cgroup/actions.js';
import { cgroupHost, GROUP_PREFIX, unifiedPlaces, v1Parent } from './host/cgroups.js';
import { startTimeOf } from './host/facts.js';
import { allAbandoned, allKept, forget, forgetOwn, isBeingMade, lives, readKept, takeAwayGroup } from './registry/records.js';

/** Whether the owner that is named in a group is still alive: its pid, and that it started when the name says. Who cannot be looked at may be. */
function ownerLives(name: string): boolean {
  const [pid, start] = name.slice(GROUP_PREFIX.length).split('.');
  try {
    return pid !== undefined && start !== undefined && startTimeOf(Number(pid)) === start;
  } catch {
    return true;
  }
}

interface Report { removed: string[]; killed: number; failed: { path: string; error: Error }[] }

/** Where this host's groups of ours stand. */
function parents(): { directory: string; controller: string }[] {
  const v1 = new Map<string, string>();
  // The freezer first: who is frozen there does not die of what the others are told.
  for (const controller of ['freezer', ...cgroupHost().v1.keys()]) {
    const directory = v1Parent(controller);
    if (directory !== undefined && !v1.has(directory)) v1.set(directory, controller);
  }
  return [
    ...unifiedPlaces().map(directory => ({ directory, controller: '' })),
    ...[...v1].map(([directory, controller]) => ({ directory, controller })),
  ];
}

/** How many processes it has killed. */
async function remove(directory: string, controller: string): Promise<number> {
  const where = controller === '' ? { unified: { directory, controllers: [] }, v1: new Map<string, string>() } : { unified: undefined, v1: new Map([[controller, directory]]) };
  let members = 0;
  for (const group of await actions.depthFirst(directory)) members += (await actions.orGone(readFile(join(group, 'cgroup.procs'), 'utf8'), '')).split('\n').length - 1;
  await actions.kill(where);
  await actions.remove(where, true);
  return Math.max(0, members);
}

/**
 * Removes the cgroups, and kills the processes in them, of processes of this library that have died together with their
 * launcher, and what is known of containers with a name of which nobody knows how they ended. One that still runs is left
 * alone. Nothing else of a container outlives its processes.
 */
export async function sweep(): Promise<SweepReport> {
  const report: Report = { removed: [], killed: 0, failed: [] };
  for (const { directory, controller } of parents()) {
    const names = (await readdir(directory)).filter(name => name.startsWith(GROUP_PREFIX) && !ownerLives(name));
    for (const name of names) {
      const path = join(directory, name);
      try {
        report.killed += await remove(path, controller);
        report.removed.push(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') report.failed.push({ path, error: error as Error });
      }
    }
  }
  try {
    for (const { record: { id } } of await allKept()) await sweepKept(id, report);
    for (const directory of await allAbandoned()) await takeAway(report, directory, () => forget(directory));
  } catch (error) {
    report.failed.push({ path: (error as NodeJS.ErrnoException).path ?? '', error: error as Error });
  }
  return report;
}

async function takeAway(report: Report, directory: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
    report.removed.push(directory);
  } catch (error) {
    report.failed.push({ path: directory, error: error as Error });
  }
}

/** Nobody watches it any more, nor will tell how it has ended; one that goes on running without is let be. */
async function sweepKept(id: string, report: Report): Promise<void> {
  // Looked at only now: the name may meanwhile be another container's.
  const kept = await readKept(id);
  if (!kept || kept.outcome !== undefined || lives(kept.keeper) || lives(kept.first) || isBeingMade(kept)) return;
  // Its Node goes on, and starts the launcher that takes over.
  if (startTimeOf(kept.record.maker.pid) === kept.record.maker.start) return;
  const { record, directory } = kept;
  await takeAway(report, directory, async () => {
    await takeAwayGroup(record);
    await forgetOwn({ ...record, directory });
  });
}
