// Words of the command line → a command of the table, its words and flags.
import { ContainedError, OptionError } from '../errors.js';
import { didYouMean } from '../options/check.js';
import { aliasesOf, entriesOf, isFamily, type Command, type Entry, type Family } from './command.js';
import { errorCode } from './exit.js';
import { helpOf } from './help.js';
import { note } from './note.js';
import { print } from './output.js';
import { flagError, parse } from './parse.js';
import { UsageError } from './values.js';

const FAILED = 1;

const helpOn = (path: readonly string[]): string => `\`${['contained', 'help', ...path].join(' ')}\``;

function below(family: Family, path: readonly string[], word: string): [name: string, entry: Entry] {
  const entries = entriesOf(family);
  const found = entries.find(([name, entry]) => name === word || aliasesOf(entry).includes(word));
  if (found) return found;
  const near = didYouMean(word, entries.flatMap(([name, entry]) => [name, ...aliasesOf(entry)]));
  throw new UsageError(`no command ${JSON.stringify([...path, word].join(' '))}${near || `; see ${helpOn(path)}`}`);
}

/** The command or family that words stand for. */
export function find(table: Family, words: readonly string[]): { entry: Entry; path: string[] } {
  let entry: Entry = table;
  const path: string[] = [];
  for (const word of words) {
    if (!isFamily(entry)) break;
    const [name, next] = below(entry, path, word);
    path.push(name);
    entry = next;
  }
  return { entry, path };
}

async function perform(command: Command<object>, path: readonly string[], args: readonly string[]): Promise<number> {
  const name = path.join(' ');
  const { given, words, help, used } = parse(args, { ...command, name });
  if (help) {
    print(helpOf(command, path));
    return 0;
  }
  if (command.words === null && words.length > 0) throw new UsageError(`${name} takes no ${words[0]}`);
  try {
    return await command.act(words, given, used);
  } catch (error) {
    if (error instanceof OptionError) throw flagError(error, [...command.options ?? [], ...used]);
    if (!(error instanceof ContainedError)) throw error;
    note(error.message);
    return errorCode(error, command.failure ?? FAILED);
  }
}

export async function dispatch(table: Family, args: readonly string[]): Promise<number> {
  let entry: Entry = table;
  const path: string[] = [];
  for (const [i, word] of args.entries()) {
    if (word === '--help' || word === '-h') {
      print(helpOf(entry, path));
      return 0;
    }
    const [name, next] = below(entry as Family, path, word);
    path.push(name);
    if (!isFamily(next)) return await perform(next, path, args.slice(i + 1));
    entry = next;
  }
  throw new UsageError(`no command given; see ${helpOn(path)}`);
}
