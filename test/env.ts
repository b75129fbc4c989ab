// Where the tests run: what may be left out there, and what must be the same after each as it was before.
import { execFile, execFileSync, type ExecFileOptions } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from 'spawn-contained';
import { cgroupHost, unifiedParent } from '../dist/lib/host/cgroups.js';
import { native } from '../dist/lib/native.js';

export const root = process.getuid!() === 0;

/** For tests that only root, or only others, can be given: `t.skip` takes it. Everything else must run. */
export const needsRoot = root ? false : 'for root only; the pass as root runs it';
export const needsUser = root ? 'without root only; the pass as an unprivileged user runs it' : false;

/** Whether limits can be had: as root, or in a group that is delegated to this user. */
const limitable = root || unifiedParent(['memory', 'cpu', 'pids']) !== undefined;
export const needsLimits = limitable ? false : 'for root only, or with a delegated group; the pass as root runs it';
export const needsNoLimits = limitable ? 'without root only, and without delegation; the pass as an unprivileged user runs it' : false;

/** For tests of what this host need not have; the virtual machines of test/vm have it. */
export const needsHost = (there: boolean, what: string): string | false => needsRoot || (!there && `for another kind of host (${what}); test/vm has one`);

/** Mount points of cgroup hierarchies: v2, and v1 by controller. */
export const hierarchies = cgroupHost();

