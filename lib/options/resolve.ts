// Options → settings: every default of the library, and every rule that concerns more than one option. Throws
// OptionError before anything is touched.
import type { SpawnOptions } from '../../types/options.js';
import { ContainedError, OptionError } from '../errors.js';
import { hostFacts } from '../host/facts.js';
import { killingGroup, resolveCgroup } from './cgroup.js';
import type { Command } from '../program/encode.js';
import * as check from './check.js';
import { resolveIdentity } from './identity.js';
import { ALL_PROCESSORS, resolveAffinity, resolveCapabilities, resolveRlimits, signalNumber } from './limits.js';
import { resolveFileSystem } from './mounts.js';
import { resolveNamespaces, resolveTimeOffsets } from './namespaces.js';
import { resolveOutput } from './output.js';
import { resolveRegistration } from './registration.js';
import type { CgroupSetting, Identity, Life, Namespaces, Registration, Settings } from './settings.js';
import { limitTime } from './time.js';
import { resolveTty } from './tty.js';

/** Where commands are looked for, and what the command gets as PATH, when `env` has none. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const MAX_TIMEOUT = 2 ** 31 - 1;

export const KEYS = [
  'ns', 'network', 'rootfs', 'readonly', 'mounts', 'tmpfs', 'maskedPaths', 'readonlyPaths', 'hostname', 'domainname',
  'timeOffsets', 'cwd', 'env', 'argv0', 'user', 'uidMap', 'gidMap', 'umask', 'rlimits', 'oomScoreAdj', 'nice', 'cpuAffinity',
  'capabilities', 'noNewPrivileges', 'cgroup', 'stdio', 'tty', 'init', 'timeout', 'cpuTimeout', 'maxOutput', 'signal', 'killSignal',
  'killGrace', 'trace', 'command', 'id', 'detached', 'labels', 'autoRemove', 'logSize',
] as const satisfies readonly (keyof SpawnOptions | 'command')[];

const DEFAULT_ENV = [`PATH=${PATH}`];

/** As docker: the terminal that every terminal emulator says it is, and every terminfo database knows. */
const TERM = 'TERM=xterm';

const withTerm = (env: readonly string[], tty: unknown): readonly string[] =>
  resolveTty(tty) === undefined || env.some(entry => entry.startsWith('TERM=')) ? env : [...env, TERM];

/** `base`: what it is added to, by name, unless it is Node's. */
export function resolveEnv({ env: value, tty }: { readonly env?: unknown; readonly tty?: unknown }, base: readonly string[] = []): readonly string[] {
  if (value === undefined) return withTerm(base.length === 0 ? DEFAULT_ENV : base, tty);
  const given = value === 'inherit' ? process.env : check.object('env', value, "an object, or 'inherit'");
  const env = value === 'inherit' ? [] : base.filter(entry => !Object.hasOwn(given, entry.slice(0, entry.indexOf('='))));
  let path = env.some(entry => entry.startsWith('PATH='));
  for (const name in given) {
    if (given[name] === undefined) continue;
    const at = `env.${name}`;
    if (name === '' || name.includes('=') || name.includes('\0')) throw new OptionError(at, name, 'a name without = and NUL');
    env.push(`${name}=${check.string(at, given[name])}`);
    path ||= name === 'PATH';
  }
  if (!path) env.push(`PATH=${PATH}`);
  return withTerm(env, tty);
}

/** What is run: all of the options that may differ between two runs of one program. */
export function resolveCommand(options: { readonly argv0?: unknown; readonly env?: unknown; readonly tty?: unknown }, value: unknown, env = resolveEnv(options)): Command {
  const words = typeof value === 'string' ? [value] : check.array('command', value, 'a file, or an array of file and arguments');
  const file = check.nonEmpty('command[0]', words[0], 'a file');
  const argv = [check.optional(options.argv0, v => check.string('argv0', v), file)];
  for (let i = 1; i < words.length; ++i) argv.push(check.string(`command[${i}]`, words[i]));
  return { file, argv, env, search: env.find(entry => entry.startsWith('PATH='))!.slice(5) };
}

export const resolveCwd = (value: unknown): string => check.optional(value, v => check.insidePath('cwd', v), '/');

function name(key: 'hostname' | 'domainname', value: unknown, { create }: Namespaces): string | undefined {
  if (value === undefined) return undefined;
  if (!create.has('uts')) throw new OptionError(key, value, 'a new `uts` in ns');
  const text = check.nonEmpty(key, value);
  if (Buffer.byteLength(text) > 64) throw new OptionError(key, value, 'up to 64 bytes', 'ERR_OUT_OF_RANGE');
  return text;
}

export const resolveCpuTimeout = (value: unknown): number | undefined => check.optional(value, v => check.number('cpuTimeout', v, 1, MAX_TIMEOUT), undefined);

