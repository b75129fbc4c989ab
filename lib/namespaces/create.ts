// Namespaces for several containers: held by a process, or by files.
import { closeSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, realpath, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CreateNamespacesOptions, Namespaces } from '../../types/namespaces.js';
import type { NamespaceKind } from '../../types/options.js';
import { perform } from '../cgroup/perform.js';
import { ContainedError, OptionError } from '../errors.js';
import { ContainedProcess } from '../handle/contained.js';
import { hostFacts } from '../host/facts.js';
import * as check from '../options/check.js';
import { heldSources, KINDS } from '../options/namespaces.js';
import { resolve } from '../options/resolve.js';
import type { JoinSource, Settings } from '../options/settings.js';
import { compile } from '../program/compile.js';
import { Template } from '../handle/template.js';
import { bindOps, checkPersistent, explained, failed, isNamespace, openNamespace, privateOps, refuseUnprivileged, removeNamespace, unmountDirectory } from './bind.js';

const KEYS = [
  'path', 'hostname', 'domainname', 'timeOffsets', 'uidMap', 'gidMap', 'rootfs', 'readonly', 'mounts', 'tmpfs', 'maskedPaths', 'readonlyPaths',
] as const satisfies readonly (keyof CreateNamespacesOptions)[];

const SIGUSR1 = 10;
const SIGKILL = 9;

function kindsOf(value: unknown): NamespaceKind[] {
  const kinds = check.array('kinds', value, 'an array of namespaces').map((kind, i) => check.oneOf(`kinds[${i}]`, kind, KINDS));
  if (kinds.length === 0) throw new OptionError('kinds', value, 'at least one namespace');
  const twice = kinds.findIndex((kind, i) => kinds.indexOf(kind) < i);
  if (twice >= 0) throw new OptionError(`kinds[${twice}]`, kinds[twice], 'each namespace once');
  return kinds;
}

/** What holds them is root without any capability, so that no command that is nobody can do anything to it. */
function settingsOf(kinds: readonly NamespaceKind[], { path: _, ...options }: CreateNamespacesOptions): Settings {
  const user = hostFacts().privileged && !kinds.includes('user') ? { user: 0 } : {};
  return { ...resolve({ ...options, ...user, ns: kinds }), cgroup: undefined, impossible: undefined };
}

/** Held by a process. */
class Held implements Namespaces {
  readonly kinds: readonly NamespaceKind[];
  readonly paths: Readonly<Partial<Record<NamespaceKind, string>>>;
  readonly pid: number;
  readonly [heldSources]: ReadonlyMap<NamespaceKind, JoinSource>;
  readonly fds: ReadonlyMap<NamespaceKind, number>;
  readonly #holder: ContainedProcess;

  /** The descriptors are why it can be entered without root: nobody may look into the process, ptrace(2). */
  constructor(holder: ContainedProcess, fds: ReadonlyMap<NamespaceKind, number>) {
    const pid = holder.pid!;
    this.#holder = holder;
    this.pid = pid;
    this.fds = fds;
    this.kinds = [...fds.keys()];
    this.paths = Object.fromEntries([...fds].map(([kind, fd]) => [kind, `/proc/${process.pid}/fd/${fd}`]));
    const sources = new Map([...fds].map(([kind, fd]) => [kind, { fd, pid }]));
    this[heldSources] = sources;
    const release = (): void => {
      for (const { fd } of sources.values()) closeSync(fd);
      sources.clear();
    };
    holder.exited.then(release, release);
  }

  async remove(): Promise<void> {
    this.#holder.ref();
    await this.#holder.killAll();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

/** Nobody is let in before the holder cannot be looked into: csrc/launcher/pause.cc. */
async function untilClosed(holder: ContainedProcess): Promise<void> {
  holder.kill(SIGUSR1);
  for (;;) {
    const name = await readFile(`/proc/${holder.pid}/comm`, 'latin1').catch(() => '');
    if (name === 'contained-pause\n') return;
    if (name === '' || holder.exitCode !== null || holder.signalCode !== null) throw new ContainedError({
      code: 'ESRCH', errno: -3, syscall: undefined, path: undefined, dest: undefined, step: 'hold the namespaces', hint: 'the process that was to hold them was killed',
    });
    await sleep(1);
  }
}

/** Starts what holds them; resolves when nobody can look into it any more. */
async function hold(settings: Settings): Promise<Held> {
  const template = new Template(settings, () => compile(settings, { count: 0, pipes: [] }, undefined));
  const life = { timeout: undefined, cpuTimeout: undefined, output: undefined, signal: undefined, killSignal: SIGKILL, killGrace: 0, trace: false };
  const holder = new ContainedProcess(template, { file: 'pause', search: '', argv: ['pause'], env: [] }, life, []);
  await holder.ready;
  const fds = new Map<NamespaceKind, number>();
  try {
    for (const kind of KINDS) if (settings.namespaces.create.has(kind)) fds.set(kind, openNamespace(holder.pid!, kind));
  } catch (error) {
    for (const fd of fds.values()) closeSync(fd);
    await holder.killAll();
    throw error;
  }
  const held = new Held(holder, fds);
  await untilClosed(holder);
  holder.unref();
  return held;
}

/** Whether something is mounted on the directory: proc_pid_mountinfo(5), where a space is \040. */
const isMountPoint = (directory: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    .some(line => line.split(' ')[4]?.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8))) === directory);