/** A directory of this test that is gone after it. */
export function scratch(t: { teardown(f: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'contained-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

let busybox: string | undefined;

/** A root file system of one static program: busybox, by all its names. */
export function busyboxRoot(t: { teardown(f: () => void): void }): string {
  busybox ??= ['/bin/busybox', '/usr/bin/busybox'].find(existsSync);
  if (busybox === undefined) throw new Error("install Debian's package busybox-static");
  const directory = scratch(t);
  for (const name of ['bin', 'etc', 'proc', 'dev', 'sys', 'tmp']) mkdirSync(join(directory, name));
  execFileSync('cp', [busybox, join(directory, 'bin/busybox')]);
  execFileSync(busybox, ['--install', '-s', join(directory, 'bin')]);
  for (const name of readdirSync(join(directory, 'bin'))) {
    if (name === 'busybox') continue;
    rmSync(join(directory, 'bin', name));
    symlinkSync('busybox', join(directory, 'bin', name));
  }
  return directory;
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Whether a group is named by another process that still runs: what that does is not of this test. */
function ofAnother(name: string): boolean {
  // The names that tests give have a pid too.
  const tester = /^contained-test[\w-]*\.(\d+)/.exec(name)?.[1];
  if (tester !== undefined && tester !== String(process.pid)) return existsSync(`/proc/${tester}`);
  const [, pid, start] = /^spawn-contained\.(\d+)\.(\d+)\./.exec(name) ?? [];
  const stat = pid === undefined || pid === String(process.pid) ? '' : text(`/proc/${pid}/stat`);
  return stat !== '' && stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] === start;
}

/** Every cgroup directory of this library's naming, on every hierarchy. */
function groups(): string[] {
  const mounts = text('/proc/self/mountinfo').split('\n').filter(line => / - cgroup2? /.test(line)).map(line => line.split(' ')[4]!);
  const found: string[] = [];
  const walk = (directory: string, depth: number): void => {
    for (const entry of depth > 4 ? [] : list(directory)) {
      const path = join(directory, entry);
      if (entry.startsWith('spawn-contained.') || entry.startsWith('contained-test')) {
        if (!ofAnother(entry)) found.push(path);
      } else if (existsSync(join(path, 'cgroup.procs'))) walk(path, depth + 1);
    }
  };
  mounts.forEach(mount => walk(mount, 0));
  return [...new Set(found)].sort();
}

/** Processes that are ours by parentage, but for the launcher: [pid, name]. */
function children(): string[] {
  return list('/proc').filter(name => /^\d+$/.test(name)).flatMap(pid => {
    const stat = text(`/proc/${pid}/stat`);
    const name = stat.slice(stat.indexOf('('), stat.lastIndexOf(')') + 1);
    const ppid = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    return ppid === String(process.pid) && Number(pid) !== native().launcherPid() ? [`${pid} ${name}`] : [];
  });
}

function descriptors(): string[] {
  return list('/proc/self/fd').flatMap(fd => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      // Opened once for the process and kept: the event loop's, the launcher's, /dev/null, and the listing itself.
      return /anon_inode|\/dev\/null|\/proc\/|memfd:|\/fd$/.test(target) ? [] : [target.replace(/\d+/, 'N')];
    } catch {
      return [];
    }
  }).sort();
}

export interface Surroundings {
  groups: string[];
  children: string[];
  strays: number[];
  descriptors: string[];
  mounts: string;
  temporary: string[];
}

export const surroundings = (): Surroundings => ({
  groups: groups(),
  children: children(),
  strays: strays(),
  descriptors: descriptors(),
  mounts: text('/proc/self/mountinfo'),
  // Without $XDG_RUNTIME_DIR names are kept there; the directory of all stays.
  temporary: list(tmpdir()).filter(name => name.startsWith('spawn-contained') && name !== `spawn-contained.${process.getuid!()}`).sort(),
});

/** That everything is as it was; streams of the event loop may take a few turns to close. */
export async function sameAs(before: Surroundings): Promise<Surroundings> {
  let now = before;
  await until(() => JSON.stringify(now = surroundings()) === JSON.stringify(before), 5000);
  return now;
}

let marks = 0;
const marked = `7${process.pid}.`;

/** Seconds for sleep(1) that stand in no other command line: whoever has them is of this test. */
export const mark = (): string => `${marked}${String(++marks).padStart(4, '0')}`;

/** Pids of the processes that have `word` in their command line. */
export const processesWith = (word: string): number[] =>
  list('/proc').filter(name => /^\d+$/.test(name) && text(`/proc/${name}/cmdline`).includes(word)).map(Number);

/** What stands in a file of a process; nothing when it has ended meanwhile. */
export const ofProcess = (pid: number, file: 'comm' | 'cmdline' | 'stat'): string => text(`/proc/${pid}/${file}`);

/** Polls for what has no event. False after so many milliseconds, of which there are enough for a machine that is busy with other things. */
export async function until(condition: () => boolean | Promise<boolean>, patience = 20_000): Promise<boolean> {
  for (const end = performance.now() + patience; performance.now() < end; await sleep(10)) if (await condition()) return true;
  return await condition();
}

export interface NodeResult {
  code: number | string | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** Runs test/fixtures/`name` in a Node of its own to its end, at most a minute; `before` is put in front of the command. */
export function runFixture(name: string, args: readonly string[] = [], options: ExecFileOptions & { before?: readonly string[] } = {}): Promise<NodeResult> {
  const { before = [], ...rest } = options;
  const [file, ...words] = [...before, process.execPath, '--unhandled-rejections=strict', fixture(name), ...args];
  return new Promise(resolve => {
    execFile(file!, words, { timeout: 60_000, killSignal: 'SIGKILL', ...rest, encoding: 'utf8', env: { ...process.env, ...rest.env, NODE_OPTIONS: '' } }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code ?? null : 0, signal: error?.signal ?? null, stdout, stderr });
    });
  });
}

/** Whoever has a mark of this test. */
const strays = (): number[] => processesWith(marked).filter(pid => new RegExp(`(?<![\\d.])${marked.replace('.', '\\.')}\\d{4}(?!\\d)`).test(text(`/proc/${pid}/cmdline`)));

// A process that outlives its test would hold the output of whoever has called for the tests, who waits for its end.
t.teardown(async () => {
  if (await until(() => strays().length === 0)) return;
  const left = strays().map(pid => ({ pid, command: text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }));
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  throw new Error(`left running: ${left.map(({ command }) => command).join('; ')}`);
});

/** A test after which everything must be as it was before. */
export function tidy(title: string, body: (t: typeof import('tap').t) => Promise<void>, extra: { skip?: string | false } = {}): void {
  void t.test(title, extra, async t => {
    await run({ command: 'true' });
    const before = surroundings();
    await body(t as never);
    t.same(await sameAs(before), before, 'nothing is left behind');
  });
}
