// The kernel's ways to write numbers down: kernel document admin-guide/cgroup-v2, "Interface Files".

/** A file that is one number; `max` and -1 are none. */
export function single(text: string | undefined): number | undefined {
  const number = text ? Number(text) : -1;
  return number >= 0 ? number : undefined;
}

/** A line `key number`. */
export function keyed(text: string | undefined, key: string): number | undefined {
  if (text === undefined) return undefined;
  const word = `${key} `;
  const start = text.startsWith(word) ? 0 : text.indexOf(`\n${word}`) + 1;
  if (start === 0 && !text.startsWith(word)) return undefined;
  return parseInt(text.slice(start + word.length), 10);
}

export const scaled = (value: number | undefined, factor: number): number | undefined => value === undefined ? undefined : value * factor;
