// Ids inside and outside.
import type { IdMapRow } from '../../types/live.js';

/** The text of /proc/PID/uid_map as this process reads it: user_namespaces(7). */
export const mapRows = (text: string | undefined): IdMapRow[] => (text ?? '').split('\n').filter(line => line !== '').map(line => {
  const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
  return { inside: inside!, outside: outside!, count: count! };
});

/**
 * A map of the same namespace as the caller's is told from outside of both, so it is none between the two; and one that only
 * looks the same is one to one.
 */
export const isOwnMap = (text: string | undefined, ours: string | undefined): boolean => text === undefined || text === ours;

/** What an id of the caller's is called inside; undefined: it is not mapped there. */
export function insideOf(rows: readonly IdMapRow[] | undefined, id: number): number | undefined {
  if (!rows) return id;
  const row = rows.find(({ outside, count }) => id >= outside && id < outside + count);
  return row && row.inside + id - row.outside;
}
