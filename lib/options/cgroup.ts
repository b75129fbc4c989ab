// The option `cgroup` → directories and files, on v1, v2 and hybrid hosts.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CgroupLimits, CgroupOptions, CreateCgroupOptions } from '../../types/cgroup.js';
import { ContainedError, OptionError } from '../errors.js';
import { anyV1Parent, cgroupHost, enabledIn, groupName, standingName, unifiedParent, v1Parent, type UnifiedParent } from '../host/cgroups.js';
import { hostFacts } from '../host/facts.js';
import * as check from './check.js';
import type { Limit } from './controllers/limit.js';
import { hierarchyOf, LIMITS, noCgroup, notInGroup, resolveLimits, writesOf } from './controllers/limits.js';
import { resolveDevices } from './devices.js';
import { groupPart, isPlaced, parentOf, placement, unifiedPlace, v1Places } from './place.js';
import type { CgroupSetting, CgroupWrite, Identity, IdMap, Placement } from './settings.js';

const NAMES = ['name', 'parent', 'delegate', 'devices', ...LIMITS];

const MANAGERS = ['cgroupfs', 'systemd'] as const;
const STANDING_NAMES = [...NAMES, 'threaded', 'manager'];

/** Counters that usage.ts reads, by v1 controller. */
const V1_COUNTERS: Record<string, readonly string[]> = {
  memory: ['memory.max_usage_in_bytes', 'memory.oom_control'],
  cpuacct: ['cpuacct.usage', 'cpuacct.usage_user', 'cpuacct.usage_sys'],
  cpu: ['cpu.stat'],
  pids: ['pids.peak'],
  blkio: ['blkio.throttle.io_service_bytes_recursive'],
};

/** cpu.stat is there whatever the controllers are. */
const unifiedCounters = (controllers: readonly string[]): string[] => [
  'cpu.stat',
  ...controllers.includes('memory') ? ['memory.peak', 'memory.events'] : [],
  ...controllers.includes('pids') ? ['pids.peak'] : [],
  ...controllers.includes('io') ? ['io.stat'] : [],
];

function ownerOf(value: unknown): CgroupSetting['owner'] | boolean {
  if (typeof value === 'boolean') return value;
  const ids = check.object('cgroup.delegate', value, 'true, false or { uid, gid }');
  check.knownKeys('cgroup.delegate', ids, ['uid', 'gid']);
  const id = (key: string): number => check.integer(`cgroup.delegate.${key}`, ids[key], 0, 2 ** 32 - 2);
  return { uid: id('uid'), gid: id('gid') };
}

/** A hierarchy may carry several controllers (cpu,cpuacct): its directory is made once. */
export const byDirectory = (places: ReadonlyMap<string, string>): CgroupSetting['v1'] => {
  const once = new Map<string, string>();
  for (const [controller, directory] of places) if (!once.has(directory)) once.set(directory, controller);
  return [...once].map(([directory, controller]) => ({ controller, directory }));
};

export const countersOf = ({ unified, v1 }: Placement): CgroupSetting['counters'] => [
  ...unified ? unifiedCounters(unified.controllers).map(file => ({ name: `unified/${file}`, path: join(unified.directory, file) })) : [],
  ...[...v1].flatMap(([controller, path]) => (V1_COUNTERS[controller] ?? []).map(file => ({ name: `v1/${file}`, path: join(path, file) }))),
];

/** v2 counts time in every group, whatever its controllers are. */
export const timeIn = ({ unified, v1 }: Placement): string | undefined => {
  const cpuacct = v1.get('cpuacct');
  return unified ? join(unified.directory, 'cpu.stat') : cpuacct === undefined ? undefined : join(cpuacct, 'cpuacct.usage');
};

/** v1: a group without processors and nodes takes no process, cpusets(7); what is not given is the parent's. */
export function v1Cpuset(limits: readonly Limit[], directory: string | undefined): CgroupWrite[] {
  if (directory === undefined) return [];
  return ['cpuset.cpus', 'cpuset.mems'].filter(file => !limits.some(({ path }) => path === `cgroup.${file}`)).map(file => {
    const above = join(dirname(directory), file);
    try {
      return { path: join(directory, file), text: readFileSync(above, 'utf8').trim(), optional: false };
    } catch (error) {
      const { code = 'UNKNOWN', errno = 0 } = error as NodeJS.ErrnoException;
      throw new ContainedError({ code, errno, syscall: 'open', path: above, dest: undefined, step: `read ${above}`, hint: undefined });
    }
  });
}

/** Counters are worth a directory of their own where they cost no more than that. */
const COUNTING = { spawn: ['memory', 'pids'], standing: ['memory', 'pids', 'cpu', 'io', 'blkio', 'hugetlb', 'perf_event'] };
type Kind = keyof typeof COUNTING;

