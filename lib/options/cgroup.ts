// The option `cgroup` → directories and files, on v1, v2 and hybrid hosts.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import type { CgroupLimits, CgroupOptions, CreateCgroupOptions } from '../../types/cgroup.js';
import { ContainedError, OptionError } from '../errors.js';
import { anyV1Parent, cgroupHost, controllersOf, enableDown, enabledIn, groupName, isController, possibleIn, standingName, unifiedParent, unifiedPlaces, v1Parent, type UnifiedParent } from '../host/cgroups.js';
import { hostFacts } from '../host/facts.js';
import * as check from './check.js';
import type { Limit } from './controllers/limit.js';
import { resolveDevices } from './devices.js';
import { hierarchyOf, LIMITS, noCgroup, notInGroup, resolveLimits, writesOf } from './controllers/limits.js';
import type { CgroupSetting, CgroupWrite, Identity, IdMap, Placement } from './settings.js';

/** What a `Cgroup` tells the options that name it. */
export const placement: unique symbol = Symbol('placement');
interface Placed {
  readonly [placement]: Placement;
}
export const isPlaced = (value: unknown): value is Placed => typeof value === 'object' && value !== null && placement in value;

const NAMES = ['name', 'parent', 'delegate', 'devices', ...LIMITS];

const MANAGERS = ['cgroupfs', 'systemd'] as const;
const STANDING_NAMES = [...NAMES, 'threaded', 'manager'];

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

export function groupPart(path: string, value: unknown): string {
  const name = check.nonEmpty(path, value, 'a name');
  if (/[\/\n]/.test(name) || name === '.' || name === '..' || name.startsWith('cgroup.')) throw new OptionError(path, value, 'a name without / and newline that is not . or .. or cgroup.*');
  return name;
}

type Parent = string | Placement;

function parentOf(value: unknown): Parent {
  if (isPlaced(value)) return value[placement];
  if (typeof value === 'string' && value !== '' && !value.startsWith('/')) return named(value);
  const path = check.insidePath('cgroup.parent', value);
  if (path.includes('\n')) throw new OptionError('cgroup.parent', value, 'a path without newline');
  return normalize(path);
}

/** A group that was made without a parent of its own, or one below it, as `web` or `web/blue`. */
function named(path: string): Placement {
  const names = path.split('/').map(name => groupPart('cgroup.parent', name));
  const { unified, v1 } = resolveExisting(names[0]);
  const below = (directory: string): string => join(directory, ...names.slice(1));
  return {
    unified: unified && { directory: below(unified.directory), controllers: controllersOf(below(unified.directory)) },
    v1: new Map([...v1].map(([controller, directory]) => [controller, below(directory)])),
  };
}

function ownerOf(value: unknown): CgroupSetting['owner'] | boolean {
  if (typeof value === 'boolean') return value;
  const ids = check.object('cgroup.delegate', value, 'true, false or { uid, gid }');
  check.knownKeys('cgroup.delegate', ids, ['uid', 'gid']);
  const id = (key: string): number => check.integer(`cgroup.delegate.${key}`, ids[key], 0, 2 ** 32 - 2);
  return { uid: id('uid'), gid: id('gid') };
}

/** The v1 directories to make: those of the controllers, where we may. */
function v1Places(controllers: readonly string[], parent: Parent | undefined, name: string): Map<string, string> {
  const { v1 } = cgroupHost();
  const places = new Map<string, string>();
  for (const controller of controllers) {
    const hierarchy = v1.get(controller);
    const above = parent === undefined ? v1Parent(controller)
      : typeof parent === 'string' ? hierarchy && join(hierarchy.mount, parent) : parent.v1.get(controller);
    if (above !== undefined) places.set(controller, join(above, name));
  }
  return places;
}

/** The v2 group to make ours in, with as many of the controllers that are merely wanted as it can have. */
function unifiedPlace(needed: readonly string[], wanted: readonly string[], parent: Parent | undefined): UnifiedParent | undefined {
  const { unified } = cgroupHost();
  if (!unified) return undefined;
  if (parent === undefined) return unifiedParent([...needed, ...wanted]) ?? unifiedParent(needed);
  const directory = typeof parent === 'string' ? join(unified.mount, parent) : parent.unified?.directory;
  return directory === undefined ? undefined
    : { directory, enable: enableDown(unified.mount, directory.slice(unified.mount.length), [...needed, ...possibleIn(directory, wanted)]) };
}

/** A hierarchy may carry several controllers (cpu,cpuacct): its directory is made once. */
const byDirectory = (places: ReadonlyMap<string, string>): CgroupSetting['v1'] => {
  const once = new Map<string, string>();
  for (const [controller, directory] of places) if (!once.has(directory)) once.set(directory, controller);
  return [...once].map(([directory, controller]) => ({ controller, directory }));
};

