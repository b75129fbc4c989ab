// `contained run` and `contained explain`.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import type { SpawnOptions } from '../../types/options.js';
import { explain, spawnContained } from '../spawn.js';
import { makeRegistry } from '../host/registry.js';
import type { Command } from './command.js';
import { EXIT_CODES, OWN_ERROR } from './exit.js';
import { checkTogether, FLAGS, NOT_HERE, type Given } from './flags.js';
import type { Flag, Used } from './flag.js';
import { inForeground, runInForeground } from './foreground.js';
import { open } from './groups.js';
import { withSwap } from './limits.js';
import { print, printJson } from './output.js';
import { withSources } from './sources.js';
import { STOP_SIGNAL, STOP_TIMEOUT } from './stop.js';
import { UsageError } from './values.js';

/** A file that is to have what is known of the container when it runs. */
interface Told {
  path: string;
  /** Whether it must not be there yet. */
  fresh: boolean;
  text(child: { id: string | undefined; pid: number | undefined }): string;
}

interface Call {
  options: SpawnOptions;
  background: boolean;
  stats: boolean;
  interactive: boolean;
  files: readonly Told[];
}

/** What `contained stop` has to know is a label: nothing else of the options is kept. */
function labelsOf({ labels, killSignal, killGrace }: SpawnOptions): Record<string, string> {
  return {
    ...labels,
    ...killSignal === undefined ? {} : { [STOP_SIGNAL]: String(killSignal) },
    ...killGrace === undefined ? {} : { [STOP_TIMEOUT]: String(killGrace) },
  };
}

/** The flags as options. */
async function callOf(given: Given, used: readonly Used[]): Promise<Call> {
  checkTogether(used);
  const { stats = false, joined, interactive = false, background = false, networkOf, cidfile, pidfile, autoRemove, ...rest } = withSwap(given);
  if (joined !== undefined && rest.cgroup) throw new UsageError('--cgroup: a group that is there has its limits, see `contained cgroup set`');
  if (autoRemove === false && !background) throw new UsageError('--rm=false: needs --detach; what others write is not kept, so there is nothing to remember');
  const ns = await withSources(rest.ns, networkOf);
  const options: SpawnOptions = {
    ...rest,
    ...ns === undefined ? {} : { ns },
    ...joined === undefined ? {} : { cgroup: await open(joined) },
    ...background ? { detached: true, ...autoRemove === undefined ? {} : { autoRemove } } : {},
  };
  const files = [
    ...cidfile === undefined ? [] : [{ path: cidfile, fresh: true, text: ({ id = '' }) => id }],
    ...pidfile === undefined ? [] : [{ path: pidfile, fresh: false, text: ({ pid = 0 }) => String(pid) }],
  ] as Told[];
  return { options, background, stats, interactive, files };
}

/** With a name, so that other commands find it; nobody should miss a command for want of a place to keep names. */
function withName(options: SpawnOptions): SpawnOptions {
  if (options.id === undefined && options.labels === undefined) {
    try {
      makeRegistry();
    } catch {
      return options;
    }
  }
  const labels = labelsOf(options);
  return { ...options, id: options.id ?? randomBytes(6).toString('hex'), ...Object.keys(labels).length > 0 ? { labels } : {} };
}

function openTold({ path, fresh }: Told): number {
  try {
    // What was in the other is another's until the command runs.
    return openSync(path, constants.O_WRONLY | constants.O_CREAT | (fresh ? constants.O_EXCL : 0), 0o666);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (fresh && code === 'EEXIST') throw new UsageError(`--cidfile: ${path} is there; is the container of that name still in use?`);
    throw new UsageError(`--${fresh ? 'cidfile' : 'pidfile'}: ${path} cannot be written: ${code}`);
  }
}

function tell(fd: number, text: string): void {
  if (fstatSync(fd).isFile()) ftruncateSync(fd);
  writeSync(fd, text);
}

