import type { Contained, RunResult } from './contained.js';
import type { CollectOptions, Command, SpawnOptions } from './options.js';
import type { Program } from './program.js';

/** What may differ from one run of a sandbox to the next; each takes the place of the option of that name given to `contain`. */
export type SandboxRun = Pick<SpawnOptions,
  'env' | 'cwd' | 'stdio' | 'argv0' | 'timeout' | 'cpuTimeout' | 'maxOutput' | 'signal' | 'killSignal' | 'killGrace' | 'trace'>;

/** The same for `Sandbox.run`. */
export type SandboxRunOptions = SandboxRun & CollectOptions;

/** Options that were checked and compiled once, for many runs. What becomes of the options object afterwards changes nothing. */
export interface Sandbox {
  /**
   * As `spawnContained`. Throws an OptionError for what is wrong in the command or in these options, and for an option that cannot
   * differ between runs. `env` replaces the environment and is not added to it.
   */
  spawn(command: Command, options?: SandboxRun): Contained;
  /** As `run`: to its end, with its output. */
  run(command: Command, options: SandboxRunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  run(command: Command, options?: SandboxRunOptions): Promise<RunResult>;
  /** What `spawn` would do, op by op, without doing it. */
  explain(command: Command, options?: Pick<SandboxRun, 'env' | 'cwd' | 'stdio' | 'argv0' | 'cpuTimeout'>): Program;
}
