import { writeSync } from 'node:fs';

/**
 * A line of our own on stderr. Not process.stderr: to open that makes a pipe non-blocking for everybody who shares it, the
 * command in the container too.
 */
export function note(text: string): void {
  try {
    writeSync(2, `contained: ${text}\n`);
  } catch { /* nobody can be told that nobody listens */ }
}
