// What takes its time says so, to people.
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';

const STDERR = 2;
const PATIENCE = 1000;

function draw(text: string): void {
  try {
    writeSync(STDERR, `\r\x1b[K${text}`);
  } catch { /* the terminal is gone */ }
}

/** On a terminal, once a second has passed: what is waited for. The line is cleared when it is there. */
export async function waiting<T>(text: string, work: Promise<T>): Promise<T> {
  if (!isatty(STDERR)) return await work;
  const began = performance.now();
  let drawn = false;
  const timer = setInterval(() => {
    drawn = true;
    draw(`${text} (${Math.floor((performance.now() - began) / 1000)} s)`);
  }, PATIENCE);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (drawn) draw('');
  }
}
