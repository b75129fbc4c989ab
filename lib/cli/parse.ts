// Words of the command line → options and command.
import { parseArgs } from 'node:util';
import { OptionError } from '../errors.js';
import { didYouMean } from '../options/check.js';
import type { Flag, Used } from './flag.js';
import { UsageError } from './values.js';

/** What a command takes. */
export interface Grammar<Given> {
  /** As in `contained help NAME`. */
  name: string;
  flags: readonly Flag<Given>[];
  /** Flags that people try, and what to tell them. */
  refused?: Readonly<Record<string, string>>;
  /** Whether the first word that is no flag ends the flags, since it is a command that has its own. */
  command?: true;
}

export interface Parsed<Given> {
  given: Given;
  /** The words that are no flags. */
  words: readonly string[];
  help: boolean;
  /** Flags that were there, for errors. */
  used: readonly Used[];
}

const HELP = { type: 'boolean', short: 'h' } as const;

const config = (flags: readonly Flag<unknown>[]): Record<string, { type: 'string' | 'boolean'; short?: string }> => Object.fromEntries([
  ...flags.flatMap(({ name, short, aliases = [], argument }) => {
    const type = argument === undefined ? 'boolean' : 'string';
    return [[name, { type, ...short === undefined ? {} : { short } }], ...aliases.map(alias => [alias, { type }])] as [string, { type: 'string' | 'boolean'; short?: string }][];
  }),
  ['help', flags.some(({ short }) => short === HELP.short) ? { type: HELP.type } : HELP],
]);

function refuse({ name: command, flags, refused = {} }: Grammar<unknown>, rawName: string): never {
  const why = refused[rawName.replace(/^-+/, '')];
  if (why !== undefined) throw new UsageError(`no flag ${rawName}: ${why}`);
  const near = rawName.startsWith('--') ? didYouMean(rawName, flags.flatMap(({ name, aliases = [] }) => [name, ...aliases]).map(name => `--${name}`)) : '';
  throw new UsageError(`no flag ${rawName}${near || `; see \`contained help ${command}\``}`);
}

/** Objects are merged and arrays joined, so that a flag can stand for a part of an option and be repeated. */
function merge(into: unknown, more: unknown): unknown {
  if (into === undefined) return more;
  if (Array.isArray(into) && Array.isArray(more)) return [...into, ...more];
  if (!isObject(into) || !isObject(more)) return more;
  const result: Record<string, unknown> = { ...into };
  for (const key in more) result[key] = merge(result[key], more[key]);
  return result;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What the flag stands for, its own error naming it. */
function read<Given>(flag: Flag<Given>, text: string | undefined, rawName: string): Given {
  try {
    if (flag.argument !== undefined) {
      if (text === undefined || text === '--') throw new UsageError(`needs a value, ${flag.argument}`);
      return flag.read(text);
    }
    if (text !== undefined && text !== 'true' && text !== 'false') throw new UsageError(`takes no value but true or false, got ${JSON.stringify(text)}`);
    return flag.read(text !== 'false');
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${rawName}: ${error.message}`);
    throw error;
  }
}

/** Flags and words, up to `--`, behind which all are words. */
export function parse<Given extends object>(args: readonly string[], grammar: Grammar<Given>): Parsed<Given> {
  const { flags } = grammar;
  // Not strict, because the errors of parseArgs do not say what was meant.
  const { tokens } = parseArgs({ args: [...args], options: config(flags), strict: false, allowPositionals: true, tokens: true });
  const values = new Map<Flag<Given>, Given[]>();
  const used: Used[] = [];
  const words: string[] = [];
  let help = false;
  for (const token of tokens) {
    if (token.kind !== 'option') {
      if (token.kind === 'option-terminator' || grammar.command) {
        words.push(...args.slice(token.index + (token.kind === 'option-terminator' ? 1 : 0)));
        break;
      }
      words.push(token.value);
      continue;
    }
    const { name, rawName, value } = token;
    // Where -h has a value, as docker's, without one it is what it is everywhere.
    if (name === 'help' || (rawName === '-h' && value === undefined)) {
      help = true;
      continue;
    }
    const flag = flags.find(candidate => candidate.name === name || candidate.aliases?.includes(name)) ?? refuse(grammar, rawName);
    const given = read(flag, value, rawName);
    const repeated = flag.argument !== undefined && flag.repeatable;
    values.set(flag, [...repeated ? values.get(flag) ?? [] : [], given]);
    const part = flag.argument === undefined ? undefined : flag.part?.(value!);
    used.push(part === undefined ? { word: `--${name}`, option: flag.option } : { word: `--${name} ${part}`, option: `${flag.option}.${part}` });
  }
  // In the order of the table and not of the line, so that -e stands above --env-inherit wherever it is written.
  const given = flags.flatMap(flag => values.get(flag) ?? []).reduce<unknown>(merge, {}) as Given;
  return { given, words, help, used };
}

/** The words of an OptionError with the flag in place of the option. */
export function flagError(error: OptionError, used: readonly Used[]): UsageError {
  // A name that is not known is told without where it stands when it stands at the top.
  const path = /^no such option/.test(error.expected) && !error.path.includes('.') ? `cgroup.${error.path}` : error.path;
  const concerns = ({ option }: Used): boolean => path === option || path.startsWith(`${option}.`) || path.startsWith(`${option}[`) || option.startsWith(`${path}.`);
  const names = [...new Set(used.filter(concerns).map(({ word }) => word))];
  if (names.length === 0) return new UsageError(error.message);
  const name = names.join(' or ');
  // A word of the value became a key of the options.
  const unknown = /^no such option(.*)$/.exec(error.expected);
  if (unknown) return new UsageError(`${name}: nothing is called ${JSON.stringify(error.path.split('.').at(-1))}${unknown[1]}`);
  return new UsageError(`${name}: ${error.message.slice(error.path.length + 2)}`);
}
