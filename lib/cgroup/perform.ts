// Ops on groups, done by the addon off the event loop; what they are and what their errors say is the program's.
import { native } from '../native.js';
import { encodeSection } from '../program/encode.js';
import type { Op } from '../program/ops.js';
import { opError } from '../program/words.js';

/** When one of the ops fails, those of `undo` that take back what was done are done, and it rejects with a ContainedError. */
export async function perform(ops: readonly Op[], undo: readonly Op[] = []): Promise<void> {
  const { errno, index } = await native().perform(encodeSection(ops, undo));
  if (errno !== 0) throw opError(ops[index], 'host', errno);
}
