// Where groups stand: names, parents and paths → directories of every hierarchy.
import { existsSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { OptionError } from '../errors.js';
import { cgroupHost, controllersOf, enableDown, isController, possibleIn, unifiedParent, unifiedPlaces, v1Parent, type UnifiedParent } from '../host/cgroups.js';
import * as check from './check.js';
import type { Placement } from './settings.js';

/** What a `Cgroup` tells the options that name it. */
export const placement: unique symbol = Symbol('placement');
interface Placed {
  readonly [placement]: Placement;
}
export const isPlaced = (value: unknown): value is Placed => typeof value === 'object' && value !== null && placement in value;

export function groupPart(path: string, value: unknown): string {
  const name = check.nonEmpty(path, value, 'a name');
  if (Buffer.byteLength(name) > 255 || /[\/\n]/.test(name) || name === '.' || name === '..' || name.startsWith('cgroup.')) throw new OptionError(path, value, 'a name without / and newline that is not . or .. or cgroup.*, of up to 255 bytes');
  return name;
}

export type Parent = string | Placement;

export function parentOf(value: unknown): Parent {
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

/** The v1 directories to make: those of the controllers, where we may. */
export function v1Places(controllers: readonly string[], parent: Parent | undefined, name: string): Map<string, string> {
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
export function unifiedPlace(needed: readonly string[], wanted: readonly string[], parent: Parent | undefined): UnifiedParent | undefined {
  const { unified } = cgroupHost();
  if (!unified) return undefined;
  if (parent === undefined) return unifiedParent([...needed, ...wanted]) ?? unifiedParent(needed);
  const directory = typeof parent === 'string' ? join(unified.mount, parent) : parent.unified?.directory;
  return directory === undefined ? undefined
    : { directory, enable: enableDown(unified.mount, directory.slice(unified.mount.length), [...needed, ...possibleIn(directory, wanted)]) };
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
