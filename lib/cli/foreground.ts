// A command in the foreground, in a container of its own or in one that is there.
import type { Contained, Outcome } from '../../types/contained.js';
import type { SpawnOptions } from '../../types/options.js';
import { passOn, stdioOf } from './capture.js';
import { exitCode } from './exit.js';
import { note } from './note.js';
import { attach, checkInput, onTerminal } from './terminal.js';
import { notice, statsLine, traceTable } from './words.js';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** The container has a session of its own, so a ^C at the terminal reaches us only. */
function forwardSignals(child: Contained): () => void {
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of FORWARDED) process.on(signal, forward);
  return () => {
    for (const signal of FORWARDED) process.off(signal, forward);
  };
}

type Streams = Pick<SpawnOptions, 'tty' | 'env' | 'stdio' | 'maxOutput' | 'trace'>;

/** The options with the streams that a command in the foreground has: those of the caller, or a terminal like its own. */
export const inForeground = <T extends Streams>(options: T): T => options.tty ? onTerminal(options) : { ...options, stdio: stdioOf(options) };

/** What a command is run with that is not of the container. */
export interface Foreground {
  stats?: boolean;
  interactive?: boolean;
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
export async function runInForeground<T extends Streams>(options: T, { stats = false, interactive = false }: Foreground, start: (options: T) => Contained): Promise<number> {
  const terminal = Boolean(options.tty);
  if (terminal && interactive) checkInput();
  const child = start(inForeground(options));
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
