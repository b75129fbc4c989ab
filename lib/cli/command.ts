// What a command is. From one table of them come dispatch, helps and completions.
import type { Flag, Used, Values } from './flag.js';

export interface Command<Given extends object> {
  /** What follows its name in the usage. */
  usage: string;
  /** In a few words, for the overview. */
  about: string;
  /** What there is to say beyond that. A line break stays one. */
  more?: string;
  /** Below the flags. */
  after?: string;
  examples?: readonly string[];
  /** Other names, of docker and runc. */
  aliases?: readonly string[];
  flags: readonly Flag<Given>[];
  /** Flags that people try, and what to tell them. */
  refused?: Readonly<Record<string, string>>;
  /** What its words are; null: it takes none. The last stands for all that follow. */
  words: readonly Values[] | null;
  /** Whether its words end in a command, which has flags of its own: the flags end with the first word. */
  command?: true;
  /** What the words stand for, for errors of the library. */
  options?: readonly Used[];
  /** Exit code when the library fails. Default 1, as docker. */
  failure?: number;
  /** What is done; resolves to the exit code. */
  act(words: readonly string[], given: Given, used: readonly Used[]): Promise<number>;
}

/** Commands below a common word. */
export interface Family {
  about: string;
  /** What its help says after the list. */
  more: string;
  examples: readonly string[];
  /** By title. */
  groups: Readonly<Record<string, Readonly<Record<string, Entry>>>>;
}

export type Entry = Command<object> | Family;

export const isFamily = (entry: Entry): entry is Family => 'groups' in entry;

export const entriesOf = ({ groups }: Family): [name: string, Entry][] => Object.values(groups).flatMap(group => Object.entries(group));

export const aliasesOf = (entry: Entry): readonly string[] => isFamily(entry) ? [] : entry.aliases ?? [];