/** What is asked for, checked, before the host is looked at. */
function asked(options: Record<string, unknown>, kind: Kind) {
  return {
    name: check.optional(options['name'], v => groupPart('cgroup.name', v), undefined) ?? (kind === 'spawn' ? groupName() : standingName()),
    parent: check.optional(options['parent'], parentOf, undefined),
    owner: ownerOf(options['delegate'] ?? false),
    limits: resolveLimits(options),
    devices: check.optional(options['devices'], v => resolveDevices('cgroup.devices', v), undefined),
  };
}

/** The directories of a group that can have these limits, or why there can be none. */
function findPlace({ name, parent, owner, limits, devices }: ReturnType<typeof asked>, kind: Kind, threaded: boolean): { where: Placement; above: UnifiedParent | undefined } {
  const { v1, unified } = cgroupHost();
  const hierarchies = limits.map(limit => ({ limit, hierarchy: hierarchyOf(limit) }));
  const onV2 = [...new Set(hierarchies.filter(({ hierarchy }) => hierarchy === '').map(({ limit }) => limit.controller).filter(c => c !== 'cgroup'))];
  const onV1 = hierarchies.filter(({ hierarchy }) => hierarchy !== '').map(({ hierarchy }) => hierarchy);
  // Threads cannot be told apart in what belongs to the process: cgroups(7), "threaded" controllers.
  const countable = COUNTING[kind].filter(c => !threaded || c === 'pids' || c === 'cpu');
  const counting = [...countable, ...unified ? [] : ['cpuacct', 'freezer', ...devices ? ['devices'] : []]];
  const places = v1Places([...new Set([...counting, ...onV1])].filter(c => v1.has(c)), parent, name);
  const above = unifiedPlace(onV2, countable.filter(c => unified?.controllers.includes(c) && !onV2.includes(c)), parent);
  for (const { limit, hierarchy } of hierarchies) if (hierarchy === '' ? !above : !places.has(hierarchy)) throw noCgroup(limit.path);
  if (!above && places.size === 0) throw noCgroup('cgroup');
  if (devices && !above && !places.has('devices')) throw noCgroup('cgroup.devices');
  if ((owner || threaded) && !above) throw noCgroup(threaded ? 'cgroup.threaded' : 'cgroup.delegate');

  const directory = above && join(above.directory, name);
  const controllers = above ? [...new Set([...controllersIn(above), ...onV2])] : [];
  return { where: { unified: directory === undefined ? undefined : { directory, controllers }, v1: places }, above };
}

function resolveGroup(options: Record<string, unknown>, kind: Kind, threaded = false): { setting: CgroupSetting; where: Placement } {
  const wanted = asked(options, kind);
  const { where, above } = findPlace(wanted, kind, threaded);
  const { unified, v1 } = where;
  const { limits, devices, owner } = wanted;
  const setting: CgroupSetting = {
    made: true,
    where,
    unified: unified?.directory,
    momentary: above !== undefined && typeof options['parent'] === 'string',
    enable: above?.enable ?? [],
    v1: byDirectory(v1),
    limits: [
      ...threaded ? [{ path: join(unified!.directory, 'cgroup.type'), text: 'threaded', optional: false }] : [],
      ...v1Cpuset(limits, v1.get('cpuset')),
      ...writesOf(limits, where),
    ],
    devices: devices && { setting: devices, v1: unified ? undefined : v1.get('devices') },
    owner: typeof owner === 'object' ? owner : undefined,
    counters: countersOf(where),
    time: timeIn(where),
  };
  return { setting, where };
}

/** What a child of that group will have. */
const controllersIn = ({ directory, enable }: UnifiedParent): string[] =>
  [...enabledIn(directory), ...enable.filter(e => e.directory === directory).flatMap(e => e.controllers)];

/**
 * The group of a container. Where a controller is on v1, the group is made there; a v2 group is made wherever there is a
 * v2 hierarchy, since a process can be born into it and killed by it whatever its controllers are.
 */
export function resolveCgroup(value: CgroupOptions | object, identity: Identity, name?: string): CgroupSetting {
  if (isPlaced(value)) return joined(value[placement]);
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, NAMES);
  const owner = options['delegate'] === true ? hostIds(identity) : undefined;
  const { setting } = resolveGroup(name === undefined ? options : { name, ...options }, 'spawn');
  return owner ? { ...setting, owner } : setting;
}

