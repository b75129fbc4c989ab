// What the command sees as its file system.
import { resolve as absolute } from 'node:path';
import type { NamespaceKind, SpawnOptions } from '../../types/options.js';
import { OptionError } from '../errors.js';
import { MS } from '../program/constants.js';
import * as check from './check.js';
import type { FileSystem, MountSetting, Namespaces, OverlaySetting, RootSetting } from './settings.js';

/** runc's defaults (`runc spec`), and what moby adds: interrupts and powercap tell what other processes do. */
const MASKED = [
  '/proc/acpi', '/proc/asound', '/proc/interrupts', '/proc/kcore', '/proc/keys', '/proc/latency_stats',
  '/proc/sched_debug', '/proc/scsi', '/proc/timer_list', '/proc/timer_stats', '/sys/devices/virtual/powercap', '/sys/firmware',
];
const READONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const TMPFS_SIZE = 64 * 2 ** 20;
const TYPES = ['bind', 'tmpfs', 'proc', 'sysfs', 'devpts', 'mqueue', 'overlay', 'cgroup'] as const;
const PROPAGATION = { private: MS.PRIVATE, slave: MS.SLAVE, shared: MS.SHARED, unbindable: MS.UNBINDABLE } as const;

const plain = { readonly: false, propagation: 0 };
const tmpfs = (target: string, size = TMPFS_SIZE, mode = 0o1777): MountSetting => ({ ...plain, type: 'tmpfs', target, size, mode });

/** What the root gets unless the options say otherwise, in the order of mounting. */
function defaultMounts({ create, join }: Namespaces, hostRoot: boolean): MountSetting[] {
  const own = (kind: NamespaceKind): boolean => create.has(kind) || join.has(kind);
  return [
    // The pid namespace of the host is not ours to mount proc of; then the host's is what there is.
    own('pid') ? { ...plain, type: 'proc', target: '/proc' }
      : { ...plain, type: 'bind', source: '/proc', recursive: true, target: '/proc' },
    { ...plain, type: 'dev', target: '/dev' },
    { ...plain, type: 'devpts', target: '/dev/pts' },
    tmpfs('/dev/shm'),
    ...own('ipc') ? [{ ...plain, type: 'mqueue', target: '/dev/mqueue' } as const] : [],
    // sysfs shows the devices of a network namespace, and only its owner may mount it.
    ...own('net') ? [{ ...plain, type: 'sysfs', target: '/sys', readonly: true } as const] : [],
    ...hostRoot ? [tmpfs('/tmp'), tmpfs('/run', 16 * 2 ** 20, 0o755)] : [],
  ];
}

const hostPath = (path: string, value: unknown): string => absolute(check.nonEmpty(path, value, 'a path on the host'));

function resolveOverlay(path: string, given: Record<string, unknown>): OverlaySetting {
  const { lower, upper, work } = given;
  const list = typeof lower === 'string' ? [lower] : check.array(`${path}.lower`, lower, 'a directory or an array of directories');
  if (list.length === 0) throw new OptionError(`${path}.lower`, lower, 'at least one directory');
  if (list.length > 500) throw new OptionError(`${path}.lower`, lower, 'up to 500 directories', 'ERR_OUT_OF_RANGE');
  if ((upper === undefined) !== (work === undefined)) throw new OptionError(`${path}.${upper === undefined ? 'upper' : 'work'}`, undefined, '`upper` and `work` together, on one file system');
  return {
    lower: list.map((directory, i) => hostPath(`${path}.lower[${i}]`, directory)),
    writable: upper === undefined ? undefined : { upper: hostPath(`${path}.upper`, upper), work: hostPath(`${path}.work`, work) },
  };
}

function resolveRoot(value: unknown): RootSetting {
  if (value === undefined) return { kind: 'directory', source: '/', host: true };
  if (typeof value === 'string') {
    const source = hostPath('rootfs', value);
    return { kind: 'directory', source, host: source === '/' };
  }
  const given = check.object('rootfs', value, 'a directory or { lower, upper, work }');
  check.knownKeys('rootfs', given, ['lower', 'upper', 'work']);
  return { kind: 'overlay', ...resolveOverlay('rootfs', given) };
}

const KEYS: Record<typeof TYPES[number], readonly string[]> = {
  bind: ['source', 'recursive'], tmpfs: ['size', 'mode'], overlay: ['lower', 'upper', 'work'],
  proc: [], sysfs: [], devpts: [], mqueue: [], cgroup: [],
};

