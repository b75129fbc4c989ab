// What a flag is: what it is called, what its help says, and which options it stands for.

export const SECTIONS = ['Isolation', 'File system', 'Names and environment', 'Identity and privileges', 'Limits', 'Group', 'Life', 'Reports', 'Flags'] as const;

/** What a word can be completed with: what is on this host, or one of these. `running`: containers that run; `held`: namespaces; `command`: one of a shell; `commands`: ours. */
export type Values = 'container' | 'running' | 'held' | 'command' | 'file' | 'directory' | 'commands' | 'user' | 'namespaces' | readonly string[];

interface Common {
  name: string;
  short?: string;
  /** Other names, which the help leaves out: docker's. */
  aliases?: readonly string[];
  section: typeof SECTIONS[number];
  help: string;
  /** Which option an OptionError names when the value is wrong. */
  option: string;
}

export interface ValueFlag<Given> extends Common {
  /** What stands for the value in the help. */
  argument: string;
  values?: Values;
  /** Whether every one that is given counts, or only the last. */
  repeatable?: true;
  /** Where the value tells which part of the option is meant: that part. */
  part?(text: string): string;
  read(text: string): Given;
}

export interface Switch<Given> extends Common {
  argument?: undefined;
  read(on: boolean): Given;
}

/** `Given` is what the flags of a command make together. */
export type Flag<Given> = ValueFlag<Given> | Switch<Given>;

/** A word of the command line and the option that it stands for, for errors. */
export interface Used {
  word: string;
  option: string;
}