const OF_A_LIFE = ['timeout', 'cpuTimeout', 'maxOutput', 'signal', 'killSignal', 'killGrace', 'trace'] as const;

type LifeOptions = Pick<SpawnOptions, typeof OF_A_LIFE[number]>;

const lifeOf = (options: LifeOptions): Life => ({
  timeout: check.optional(options.timeout, v => check.number('timeout', v, 1, MAX_TIMEOUT), undefined),
  cpuTimeout: resolveCpuTimeout(options.cpuTimeout),
  output: check.optional(options.maxOutput, resolveOutput, undefined),
  signal: check.optional(options.signal, v => check.abortSignal('signal', v), undefined),
  killSignal: check.optional(options.killSignal, v => signalNumber('killSignal', v), 15),
  killGrace: check.optional(options.killGrace, v => check.number('killGrace', v, 0, MAX_TIMEOUT), 1000),
  trace: check.optional(options.trace, v => check.boolean('trace', v), false),
});

const DEFAULT_LIFE = lifeOf({});

/** Most runs have none of these options. */
export function resolveLife(options: LifeOptions): Life {
  for (const key of OF_A_LIFE) if (options[key] !== undefined) return lifeOf(options);
  return DEFAULT_LIFE;
}

/**
 * With a pid namespace the end of its first process ends all others: pid_namespaces(7). Without one a cgroup is what
 * finds them, so one is made where that can be done.
 */
const groupForKilling = ({ create }: Namespaces): CgroupSetting | undefined => create.has('pid') ? undefined : killingGroup();

function groupOf(options: SpawnOptions, namespaces: Namespaces, identity: Identity, registration: Registration | undefined): Pick<Settings, 'cgroup' | 'impossible'> {
  if (options.cgroup === undefined && !registration) return { cgroup: groupForKilling(namespaces), impossible: undefined };
  try {
    return { cgroup: resolveCgroup(options.cgroup ?? {}, identity, registration && `contained.${registration.id}`), impossible: undefined };
  } catch (error) {
    if (!(error instanceof ContainedError)) throw error;
    // One with a name has a group where it can, so that it can be paused and measured.
    return { cgroup: undefined, impossible: options.cgroup === undefined ? undefined : error };
  }
}

const possible = <T extends Pick<Settings, 'impossible'>>({ unknown }: Namespaces, group: T): T => unknown ? { ...group, impossible: unknown } : group;

/** What a process inherits from its parent unless it is told otherwise. */
export const attributesOf = (options: Pick<SpawnOptions, 'oomScoreAdj' | 'nice'>): Pick<Settings, 'oomScoreAdj' | 'nice'> => ({
  oomScoreAdj: check.optional(options.oomScoreAdj, v => check.integer('oomScoreAdj', v, -1000, 1000), undefined),
  nice: check.optional(options.nice, v => check.integer('nice', v, -20, 19), undefined),
});

export function resolve(options: SpawnOptions): Settings {
  check.knownKeys('', check.object('options', options), KEYS);
  const host = hostFacts();
  const namespaces = resolveNamespaces(options, host);
  const fileSystem = resolveFileSystem(options, namespaces);
  const hostRoot = !fileSystem || (fileSystem.root.kind === 'directory' && fileSystem.root.host);
  const capabilities = resolveCapabilities(options.capabilities);
  const privileged = host.privileged || namespaces.create.has('user') || namespaces.join.has('user');
  if (capabilities !== 0 && !privileged) throw new OptionError('capabilities', options.capabilities, 'none without root or a new `user` in ns');
  const identity = resolveIdentity(options, namespaces, host, hostRoot);
  const registration = resolveRegistration(options);
  const tty = resolveTty(options.tty);
  const settings: Settings = {
    cwd: resolveCwd(options.cwd),
    namespaces,
    timeOffsets: resolveTimeOffsets(options, namespaces),
    hostname: name('hostname', options.hostname, namespaces) ?? (namespaces.create.has('uts') ? 'contained' : undefined),
    domainname: name('domainname', options.domainname, namespaces),
    fileSystem,
    identity,
    hostPrivileged: host.privileged,
    privileged,
    umask: check.optional(options.umask, v => check.integer('umask', v, 0, 0o777), 0o022),
    rlimits: resolveRlimits(options.rlimits, host),
    ...attributesOf(options),
    affinity: resolveAffinity(options.cpuAffinity) ?? ALL_PROCESSORS,
    capabilities,
    noNewPrivileges: check.optional(options.noNewPrivileges, v => check.boolean('noNewPrivileges', v), true),
    ...possible(namespaces, groupOf(options, namespaces, identity, registration)),
    // ^C is for a command that has no handler, and pid 1 would never get it: pid_namespaces(7).
    init: check.optional(options.init, v => check.boolean('init', v), tty !== undefined && namespaces.create.has('pid')),
    tty,
    entered: undefined,
    registration,
  };
  return limitTime(settings, resolveCpuTimeout(options.cpuTimeout));
}

