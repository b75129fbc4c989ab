// What this host can do, found by doing it: each ability is a container that is started and ended.
import { release } from 'node:os';
import { readFileSync } from 'node:fs';
import type { NamespaceKind, SpawnOptions } from '../types/options.js';
import type { Ability, HostReport } from '../types/probe.js';
import { ContainedError } from './errors.js';
import { cgroupHost, unifiedParent, v1Parent } from './host/cgroups.js';
import { callerNames, hostFacts, subordinateIds } from './host/facts.js';
import { KINDS } from './options/namespaces.js';
import { spawnContained } from './spawn.js';

/** Starts something that ends at once; what fails before execve is what the host cannot do. */
async function attempt(name: string, options: SpawnOptions): Promise<Ability> {
  try {
    await spawnContained({ ...options, command: 'true', stdio: 'ignore' }).exited;
    return { name, available: true, detail: 'works' };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // Everything before execve has worked, and a root without `true` is nobody's fault.
    if (error instanceof ContainedError && error.syscall === 'exec') return { name, available: true, detail: 'works' };
    const remedy = error instanceof ContainedError ? error.hint : undefined;
    return { name, available: false, detail: error.message, ...remedy === undefined ? {} : { remedy } };
  }
}

function setting(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}

/** The switches that forbid user namespaces, where one of them is set so. */
function userNamespaceRemedy(): string | undefined {
  if (setting('/proc/sys/kernel/unprivileged_userns_clone') === '0') return 'sysctl -w kernel.unprivileged_userns_clone=1';
  if (setting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1') return 'an AppArmor profile with `userns,` for node, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0';
  if (setting('/proc/sys/user/max_user_namespaces') === '0') return 'sysctl -w user.max_user_namespaces=15000';
  return undefined;
}

async function userNamespaces(): Promise<Ability> {
  const found = await attempt('user namespaces', { ns: ['user'] });
  const remedy = userNamespaceRemedy();
  return found.available || remedy === undefined ? found : { ...found, remedy };
}

function idRanges(): Ability {
  const name = 'ranges of ids';
  if (hostFacts().privileged) return { name, available: true, detail: 'any, as root' };
  const [uids, gids] = [subordinateIds('/etc/subuid', callerNames()), subordinateIds('/etc/subgid', callerNames())];
  const tools = setting('/usr/bin/newuidmap') !== undefined;
  if (uids[0] && gids[0] && tools) return { name, available: true, detail: `${uids[0].count} uids from ${uids[0].first}` };
  return {
    name, available: false, detail: tools ? 'none for this user in /etc/subuid and /etc/subgid' : 'newuidmap(1) is not installed',
    remedy: tools ? 'as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER' : "install Debian's package uidmap",
  };
}

function controller(name: 'memory' | 'cpu' | 'pids'): Ability {
  const { unified, v1 } = cgroupHost();
  const title = `cgroup ${name}`;
  if (unified?.controllers.includes(name)) {
    const parent = unifiedParent([name]);
    if (parent) return { name: title, available: true, detail: `v2, below ${parent.directory}` };
  }
  const directory = v1Parent(name);
  if (directory) return { name: title, available: true, detail: `v1, below ${directory}` };
  const exists = v1.has(name) || unified?.controllers.includes(name);
  return {
    name: title, available: false, detail: exists ? 'not writable for this user' : 'the kernel has it disabled, or no hierarchy has it',
    remedy: exists ? 'run as root, or under a delegated group: systemd-run --user --scope -p Delegate=yes node …' : `boot without cgroup_disable=${name}`,
  };
}

/** What this host can do, and for each thing it cannot: cause and remedy. */
export async function probe(): Promise<HostReport> {
  const privileged = hostFacts().privileged;
  const user = await userNamespaces();
  const kinds = KINDS.filter(kind => kind !== 'user');
  const usable = privileged || user.available;
  const each = usable ? await Promise.all(kinds.map(kind => attempt(`${kind} namespace`, { ns: kind === 'mnt' ? ['mnt', 'pid'] : [kind as NamespaceKind] }))) : [];
  const whole = usable ? [await attempt('a full container', {})] : [];
  const { unified, v1 } = cgroupHost();
  const limiting = [...v1.keys()].some(name => !name.startsWith('name='));
  return {
    kernel: release(),
    node: process.version,
    mode: privileged ? 'root' : user.available ? 'rootless' : 'none',
    cgroups: unified && limiting ? 'hybrid' : unified ? 'v2' : limiting ? 'v1' : 'none',
    abilities: [user, ...each, ...whole, idRanges(), controller('memory'), controller('cpu'), controller('pids')],
  };
}
