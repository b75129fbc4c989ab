// The kernel's ways to write numbers down: kernel document admin-guide/cgroup-v2, "Interface Files".

/** A file that is one number; `max` is none. */
export function single(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+\n?$/.test(text) ? Number(text) : undefined;
}

/** A line `key number`. */
export function keyed(text: string | undefined, key: string): number | undefined {
  if (text === undefined) return undefined;
  const start = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1;
  if (start === 0 && !text.startsWith(`${key} `)) return undefined;
  return parseInt(text.slice(start + key.length + 1), 10);
}

export const scaled = (value: number | undefined, factor: number): number | undefined => value === undefined ? undefined : value * factor;
