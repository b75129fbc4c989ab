// Limits → directories and files, on v1, v2 and hybrid hosts.
import { join, normalize } from 'node:path';
import type { CgroupOptions } from '../../types/options.js';
import { ContainedError, OptionError } from '../errors.js';
import { cgroupHost, groupName, occupiedGroup, unifiedParent, v1Parent } from '../host/cgroups.js';
import * as check from './check.js';
import type { CgroupSetting } from './settings.js';

const PERIOD = 100_000;

interface Limits {
  memory: number | undefined;
  cpu: number | undefined;
  pids: number | undefined;
}

interface Limit {
  controller: string;
  file: string;
  text: string;
  optional?: boolean;
}

/** v2: kernel document cgroup-v2. Swap is none, or the limit would not be one; the group dies as one. */
const unifiedLimits = ({ memory, cpu, pids }: Limits): Limit[] => [
  ...memory === undefined ? [] : [
    { controller: 'memory', file: 'memory.max', text: String(memory) },
    { controller: 'memory', file: 'memory.swap.max', text: '0', optional: true },
    { controller: 'memory', file: 'memory.oom.group', text: '1' },
  ],
  ...cpu === undefined ? [] : [{ controller: 'cpu', file: 'cpu.max', text: `${Math.round(cpu * PERIOD)} ${PERIOD}` }],
  ...pids === undefined ? [] : [{ controller: 'pids', file: 'pids.max', text: String(pids) }],
];

/** v1: kernel documents cgroup-v1/memory, scheduler/sched-bwc. memsw may not be lower than memory, so it comes second. */
const v1Limits = ({ memory, cpu, pids }: Limits): Limit[] => [
  ...memory === undefined ? [] : [
    { controller: 'memory', file: 'memory.limit_in_bytes', text: String(memory) },
    { controller: 'memory', file: 'memory.memsw.limit_in_bytes', text: String(memory), optional: true },
  ],
  ...cpu === undefined ? [] : [
    { controller: 'cpu', file: 'cpu.cfs_period_us', text: String(PERIOD) },
    { controller: 'cpu', file: 'cpu.cfs_quota_us', text: String(Math.round(cpu * PERIOD)) },
  ],
  ...pids === undefined ? [] : [{ controller: 'pids', file: 'pids.max', text: String(pids) }],
];

/** Counters that usage.ts reads, by v1 controller. */
const V1_COUNTERS: Record<string, readonly string[]> = {
  memory: ['memory.max_usage_in_bytes', 'memory.oom_control'],
  cpuacct: ['cpuacct.usage_user', 'cpuacct.usage_sys'],
  pids: ['pids.peak'],
};

/** cpu.stat is there whatever the controllers are. */
const unifiedCounters = (controllers: readonly string[]): string[] => [
  'cpu.stat',
  ...controllers.includes('memory') ? ['memory.peak', 'memory.events'] : [],
  ...controllers.includes('pids') ? ['pids.peak'] : [],
];

function groupPart(path: string, value: unknown): string {
  const name = check.nonEmpty(path, value, 'a name');
  if (/[\/\n]/.test(name) || name === '.' || name === '..' || name.startsWith('cgroup.')) throw new OptionError(path, value, 'a name without / and newline that is not . or .. or cgroup.*');
  return name;
}

function parentPath(value: unknown): string {
  const path = check.insidePath('cgroup.parent', value);
  if (path.includes('\n')) throw new OptionError('cgroup.parent', value, 'a path without newline');
  return normalize(path);
}

function resolveLimits(options: Record<string, unknown>): Limits {
  const part = (key: string, known: string[]): Record<string, unknown> => {
    const value = check.object(`cgroup.${key}`, options[key] ?? {});
    check.knownKeys(`cgroup.${key}`, value, known);
    return value;
  };
  return {
    memory: check.optional(part('memory', ['max'])['max'], v => check.size('cgroup.memory.max', v), undefined),
    cpu: check.optional(part('cpu', ['max'])['max'], v => check.number('cgroup.cpu.max', v, 0.01, 1e5), undefined),
    pids: check.optional(part('pids', ['max'])['max'], v => check.integer('cgroup.pids.max', v, 1, 2 ** 22), undefined),
  };
}

