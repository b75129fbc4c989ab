// Where systemd owns the tree it is asked for a part of it: a transient scope with Delegate=yes (systemd.resource-control(5),
// https://systemd.io/CGROUP_DELEGATION). systemd-run(1) calls StartTransientUnit over D-Bus and waits for the job.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainedError } from '../errors.js';
import { native } from '../native.js';
import { adoptScope, cgroupHost, groupsOf, unifiedPlaces } from './cgroups.js';
import { hostFacts } from './facts.js';

const refused = (hint: string): ContainedError => new ContainedError({
  code: 'ENOTSUP', errno: 0, syscall: undefined, path: undefined, dest: undefined, step: 'ask systemd for a scope', hint,
});

/** sd_booted(3). On v1 systemd can delegate its own hierarchy only. */
const manages = (): boolean => existsSync('/run/systemd/system') && cgroupHost().unified !== undefined && cgroupHost().unified!.controllers.includes('memory');

/** Whether the groups that we may write to are systemd's and not given to us: it marks what it has given. */
export const systemdOwns = (): boolean => manages() && !unifiedPlaces().some(directory => native().delegated(directory));

/** Prints the group it is in, and lives until its standard input ends, which is when Node does. */
const HOLDER = ['sh', '-c', 'cat /proc/self/cgroup && exec cat >/dev/null'];

function startHolder(): Promise<{ pid: number; groups: string }> {
  const { uid, owner } = hostFacts();
  const bus = uid === 0 ? '--system' : '--user';
  const unit = `spawn-contained-${owner.replace('.', '-')}.scope`;
  const child = spawn('systemd-run', [bus, '--scope', '--quiet', '--collect', `--unit=${unit}`, '-p', 'Delegate=yes', '-p', 'TasksMax=infinity', '--', ...HOLDER]);
  let said = '', complained = '';
  child.stderr.setEncoding('utf8').on('data', text => { complained += text; });
  return new Promise((resolve, reject) => {
    child.once('error', error => reject(refused(`systemd-run: ${error.message}`)));
    child.once('exit', () => reject(refused(`${complained.trim() || 'systemd-run has ended'}; give cgroup.parent, or manager: 'cgroupfs'${uid === 0 ? '' : '; a user manager needs a session, or `loginctl enable-linger`'}`)));
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

/** A group with processes in it can give its children no controllers, so the holder goes into a leaf. */
async function makeScope(): Promise<void> {
  if (!manages()) throw refused('this host was not booted with systemd, or has cgroup v1');
  const { pid, groups } = await startHolder();
  const scope = groupsOf(groups).unified!.directory;
  const leaf = join(scope, 'holder');
  await mkdir(leaf);
  await writeFile(join(leaf, 'cgroup.procs'), String(pid));
  adoptScope(scope);
}

let scope: Promise<void> | undefined;

/** One scope for this process, made at the first call; groups are made in it from then on. */
export async function useScope(): Promise<void> {
  scope ??= makeScope().catch((error: unknown) => {
    scope = undefined;
    throw error;
  });
  await scope;
}
