// Options that are checked and compiled once, for many runs.
import type { Contained, RunResult } from '../types/contained.js';
import type { Command, SpawnOptions } from '../types/options.js';
import type { Program } from '../types/program.js';
import type { Sandbox, SandboxRun, SandboxRunOptions } from '../types/sandbox.js';
import { ContainedProcess } from './handle/contained.js';
import { checkOutput, shapeOf, resolveStdio, streamsOf, type Entry } from './handle/stdio.js';
import * as check from './options/check.js';
import { resolve, resolveCommand, resolveCpuTimeout, resolveCwd, resolveEnv, resolveLife } from './options/resolve.js';
import type { Life, Settings } from './options/settings.js';
import { limitTime } from './options/time.js';
import { compile } from './program/compile.js';
import type { Template } from './handle/template.js';
import { OptionError } from './errors.js';
import { checkInput, collected, splitOptions } from './run.js';
import { isLasting, templateFor } from './spawn.js';

const OF_A_RUN = ['env', 'cwd', 'stdio', 'argv0', 'timeout', 'cpuTimeout', 'maxOutput', 'signal', 'killSignal', 'killGrace', 'trace'] as const satisfies readonly (keyof SandboxRun)[];

/** Programs differ in these; each is compiled when it is first wanted. */
const MOST_TEMPLATES = 64;

/** What one run is, checked. */
interface Run {
  entries: readonly Entry[];
  settings: () => Settings;
  template: () => Template;
}

const NOTHING: SandboxRun = {};

class Compiled implements Sandbox {
  readonly #base: SpawnOptions;
  readonly #again: () => Settings;
  readonly #entries: readonly Entry[];
  readonly #env: readonly string[];
  readonly #life: Life;
  readonly #templates = new Map<string, Template>();
  #settings: Settings;

  constructor(given: SpawnOptions) {
    // What becomes of the object is nothing to us, nor of the current directory: paths are absolute in the settings.
    const options = snapshot(given) as SpawnOptions;
    const { cpuTimeout: _, ...untimed } = options;
    this.#base = options;
    this.#again = () => resolve(untimed);
    this.#settings = this.#again();
    this.#entries = resolveStdio(options);
    this.#env = resolveEnv(options);
    this.#life = resolveLife(options);
    check.optional(options.argv0, v => check.string('argv0', v), undefined);
    checkOutput(options.maxOutput, this.#entries);
    this.#run(NOTHING).template();
  }

  spawn(command: Command, options: SandboxRun = NOTHING): Contained {
    checkRun(options);
    const { entries, template } = this.#run(options);
    const life = options === NOTHING ? this.#life : this.#lifeOf(options);
    return new ContainedProcess(template(), this.#command(command, options), life, entries);
  }

  run(command: Command, options: SandboxRunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  run(command: Command, options?: SandboxRunOptions): Promise<RunResult>;
  async run(command: Command, options: SandboxRunOptions = {}): Promise<RunResult<string | Buffer>> {
    const { own, rest } = splitOptions(options);
    if (own.input !== undefined) checkInput(own.input, this.#entriesOf(rest));
    return await collected(this.spawn(command, rest), own);
  }

  explain(command: Command, options: SandboxRun = NOTHING): Program {
    checkRun(options);
    const { entries, settings } = this.#run(options);
    const wanted = settings();
    if (wanted.impossible) throw wanted.impossible;
    return compile(wanted, streamsOf(entries), this.#command(command, options));
  }

  #command(command: Command, options: SandboxRun): ReturnType<typeof resolveCommand> {
    return resolveCommand({ argv0: options.argv0 ?? this.#base.argv0 }, command, options.env === undefined ? this.#env : resolveEnv({ env: options.env, tty: this.#base.tty }));
  }

  /** An option that is not given for the run is that of the sandbox. */
  #lifeOf(options: SandboxRun): Life {
    const own = resolveLife(options);
    const chosen = <K extends keyof Life>(key: K, option: keyof SandboxRun = key as keyof SandboxRun): Life[K] => options[option] === undefined ? this.#life[key] : own[key];
    return {
      timeout: chosen('timeout'), cpuTimeout: chosen('cpuTimeout'), output: chosen('output', 'maxOutput'), signal: chosen('signal'),
      killSignal: chosen('killSignal'), killGrace: chosen('killGrace'), trace: chosen('trace'),
    };
  }

  #entriesOf({ stdio }: SandboxRun): readonly Entry[] {
    return stdio === undefined ? this.#entries : resolveStdio({ ...this.#base, stdio });
  }

  #run(options: SandboxRun): Run {
    const entries = this.#entriesOf(options);
    if (entries !== this.#entries || options.maxOutput !== undefined) checkOutput(options.maxOutput ?? this.#base.maxOutput, entries);
    const cwd = options.cwd === undefined ? undefined : resolveCwd(options.cwd);
    const cpuTimeout = resolveCpuTimeout(options.cpuTimeout ?? this.#base.cpuTimeout);
    const settings = (): Settings => {
      // What the host could not do, or was not ready for, is looked at again.
      if (!isLasting(this.#settings)) this.#settings = this.#again();
      const limited = limitTime(this.#settings, cpuTimeout);
      return cwd === undefined ? limited : { ...limited, cwd };
    };
    const key = `${shapeOf(entries)}${cpuTimeout ?? ''}${cwd ?? ''}`;
    return { entries, settings, template: () => this.#template(key, settings, entries) };
  }

  #template(key: string, settings: () => Settings, entries: readonly Entry[]): Template {
    const known = this.#templates.get(key);
    if (known) return known;
    const wanted = settings();
    const made = templateFor(wanted, entries);
    if (!isLasting(wanted)) return made;
    if (this.#templates.size >= MOST_TEMPLATES) this.#templates.delete(this.#templates.keys().next().value!);
    this.#templates.set(key, made);
    return made;
  }
}

function checkRun(options: SandboxRun): void {
  if (options === NOTHING) return;
  const given = check.object('options', options);
  for (const key in given) {
    if (given[key] === undefined || (OF_A_RUN as readonly string[]).includes(key)) continue;
    check.knownKeys('', { [key]: given[key] }, OF_A_RUN);
  }
}

/** Plain objects and arrays anew, and everything else (streams, groups, containers, bytes) as it is. */
function snapshot(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snapshot);
  if (typeof value !== 'object' || value === null) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, snapshot(field)]));
}

/**
 * Checks and compiles options once, for many runs: `sandbox.spawn(command)` then costs the event loop least.
 *
 * Throws an {@link OptionError} at once for what is wrong in them. What the host cannot do is told by each run, as by
 * `spawnContained`.
 */
export function contain(options: SpawnOptions = {}): Sandbox {
  const given = check.object('options', options);
  if (given['command'] !== undefined) throw new OptionError('command', given['command'], 'none here: a command is given to spawn');
  for (const key of ['id', 'detached'] as const) if (given[key] !== undefined) throw new OptionError(key, given[key], 'none here: a name is of one container; use spawnContained');
  return new Compiled(options);
}
