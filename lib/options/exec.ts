// A command in a container that runs: what it has from the container, and what its own options change of that.
import type { ExecOptions } from '../../types/exec.js';
import { ContainedError, OptionError } from '../errors.js';
import { hostFacts } from '../host/facts.js';
import type { Command } from '../program/encode.js';
import * as check from './check.js';
import { givenUser } from './identity.js';
import { resolveAffinity, resolveCapabilities, resolveRlimits } from './limits.js';
import { attributesOf, KEYS, resolveCommand, resolveCpuTimeout, resolveEnv } from './resolve.js';
import type { Inheritance, JoinSource, Placement, Settings } from './settings.js';
import { resolveSubgroup } from './subgroup.js';
import { limitTime } from './time.js';
import { resolveTty } from './tty.js';

const EXEC_KEYS = [
  'cwd', 'env', 'argv0', 'user', 'umask', 'rlimits', 'oomScoreAdj', 'nice', 'cpuAffinity', 'capabilities', 'noNewPrivileges', 'cgroup',
  'stdio', 'tty', 'timeout', 'cpuTimeout', 'maxOutput', 'signal', 'killSignal', 'killGrace', 'trace',
] as const satisfies readonly (keyof ExecOptions)[];

/** The container that is entered: its number with the launcher, its first process, and its group. */
export interface Target {
  container: number;
  pid: number;
  group: Placement | undefined;
  /** Whether nobody else is in that group. */
  alone: boolean;
}

/** The options of `exec`, of which those that belong to the container as a whole are refused. */
function checked(value: unknown): ExecOptions {
  const options = check.object('options', value);
  for (const key of KEYS) {
    if (options[key] === undefined || (EXEC_KEYS as readonly string[]).includes(key)) continue;
    throw new OptionError(key, options[key], 'nothing: that is of the container, and a command in it cannot have another');
  }
  check.knownKeys('', options, EXEC_KEYS);
  return options;
}

export function resolveExecCommand(options: ExecOptions, value: unknown, { env }: Inheritance): Command {
  return resolveCommand(checked(options), value, resolveEnv(options, env));
}

function groupOf(options: ExecOptions, { container, group, alone }: Target): Pick<Settings, 'cgroup' | 'entered' | 'impossible'> {
  try {
    const { cgroup, entered } = resolveSubgroup(options.cgroup, group, alone);
    return { cgroup, entered: { container, ...entered }, impossible: undefined };
  } catch (error) {
    if (error instanceof ContainedError) return { cgroup: undefined, entered: undefined, impossible: error };
    throw error;
  }
}

/** `options` as `resolveExecCommand` has checked them. */
export function resolveExec(options: ExecOptions, from: Inheritance, target: Target): Settings {
  const host = hostFacts();
  const source: JoinSource = { container: target.container, pid: target.pid };
  const join = new Map(from.namespaces.map(kind => [kind, source]));
  const capabilities = options.capabilities === undefined ? from.capabilities : resolveCapabilities(options.capabilities);
  const privileged = host.privileged || join.has('user');
  if (options.capabilities !== undefined && capabilities !== 0 && !privileged) throw new OptionError('capabilities', options.capabilities, 'none without root or a container with a `user` namespace');
  const user = check.optional(options.user, givenUser, from.identity.user);
  if (options.user !== undefined && !privileged) throw new OptionError('user', options.user, 'no other user without root or a container with a `user` namespace');
  const settings: Settings = {
    ...attributesOf(options),
    cwd: check.optional(options.cwd, v => check.insidePath('cwd', v), from.cwd),
    namespaces: { create: new Set(), join },
    timeOffsets: undefined,
    hostname: undefined,
    domainname: undefined,
    fileSystem: undefined,
    identity: { user, maps: undefined, setgroups: from.identity.setgroups },
    hostPrivileged: host.privileged,
    privileged,
    umask: check.optional(options.umask, v => check.integer('umask', v, 0, 0o777), from.umask),
    rlimits: options.rlimits === undefined ? from.rlimits : resolveRlimits(options.rlimits, host),
    affinity: resolveAffinity(options.cpuAffinity) ?? from.affinity,
    capabilities,
    noNewPrivileges: check.optional(options.noNewPrivileges, v => check.boolean('noNewPrivileges', v), from.noNewPrivileges),
    init: false,
    tty: resolveTty(options.tty),
    registration: undefined,
    ...groupOf(options, target),
  };
  return limitTime(settings, resolveCpuTimeout(options.cpuTimeout));
}