function resolveMount(value: unknown, i: number, namespaces: Namespaces): MountSetting {
  const path = `mounts[${i}]`;
  const given = check.object(path, value);
  const type = check.oneOf(`${path}.type`, given['type'], TYPES);
  check.knownKeys(path, given, ['type', 'target', 'readonly', 'propagation', ...KEYS[type]]);
  const target = check.insidePath(`${path}.target`, given['target']);
  if (target === '/') throw new OptionError(`${path}.target`, target, 'a place below /; the root is `rootfs`');
  const propagation = given['propagation'] === undefined ? 0
    : PROPAGATION[check.oneOf(`${path}.propagation`, given['propagation'], Object.keys(PROPAGATION) as (keyof typeof PROPAGATION)[])];
  const base = { target, readonly: check.optional(given['readonly'], v => check.boolean(`${path}.readonly`, v), false), propagation };
  switch (type) {
    case 'bind': {
      const recursive = check.optional(given['recursive'], v => check.boolean(`${path}.recursive`, v), true);
      // mount_namespaces(7): mounts of a more privileged namespace are locked together.
      if (!recursive && namespaces.create.has('user')) throw new OptionError(`${path}.recursive`, recursive, 'true in a user namespace');
      return { ...base, type, source: hostPath(`${path}.source`, given['source']), recursive };
    }
    case 'tmpfs':
      return { ...base, type, ...tmpfsOptions(path, given) };
    case 'overlay':
      return { ...base, type, ...resolveOverlay(path, given) };
    case 'cgroup':
      // Of another namespace than one's own it would show the groups of the host.
      if (!namespaces.create.has('cgroup')) throw new OptionError(`${path}.type`, type, 'a new `cgroup` in ns');
      return { ...base, type };
    default:
      return { ...base, type };
  }
}

const tmpfsOptions = (path: string, given: Record<string, unknown>): { size: number; mode: number } => ({
  size: check.optional(given['size'], v => check.size(`${path}.size`, v), TMPFS_SIZE),
  mode: check.optional(given['mode'], v => check.integer(`${path}.mode`, v, 0, 0o7777), 0o1777),
});

function resolveTmpfs(value: unknown): MountSetting[] {
  if (Array.isArray(value)) return value.map((target, i) => tmpfs(check.insidePath(`tmpfs[${i}]`, target)));
  return Object.entries(check.object('tmpfs', value, 'an array of paths, or an object of path → size')).map(([target, given]) => {
    const path = `tmpfs[${JSON.stringify(target)}]`;
    const inside = check.insidePath(path, target);
    if (typeof given !== 'object' || given === null) return tmpfs(inside, check.size(path, given));
    const options = check.object(path, given);
    check.knownKeys(path, options, ['size', 'mode', 'readonly']);
    return { ...tmpfs(inside), ...tmpfsOptions(path, options), readonly: check.optional(options['readonly'], v => check.boolean(`${path}.readonly`, v), false) };
  });
}

function paths(name: 'maskedPaths' | 'readonlyPaths', value: unknown, fallback: readonly string[]): readonly string[] {
  if (value === undefined) return fallback;
  return check.array(name, value, 'an array of paths').map((path, i) => check.insidePath(`${name}[${i}]`, path));
}

/** Who is given a group is given a way to it: kernel document cgroup-v2, "Delegation". */
const delegates = ({ cgroup }: SpawnOptions): boolean => typeof cgroup === 'object' && cgroup !== null && 'delegate' in cgroup && Boolean(cgroup.delegate);

const NEED_MNT = ['rootfs', 'readonly', 'mounts', 'tmpfs', 'maskedPaths', 'readonlyPaths'] as const;

export function resolveFileSystem(options: SpawnOptions, namespaces: Namespaces): FileSystem | undefined {
  if (!namespaces.create.has('mnt')) {
    for (const key of NEED_MNT) if (options[key] !== undefined) throw new OptionError(key, options[key], 'a new `mnt` in ns');
    return undefined;
  }
  const root = resolveRoot(options.rootfs);
  const hostRoot = root.kind === 'directory' && root.host;
  const own = [
    ...check.optional(options.tmpfs, resolveTmpfs, []),
    ...check.optional(options.mounts, v => check.array('mounts', v).map((mount, i) => resolveMount(mount, i, namespaces)), []),
  ];
  if (delegates(options)) own.push({ ...plain, type: 'cgroup', target: '/sys/fs/cgroup' });
  const taken = new Set(own.map(mount => mount.target));
  return {
    root,
    readonly: check.optional(options.readonly, v => check.boolean('readonly', v), hostRoot),
    mounts: [...defaultMounts(namespaces, hostRoot).filter(mount => !taken.has(mount.target)), ...own],
    maskedPaths: paths('maskedPaths', options.maskedPaths, MASKED),
    readonlyPaths: paths('readonlyPaths', options.readonlyPaths, READONLY),
  };
}
