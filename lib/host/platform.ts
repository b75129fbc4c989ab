// Where this package works: it can be imported everywhere, and used on Linux.
import { ContainedError } from '../errors.js';

export const unavailable = (step: string, hint: string, cause?: unknown): ContainedError => Object.assign(new ContainedError({
  code: 'ERR_CONTAIN_UNSUPPORTED_PLATFORM', errno: 0, syscall: undefined, path: undefined, dest: undefined, step, hint,
}), { cause });

/** Before anything of the host is looked at. */
export function checkPlatform(): void {
  if (process.platform !== 'linux') throw unavailable(`spawn-contained on ${process.platform}`, 'containers need Linux 5.14 or later');
}