/** v1: a group without processors and nodes takes no process, cpusets(7); what is not given is the parent's. */
function v1Cpuset(limits: readonly Limit[], directory: string | undefined): CgroupWrite[] {
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

function resolveGroup(options: Record<string, unknown>, kind: keyof typeof COUNTING, threaded: boolean): { setting: CgroupSetting; where: Placement } {
  const name = check.optional(options['name'], v => groupPart('cgroup.name', v), undefined) ?? (kind === 'spawn' ? groupName() : standingName());
  const parent = check.optional(options['parent'], parentOf, undefined);
  const owner = ownerOf(options['delegate'] ?? false);
  const limits = resolveLimits(options);
  const devices = check.optional(options['devices'], v => resolveDevices('cgroup.devices', v), undefined);
  const { v1, unified } = cgroupHost();

  const hierarchies = limits.map(limit => ({ limit, hierarchy: hierarchyOf(limit) }));
  const onV2 = [...new Set(hierarchies.filter(({ hierarchy }) => hierarchy === '').map(({ limit }) => limit.controller).filter(c => c !== 'cgroup'))];
  const onV1 = hierarchies.filter(({ hierarchy }) => hierarchy !== '').map(({ hierarchy }) => hierarchy);
  // Threads cannot be told apart in what belongs to the process: cgroups(7), "threaded" controllers.
  const countable = COUNTING[kind].filter(c => !threaded || c === 'pids' || c === 'cpu');
  const counting = [...countable, ...unified ? [] : ['cpuacct', ...kind === 'standing' ? ['freezer'] : [], ...devices ? ['devices'] : []]];
  const places = v1Places([...new Set([...counting, ...onV1])].filter(c => v1.has(c)), parent, name);
  const above = unifiedPlace(onV2, countable.filter(c => unified?.controllers.includes(c) && !onV2.includes(c)), parent);
  for (const { limit, hierarchy } of hierarchies) if (hierarchy === '' ? !above : !places.has(hierarchy)) throw noCgroup(limit.path);
  if (!above && places.size === 0) throw noCgroup('cgroup');
  if (devices && !above && !places.has('devices')) throw noCgroup('cgroup.devices');
  if ((owner || threaded) && !above) throw noCgroup(threaded ? 'cgroup.threaded' : 'cgroup.delegate');

  const directory = above && join(above.directory, name);
  const controllers = above ? [...new Set([...controllersIn(above), ...onV2])] : [];
  const where = { unified: directory === undefined ? undefined : { directory, controllers }, v1: places };
  const setting: CgroupSetting = {
    made: true,
    unified: directory,
    enable: above?.enable ?? [],
    v1: byDirectory(places),
    limits: [
      ...threaded ? [{ path: join(directory!, 'cgroup.type'), text: 'threaded', optional: false }] : [],
      ...v1Cpuset(limits, places.get('cpuset')),
      ...writesOf(limits, where),
    ],
    devices: devices && { setting: devices, v1: directory === undefined ? places.get('devices') : undefined },
    owner: typeof owner === 'object' ? owner : undefined,
    counters: [
      ...directory === undefined ? [] : unifiedCounters(controllers).map(file => ({ name: `unified/${file}`, path: join(directory, file) })),
      ...[...places].flatMap(([controller, path]) => (V1_COUNTERS[controller] ?? []).map(file => ({ name: `v1/${file}`, path: join(path, file) }))),
    ],
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
export function resolveCgroup(value: CgroupOptions | object, identity: Identity): CgroupSetting {
  if (isPlaced(value)) return joined(value[placement]);
  const options = check.object('cgroup', value);
  check.knownKeys('cgroup', options, NAMES);
  const owner = options['delegate'] === true ? hostIds(identity) : undefined;
  const { setting } = resolveGroup(options, 'spawn', false);
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

/** A group that is there: nothing of it is ours. */
const joined = ({ unified, v1 }: Placement): CgroupSetting =>
  ({ made: false, unified: unified?.directory, enable: [], v1: byDirectory(v1), limits: [], devices: undefined, owner: undefined, counters: [] });

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

/** The directories that a group of this name or path has, if it exists. */
export function resolveExisting(value: unknown): Placement {
  const { unified, v1 } = cgroupHost();
  const places = (path: string): Placement => {
    const directory = unified && join(unified.mount, path);
    return {
      unified: directory === undefined ? undefined : { directory, controllers: controllersOf(directory) },
      v1: new Map([...v1].filter(([controller]) => isController(controller)).map(([controller, { mount }]) => [controller, join(mount, path)])),
    };
  };
  if (typeof value === 'string' && value.startsWith('/')) return places(normalize(check.insidePath('path', value)));
  const options = typeof value === 'string' ? { name: value } : check.object('which', value, 'a name, a path or { name, parent }');
  check.knownKeys('', options, ['name', 'parent']);
  const name = groupPart('cgroup.name', options['name']);
  const parent = check.optional((options as { parent?: unknown }).parent, parentOf, undefined);
  if (typeof parent === 'string') return places(join(parent, name));
  const above = parent ? [parent.unified?.directory ?? []].flat() : unifiedPlaces();
  const directory = above.map(place => join(place, name)).find(path => existsSync(path));
  return {
    unified: directory === undefined ? undefined : { directory, controllers: controllersOf(directory) },
    v1: v1Places([...v1.keys()].filter(isController), parent, name),
  };
}

/** A group that does nothing but find the processes of a container, so that they can be killed. */
export function killingGroup(): CgroupSetting | undefined {
  const group: CgroupSetting = { made: true, unified: undefined, enable: [], v1: [], limits: [], devices: undefined, owner: undefined, counters: [] };
  const parent = unifiedParent([]);
  if (parent) return { ...group, unified: join(parent.directory, groupName()) };
  const v1 = anyV1Parent();
  return v1 && { ...group, v1: [{ controller: v1.controller, directory: join(v1.directory, groupName()) }] };
}
