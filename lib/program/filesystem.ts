// The mount namespace: everything is mounted on a copy of the root that nobody sees yet, targets are resolved by fd
// inside it, and at the end it becomes the root.
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import type { FileSystem, MountSetting, OverlaySetting, Settings } from '../options/settings.js';
import { AT, MOUNT_ATTR, MS, OPEN_TREE_CLONE } from './constants.js';
import { CWD, ENSURE, type Op } from './ops.js';
import type { Slots } from './slots.js';

const { ENOENT } = os.errno;
// No setuid files and no devices from file systems of others; ours say what they need.
const SAFE = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV;
const S_IFCHR = constants.S_IFCHR;
const O_PATH = 0o10000000;
const device = (major: number, minor: number): number => major * 256 + minor;

const DEVICES: readonly [name: string, device: number][] = [
  ['null', device(1, 3)], ['zero', device(1, 5)], ['full', device(1, 7)], ['random', device(1, 8)], ['urandom', device(1, 9)],
  ['tty', device(5, 0)],
];
const LINKS: readonly [name: string, target: string][] = [
  ['fd', '/proc/self/fd'], ['stdin', '/proc/self/fd/0'], ['stdout', '/proc/self/fd/1'], ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
];

const setattr = (at: number, set: number, propagation: number, flags: number): Op =>
  ({ op: 'mountSetattr', path: '', at, set, propagation, flags });
const bind = (to: number, path: string, recursive: boolean): Op =>
  ({ op: 'openTree', path, to, at: CWD, flags: OPEN_TREE_CLONE | (recursive ? AT.RECURSIVE : 0) });
const move = (from: number, root: number, path: string | null): Op => ({ op: 'moveMount', path, from, root });
const ensure = (root: number, path: string, kind: number, like = -1): Op => ({ op: 'ensure', path, root, kind, like });
const directory = (to: number, path: string, at = CWD): Op => ({ op: 'open', path, to, at, flags: constants.O_DIRECTORY | O_PATH });

