// `contained cgroup …`: the table of its commands.
import type { CreateCgroupOptions } from '../../types/cgroup.js';
import type { Command, Family } from './command.js';
import { OWN_ERROR } from './exit.js';
import type { Flag, Used } from './flag.js';
import { create, each, move, open, ps, remove, set } from './groups.js';
import { LIMIT_FLAGS, LIMITS_REFUSED, withSwap, type Limited } from './limits.js';
import { print, printJson } from './output.js';
import { showEvents, showStats, type Named } from './streams.js';
import { branchOf, drawn, treeJson } from './tree.js';
import { duration, UsageError } from './values.js';

interface Given extends Limited {
  cgroup?: CreateCgroupOptions;
  parent?: string;
  json?: boolean;
  quiet?: boolean;
  recursive?: boolean;
  kill?: boolean;
  interval?: number;
  stream?: boolean;
}

const json = (help: string): Flag<Given> => ({ name: 'json', section: 'Reports', option: 'json', help, read: on => ({ json: on }) });
const recursive = (help: string): Flag<Given> => ({ name: 'recursive', short: 'r', section: 'Group', option: 'recursive', help, read: on => ({ recursive: on }) });

const PARENT: Flag<Given> = { name: 'parent', argument: 'NAME', section: 'Group', option: 'parent', help: 'group to make it in (default: found on the host)', read: text => ({ parent: text }) };
const THREADED: Flag<Given> = { name: 'threaded', section: 'Group', option: 'cgroup.threaded', help: 'threads of one process may be in different groups below it; v2 only', read: on => ({ cgroup: { threaded: on } }) };
const KILL: Flag<Given> = { name: 'kill', section: 'Group', option: 'kill', help: 'kill the processes in it and below first', read: on => ({ kill: on }) };
const QUIET: Flag<Given> = { name: 'quiet', short: 'q', section: 'Reports', option: 'quiet', help: 'only the pids', read: on => ({ quiet: on }) };
const INTERVAL: Flag<Given> = { name: 'interval', argument: 'TIME', section: 'Reports', option: 'interval', help: 'time between readings, as 500 (ms), 5s (default: 1s)', read: text => ({ interval: duration(text) }) };
const NO_STREAM: Flag<Given> = { name: 'no-stream', section: 'Reports', option: 'stream', help: 'one reading, after one interval, and no more', read: on => ({ stream: !on }) };

async function named(word: string): Promise<Named> {
  return { word, group: await open(word) };
}

async function several(words: readonly string[]): Promise<Named[]> {
  if (words.length === 0) throw new UsageError('no group given; see `contained cgroup tree`');
  return await Promise.all(words.map(named));
}

/** The group and, where the command takes any, the words behind it. */
async function one([word, ...rest]: readonly string[], most = 0): Promise<Named & { rest: string[] }> {
  if (word === undefined) throw new UsageError('no group given; see `contained cgroup tree`');
  if (rest.length > most) throw new UsageError(`one group only, so not ${JSON.stringify(rest[most])}`);
  return { ...await named(word), rest };
}

