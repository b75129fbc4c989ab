// `contained run`: one container in the foreground.
import { constants } from 'node:os';
import type { Contained, Outcome, Reason } from '../../types/contained.js';
import type { SpawnOptions } from '../../types/options.js';
import { ContainedError, spawnContained } from '../index.js';
import { passOn, stdioOf } from './capture.js';
import { note } from './note.js';
import { attach, checkInput, onTerminal } from './terminal.js';
import { notice, statsLine, traceTable } from './words.js';

export const OWN_ERROR = 125;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const TIMED_OUT = 124;

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

const OURS: readonly Reason[] = ['timeout', 'cpu-timeout', 'output'];

/** As docker run, sh(1) and, for what we have ended, timeout(1). */
export function exitCode({ reason, code, signal }: Outcome): number {
  if (signal !== null) return 128 + constants.signals[signal];
  return OURS.includes(reason) && code === 0 ? TIMED_OUT : code!;
}

export function errorCode(error: unknown): number {
  if (!(error instanceof ContainedError) || error.syscall !== 'exec') return OWN_ERROR;
  return error.code === 'ENOENT' || error.code === 'ENOTDIR' ? NOT_FOUND : NOT_EXECUTABLE;
}

/** The container has a session of its own, so a ^C at the terminal reaches us only. */
function forwardSignals(child: Contained): () => void {
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of FORWARDED) process.on(signal, forward);
  return () => {
    for (const signal of FORWARDED) process.off(signal, forward);
  };
}

/** The options with the streams that a command in the foreground has: those of the caller, or a terminal like its own. */
export const inForeground = (options: SpawnOptions): SpawnOptions => options.tty ? onTerminal(options) : { ...options, stdio: stdioOf(options) };

/** What the container is run with that is not of the container. */
export interface Foreground {
  stats?: boolean | undefined;
  interactive?: boolean | undefined;
}

/** Waits for its end, with the caller's terminal joined to its own where it has one. */
async function follow(child: Contained, terminal: boolean, interactive: boolean): Promise<Outcome> {
  const attached = terminal ? attach(child, interactive) : undefined;
  const passed = terminal ? undefined : passOn(child);
  const stop = forwardSignals(child);
  try {
    const [outcome] = await Promise.all([child.exited, passed]);
    await attached?.written;
    return outcome;
  } finally {
    stop();
    attached?.detach();
  }
}

/** Runs it to its end; what it returns is the exit code. */
export async function runCommand(options: SpawnOptions, [file = '', ...args]: readonly string[], { stats = false, interactive = false }: Foreground): Promise<number> {
  const terminal = Boolean(options.tty);
  if (terminal && interactive) checkInput();
  const child = spawnContained(file, args, inForeground(options));
  const noteSteps = (): void => note(`steps of the start\n${traceTable(child.trace ?? [])}`);
  // Not into the middle of what is on the screen.
  if (options.trace && !terminal) child.once('spawn', noteSteps);
  const outcome = await follow(child, terminal, interactive);
  if (options.trace && terminal) noteSteps();
  const why = notice(outcome);
  if (why !== undefined) note(why);
  if (stats) note(statsLine(outcome));
  return exitCode(outcome);
}