/** Whether one path is the other or below it. */
const within = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`);

class Builder {
  readonly sources: Op[] = [];  // opened while paths are still the host's
  readonly hidden: Op[] = [];   // mounts that serve others; after the sources, so that no copy of the host's root has them
  readonly targets: Op[] = [];  // made before the root is read-only
  readonly mounts: Op[] = [];
  readonly root: number;
  stacked = 0;  // mounts on top of the old root
  readonly #inUserNamespace: boolean;
  readonly #slots: Slots;
  readonly #mapped: (gid: number) => boolean;
  readonly #all: readonly MountSetting[];
  readonly #placed: string[] = [];
  readonly #made = new Set<string>();  // mount points that need not be looked for

  constructor(settings: Settings, slots: Slots) {
    this.#slots = slots;
    this.#all = settings.fileSystem?.mounts ?? [];
    this.#inUserNamespace = settings.identity.maps !== undefined || settings.namespaces.join.has('user');
    const ranges = settings.identity.maps?.gid.ranges;
    this.#mapped = gid => !settings.namespaces.join.has('user') && (!ranges || ranges.some(r => gid >= r.inside && gid < r.inside + r.count));
    this.root = slots.take();
  }

  place(): number {
    return this.#slots.take();
  }

  /** Opens the layers and makes the overlay in `to`. Without a directory for the writes it gets a tmpfs. */
  overlay({ lower, writable }: OverlaySetting, to: number): Op[] {
    const first = this.#slots.take(lower.length + 2);
    const upper = first + lower.length;
    lower.forEach((path, i) => this.sources.push(directory(first + i, path)));
    if (writable) {
      this.sources.push(directory(upper, writable.upper), directory(upper + 1, writable.work));
    } else {
      const tmpfs = this.#slots.take();
      this.hidden.push(
        this.#fsmount('tmpfs', tmpfs, ['mode', '0755'], 0),
        this.#stack(tmpfs),
        { op: 'mkdir', path: 'upper', at: tmpfs, mode: 0o755 },
        { op: 'mkdir', path: 'work', at: tmpfs, mode: 0o755 },
        directory(upper, 'upper', tmpfs),
        directory(upper + 1, 'work', tmpfs),
      );
    }
    const layers = lower.length + 2 ** 16;
    // Without privilege over the host the overlay keeps its marks in user.* attributes: overlayfs, "userxattr".
    return [{ op: 'overlay', flag: this.#inUserNamespace ? 'userxattr' : null, to, attributes: SAFE, first, layers }];
  }

  /** A layer, or what is to be copied, must be mounted somewhere. On top of the old root no path leads to it. */
  #stack(slot: number): Op {
    ++this.stacked;
    return move(slot, CWD, null);
  }

  #fsmount(type: string, to: number, options: readonly string[], attributes: number): Op {
    return { op: 'fsmount', type, options: ['source', type, ...options], to, attributes };
  }

  /** The mount point, made before the root is read-only unless it lies in a mount that comes before it. */
  #ensure(target: string, kind: number, like = -1): void {
    const inside = this.#placed.some(above => within(target, above));
    if (!this.#made.has(target)) (inside ? this.mounts : this.targets).push(ensure(this.root, target, kind, like));
    this.#placed.push(target);
  }

  #attach(slot: number, setting: MountSetting): void {
    if (setting.propagation) this.mounts.push(setattr(slot, 0, setting.propagation, 0));
    this.mounts.push(move(slot, this.root, setting.target));
  }

  #make(setting: MountSetting, type: string, options: readonly string[], attributes: number): number {
    const slot = this.#slots.take();
    this.#ensure(setting.target, ENSURE.directory);
    this.mounts.push(this.#fsmount(type, slot, options, attributes | (setting.readonly ? MOUNT_ATTR.RDONLY : 0)));
    return slot;
  }

  mount(setting: MountSetting): void {
    switch (setting.type) {
      case 'bind': {
        const slot = this.#slots.take();
        this.sources.push(bind(slot, setting.source, setting.recursive));
        this.#ensure(setting.target, ENSURE.like, slot);
        this.mounts.push(setattr(slot, SAFE | (setting.readonly ? MOUNT_ATTR.RDONLY : 0), 0, AT.RECURSIVE));
        return this.#attach(slot, setting);
      }
      case 'overlay': {
        const slot = this.#slots.take();
        this.#ensure(setting.target, ENSURE.directory);
        this.mounts.push(...this.overlay(setting, slot));
        if (setting.readonly) this.mounts.push(setattr(slot, MOUNT_ATTR.RDONLY, 0, 0));
        return this.#attach(slot, setting);
      }
      case 'tmpfs':
        return this.#attach(this.#make(setting, 'tmpfs', ['size', String(setting.size), 'mode', setting.mode.toString(8)], SAFE), setting);
      case 'devpts': {
        const tty = this.#mapped(5) ? ['gid', '5'] : [];
        return this.#attach(this.#make(setting, 'devpts', ['newinstance', '', 'ptmxmode', '0666', 'mode', '0620', ...tty], MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC), setting);
      }
      case 'proc': case 'sysfs': case 'mqueue':
        return this.#attach(this.#make(setting, setting.type, [], SAFE | MOUNT_ATTR.NOEXEC), setting);
      case 'cgroup':
        return this.#attach(this.#make(setting, 'cgroup2', [], SAFE | MOUNT_ATTR.NOEXEC), setting);
      case 'dev':
        return this.#dev(setting);
    }
  }

  /** A minimal /dev. Where mknod(2) is not ours to call, the host's devices are bound. */
  #dev(setting: MountSetting): void {
    const slot = this.#make(setting, 'tmpfs', ['size', '65536', 'mode', '755'], MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC);
    for (const [name, target] of LINKS) this.mounts.push({ op: 'symlink', path: name, target, at: slot });
    this.#makeBelow(setting, slot);
    if (!this.#inUserNamespace) {
      for (const [name, number] of DEVICES) this.mounts.push({ op: 'mknod', path: name, at: slot, mode: S_IFCHR | 0o666, device: number });
      return this.#attach(slot, setting);
    }
    this.#attach(slot, setting);
    for (const [name] of DEVICES) {
      const node = this.#slots.take();
      const target = `${setting.target}/${name}`;
      this.sources.push(bind(node, `/dev/${name}`, false));
      this.mounts.push(ensure(this.root, target, ENSURE.file), move(node, this.root, target));
    }
  }

  /** The mount points directly in a new /dev are made while nobody else can get at it: no step of the way need be checked. */
  #makeBelow(dev: MountSetting, slot: number): void {
    const taken = new Set([...LINKS, ...DEVICES].map(([name]) => `${dev.target}/${name}`));
    for (const { type, target } of this.#all.slice(this.#all.indexOf(dev) + 1)) {
      if (within(dev.target, target)) return;  // it covers this one
      const name = target.slice(dev.target.length + 1);
      if (type === 'bind' || target !== `${dev.target}/${name}` || name.includes('/') || taken.has(target) || this.#made.has(target)) continue;
      this.mounts.push({ op: 'mkdir', path: name, at: slot, mode: 0o755 });
      this.#made.add(target);
    }
  }

  /**
   * Masked files are covered with the host's /dev/null, directories with one empty tmpfs; runc makes them share one too,
   * since a superblock for each is dear. To be copied it must be mounted somewhere: below what is mounted on /dev.
   * (Not on the old root: each mount that is detached there costs another RCU grace period.)
   */
  mask(paths: readonly string[]): { prepare: Op[]; apply: Op[] } {
    if (paths.length === 0) return { prepare: [], apply: [] };
    const file = this.#slots.take();
    const empty = this.#slots.take();
    this.sources.push({ op: 'openTree', path: '/dev/null', to: file, at: CWD, flags: 0 });
    return {
      prepare: [
        this.#fsmount('tmpfs', empty, ['mode', '0555', 'size', '4096'], SAFE | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.RDONLY),
        move(empty, this.root, '/dev'),
      ],
      apply: paths.map(path => ({ op: 'mask', path, root: this.root, directory: empty, file, forgive: ENOENT })),
    };
  }
}

function rootOps(builder: Builder, { root, readonly }: FileSystem): { open: Op[]; close: Op[] } {
  const slot = builder.root;
  if (root.kind === 'overlay') {
    return { open: builder.overlay(root, slot), close: readonly ? [setattr(slot, MOUNT_ATTR.RDONLY, 0, 0)] : [] };
  }
  const readonlyOps = [setattr(slot, SAFE | (readonly ? MOUNT_ATTR.RDONLY : 0), 0, AT.RECURSIVE)];
  // Opened as a directory first, since a mount of a file would do for openTree.
  const place = builder.place();
  builder.sources.push(directory(place, root.source), { op: 'openTree', path: '', to: slot, at: place, flags: OPEN_TREE_CLONE | AT.RECURSIVE | AT.EMPTY_PATH });
  return { open: [], close: readonlyOps };
}

/**
 * What holds for a path of /proc and /sys holds wherever else a mount shows it: a second /proc/sys, new or bound, would be
 * as good as the first.
 */
function everywhere(paths: readonly string[], { mounts }: FileSystem): string[] {
  const shown = (mount: MountSetting): string | undefined =>
    mount.type === 'proc' ? '/proc' : mount.type === 'sysfs' ? '/sys' : mount.type === 'bind' ? mount.source : undefined;
  const again = mounts.flatMap(mount => {
    const above = shown(mount);
    if (above === undefined || above === mount.target) return [];
    if (paths.some(path => within(above, path))) return [mount.target];
    return paths.filter(path => above === '/' || within(path, above)).map(path => mount.target + path.slice(above === '/' ? 0 : above.length));
  });
  return [...paths, ...again];
}

export interface FileSystemOps {
  /** Opens what is of the host, by the ids that the caller has there. */
  open: readonly Op[];
  /** Makes the new root and changes to it. */
  build: readonly Op[];
}

export function fileSystemOps(settings: Settings, slots: Slots): FileSystemOps {
  const { fileSystem } = settings;
  if (!fileSystem) return { open: [], build: [] };
  const builder = new Builder(settings, slots);
  const root = rootOps(builder, fileSystem);
  for (const mount of fileSystem.mounts) builder.mount(mount);
  const masks = builder.mask(everywhere(fileSystem.maskedPaths, fileSystem));
  // A mount point that is missing is made in a root of one's own, but not on the host.
  const [before, after] = fileSystem.root.kind === 'directory' && fileSystem.root.host ? [root.close, []] : [[], root.close];
  const open: Op[] = [
    // Or what is mounted here would be mounted on the host: mount_namespaces(7), "SHARED SUBTREES".
    { op: 'mountSetattr', path: '/', at: CWD, set: 0, propagation: MS.PRIVATE, flags: AT.RECURSIVE },
    ...builder.sources,
  ];
  const build: Op[] = [
    ...builder.hidden,
    ...root.open,
    move(builder.root, CWD, null),
    ...before,
    ...builder.targets,
    ...after,  // before our mounts are on it: these have flags of their own
    ...masks.prepare,
    ...builder.mounts,
    ...masks.apply,
    ...everywhere(fileSystem.readonlyPaths, fileSystem).map((path): Op => ({ op: 'readonly', path, root: builder.root, forgive: ENOENT })),
    { op: 'pivotRoot', root: builder.root, stacked: builder.stacked },
  ];
  return { open, build };
}
