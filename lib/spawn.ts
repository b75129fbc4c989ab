// The table of contents: options → settings → program → launcher → handle.
import type { Contained } from '../types/contained.js';
import type { RunOptions, SpawnOptions } from '../types/options.js';
import type { Program } from '../types/program.js';
import { ContainedProcess } from './handle/contained.js';
import { isPipe, resolveStdio, type Entry } from './handle/stdio.js';
import * as check from './options/check.js';
import { keyOf } from './options/key.js';
import { resolve, resolveCommand, resolveLife } from './options/resolve.js';
import { resolveTty } from './options/tty.js';
import { compile } from './program/compile.js';
import type { Fault } from './program/encode.js';
import { Template } from './program/template.js';
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
  return spawnWith(options, command);
}

/** `fault` is for this library's tests: the step that is to fail. */
export function spawnWith(options: SpawnOptions, command: unknown, fault?: Fault): ContainedProcess {
  check.object('options', options);
  const entries = resolveStdio(options.stdio, resolveTty(options.tty) !== undefined);
  const template = templateOf(options, entries);
  return new ContainedProcess(template, resolveCommand(options, command), resolveLife(options), entries, fault);
}

const templates = new Map<string, Template>();
const MOST_TEMPLATES = 64;

/** The same options mean the same program: it is checked and compiled once. */
function templateOf(options: SpawnOptions, entries: readonly Entry[]): Template {
  const key = keyOf(options);
  const kinds = entries.map(entry => isPipe(entry) ? 'p' : '-').join('');
  const known = key === undefined ? undefined : templates.get(key + kinds);
  if (known) return known;
  const settings = resolve(options);
  const template = new Template(settings, command => compile(settings, streamsOf(entries), command));
  const { cgroup, impossible } = settings;
  // What depends on the state of the host is looked at again.
  const lasting = !impossible && !(cgroup && cgroup.enable.length > 0);
  if (key !== undefined && lasting) {
    if (templates.size >= MOST_TEMPLATES) templates.delete(templates.keys().next().value!);
    templates.set(key + kinds, template);
  }
  return template;
}

/** What `spawnContained` would do, op by op, without doing it. `String(program)` is readable. Throws as that does. */
export function explain(options: SpawnOptions & { command: Command }): Program;
export function explain(file: string, args?: readonly string[], options?: SpawnOptions): Program;
export function explain(first: unknown, args?: unknown, last?: unknown): Program {
  const { command, options } = callOf(first, args, last);
  check.object('options', options);
  const settings = resolve(options);
  if (settings.impossible) throw settings.impossible;
  return compile(settings, streamsOf(resolveStdio(options.stdio, settings.tty !== undefined)), resolveCommand(options, command));
}

const streamsOf = (entries: readonly Entry[]): { count: number; pipes: number[] } => ({
  count: entries.length,
  pipes: entries.flatMap((entry, i) => isPipe(entry) ? [i] : []),
});
