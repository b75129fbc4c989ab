// `contained ns`: namespaces that stay, as `ip netns` has them.
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { NamespaceKind } from '../../types/options.js';
import { ContainedError } from '../errors.js';
import { createNamespaces, openNamespaces } from '../namespaces/create.js';
import { didYouMean } from '../options/check.js';
import { containerName } from '../options/registration.js';
import { printable, table } from './columns.js';
import type { Command, Family } from './command.js';
import type { Used } from './flag.js';
import { print, printJson } from './output.js';
import { HELD } from './sources.js';
import { each } from './targets.js';
import { UsageError } from './values.js';

interface Given {
  kinds?: readonly NamespaceKind[];
  hostname?: string;
  json?: boolean;
  quiet?: boolean;
}

const DEFAULT: readonly NamespaceKind[] = ['net', 'ipc', 'uts'];

const WORDS: readonly Used[] = [{ word: 'NAME', option: 'path' }, { word: 'NAME', option: 'id' }, { word: '--ns', option: 'kinds' }];

/** A name is a directory below HELD. */
const placeOf = (word: string): string => word.includes('/') ? resolve(word) : join(HELD, containerName('id', word));

const names = (): Promise<string[]> => readdir(HELD).catch((error: NodeJS.ErrnoException) => {
  if (error.code === 'ENOENT') return [];
  throw error;
});

async function create(word: string, { kinds = DEFAULT, hostname }: Given): Promise<void> {
  const path = placeOf(word);
  if (!word.includes('/')) await mkdir(HELD, { recursive: true, mode: 0o755 }).catch(({ code, errno = 0 }: NodeJS.ErrnoException) => {
    throw new ContainedError({ code: code ?? '', errno, syscall: 'mkdir', path: HELD, dest: undefined, step: `make ${HELD}`, hint: 'holding namespaces by files needs root' });
  });
  await createNamespaces(kinds, { path, ...hostname === undefined ? {} : { hostname } });
}

async function remove(word: string): Promise<void> {
  const path = placeOf(word);
  const held = await openNamespaces(path).catch(async (error: unknown) => {
    if (!(error instanceof ContainedError) || error.code !== 'ENOENT' || word.includes('/')) throw error;
    throw new ContainedError({ ...error, step: error.step, hint: `there are none of this name${didYouMean(word, await names()) || '; see `contained ns ls`'}` });
  });
  await held.remove();
  // What others have put into it stays.
  if (!word.includes('/')) await rmdir(path).catch(() => {});
}

async function list({ json = false, quiet = false }: Given): Promise<void> {
  const found = await Promise.all((await names()).sort().map(async name => {
    const held = await openNamespaces(join(HELD, name)).catch(() => undefined);
    return held ? { name, kinds: held.kinds, paths: held.paths } : undefined;
  }));
  const there = found.filter(one => one !== undefined);
  if (json) printJson(there);
  else if (!quiet) print(table(['NAME', 'NAMESPACES', 'PATH'], there.map(({ name, kinds }) => [printable(name), kinds.join(','), join(HELD, name)])));
  else if (there.length > 0) print(there.map(({ name }) => name).join('\n'));
}

const CREATE: Command<Given> = {
  usage: 'NAME', about: 'make namespaces that stay until they are removed', words: ['file'], options: WORDS,
  more: `NAME is a name, or the path of a directory to hold them by a file each; names are in ${HELD}.`,
  flags: [
    { name: 'ns', argument: 'LIST', values: 'namespaces', section: 'Flags', option: 'kinds', help: `of mnt,net,ipc,uts,user,cgroup,time (default: ${DEFAULT.join(',')})`, read: text => ({ kinds: text.split(',').filter(Boolean) as NamespaceKind[] }) },
    { name: 'hostname', argument: 'NAME', section: 'Flags', option: 'hostname', help: 'host name in a uts namespace (default: contained)', read: text => ({ hostname: text }) },
  ],
  async act(words, given) {
    if (words.length !== 1) throw new UsageError(words.length === 0 ? 'no name given, as in `contained ns create blue`' : `one name only, so not ${JSON.stringify(words[1])}`);
    await create(words[0]!, given);
    print(words[0]!);
    return 0;
  },
};

const LS: Command<Given> = {
  usage: '', about: 'list them', words: null,
  flags: [
    { name: 'quiet', short: 'q', section: 'Flags', option: 'quiet', help: 'only the names', read: on => ({ quiet: on }) },
    { name: 'json', section: 'Flags', option: 'json', help: 'a list of objects, with the path of each', read: on => ({ json: on }) },
  ],
  async act(_, given) {
    await list(given);
    return 0;
  },
};

const RM: Command<object> = {
  usage: 'NAME...', about: 'remove them', words: ['held'], options: WORDS, flags: [],
  more: 'Whoever is in one goes on in it.',
  async act(words) {
    if (words.length === 0) throw new UsageError('no name given; see `contained ns ls`');
    return await each(words, remove);
  },
};

export const NS: Family = {
  about: 'make, list and remove namespaces that stay',
  more: 'They are there without any process, for several containers to share: `contained run --ns net=NAME`. Making and removing them needs root.',
  examples: ['contained ns create --ns net,uts --hostname blue blue', 'contained run --ns mnt,pid,ipc,net=blue,uts=blue -- hostname', 'contained ns rm blue'],
  groups: { Commands: { create: CREATE, ls: LS, rm: RM } },
};
