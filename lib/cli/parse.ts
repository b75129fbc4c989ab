// Words of the command line → options and command.
import { parseArgs } from 'node:util';
import { OptionError } from '../errors.js';
import { didYouMean } from '../options/check.js';
import { FLAGS, NOT_NEEDED, type Flag, type Given } from './flags.js';
import { UsageError } from './values.js';

export interface Parsed {
  given: Given;
  command: readonly string[];
  help: boolean;
  /** Names of the flags that were there, for errors. */
  used: readonly string[];
}

const HELP = { type: 'boolean', short: 'h' } as const;

const config = Object.fromEntries<{ type: 'string' | 'boolean'; short?: string }>([
  ...FLAGS.map(({ name, short, argument }) => [name, { type: argument === undefined ? 'boolean' : 'string', ...short === undefined ? {} : { short } }] as const),
  ['help', HELP],
]);

const byName = new Map(FLAGS.map(flag => [flag.name, flag]));

function refuse(rawName: string): never {
  const name = rawName.replace(/^-+/, '');
  const why = NOT_NEEDED[name];
  if (why !== undefined) throw new UsageError(`no flag ${rawName}: ${why}`);
  const near = rawName.startsWith('--') ? didYouMean(rawName, FLAGS.map(flag => `--${flag.name}`)) : '';
  throw new UsageError(`no flag ${rawName}${near || '; see `contained help run`'}`);
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
function read(flag: Flag, text: string | undefined, rawName: string): Given {
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

function checkTogether(used: readonly string[]): void {
  const has = (name: string): boolean => used.includes(name);
  if (has('rootfs') && has('overlay')) throw new UsageError('--rootfs and --overlay: one of them, not both');
  for (const name of ['upper', 'work']) {
    if (has(name) && !has('overlay')) throw new UsageError(`--${name}: needs --overlay`);
  }
}

/** Flags up to `--` or the first word that is none; what follows is the command, as for docker run. */
export function parse(args: readonly string[]): Parsed {
  // Not strict, because the errors of parseArgs do not say what was meant.
  const { tokens } = parseArgs({ args: [...args], options: config, strict: false, allowPositionals: true, tokens: true });
  const values = new Map<Flag, Given[]>();
  let command: readonly string[] = [];
  let help = false;
  for (const token of tokens) {
    if (token.kind !== 'option') {
      command = args.slice(token.index + (token.kind === 'option-terminator' ? 1 : 0));
      break;
    }
    const { name, rawName, value } = token;
    if (name === 'help') {
      help = true;
      continue;
    }
    const flag = byName.get(name) ?? refuse(rawName);
    const given = read(flag, value, rawName);
    const before = flag.argument !== undefined && flag.repeatable ? values.get(flag) ?? [] : [];
    values.set(flag, [...before, given]);
  }
  const used = [...values.keys()].map(flag => flag.name);
  checkTogether(used);
  // In the order of the table and not of the line, so that -e stands above --env-inherit wherever it is written.
  const given = FLAGS.flatMap(flag => values.get(flag) ?? []).reduce<unknown>(merge, {}) as Given;
  return { given, command, help, used };
}

/** The words of an OptionError with the flag in place of the option. */
export function flagError(error: OptionError, used: readonly string[]): UsageError {
  const concerns = ({ option }: Flag): boolean => error.path === option || error.path.startsWith(`${option}.`) || error.path.startsWith(`${option}[`);
  const flags = FLAGS.filter(flag => used.includes(flag.name) && concerns(flag));
  if (flags.length === 0) return new UsageError(error.message);
  const name = flags.map(flag => `--${flag.name}`).join(' or ');
  // A word of the value became a key of the options.
  const unknown = /^no such option(.*)$/.exec(error.expected);
  if (unknown) return new UsageError(`${name}: nothing is called ${JSON.stringify(error.path.split('.').at(-1))}${unknown[1]}`);
  return new UsageError(`${name}: ${error.message.slice(error.path.length + 2)}`);
}
