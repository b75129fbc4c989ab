// Where systemd owns the tree it is asked for a part of it: a transient scope with Delegate=yes (systemd.resource-control(5),
// https://systemd.io/CGROUP_DELEGATION). systemd-run(1) calls StartTransientUnit over D-Bus and waits for the job.
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isMainThread, threadId } from 'node:worker_threads';
import { notSupported, type ContainedError } from '../errors.js';
import { native } from '../native.js';
import { adoptScope, cgroupHost, groupsOf, isRoot, unifiedParent } from '../host/cgroups.js';
import { hostFacts } from '../host/facts.js';

const refused = (hint: string): ContainedError => notSupported('ask systemd for a scope', hint);

/** sd_booted(3). On v1 systemd can delegate its own hierarchy only. */
const manages = (): boolean => existsSync('/run/systemd/system') && cgroupHost().unified !== undefined && cgroupHost().unified!.controllers.includes('memory');

/**
 * Whether the group that ours would stand in is systemd's: it is where the nearest unit is not one that systemd has marked as
 * given away, or is the user's manager itself.
 */
export function systemdOwns(): boolean {
  if (!manages()) return false;
  const place = unifiedParent(['memory'])?.directory ?? unifiedParent([])?.directory;
  for (let group = place; group !== undefined && !isRoot(group); group = dirname(group)) {
    const name = basename(group);
    if (/\.(service|scope)$/.test(name)) return /^user@/.test(name) || !native().delegated(group);
    if (name.endsWith('.slice')) return true;
  }
  return true;
}

const LEAF = 'holder';

/** Prints the group it is in, and lives until its standard input ends, which is when Node does. */
const HOLDER = ['sh', '-c', 'cat /proc/self/cgroup && exec cat >/dev/null'];

const bus = (): string => hostFacts().uid === 0 ? '--system' : '--user';
/** One for each thread: who holds it ends with that. */
const unitName = (): string => `spawn-contained-${hostFacts().owner.replace('.', '-')}${isMainThread ? '' : `-${threadId}`}.scope`;

function startHolder(): Promise<{ pid: number; groups: string }> {
  const child = spawn('systemd-run', [bus(), '--scope', '--quiet', '--collect', `--unit=${unitName()}`, '-p', 'Delegate=yes', '-p', 'TasksMax=infinity', '--', ...HOLDER]);
  let said = '', complained = '';
  child.stderr.setEncoding('utf8').on('data', text => { complained += text; });
  return new Promise((resolve, reject) => {
    child.once('error', error => reject(refused(`systemd-run: ${error.message}`)));
    child.once('exit', () => reject(refused(`${complained.trim() || 'systemd-run has ended'}; give cgroup.parent, or manager: 'cgroupfs'${REMEDY[bus()] ?? ''}`)));
    child.stdout.setEncoding('utf8').on('data', text => {
      said += text;
      if (!/^0::.*\n/m.test(said)) return;
      child.removeAllListeners('exit');
      // It is nothing that Node should wait for.
      child.unref();
      for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref(): void }).unref();
      resolve({ pid: child.pid!, groups: said });
    });
  });
}

const REMEDY: Record<string, string> = { '--user': '; a user manager needs a session, or `loginctl enable-linger`' };

/** A group with processes in it can give its children no controllers, so the holder goes into a leaf. */
async function makeScope(): Promise<string> {
  if (!manages()) throw refused('this host was not booted with systemd, or has cgroup v1');
  const { pid, groups } = await startHolder();
  const directory = groupsOf(groups).unified!.directory;
  const leaf = join(directory, LEAF);
  await mkdir(leaf);
  await writeFile(join(leaf, 'cgroup.procs'), String(pid));
  adoptScope(directory);
  return directory;
}

/**
 * Without root a process can be born into a group only from within what is delegated to the same user: cgroups(7), "Cgroups
 * delegation containment". So the launcher goes there too; systemd may move it.
 */
async function attachLauncher(): Promise<void> {
  const pid = await startLauncher();
  if (pid === attached) return;
  const call = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager', 'AttachProcessesToUnit', 'ssau', unitName(), `/${LEAF}`, '1', String(pid)];
  await promisify(execFile)('busctl', [bus(), 'call', ...call]).catch(({ message }: Error) => { throw refused(message.trim()); });
  attached = pid;
}

async function startLauncher(): Promise<number> {
  native().startLauncher();
  for (let tries = 0; tries < 1000 && native().launcherPid() === 0; ++tries) await sleep(1);
  return native().launcherPid();
}

let scope: Promise<string> | undefined;
let attached = 0;

/** One scope for this thread, made at the first call; groups are made in it from then on. */
export async function useScope(): Promise<void> {
  scope ??= makeScope().catch((error: unknown) => {
    scope = undefined;
    throw error;
  });
  await scope;
  if (hostFacts().uid !== 0) await attachLauncher();
}