const COMMANDS: Readonly<Record<string, Pick<Command<Given>, 'usage' | 'about' | 'more' | 'flags' | 'act'>>> = {
  create: {
    usage: '[NAME] [LIMITS]', about: 'make a group and print its name', flags: [...LIMIT_FLAGS, PARENT, THREADED, json('name and directories')],
    more: 'It stays until `contained cgroup rm`. Without NAME a name is made up. As a/b, it is b in the group a.',
    async act(words, given) {
      const { cgroup = {}, parent, json: asJson = false } = withSwap(given);
      if (words.length > 1) throw new UsageError(`one group only, so not ${JSON.stringify(words[1])}`);
      return await create(words[0], parent, cgroup, asJson);
    },
  },
  set: {
    usage: 'NAME LIMITS', about: 'change limits while they are in force', flags: LIMIT_FLAGS,
    more: 'When one cannot be set, those before it are put back.',
    async act(words, given) {
      return await set((await one(words)).group, withSwap(given).cgroup);
    },
  },
  stats: {
    usage: 'NAME...', about: 'what groups use: a table that is kept up to date, in a pipe a line each time', flags: [INTERVAL, NO_STREAM, json('an object in each line')],
    more: 'CPU is in percent of one processor; what the host does not tell is a dash. It ends with the last of the groups, or with ^C.',
    async act(words, { json: asJson = false, interval = 1000, stream = true }) {
      return await showStats(await several(words), { json: asJson, interval, stream });
    },
  },
  events: {
    usage: 'NAME', about: 'what happens in a group from now on, until it is removed', flags: [json('an object in each line')],
    more: 'oom, oomKill, high, max and pidsMax with how often since the group was made; populated, frozen, memoryPressure; removed.',
    async act(words, { json: asJson }) {
      return await showEvents((await one(words)).group, asJson);
    },
  },
  ps: {
    usage: 'NAME', about: 'the processes in a group', flags: [recursive('those in the groups below it too'), QUIET, json('a list')],
    async act(words, given) {
      return await ps((await one(words)).group, given);
    },
  },
  move: {
    usage: 'NAME PID...', about: 'move processes into a group', flags: [json('what was moved and what was not')],
    more: 'Exit code: 0, or 1 when one could not be moved.',
    async act(words, { json: asJson = false }) {
      const { group, rest } = await one(words, Infinity);
      return await move(group, rest, asJson);
    },
  },
  freeze: {
    usage: 'NAME...', about: 'stop all processes in groups and below', flags: [],
    act: async words => await each(await several(words), group => group.freeze()),
  },
  thaw: {
    usage: 'NAME...', about: 'let them go on', flags: [],
    act: async words => await each(await several(words), group => group.thaw()),
  },
  kill: {
    usage: 'NAME...', about: 'kill all processes in groups and below', flags: [],
    act: async words => await each(await several(words), group => group.kill()),
  },
  rm: {
    usage: 'NAME...', about: 'remove groups', flags: [recursive('the groups below it too'), KILL],
    more: 'A group with processes in it is not removed, unless with --kill.',
    async act(words, { recursive: below = false, kill = false }) {
      return await each(await several(words), group => remove(group, below, kill));
    },
  },
  tree: {
    usage: '[NAME]', about: 'groups and those below them, with the number of processes in each', flags: [json('with directories and limits')],
    async act(words, { json: asJson = false }) {
      const { word, group } = await one(words.length === 0 ? ['/'] : words);
      const branch = await branchOf(group, word, asJson);
      if (asJson) printJson(treeJson(branch));
      else print(drawn(branch).join('\n'));
      return 0;
    },
  },
};

/** Words that are no flags, for errors of the library. */
const WORDS: readonly Used[] = [{ word: 'NAME', option: 'cgroup.name' }, { word: 'NAME', option: 'path' }, { word: 'PID', option: 'pids' }];

export const CGROUP: Family = {
  about: 'make, limit, watch and remove cgroups',
  more: `They are the same on v1, v2 and hybrid hosts. NAME is the name that a group was created with, looked up from the cgroup of the caller; a/b is the group b in it. Or it is a path from the root of the hierarchies, as in /proc/PID/cgroup.

Exit code: 0; 125 with an error; 130 after ^C. For a command's flags see \`contained help cgroup COMMAND\`.`,
  examples: [
    'contained cgroup create web --memory 1G --cpus 2 --set memory.high=900M',
    'contained cgroup move web $$ && contained cgroup stats web',
    'contained cgroup rm web --kill',
  ],
  groups: {
    Commands: Object.fromEntries(Object.entries(COMMANDS).map(([name, command]) => [name, { words: [], refused: LIMITS_REFUSED, options: WORDS, failure: OWN_ERROR, ...command }])),
  },
};
