// `contained run`: one container in the foreground.
import { constants } from 'node:os';
import type { Contained, Outcome, Reason } from '../../types/contained.js';
import type { SpawnOptions } from '../../types/options.js';
import { ContainedError, spawnContained } from '../index.js';
import { passOn, stdioOf } from './capture.js';
import { note } from './note.js';
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

/** Runs it to its end; what it returns is the exit code. */
export async function runCommand(options: SpawnOptions, [file = '', ...args]: readonly string[], stats = false): Promise<number> {
  const child = spawnContained(file, args, { ...options, stdio: stdioOf(options) });
  const passed = passOn(child);
  const stop = forwardSignals(child);
  if (options.trace) child.once('spawn', () => note(`steps of the start\n${traceTable(child.trace ?? [])}`));
  try {
    const [outcome] = await Promise.all([child.exited, passed]);
    const why = notice(outcome);
    if (why !== undefined) note(why);
    if (stats) note(statsLine(outcome));
    return exitCode(outcome);
  } finally {
    stop();
  }
}