const noCgroup = (what: string): ContainedError => new ContainedError({
  code: 'ENOTSUP', errno: 0, syscall: undefined, path: undefined, dest: undefined,
  step: `find a cgroup for ${what}`,
  hint: occupiedGroup() !== undefined
    ? `${occupiedGroup()!} has processes in it, so groups below it get no controllers (cgroup v2, "No Internal Process Constraint"): `
      + 'move them, Node among them, into a group below it before Node starts'
    : 'no hierarchy with that controller is writable for this user: run as root, or under a delegated group, as by '
      + '`systemd-run --user --scope -p Delegate=yes node …`',
});

/** A v1 hierarchy may carry several controllers (cpu,cpuacct): its directory is made once. */
function v1Groups(controllers: readonly string[], parent: string | undefined, name: string): CgroupSetting['v1'] {
  const { v1 } = cgroupHost();
  const groups = new Map<string, { controller: string; directory: string }>();
  for (const controller of controllers) {
    const hierarchy = v1.get(controller);
    const above = parent === undefined ? v1Parent(controller) : hierarchy && join(hierarchy.mount, parent);
    if (above === undefined) continue;
    if (!groups.has(hierarchy!.mount)) groups.set(hierarchy!.mount, { controller, directory: join(above, name) });
  }
  return [...groups.values()];
}

/**
 * The group of a container. Where a controller is on v1, the group is made there; a v2 group is made wherever there is a
 * v2 hierarchy, since a process can be born into it and killed by it whatever its controllers are.
 */
export function resolveCgroup(value: CgroupOptions): CgroupSetting {
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, ['name', 'parent', 'memory', 'cpu', 'pids']);
  const name = check.optional(options['name'], v => groupPart('cgroup.name', v), undefined) ?? groupName();
  const parent = check.optional(options['parent'], parentPath, undefined);
  const limits = resolveLimits(options);
  const { v1, unified } = cgroupHost();

  const wanted = (['memory', 'cpu', 'pids'] as const).filter(c => limits[c] !== undefined);
  const onUnified = wanted.filter(c => unified?.controllers.includes(c));
  // Counters are worth a directory of their own where they cost no more than that.
  const counting = ['memory', 'pids', ...unified ? [] : ['cpuacct']];
  const v1Setting = v1Groups([...new Set([...counting, ...wanted])].filter(c => v1.has(c)), parent, name);
  const v1Directory = (controller: string): string | undefined => {
    const mount = v1.get(controller)?.mount;
    return mount === undefined ? undefined : v1Setting.find(g => g.directory.startsWith(`${mount}/`))?.directory;
  };

  const extra = (['memory', 'pids'] as const).filter(c => unified?.controllers.includes(c) && !onUnified.includes(c));
  const above = !unified ? undefined
    : parent !== undefined ? { directory: join(unified.mount, parent), enable: onUnified }
    : unifiedParent([...onUnified, ...extra]) ?? unifiedParent(onUnified);
  for (const controller of wanted) {
    const there = onUnified.includes(controller) ? above !== undefined : v1Directory(controller) !== undefined;
    if (!there) throw noCgroup(`cgroup.${controller}`);
  }
  if (!above && v1Setting.length === 0) throw noCgroup('cgroup');

  const unifiedDirectory = above && join(above.directory, name);
  const path = (limit: Limit): CgroupSetting['limits'][number] => ({
    path: join(onUnified.includes(limit.controller as 'memory') ? unifiedDirectory! : v1Directory(limit.controller)!, limit.file),
    text: limit.text,
    optional: limit.optional ?? false,
  });
  const onV1 = { ...limits };
  const onV2: Limits = { memory: undefined, cpu: undefined, pids: undefined };
  for (const controller of onUnified) {
    onV2[controller] = limits[controller];
    onV1[controller] = undefined;
  }
  return {
    unified: above && { directory: unifiedDirectory!, parent: above.directory, enable: above.enable },
    v1: v1Setting,
    limits: [...unifiedLimits(onV2), ...v1Limits(onV1)].map(path),
    counters: [
      ...unifiedDirectory ? unifiedCounters(unified!.controllers).map(file => ({ name: `unified/${file}`, path: join(unifiedDirectory, file) })) : [],
      ...counting.flatMap(controller => {
        const directory = v1Directory(controller);
        return directory ? V1_COUNTERS[controller]!.map(file => ({ name: `v1/${file}`, path: join(directory, file) })) : [];
      }),
    ],
  };
}
