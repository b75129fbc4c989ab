// Text in columns, as helps and tables are.
import { SECTIONS, type Flag } from './flag.js';

const WIDTH = 100;
const COLUMN = 32;

/** Breaks words into lines. */
export function wrap(text: string, width = WIDTH): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.length - 1;
    if (lines[last] === '') lines[last] = word;
    else if (lines[last]!.length + 1 + word.length <= width) lines[last] += ` ${word}`;
    else lines.push(word);
  }
  return lines;
}

export function row(left: string, text: string, column = COLUMN): string {
  const lines = wrap(text, WIDTH - column);
  const first = left.length > column - 2 ? `${left}\n${' '.repeat(column)}` : left.padEnd(column);
  return first + lines.join(`\n${' '.repeat(column)}`);
}

const flagRow = ({ name, short, argument, help }: Flag<unknown>): string =>
  row(`  ${short === undefined ? '   ' : `-${short},`} --${name}${argument === undefined ? '' : ` ${argument}`}`, help);

/** The flags by sections; which may be repeated stands at the end, once: it would else stand on a third of the lines. */
export function flagHelp(flags: readonly Flag<unknown>[]): string {
  const sections = SECTIONS.map(section => ({ section, inside: flags.filter(flag => flag.section === section) }))
    .filter(({ inside }) => inside.length > 0)
    .map(({ section, inside }) => `${section}:\n${inside.map(flagRow).join('\n')}`);
  const repeatable = flags.flatMap(flag => flag.argument !== undefined && flag.repeatable ? [`--${flag.name}`] : []);
  return [...sections, ...repeatable.length > 0 ? [wrap(`May be repeated: ${repeatable.join(', ')}.`).join('\n')] : []].join('\n\n');
}

/** Names of groups and commands are anybody's, and a terminal obeys what it is shown. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, '?');

/** Columns as wide as they must be. `numbers`: titles of those that end on the right. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[], numbers: readonly string[] = []): string {
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map(cells => cells[i]!.length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => numbers.includes(titles[i]!) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)).join('   ').trimEnd();
  return [titles, ...rows].map(line).join('\n');
}
