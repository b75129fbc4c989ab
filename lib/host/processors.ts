// How many processors there are: what can be used of them in a given time is that many times it.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** `0-3,8` → 5. */
const countOf = (list: string): number => list.trim().split(',').reduce((sum, range) => {
  const [first, last = first] = range.split('-').map(Number);
  return sum + last! - first! + 1;
}, 0);

let online: number | undefined;

/** Those that are online, whatever this process may run on: a container may run on others. */
export function processors(): number {
  if (online !== undefined) return online;
  try {
    online = countOf(readFileSync('/sys/devices/system/cpu/online', 'latin1'));
  } catch {
    online = availableParallelism();
  }
  return online;
}
