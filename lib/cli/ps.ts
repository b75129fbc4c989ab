// `contained ps`: which containers there are.
import type { ContainerInfo } from '../../types/registry.js';
import { containers } from '../attach.js';
import { didYouMean } from '../options/check.js';
import { printable, table } from './columns.js';
import type { Command } from './command.js';
import { toldCode } from './exit.js';
import { print, printJson } from './output.js';
import { runs } from './targets.js';
import { pair, UsageError } from './values.js';
import { elapsed } from './words.js';

type Filter = (info: ContainerInfo) => boolean;

interface Given {
  all?: boolean;
  quiet?: boolean;
  json?: boolean;
  trunc?: boolean;
  filters?: readonly { key: string; matches: Filter }[];
}

function labelled(text: string): Filter {
  const [name, value] = text.includes('=') ? pair(text, 'label=K or label=K=V') : [text, undefined];
  return ({ labels }) => Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
}

const STATES = ['starting', 'running', 'paused', 'exited', 'lost'] as const;

function inState(text: string): Filter {
  if (!(STATES as readonly string[]).includes(text)) throw new UsageError(`expected one of ${STATES.join(', ')}, got ${JSON.stringify(text)}${didYouMean(text, STATES)}`);
  return ({ state }) => state === text;
}

const FILTERS: Readonly<Record<string, (text: string) => Filter>> = {
  label: labelled,
  name: text => ({ id }) => id.includes(text),
  status: inState,
  exited: text => ({ state, exitCode, signal }) => state === 'exited' && String(toldCode({ code: exitCode, signal })) === text,
};

function filter(text: string): Given {
  const [key, value] = pair(text, 'label=K[=V], name=PART, status=STATE or exited=CODE');
  const make = Object.hasOwn(FILTERS, key) ? FILTERS[key] : undefined;
  if (!make) throw new UsageError(`no such key ${JSON.stringify(key)}${didYouMean(key, Object.keys(FILTERS))}`);
  return { filters: [{ key, matches: make(value) }] };
}

/** As docker: of several for one key one must hold, and all keys must. */
const passes = (info: ContainerInfo, filters: NonNullable<Given['filters']>): boolean =>
  filters.every(({ key }) => filters.some(other => other.key === key && other.matches(info)));

function statusOf({ state, created, exitCode, signal }: ContainerInfo): string {
  switch (state) {
    case 'running': return `Up ${elapsed(created)}`;
    case 'paused': return `Up ${elapsed(created)} (Paused)`;
    case 'exited': return `Exited (${toldCode({ code: exitCode, signal }) ?? '?'})`;
    case 'lost': return 'Lost';
    case 'starting': return 'Starting';
  }
}

const MOST = 40;

function rowOf(info: ContainerInfo, trunc: boolean): string[] {
  const command = printable(info.command.join(' '));
  const shown = trunc && command.length > MOST ? `${command.slice(0, MOST - 1)}…` : command;
  return [info.id, String(info.pid ?? '-'), shown, `${elapsed(info.created)} ago`, statusOf(info)];
}

export const PS: Command<Given> = {
  usage: '', about: 'list containers', aliases: ['ls', 'list'], words: null,
  more: 'Those of this user that run, whichever process has started them; with --all also those that have ended and are kept.',
  examples: ['contained ps --all --filter status=exited', 'contained rm $(contained ps -aq --filter label=test)'],
  flags: [
    { name: 'all', short: 'a', section: 'Flags', option: 'all', help: 'those that have ended too', read: on => ({ all: on }) },
    { name: 'quiet', short: 'q', section: 'Flags', option: 'quiet', help: 'only the names', read: on => ({ quiet: on }) },
    { name: 'filter', short: 'f', argument: 'KEY=VALUE', values: Object.keys(FILTERS).map(key => `${key}=`), repeatable: true, section: 'Flags', option: 'filter', help: `only those of label=K[=V], name=PART, status=${STATES.join('|')}, exited=CODE`, read: filter },
    { name: 'no-trunc', section: 'Flags', option: 'trunc', help: 'commands in full length', read: on => ({ trunc: !on }) },
    { name: 'json', section: 'Flags', option: 'json', help: 'a list of objects', read: on => ({ json: on }) },
  ],
  async act(_, { all = false, quiet = false, json = false, trunc = true, filters = [] }) {
    // Who asks for those of a state means those that have ended too.
    const wide = all || filters.some(({ key }) => key === 'status' || key === 'exited');
    const found = (await containers()).filter(info => (wide || runs(info) || info.state === 'starting') && passes(info, filters));
    if (json) printJson(found);
    else if (!quiet) print(table(['NAME', 'PID', 'COMMAND', 'CREATED', 'STATUS'], found.map(info => rowOf(info, trunc)), ['PID']));
    else if (found.length > 0) print(found.map(({ id }) => id).join('\n'));
    return 0;
  },
};
