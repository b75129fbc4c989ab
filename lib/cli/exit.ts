// Exit codes.
import type { Outcome, Reason } from '../../types/contained.js';
import { ContainedError } from '../errors.js';
import { numberOf } from '../host/signals.js';

export const OWN_ERROR = 125;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const TIMED_OUT = 124;

export const EXIT_CODES = `Exit code: that of the command; 128+n when signal n ended it (137: SIGKILL, as after too much memory); 125 error of contained itself, 126 the command cannot be executed, 127 it was not found; 124 after --timeout when the command, asked to end, exits with 0.`;

const OURS: readonly Reason[] = ['timeout', 'cpu-timeout', 'output'];

/** As sh(1). Undefined where it is not known how it has ended: the kernel tells only whoever has started it, unless it was detached. */
export const toldCode = ({ code, signal }: Pick<Outcome, 'code' | 'signal'>): number | undefined => signal === null ? code ?? undefined : 128 + numberOf(signal);

/** As docker run, sh(1) and, for what we have ended, timeout(1). */
export const exitCode = (outcome: Outcome): number => OURS.includes(outcome.reason) && outcome.code === 0 ? TIMED_OUT : toldCode(outcome) ?? OWN_ERROR;

/** Of an error of the library; `otherwise` when it is not that a command could not be executed. */
export function errorCode(error: ContainedError, otherwise: number): number {
  if (error.syscall !== 'exec') return otherwise;
  return error.code === 'ENOENT' || error.code === 'ENOTDIR' ? NOT_FOUND : NOT_EXECUTABLE;
}
