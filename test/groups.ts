// Groups for tests: what this host has of cgroups, read from the kernel, and groups that are gone after a test, come what may.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createCgroup, openCgroup } from 'spawn-contained';
import type { Cgroup, CreateCgroupOptions } from 'spawn-contained';
import { needsRoot, scratch, tidy } from './env.js';

/** For tests that make groups. */
export const root: { skip: string | false } = { skip: needsRoot };

const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map(line => line.split(' '));
/** Where v2 is mounted. */
export const unified = mounts.find(words => words.at(-3) === 'cgroup2')?.[4];
/** Where each v1 controller is mounted. */
export const v1 = new Map(mounts.filter(words => words.at(-3) === 'cgroup').flatMap(words =>
  words.at(-1)!.split(',').filter(word => !/^(rw|ro|xattr|none|name=.*)$/.test(word)).map(word => [word, words[4]!] as const)));
export const v2Controllers = unified === undefined ? [] : readFileSync(join(unified, 'cgroup.controllers'), 'utf8').trim().split(' ');
/** Which version has the controller, by v2's name of it. */
export const version = (controller: string): 1 | 2 | undefined =>
  v2Controllers.includes(controller) ? 2 : v1.has(controller === 'io' ? 'blkio' : controller) ? 1 : undefined;

const text = (path: string): string => existsSync(path) ? readFileSync(path, 'utf8').trim() : '';

/** The first of these files that there is in one of the group's directories. */
export function fileOf(group: Pick<Cgroup, 'paths'>, ...names: string[]): string {
  const found = Object.values(group.paths).flatMap(directory => names.map(name => join(directory, name))).find(existsSync);
  if (found === undefined) throw new Error(`none of ${names.join(', ')} in ${JSON.stringify(group.paths)}`);
  return found;
}
export const textOf = (group: Pick<Cgroup, 'paths'>, ...names: string[]): string => readFileSync(fileOf(group, ...names), 'utf8').trim();

export const directoriesOf = (group: Pick<Cgroup, 'paths'>): string[] => [...new Set(Object.values(group.paths))];

/** Whether this user may make groups in the v2 group that this process is in, or in the one above. */
export const delegated = ((): boolean => {
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  return unified !== undefined && own !== undefined && [own, dirname(own)].some(path => {
    try {
      accessSync(join(unified!, path, 'cgroup.procs'), constants.W_OK);
      return true;
    } catch {
      return false;
    }
  });
})();

let count = 0;
const made: Cgroup[] = [];
const started: ChildProcess[] = [];

/** A name that no other test has. */
export const nameFor = (): string => `contained-test.${process.pid}.g${++count}`;

/** A group that is removed after this test at the latest, with all that is in it. */
export async function group(options: CreateCgroupOptions = {}): Promise<Cgroup> {
  const created = await createCgroup({ name: nameFor(), ...options });
  made.push(created);
  return created;
}

/** A process in the group, that ends with this test at the latest. */
export async function member(cgroup: Cgroup | undefined, script = 'exec sleep 1000'): Promise<ChildProcess & { pid: number }> {
  const child = spawn('sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'ignore', 'ignore'] });
  started.push(child);
  const { errors } = cgroup ? await cgroup.move([child.pid!]) : { errors: [] };
  if (errors.length > 0) throw new Error(JSON.stringify(errors));
  child.stdin!.end('go\n');
  return child as ChildProcess & { pid: number };
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

/** Every directory of a group, by the names of this test, on all hierarchies. */
const left = (name: string): string[] => {
  const found = [unified, ...new Set(v1.values())].filter(mount => mount !== undefined);
  return execFileSync('find', [...found, '-type', 'd', '-name', name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n').filter(line => line !== '');
};
export { left as directoriesNamed };

/** Undoes what a test that failed has left, so that the next ones are not concerned. */
async function clear(): Promise<void> {
  for (const child of started.splice(0)) {
    child.kill('SIGKILL');
    for (const file of child.pid === undefined ? [] : text(`/proc/${child.pid}/cgroup`).split('\n').filter(line => line.includes('freezer'))) {
      const state = join(v1.get('freezer') ?? '', file.split(':')[2]!, 'freezer.state');
      if (existsSync(state) && file.includes('contained-test')) execFileSync('sh', ['-c', `echo THAWED > ${state}`]);
    }
  }
  for (const cgroup of made.splice(0).reverse()) {
    await cgroup.kill().catch(() => {});
    await cgroup.remove({ recursive: true }).catch(() => {});
  }
  for (const directory of [...left(`contained-test.${process.pid}.*`), ...left(`spawn-contained.${process.pid}.*`)].flatMap(top => execFileSync('find', [top, '-depth', '-type', 'd'], { encoding: 'utf8' }).trim().split('\n'))) {
    const script = `for p in $(cat ${directory}/cgroup.threads ${directory}/tasks 2>/dev/null); do kill -9 $p; done; sleep 0.1; rmdir ${directory}`;
    execFileSync('sh', ['-c', script], { stdio: 'ignore' });
  }
}

/** A test with groups. */
export function grouping(title: string, body: Parameters<typeof tidy>[1], extra: Parameters<typeof tidy>[2] = {}): void {
  tidy(title, async t => {
    try {
      await body(t);
    } finally {
      await clear().catch((error: unknown) => { t.comment(String(error)); });
    }
  }, extra);
}

/** A block device of this test: a file behind a loop device. */
export function loopDevice(t: { teardown(f: () => void): void }, megabytes = 32): { path: string; numbers: string } {
  const file = join(scratch(t), 'disk');
  execFileSync('sh', ['-c', 'modprobe loop 2>/dev/null || true; truncate -s "$1M" "$2"', 'sh', String(megabytes), file]);
  const path = execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' }).trim();
  t.teardown(() => execFileSync('losetup', ['-d', path]));
  return { path, numbers: text(`/sys/class/block/${path.slice(5)}/dev`) };
}

/** The same group by another handle. */
export const reopened = async (cgroup: Cgroup): Promise<Cgroup> => await openCgroup({ name: cgroup.name });

/** The error that it rejects with or throws. */
export async function errorOf(f: () => unknown): Promise<Error & { code?: string; errno?: number; path?: string; hint?: string; step?: string; syscall?: string }> {
  try {
    await f();
  } catch (error) {
    return error as Error;
  }
  return new Error('there was no error');
}

export const makeDirectories = (paths: readonly string[]): void => paths.forEach(path => mkdirSync(path));

/** Whether it settles within these milliseconds. */
export async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout;
  const late = new Promise<boolean>(resolve => { timer = setTimeout(() => resolve(false), ms); });
  return await Promise.race([promise.then(() => true, () => true), late]).finally(() => clearTimeout(timer));
}
