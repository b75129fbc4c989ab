// Help texts, from the table of commands.
import { flagHelp, row, wrap } from './columns.js';
import { isFamily, type Command, type Entry, type Family } from './command.js';

const COLUMN = 26;

const paragraphs = (text: string): string => text.split('\n').map(line => wrap(line).join('\n')).join('\n');
const examplesOf = (examples: readonly string[]): string[] => examples.length > 0 ? [`Examples:\n${examples.map(line => `  ${line}`).join('\n')}`] : [];
const capital = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

/** The words behind the name stand in a list of a few commands only. */
function overview({ about, more, examples, groups }: Family, path: readonly string[]): string {
  const top = path.length === 0;
  const lists = Object.entries(groups).map(([title, commands]) => `${title}:\n${Object.entries(commands).map(([name, entry]) =>
    row(`  ${name}${top || isFamily(entry) ? '' : ` ${entry.usage}`}`, entry.about, top ? 14 : COLUMN)).join('\n')}`);
  return [`Usage: ${['contained', ...path].join(' ')} COMMAND`, paragraphs(capital(about).replace(/[^.]$/, '$&.')), ...lists, paragraphs(more), ...examplesOf(examples)].join('\n\n');
}

function helpOfCommand({ usage, about, more, after, examples = [], aliases = [], flags, command }: Command<object>, path: readonly string[]): string {
  const words = [...flags.length > 0 ? [command ? '[FLAGS]' : ''] : [], usage, ...flags.length > 0 && !command ? ['[FLAGS]'] : []].filter(Boolean);
  return [
    ['Usage: contained', ...path, ...words].join(' '),
    paragraphs(`${capital(about)}.${more === undefined ? '' : ` ${more}`}`),
    ...aliases.length > 0 ? [`Also called: ${aliases.join(', ')}`] : [],
    ...examplesOf(examples),
    ...flags.length > 0 ? [flagHelp(flags)] : [],
    ...after === undefined ? [] : [paragraphs(after)],
  ].join('\n\n');
}

export const helpOf = (entry: Entry, path: readonly string[]): string => isFamily(entry) ? overview(entry, path) : helpOfCommand(entry, path);