/** Held by files in a directory. */
class Bound implements Namespaces {
  readonly kinds: readonly NamespaceKind[];
  readonly paths: Readonly<Partial<Record<NamespaceKind, string>>>;
  readonly pid = undefined;
  readonly #directory: string;
  readonly #made: boolean;
  readonly #sources: Map<NamespaceKind, JoinSource>;
  #removal: Promise<void> | undefined;

  /** `made`: whether the directory was. */
  constructor(directory: string, kinds: readonly NamespaceKind[], made: boolean) {
    this.#directory = directory;
    this.#made = made;
    this.kinds = kinds;
    this.paths = Object.fromEntries(kinds.map(kind => [kind, join(directory, kind)]));
    this.#sources = new Map(kinds.map(kind => [kind, { path: join(directory, kind), pid: undefined }]));
  }

  get [heldSources](): ReadonlyMap<NamespaceKind, JoinSource> {
    return this.#sources;
  }

  remove(): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  /** All that can be removed is, whatever becomes of the others. */
  async #remove(): Promise<void> {
    this.#sources.clear();
    const results = await Promise.allSettled(Object.values(this.paths).map(path => removeNamespace(path)));
    const failures = results.flatMap(result => result.status === 'rejected' && (result.reason as NodeJS.ErrnoException).code !== 'ENOENT' ? [result.reason as unknown] : []);
    if (failures.length > 0) throw failures[0];
    if (this.kinds.includes('mnt') && isMountPoint(this.#directory)) await unmountDirectory(this.#directory);
    if (this.#made) await removeEmpty(this.#directory);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

/** What others have put into it, or mounted on it, is not ours. */
async function removeEmpty(directory: string): Promise<void> {
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (!['ENOTEMPTY', 'EEXIST', 'EBUSY', 'ENOENT'].includes(error.code ?? '')) throw failed(error, `remove ${directory}`);
  });
}

/** Makes the directory where it is missing; its parent must be there. */
async function openDirectory(path: string): Promise<{ directory: string; made: boolean }> {
  const step = `make the directory ${path}`;
  const made = await mkdir(path, { mode: 0o755 }).then(() => true, (error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return false;
    throw failed(error, step, error.code === 'ENOENT' ? 'the directory above it does not exist' : undefined);
  });
  if (!(await stat(path)).isDirectory()) throw new ContainedError({ code: 'ENOTDIR', errno: -20, syscall: undefined, path, dest: undefined, step, hint: 'something else is there; give another path' });
  return { directory: await realpath(path), made };
}

async function bindAll(path: string, held: Held): Promise<Bound> {
  const { directory, made } = await openDirectory(path);
  const apart = held.kinds.includes('mnt') && !isMountPoint(directory) ? privateOps(directory) : { ops: [], undo: [] };
  const bound = bindOps([...held.fds].map(([kind, fd]) => ({ fd, path: join(directory, kind) })), apart.ops.length);
  try {
    await perform([...apart.ops, ...bound.ops], [...bound.undo, ...apart.undo]);
  } catch (error) {
    if (made) await removeEmpty(directory);
    throw explained(error, directory);
  }
  return new Bound(directory, held.kinds, made);
}

const TRIES = 32;

/**
 * A mount namespace can be held in an older one only. Linux 6.18 tells the older by a number that each processor deals out
 * from a stock of its own (kernel/nstree.c), so outside of the first mount namespace a new one may count as older: then another
 * is made, sooner or later on another processor.
 */
async function bindYounger(path: string, settings: Settings): Promise<Bound> {
  for (let tries = 1; ; ++tries) {
    const held = await hold(settings);
    try {
      return await bindAll(path, held);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ELOOP' || tries === TRIES) throw error;
    } finally {
      await held.remove();
    }
    await sleep(tries);
  }
}

/**
 * Makes namespaces for several containers: a pod, or with a `path` ones that outlive this process. They are new, and as those
 * of a container are: the loopback device is up, the host is called `contained`, `mnt` has the root that the options
 * give. Without root `user` is made too, since they can be made only in one.
 *
 * Rejects with an {@link OptionError} for what is wrong in the options, and with a {@link ContainedError} for what the
 * host cannot do or what is in the way at `path` (EEXIST, ENOTDIR); nothing is left of them then.
 */
export async function createNamespaces(kinds: readonly NamespaceKind[], options: CreateNamespacesOptions = {}): Promise<Namespaces> {
  const list = kindsOf(kinds);
  check.knownKeys('', check.object('options', options), KEYS);
  const path = check.optional(options.path, v => check.insidePath('path', v), undefined);
  if (path !== undefined) checkPersistent('kinds', list, kinds);
  const settings = settingsOf(list, options);
  if (path !== undefined) refuseUnprivileged(path);
  return path === undefined ? await hold(settings) : await bindYounger(path, settings);
}

/**
 * The namespaces that `createNamespaces` has left in the directory `path`, perhaps in another process. Its directory stays when
 * they are removed. Rejects with a {@link ContainedError}: ENOENT when there are none.
 */
export async function openNamespaces(path: string): Promise<Namespaces> {
  const place = check.insidePath('path', path);
  const step = `find namespaces in ${place}`;
  const names = await readdir(place).catch((error: unknown) => { throw failed(error, step, 'there is no such directory'); });
  const kinds: NamespaceKind[] = [];
  for (const kind of KINDS) if (names.includes(kind) && await isNamespace(join(place, kind)).catch(() => false)) kinds.push(kind);
  if (kinds.length === 0) throw new ContainedError({ code: 'ENOENT', errno: -2, syscall: undefined, path: place, dest: undefined, step, hint: 'no file in it holds a namespace; after a restart of the machine none does' });
  return new Bound(await realpath(place), kinds, false);
}
