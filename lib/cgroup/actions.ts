// Stopping, killing and removing, on v2 and v1.
import { readdir, readFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainedError, notSupported } from '../errors.js';
import { isRoot } from '../host/cgroups.js';
import { watchFile } from './watch.js';
import { keyed } from '../host/texts.js';
import type { Placement } from '../options/settings.js';
import { CWD, type Op } from '../program/ops.js';
import { opError } from '../program/words.js';
import { perform } from './perform.js';

const { EBUSY, ENOENT } = os.errno;

/** How long to go on trying what the kernel cannot do at once, in milliseconds. */
const PATIENCE = 10_000;

const write = (path: string, text: string): Op => ({ op: 'write', path, text, at: CWD });

/** Resolves when cgroup.events says so, to false after that many milliseconds; rejects when the group is gone. */
async function untilState(directory: string, key: 'frozen' | 'populated', value: 0 | 1, ms: number): Promise<boolean> {
  const path = join(directory, 'cgroup.events');
  return await new Promise<boolean>((resolve, reject) => {
    const timer = setTimeout(() => { watch.close(); resolve(false); }, ms);
    const watch = watchFile(path, text => {
      if (text !== null && keyed(text, key) !== value) return;
      clearTimeout(timer);
      watch.close();
      if (text === null) reject(gone(path));
      else resolve(true);
    });
    watch.ref();
    watch.opened.catch((error: unknown) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

const tookTooLong = (step: string, path: string | undefined): ContainedError => new ContainedError({
  code: 'ETIMEDOUT', errno: -110, syscall: undefined, path, dest: undefined, step, hint: 'a process that waits in the kernel (state D) does it when what it waits for comes',
});

async function setFrozen(directory: string, value: 0 | 1): Promise<void> {
  await perform([write(join(directory, 'cgroup.freeze'), String(value))]);
  if (value === 0 && await frozenFromAbove(directory)) return;
  if (!await untilState(directory, 'frozen', value, PATIENCE)) throw tookTooLong(value === 1 ? 'freeze the cgroup' : 'thaw the cgroup', directory);
}

const gone = (path: string): ContainedError => new ContainedError({
  code: 'ENODEV', errno: -19, syscall: 'read', path, dest: undefined, step: `wait for ${path}`, hint: 'somebody has removed the group',
});

/** v1 has no event for it: kernel document cgroup-v1/freezer-subsystem, "FREEZING". */
async function freezeV1(directory: string): Promise<void> {
  const file = join(directory, 'freezer.state');
  const end = performance.now() + PATIENCE;
  for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
    if (performance.now() > end) throw tookTooLong('freeze the cgroup', directory);
    await perform([write(file, 'FROZEN')]);
    if ((await readFile(file, 'utf8')) === 'FROZEN\n') return;
    await sleep(wait);
  }
}

const nothingToFreeze = (): ContainedError => notSupported('freeze the cgroup', 'it is on no hierarchy that can freeze: neither on v2 nor on the v1 freezer');

/** What is done to all processes of a group is not done to all of the machine. */
function refuseRoot(where: Placement, step: string): void {
  const root = directoriesOf(where).find(isRoot);
  if (root !== undefined) throw new ContainedError({ code: 'EPERM', errno: -1, syscall: undefined, path: root, dest: undefined, step, hint: 'it is the root of the hierarchy, where everybody is' });
}

const directoriesOf = ({ unified, v1 }: Placement): string[] => [...new Set([...unified ? [unified.directory] : [], ...v1.values()])];

/** Stands still from here on, and resolves when all do. */
export async function freeze(where: Placement): Promise<void> {
  refuseRoot(where, 'freeze the cgroup');
  const { unified, v1 } = where;
  const freezer = v1.get('freezer');
  if (unified) return await setFrozen(unified.directory, 1);
  if (freezer === undefined) throw nothingToFreeze();
  await freezeV1(freezer);
}

/** Whether a group above it is frozen, and it with that. */
async function frozenFromAbove(directory: string): Promise<boolean> {
  for (let above = dirname(directory); !isRoot(above) && above !== '/'; above = dirname(above)) {
    if ((await readFile(join(above, 'cgroup.freeze'), 'utf8').catch(() => '')) === '1\n') return true;
  }
  return false;
}

/** Resolves when they run again, or would if it were not for a group above. */
export async function thaw({ unified, v1 }: Placement): Promise<void> {
  const freezer = v1.get('freezer');
  if (unified) return await setFrozen(unified.directory, 0);
  if (freezer === undefined) throw nothingToFreeze();
  await perform([write(join(freezer, 'freezer.state'), 'THAWED')]);
}

/** A directory and all below it, each after those in it. Those below come and go meanwhile. */
export async function depthFirst(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries) if (entry.isDirectory()) found.push(...await orGone(depthFirst(join(directory, entry.name)), []));
  return [...found, directory];
}

const ENDED = new Set(['ENOENT', 'ENODEV']);
export const orGone = async <T>(promise: Promise<T>, fallback: T): Promise<T> => await promise.catch((error: unknown) => {
  if (ENDED.has((error as NodeJS.ErrnoException).code ?? '')) return fallback;
  throw error;
});

const treesOf = async (directories: readonly string[]): Promise<string[]> => {
  const trees: string[] = [];
  for (const directory of directories) trees.push(...await orGone(depthFirst(directory), []));
  return trees;
};

/** v1 has no cgroup.kill. Frozen, nobody forks; the signal is taken when they are thawed. */
async function killV1(directories: readonly string[], freezer: string | undefined): Promise<void> {
  const end = performance.now() + PATIENCE;
  for (let wait = 1; ; wait = Math.min(wait * 2, 100)) {
    const groups = await treesOf(directories);
    if (await membersOf(groups) === undefined) return;
    if (performance.now() > end) throw tookTooLong('kill the processes of the cgroup', directories[0]);
    if (freezer !== undefined) await orGone(perform([write(join(freezer, 'freezer.state'), 'FROZEN')]), undefined);
    for (const path of groups) await orGone(perform([{ op: 'killCgroup', path, unified: 0, whenBusy: 0 }]), undefined);
    // One that was frozen below stays so when only its parent is thawed.
    for (const path of freezer === undefined ? [] : await treesOf([freezer])) await orGone(perform([write(join(path, 'freezer.state'), 'THAWED')]), undefined);
    await sleep(wait);
  }
}

/** Who joins after the write is killed by the next. */
async function killV2(directory: string): Promise<void> {
  const end = performance.now() + PATIENCE;
  for (let wait = 10; performance.now() < end; wait = Math.min(wait * 2, 100)) {
    await perform([{ op: 'killCgroup', path: directory, unified: 1, whenBusy: 0 }]);
    if (await untilState(directory, 'populated', 0, wait)) return;
  }
  throw tookTooLong('kill the processes of the cgroup', directory);
}

/** Resolves when no process is left in it or below, on any hierarchy. A group that is gone has none. */
export async function kill(where: Placement): Promise<void> {
  refuseRoot(where, 'kill the processes of the cgroup');
  const { unified, v1 } = where;
  if (unified) await orGone(killV2(unified.directory), undefined);
  if (v1.size > 0) await killV1([...new Set(v1.values())], v1.get('freezer'));
}

const removing = (path: string): Op => ({ op: 'rmdir', path, tree: 0, forgive: ENOENT });

/** Who is dying is still in the group for a moment, and is not counted against it. Milliseconds. */
const DYING = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];

/** The first of them with a process in it. */
async function membersOf(directories: readonly string[]): Promise<string | undefined> {
  for (const path of directories) {
    if (await orGone(readFile(join(path, 'cgroup.procs'), 'utf8').catch(emptyWhenThreaded), '') !== '') return path;
  }
  return undefined;
}

/** cgroup.procs of a threaded group cannot be read; its threads are processes of a group above. */
export function emptyWhenThreaded(error: NodeJS.ErrnoException): string {
  if (error.code === 'EOPNOTSUPP' || error.code === 'ENOTSUP') return '';
  throw error;
}

/** Nothing is removed while anybody is in any of it. */
async function removeSlowly(where: Placement, recursive: boolean): Promise<void> {
  let failure: unknown;
  for (const delay of DYING) {
    await sleep(delay);
    const directories = directoriesOf(where), all = await treesOf(directories);
    const used = await membersOf(all) ?? (recursive ? undefined : directories.find(directory => all.some(path => path.startsWith(`${directory}/`))));
    if (used !== undefined) failure = opError(removing(used), 'host', EBUSY);
    else {
      try {
        return await perform(all.map(removing));
      } catch (error) {
        failure = error;
      }
    }
    if ((failure as NodeJS.ErrnoException).code !== 'EBUSY') break;
  }
  throw failure;
}

/** Mostly nobody is in it, and nothing below: then one hop will do. */
export async function remove(where: Placement, recursive: boolean): Promise<void> {
  refuseRoot(where, 'remove the cgroup');
  const directories = directoriesOf(where);
  if (!recursive && (directories.length === 1 || await membersOf(directories) === undefined)) {
    const failure = await perform(directories.map(removing)).then(() => undefined, (error: NodeJS.ErrnoException) => error);
    if (failure?.code !== 'EBUSY') {
      if (failure) throw failure;
      return;
    }
  }
  await removeSlowly(where, recursive);
}
