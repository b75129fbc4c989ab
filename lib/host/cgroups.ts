// Where cgroups can be made on this host: pure v2, pure v1 or hybrid, read from the kernel and never assumed.
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { hostFacts } from './facts.js';

export interface CgroupHost {
  /** Mount point of the v2 hierarchy, the group that is shown there, and our own group below that. */
  unified: { mount: string; root: string; own: string; controllers: readonly string[] } | undefined;
  /** The same for each v1 controller. */
  v1: ReadonlyMap<string, { mount: string; root: string; own: string }>;
  /** A hierarchy that is mounted read-only, as a container mostly has them. */
  readOnly: string | undefined;
}

const unescape = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

/** /proc/self/cgroup, cgroups(7): our group in the hierarchy of each controller; the key '' is v2. */
function ownGroups(text: string): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    for (const controller of match?.[1]!.split(',') ?? []) groups.set(controller, match![2]!);
  }
  return groups;
}

/** A mount may show a part of the hierarchy only (a bind, or a cgroup namespace): proc_pid_mountinfo(5), field 4. */
function below(root: string, group: string): string {
  if (root === '/' || root.startsWith('/..')) return group;
  return group === root || group.startsWith(`${root}/`) ? group.slice(root.length) || '/' : '/';
}

interface Mounted {
  mount: string;
  root: string;
  type: string;
  /** Of the hierarchy: its controllers on v1. */
  options: string;
  readonly: boolean;
}

/** The mounts of cgroups, without those that a later mount at or above their place hides: proc_pid_mountinfo(5). */
function visible(mountinfo: string): Mounted[] {
  let found: Mounted[] = [];
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    if (right === undefined) continue;
    const [, , , root, mountPoint, own] = left!.split(' ');
    const [type, , options] = right.split(' ');
    const readonly = [own!, options!].some(list => list.split(',').includes('ro'));
    const mount = unescape(mountPoint!);
    found = found.filter(below => below.mount !== mount && !below.mount.startsWith(mount === '/' ? mount : `${mount}/`));
    if (type === 'cgroup' || type === 'cgroup2') found.push({ mount, root: unescape(root!), type, options: options!, readonly });
  }
  return found;
}

