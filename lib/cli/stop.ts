// `contained kill`, `stop`, `wait` and `rm`: ends of containers.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contained } from '../../types/contained.js';
import { ContainedError } from '../errors.js';
import type { Command } from './command.js';
import { toldCode } from './exit.js';
import type { Flag } from './flag.js';
import { waiting } from './progress.js';
import { each, find, findRunning, ID, notRunning, runs, type Target } from './targets.js';
import { seconds, signalName, SIGNALS } from './values.js';

/** Labels that `contained run` writes. */
export const STOP_SIGNAL = 'contained.stop-signal';
export const STOP_TIMEOUT = 'contained.stop-timeout';

const GRACE = 10_000;

const isKill = (signal: NodeJS.Signals | number): boolean => signal === 'SIGKILL' || signal === 9;

/** That it has ended, however, and whether or not anybody knows how. */
const ended = (child: Contained): Promise<void> => child.exited.then(() => {}, () => {});

/** Who is paused takes no signal; on v1 not even that one. */
async function wake({ child, info }: Target): Promise<void> {
  if (info.state === 'paused') await child.resume().catch(() => {});
}

async function killNow(target: Target): Promise<void> {
  const over = target.child.killAll();
  await wake(target);
  await waiting(`waiting for ${target.id} to end`, over);
}

async function signal(id: string, which: NodeJS.Signals | number): Promise<void> {
  const target = await findRunning(id, 'kill');
  if (isKill(which)) return await killNow(target);
  if (!target.child.kill(which)) throw notRunning(id, 'kill');
}

const notTold = (id: string): ContainedError => new ContainedError({
  code: 'ECHILD', errno: -10, syscall: undefined, path: undefined, dest: undefined, step: `tell how ${id} has ended`,
  hint: 'it has, but how is told only to the process that started it, unless it is detached',
});

interface Ending {
  which?: NodeJS.Signals | number;
  grace?: number;
}

async function stop(id: string, { which, grace }: Ending): Promise<void> {
  const target = await find(id);
  const { child, info: { labels } } = target;
  if (!runs(target.info)) return;
  const first = which ?? signalName(labels[STOP_SIGNAL] ?? 'TERM');
  const most = grace ?? Number(labels[STOP_TIMEOUT] ?? GRACE);
  child.kill(first);
  await wake(target);
  const over = new AbortController();
  const waited = Promise.race([ended(child).then(() => true), sleep(most, false, { signal: over.signal }).catch(() => true)]);
  const done = await waiting(`waiting for ${id} to end; it has ${Math.round(most / 1000)} s from ${first} to SIGKILL`, waited);
  over.abort();
  if (!done) await killNow(target);
}

async function remove(id: string, force: boolean): Promise<void> {
  const { child } = await find(id);
  try {
    await waiting(`waiting for ${id} to end`, child.remove({ force }));
  } catch (error) {
    // The library's hint is for programs.
    if (!(error instanceof ContainedError) || error.code !== 'EBUSY') throw error;
    throw new ContainedError({ ...error, step: error.step, hint: 'it has not ended: `contained stop` it first, or give --force' });
  }
}

const signalFlag = (help: string): Flag<Ending> =>
  ({ name: 'signal', short: 's', argument: 'SIGNAL', values: SIGNALS, section: 'Flags', option: 'signal', help, read: text => ({ which: signalName(text) }) });

export const KILL: Command<Ending> = {
  usage: 'NAME...', about: 'send a signal to containers', words: ['running'], options: ID,
  more: 'With KILL, which is the default, everything in the container ends, and it is waited for; any other goes to its first process.',
  flags: [signalFlag('which (default: KILL)')],
  act: async (words, { which = 'SIGKILL' }) => await each(words, id => signal(id, which)),
};

export const STOP: Command<Ending> = {
  usage: 'NAME...', about: 'ask containers to end, and kill those that do not', words: ['running'], options: ID,
  flags: [
    { name: 'timeout', short: 't', aliases: ['time'], argument: 'SECONDS', section: 'Flags', option: 'killGrace', help: 'time until SIGKILL, as 5, 500ms, 1m (default: --kill-grace of its `contained run`, or 10)', read: text => ({ grace: seconds(text) }) },
    signalFlag('what to send first (default: --kill-signal of its `contained run`, or TERM)'),
  ],
  act: async (words, given) => await each(words, id => stop(id, given)),
};

export const WAIT: Command<object> = {
  usage: 'NAME...', about: 'wait until containers have ended, and print their exit codes', words: ['container'], options: ID, flags: [],
  more: 'A line for each: its exit code, or 128+n when signal n ended it. Of one that is not detached the code is told only to the `contained run` that started it, which is waited for all the same.',
  act: async words => await each(words, async id => {
    const code = toldCode(await (await find(id)).child.exited);
    if (code === undefined) throw notTold(id);
    return String(code);
  }),
};

export const REMOVE: Command<{ force?: boolean }> = {
  usage: 'NAME...', about: 'forget containers that have ended, and their logs', aliases: ['delete', 'remove'], words: ['container'], options: ID,
  flags: [{ name: 'force', short: 'f', section: 'Flags', option: 'force', help: 'kill those that run first', read: on => ({ force: on }) }],
  act: async (words, { force = false }) => await each(words, id => remove(id, force)),
};
