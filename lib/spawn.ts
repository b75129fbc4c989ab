// The table of contents: options → settings → program → launcher → handle.
import type { Contained } from '../types/contained.js';
import type { Command, SpawnOptions } from '../types/options.js';
import type { Program } from '../types/program.js';
import { ContainedProcess } from './handle/contained.js';
import { checkOutput, resolveStdio, shapeOf, streamsOf, type Entry } from './handle/stdio.js';
import { makeRegistry } from './host/registry.js';
import * as check from './options/check.js';
import { keyOf, Known } from './options/key.js';
import { KEYS, resolve, resolveCommand, resolveLife } from './options/resolve.js';
import type { Settings } from './options/settings.js';
import { compile } from './program/compile.js';
import type { Command as Words, Fault } from './program/encode.js';
import { impossibleTemplate, Template } from './handle/template.js';
import { ContainedError, OptionError } from './errors.js';

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

/** Where there is no command, its name may be misspelt; else names are checked with what they stand for. */
function checkNames(options: SpawnOptions, command: unknown): void {
  check.object('options', options);
  if (command === undefined) check.knownKeys('', { ...options }, KEYS);
}

/** `fault` is for this library's tests: the step that is to fail. */
export function spawnWith(options: SpawnOptions, command: unknown, fault?: Fault): ContainedProcess {
  checkNames(options, command);
  const entries = resolveStdio(options);
  checkOutput(options.maxOutput, entries);
  const words = resolveCommand(options, command);
  return new ContainedProcess(templateOf(options, entries, words), words, resolveLife(options), entries, fault);
}

const templates = new Known<Template>();

/** What depends on the state of the host is looked at again. */
export const isLasting = ({ cgroup, impossible, namespaces }: Settings): boolean => !impossible && !namespaces.momentary && !(cgroup && (cgroup.momentary || cgroup.enable.length > 0));

/** Checked and compiled: for every run with these settings whose streams are of these kinds. */
export const templateFor = (settings: Settings, entries: readonly Entry[], only?: Words): Template => new Template(settings, words => compileFor(settings, entries, words), only);

/** What is kept of it tells its command, so it serves no other. */
function templateOfNamed(options: SpawnOptions, entries: readonly Entry[], words: Words): Template {
  try {
    const settings = resolve(options);
    makeRegistry();
    return templateFor(settings, entries, words);
  } catch (error) {
    if (error instanceof ContainedError) return impossibleTemplate(error, entries.length);
    throw error;
  }
}

/** The same options mean the same program: it is checked and compiled once. */
function templateOf(options: SpawnOptions, entries: readonly Entry[], words: Words): Template {
  if (options.id !== undefined || options.detached) return templateOfNamed(options, entries, words);
  const key = keyOf(options, shapeOf(entries));
  const known = templates.find(key);
  if (known) return known;
  const settings = resolve(options);
  const template = templateFor(settings, entries);
  if (isLasting(settings)) templates.keep(key, template);
  return template;
}

/** What goes to a log goes through pipes, too, although they are not ours. */
const compileFor = (settings: Settings, entries: readonly Entry[], command: Words): Program =>
  compile(settings, settings.registration?.logSize === undefined ? streamsOf(entries) : { count: entries.length, pipes: [1, 2] }, command);

/** What `spawnContained` would do, op by op, without doing it. `String(program)` is readable. Throws as that does. */
export function explain(options: SpawnOptions & { command: Command }): Program;
export function explain(file: string, args?: readonly string[], options?: SpawnOptions): Program;
export function explain(first: unknown, args?: unknown, last?: unknown): Program {
  const { command, options } = callOf(first, args, last);
  checkNames(options, command);
  const entries = resolveStdio(options);
  checkOutput(options.maxOutput, entries);
  resolveLife(options);
  const settings = resolve(options);
  if (settings.impossible) throw settings.impossible;
  return compileFor(settings, entries, resolveCommand(options, command));
}