function read(): CgroupHost {
  const groups = ownGroups(readFileSync('/proc/self/cgroup', 'utf8'));
  const v1 = new Map<string, { mount: string; root: string; own: string }>();
  let unified: CgroupHost['unified'];
  let readOnly: string | undefined;
  for (const { mount, root, type, options, readonly } of visible(readFileSync('/proc/self/mountinfo', 'utf8'))) {
    if (readonly) readOnly ??= mount;
    if (type === 'cgroup2') {
      unified ??= { mount, root, own: below(root, groups.get('') ?? '/'), controllers: controllersOf(mount) };
      continue;
    }
    for (const controller of options.split(',')) {
      const own = groups.get(controller);
      if (own !== undefined && !v1.has(controller)) v1.set(controller, { mount, root, own: below(root, own) });
    }
  }
  return { unified, v1, readOnly };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function writable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    accessSync(join(directory, 'cgroup.procs'), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

let host: CgroupHost | undefined;

export function cgroupHost(): CgroupHost {
  host ??= read();
  return host;
}

/** Controllers that must still be enabled for the children of a v2 group. */
export interface Enabling {
  directory: string;
  controllers: readonly string[];
}

/**
 * The directories of the groups that a /proc/PID/cgroup names. A process is in a group of every hierarchy, but mostly in
 * the root of those that nobody has used; these are left out where it is in another group elsewhere.
 */
export function groupsOf(text: string): { unified: { directory: string; controllers: readonly string[] } | undefined; v1: Map<string, string> } {
  const { unified, v1 } = cgroupHost();
  const groups = ownGroups(text);
  const ours = unified && groups.has('') ? below(unified.root, groups.get('')!) : undefined;
  const places = [...v1].filter(([controller]) => isController(controller))
    .flatMap(([controller, { mount, root }]) => groups.has(controller) ? [{ controller, mount, group: below(root, groups.get(controller)!) }] : []);
  const all = [ours, ...places.map(({ group }) => group)].every(group => group === undefined || group === '/');
  const directory = unified && ours !== undefined && (all || ours !== '/') ? join(unified.mount, ours) : undefined;
  return {
    unified: directory === undefined ? undefined : { directory, controllers: controllersOf(directory) },
    v1: new Map(places.filter(({ group }) => all || group !== '/').map(({ controller, mount, group }) => [controller, join(mount, group)])),
  };
}

/** A named hierarchy, as systemd's own, is nobody else's to use: cgroups(7), "Mounting v1 controllers". */
export const isController = (name: string): boolean => !name.startsWith('name=');

/** Whether it is the root of a hierarchy as it is mounted here: that is not a group of anybody's. */
export const isRoot = (directory: string): boolean => {
  const { unified, v1 } = cgroupHost();
  return [...unified ? [unified] : [], ...v1.values()].some(({ mount }) => join(directory, '/') === join(mount, '/'));
};

export interface UnifiedParent {
  directory: string;
  enable: readonly Enabling[];
}

const parents = new Map<string, UnifiedParent>();

/** A group that systemd has given to this process: see systemd.ts. */
let scope: string | undefined;

export function adoptScope(directory: string): void {
  scope = directory;
}

/**
 * The v2 group to make ours in: the nearest of our own group and its ancestors that we may write to and that has, or can
 * be given, the controllers. A group with processes in it cannot (kernel document cgroup-v2, "No Internal Process
 * Constraint"), but for the root.
 */
export function unifiedParent(controllers: readonly string[]): UnifiedParent | undefined {
  const { unified } = cgroupHost();
  if (!unified) return undefined;
  if (scope !== undefined) return usable(scope, controllers);
  const key = controllers.join();
  const known = parents.get(key);
  if (known) return known;
  for (let group = unified.own; ; group = dirname(group)) {
    const found = usable(join(unified.mount, group), controllers);
    // What must still be enabled is asked again, until somebody has enabled it.
    if (found && found.enable.length === 0) parents.set(key, found);
    if (found || group === '/') return found;
  }
}

function usable(directory: string, controllers: readonly string[]): UnifiedParent | undefined {
  if (!writable(directory)) return undefined;
  const missing = notEnabled(directory, controllers);
  if (missing.length === 0) return { directory, enable: [] };
  const available = wordsOf(join(directory, 'cgroup.controllers'));
  return !occupied(directory) && missing.every(c => available.includes(c)) ? { directory, enable: [{ directory, controllers: missing }] } : undefined;
}

/**
 * Whether processes are in it; then its children cannot be given controllers. The root of the whole hierarchy may have both,
 * but not that of a cgroup namespace, which looks the same but for files that the other has not.
 */
const occupied = (directory: string): boolean => existsSync(join(directory, 'cgroup.events')) && readText(join(directory, 'cgroup.procs')) !== '';

/** Those of the controllers that the children of a v2 group have, or can be given. */
export const possibleIn = (directory: string, controllers: readonly string[]): string[] => {
  const enabled = enabledIn(directory), able = occupied(directory) ? [] : controllersOf(directory);
  return controllers.filter(c => enabled.includes(c) || able.includes(c));
};

const wordsOf = (path: string): string[] => (readText(path) ?? '').split(/\s+/).filter(word => word !== '');

/** Controllers that the children of a v2 group have. */
export const enabledIn = (directory: string): string[] => wordsOf(join(directory, 'cgroup.subtree_control'));

/** Those of them that the children of a v2 group do not have. */
function notEnabled(directory: string, controllers: readonly string[]): string[] {
  const enabled = enabledIn(directory);
  return controllers.filter(c => !enabled.includes(c));
}

/** What must be enabled from the root of the hierarchy down, so that the children of `group` have the controllers. */
export function enableDown(mount: string, group: string, controllers: readonly string[]): Enabling[] {
  const names = group.split('/').filter(name => name !== '');
  return [...names.keys(), names.length]
    .map(depth => join(mount, ...names.slice(0, depth)))
    .map(directory => ({ directory, controllers: notEnabled(directory, controllers) }))
    .filter(({ controllers: missing }) => missing.length > 0);
}

/** Controllers that a v2 group has. */
export const controllersOf = (directory: string): string[] => wordsOf(join(directory, 'cgroup.controllers'));

/** The v1 directory to make ours in, or why there is none. */
export function v1Parent(controller: string): string | undefined {
  const found = cgroupHost().v1.get(controller);
  if (!found) return undefined;
  const directory = join(found.mount, found.own);
  return writable(directory) ? directory : undefined;
}

/** A v1 directory to find processes by. The fewer limits and costs its hierarchy has, the better. */
export function anyV1Parent(): { controller: string; directory: string } | undefined {
  for (const controller of ['freezer', 'pids', ...cgroupHost().v1.keys()]) {
    const directory = v1Parent(controller);
    if (directory !== undefined) return { controller, directory };
  }
  return undefined;
}

/** Our own v2 group and those above it, where we may write: where groups of ours may stand. */
export function unifiedPlaces(): string[] {
  const { unified } = cgroupHost();
  const places: string[] = scope === undefined ? [] : [scope];
  for (let group = unified?.own; unified && group !== undefined; group = group === '/' ? undefined : dirname(group)) {
    const directory = join(unified.mount, group);
    if (writable(directory)) places.push(directory);
  }
  return places;
}

/** Our own v2 group, when only the processes in it keep its children from having controllers. */
export function occupiedGroup(): string | undefined {
  const { unified } = cgroupHost();
  const directory = unified && join(unified.mount, unified.own);
  return directory !== undefined && occupied(directory) && writable(directory) ? directory : undefined;
}

/** Prefix of the groups that this library names itself; what follows tells the owner. */
export const GROUP_PREFIX = 'spawn-contained.';

/** As many as a safe integer has. */
const DIGITS = 16;

/**
 * A name for new groups that tells whose they are, see `sweep`. It ends in a number of a fixed width, which is 0 here and
 * differs for every run (`numbered`). Worker threads share the pid but not the counter.
 */
export const groupName = (): string => `${GROUP_PREFIX}${hostFacts().owner}.${threadId}.${'0'.repeat(DIGITS)}`;

let standing = 0;

/** A name for a group that is not of one run. */
export const standingName = (): string => `${GROUP_PREFIX}${hostFacts().owner}.${threadId}.group-${++standing}`;

/** The number of one run, as it stands in the names of its groups. */
export const groupNumber = (run: number): string => String(run).padStart(DIGITS, '0');