/** The files are made before anything is started: what runs and cannot be told of would run unseen. */
function startTold(options: SpawnOptions, [file = '', ...args]: readonly string[], files: readonly Told[]): ReturnType<typeof spawnContained> {
  const opened: { told: Told; fd: number }[] = [];
  const giveUp = (): void => {
    for (const { told: { path, fresh } } of opened) if (fresh) rmSync(path, { force: true });
  };
  try {
    for (const told of files) opened.push({ told, fd: openTold(told) });
    const child = spawnContained(file, args, options);
    child.once('spawn', () => opened.forEach(({ told, fd }) => tell(fd, told.text(child))));
    child.ready.catch(giveUp).finally(() => opened.forEach(({ fd }) => closeSync(fd)));
    return child;
  } catch (error) {
    giveUp();
    throw error;
  }
}

const start = (options: SpawnOptions, words: readonly string[], files: readonly Told[]): ReturnType<typeof spawnContained> =>
  files.length > 0 ? startTold(options, words, files) : spawnContained(words[0]!, words.slice(1), options);

async function inBackground(child: ReturnType<typeof spawnContained>): Promise<number> {
  await child.ready;
  print(child.id!);
  return 0;
}

function checkCommand(name: string, words: readonly string[]): void {
  if (words.length === 0) throw new UsageError(`no command given, as in \`contained ${name} -- sh\``);
}

export const RUN: Command<Given> = {
  usage: '[--] COMMAND [ARGUMENT...]',
  about: 'run a command in a new container',
  more: `By default the command sees the host's files, read-only, as nobody, with a /tmp of its own, and neither processes nor network of the host. When it ends everything is taken away.
Standard streams are handed on, or with -it joined to a terminal of its own, for which ^C is a key like any other; SIGINT, SIGTERM, SIGHUP and SIGQUIT are forwarded. With -d it goes on by itself, and what it writes is kept for \`contained logs\`.`,
  examples: [
    `contained run -- sh -c 'id; ps; mount'`,
    `contained run -m 256M --cpus 0.5 --pids-limit 50 --timeout 10s -v "$PWD":/mnt:ro -w /mnt -- node script.js`,
    'contained run -it --rootfs ./alpine --hostname box -- /bin/sh',
    'contained run -d --name web -- node server.js && contained logs -f web',
  ],
  after: EXIT_CODES,
  flags: FLAGS,
  refused: NOT_HERE,
  words: ['command', 'file'],
  command: true,
  failure: OWN_ERROR,
  async act(words, given, used) {
    checkCommand('run', words);
    const { options, background, stats, interactive, files } = await callOf(given, used);
    const named = withName(options);
    if (background) return await inBackground(start(named, words, files));
    return await runInForeground(named, { stats, interactive }, ready => start(ready, words, files));
  },
};

/** What `explain` takes beside. */
interface Explained extends Given {
  json?: boolean;
}

const AS_JSON: Flag<Explained> = { name: 'json', section: 'Reports', option: 'json', help: 'the lists of ops as JSON', read: on => ({ json: on }) };

export const EXPLAIN: Command<Explained> = {
  usage: '[--] COMMAND [ARGUMENT...]',
  about: 'show what run would do, without doing it',
  more: `\`host\` is done before the process is made, \`release\` while it sets up, and \`undo\` when it has ended; \`child\` is done by the process itself, from top to bottom, up to the command. What makes up a name is left out unless one is given.`,
  flags: [...FLAGS, AS_JSON],
  refused: NOT_HERE,
  words: ['command', 'file'],
  command: true,
  failure: OWN_ERROR,
  async act(words, { json, ...given }, used) {
    checkCommand('explain', words);
    const { options, background } = await callOf(given, used);
    const program = explain(words[0]!, words.slice(1), background ? options : inForeground(options));
    if (json) printJson(program);
    else print(String(program));
    return 0;
  },
};
