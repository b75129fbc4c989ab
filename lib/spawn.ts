// The table of contents: options → settings → program → launcher → handle.
import type { Contained } from '../types/contained.js';
import type { RunOptions, SpawnOptions } from '../types/options.js';
import type { Program } from '../types/program.js';
import { ContainedProcess } from './handle/contained.js';
import { resolveStdio } from './handle/stdio.js';
import { resolve } from './options/resolve.js';
import { compile } from './program/compile.js';
import { OptionError } from './errors.js';

type Command = RunOptions['command'];

/** The two ways to call: options with a command in them, or as child_process.spawn. */
function callOf(first: unknown, args: unknown, options: unknown): { command: unknown; options: SpawnOptions } {
  if (typeof first !== 'string') return { command: (first as { command?: Command } | null)?.command, options: first as SpawnOptions };
  if (args !== undefined && !Array.isArray(args)) {
    if (options !== undefined) throw new OptionError('args', args, 'an array of arguments', 'ERR_INVALID_ARG_TYPE');
    return { command: [first], options: (args ?? {}) as SpawnOptions };
  }
  return { command: [first, ...(args as unknown[] | undefined) ?? []], options: (options ?? {}) as SpawnOptions };
}

/**
 * Starts a command in a container and returns at once.
 *
 * Wrong options throw an {@link OptionError} here, before anything is touched; a command that cannot be started rejects
 * `ready` and `exited`, and emits `error`, with a {@link ContainedError}.
 */
export function spawnContained(options: SpawnOptions & { command: Command }): Contained;
export function spawnContained(file: string, args?: readonly string[], options?: SpawnOptions): Contained;
export function spawnContained(file: string, options: SpawnOptions): Contained;
export function spawnContained(first: unknown, args?: unknown, last?: unknown): Contained {
  const { command, options } = callOf(first, args, last);
  const settings = resolve(options, command);
  const entries = resolveStdio(options.stdio);
  return new ContainedProcess(settings, compile(settings, streamsOf(entries)), entries);
}

/** What `spawnContained` would do, op by op, without doing it. `String(program)` is readable. Throws as that does. */
export function explain(options: SpawnOptions & { command: Command }): Program;
export function explain(file: string, args?: readonly string[], options?: SpawnOptions): Program;
export function explain(first: unknown, args?: unknown, last?: unknown): Program {
  const { command, options } = callOf(first, args, last);
  const settings = resolve(options, command);
  if (settings.impossible) throw settings.impossible;
  return compile(settings, streamsOf(resolveStdio(options.stdio)));
}

const streamsOf = (entries: ReturnType<typeof resolveStdio>): { count: number; pipes: number[] } => ({
  count: entries.length,
  pipes: entries.flatMap((entry, i) => entry === 'pipe' || entry instanceof Uint8Array ? [i] : []),
});