/** Who the command is on the host. */
function hostIds({ user, maps }: Identity): { uid: number; gid: number } {
  if (user && 'name' in user) throw new OptionError('cgroup.delegate', true, 'a user by number: names are those of the container');
  const outside = (map: IdMap | undefined, id: number): number => {
    const range = map?.ranges.find(({ inside, count }) => id >= inside && id < inside + count);
    return range ? range.outside + id - range.inside : id;
  };
  const { uid, gid } = user ?? hostFacts();
  return { uid: outside(maps?.uid, uid), gid: outside(maps?.gid, gid) };
}

/** A group that is there: nothing of it is ours, and of what it counts only whether somebody was killed for its memory. */
const joined = ({ unified, v1 }: Placement): CgroupSetting => ({
  made: false, where: { unified, v1 }, unified: unified?.directory, enable: [], v1: byDirectory(v1), limits: [], devices: undefined, owner: undefined,
  counters: [
    ...unified?.controllers.includes('memory') ? [{ name: 'unified/memory.events', path: join(unified.directory, 'memory.events') }] : [],
    ...v1.has('memory') ? [{ name: 'v1/memory.oom_control', path: join(v1.get('memory')!, 'memory.oom_control') }] : [],
  ],
  time: undefined,
});

/** Who is to make it; undefined where that depends on who owns the tree. */
export function managerOf(value: CreateCgroupOptions): 'cgroupfs' | 'systemd' | undefined {
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, STANDING_NAMES);
  const manager = check.optional(options['manager'], v => check.oneOf('cgroup.manager', v, MANAGERS), undefined);
  if (options['parent'] === undefined) return manager;
  if (manager === 'systemd') throw new OptionError('cgroup.manager', manager, 'no parent beside it: the parent is the scope that systemd makes');
  return 'cgroupfs';
}

/** A group for `createCgroup`, and where it will be by each controller. */
export function resolveStandingGroup(value: CreateCgroupOptions): { setting: CgroupSetting; where: Placement } {
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, STANDING_NAMES);
  const threaded = check.optional(options['threaded'], v => check.boolean('cgroup.threaded', v), false);
  const whole = (['memory', 'io', 'hugetlb', 'rdma', 'misc', 'devices'] as const).find(key => options[key] !== undefined);
  if (threaded && whole !== undefined) throw new OptionError('cgroup.threaded', true, `no ${whole} beside it: that belongs to processes`);
  if (options['delegate'] === true) throw new OptionError('cgroup.delegate', true, 'the ids that it is to belong to, { uid, gid }');
  return resolveGroup(options, 'standing', threaded);
}

/** Limits for a group that is there. */
export function resolveUpdate(value: CgroupLimits, where: Placement): { writes: CgroupWrite[]; devices: CgroupSetting['devices'] } {
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, [...LIMITS, 'devices']);
  const setting = check.optional(options['devices'], v => resolveDevices('cgroup.devices', v), undefined);
  if (setting && !where.unified && !where.v1.has('devices')) throw notInGroup('cgroup.devices');
  return {
    writes: writesOf(resolveLimits(options), where, notInGroup),
    devices: setting && { setting, v1: where.unified ? undefined : where.v1.get('devices') },
  };
}

/** One without limits. */
const bareGroup = (where: Placement): CgroupSetting => ({
  made: true, where, unified: where.unified?.directory, enable: [], v1: byDirectory(where.v1), limits: [], devices: undefined, owner: undefined, counters: [], time: undefined,
});

/** A group that does nothing but find the processes of a container, so that they can be killed. */
export function killingGroup(): CgroupSetting | undefined {
  const parent = unifiedParent([]);
  if (parent) return bareGroup({ unified: { directory: join(parent.directory, groupName()), controllers: enabledIn(parent.directory) }, v1: new Map() });
  const v1 = anyV1Parent();
  return v1 && bareGroup({ unified: undefined, v1: new Map([[v1.controller, join(v1.directory, groupName())]]) });
}

/** A group, or that group, where it is told how much processor time its processes have used. */
export function countingGroup(group: CgroupSetting | undefined): CgroupSetting | undefined {
  const base = group ?? killingGroup();
  if (!base) return undefined;
  if (base.unified !== undefined) {
    const where: Placement = { unified: { directory: base.unified, controllers: [] }, v1: new Map() };
    return { ...base, counters: [...base.counters, ...countersOf(where)], time: timeIn(where) };
  }
  const cpuacct = v1Parent('cpuacct');
  if (cpuacct === undefined) return undefined;
  const directory = join(cpuacct, groupName());
  const where: Placement = { unified: undefined, v1: new Map([['cpuacct', directory]]) };
  const others = base.v1.filter(place => place.directory !== directory);
  const all: Placement = { unified: undefined, v1: new Map([...base.where.v1, ['cpuacct', directory]]) };
  return { ...base, where: all, v1: [...others, { controller: 'cpuacct', directory }], counters: [...base.counters, ...countersOf(where)], time: timeIn(where) };
}
