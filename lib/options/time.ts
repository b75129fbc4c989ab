// The option `cpuTimeout`: what counts the time, on this host, and what stops a process when nobody looks.
import { ContainedError } from '../errors.js';
import { RLIM_INFINITY, RLIMITS } from '../program/constants.js';
import { hostFacts } from '../host/facts.js';
import { countingGroup } from './cgroup.js';
import type { CgroupSetting, Settings } from './settings.js';

const CPU = RLIMITS.indexOf('cpu');

const cannotCount = (): ContainedError => new ContainedError({
  code: 'ENOTSUP', errno: 0, syscall: undefined, path: undefined, dest: undefined, step: 'limit the processor time (cpuTimeout)',
  hint: 'without a pid namespace, processes are found and counted only by a cgroup of their own, and there is none to be had: add pid to ns, or run as root or under a delegated group, as by `systemd-run --user --scope -p Delegate=yes node …`',
});

/**
 * A process that alone has used it all, and a second, is killed by the kernel: getrlimit(2), RLIMIT_CPU. Node may be busy, and
 * then nobody reads what the group has used.
 */
function backstop(rlimits: Settings['rlimits'], cpuTimeout: number): Settings['rlimits'] {
  const seconds = Math.min(Math.ceil(cpuTimeout / 1000) + 1, hostFacts().cpuSeconds);
  const given = rlimits.find(({ resource }) => resource === CPU);
  if (given && given.hard !== RLIM_INFINITY && given.hard <= seconds) return rlimits;
  const soft = given && given.soft !== RLIM_INFINITY && given.soft < seconds ? given.soft : seconds;
  return [...rlimits.filter(limit => limit !== given), { resource: CPU, soft, hard: seconds, lowers: true }];
}

/** Its own group counts best; one of others' says nothing of it, but in a pid namespace its processes can be found. */
function counting(cgroup: CgroupSetting | undefined, wanted: boolean): CgroupSetting | undefined {
  if (cgroup?.time !== undefined || !wanted) return cgroup;
  return countingGroup(cgroup) ?? cgroup;
}

/** The settings of a run that has a limit of processor time, in milliseconds. */
export function limitTime(settings: Settings, cpuTimeout: number | undefined): Settings {
  if (cpuTimeout === undefined || settings.impossible) return settings;
  const cgroup = counting(settings.cgroup, settings.cgroup?.made ?? true);
  const findable = cgroup?.time !== undefined || settings.namespaces.create.has('pid');
  return { ...settings, cgroup, rlimits: backstop(settings.rlimits, cpuTimeout), impossible: findable ? undefined : cannotCount() };
}
