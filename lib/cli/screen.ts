// What is kept up to date on a terminal.
import { printed, untilInterrupted } from './output.js';

/** In the place of what it has drawn before; what is too long or too wide for the terminal is cut off, or it would wrap. */
export function painter(): (lines: readonly string[]) => Promise<void> {
  let above = 0;
  return async lines => {
    const { rows = 24, columns = 80 } = process.stdout;
    const shown = lines.slice(0, Math.max(1, rows - 1)).map(line => line.slice(0, Math.max(1, columns)));
    await printed(`${above > 0 ? `\x1b[${above}A` : ''}\r\x1b[J${shown.join('\n')}\n`);
    above = shown.length;
  };
}

const ALTERNATE = ['\x1b[?1049h\x1b[?25l', '\x1b[?25h\x1b[?1049l'] as const;
const [CTRL_C, CTRL_Z] = ['\x03', '\x1a'];

/** One letter at a time. ^C and ^Z are letters then, so what they mean is done here. */
function readKeys(enter: () => void, leave: () => void, quit: () => void): void {
  const { stdin } = process;
  if (!stdin.isTTY) return;
  stdin.setRawMode(true).setEncoding('utf8').unref().on('data', (keys: string) => {
    if (keys.includes(CTRL_C)) process.kill(process.pid, 'SIGINT');
    else if (keys.includes('q')) quit();
    else if (keys.includes(CTRL_Z)) {
      stdin.setRawMode(false);
      leave();
      process.kill(process.pid, 'SIGSTOP');
    }
  });
  process.on('SIGCONT', () => {
    stdin.setRawMode(true);
    enter();
  });
}

/** A screen of its own, as top(1) has, until `body` is done, ^C or q; then the terminal is as it was. */
export function onScreen(body: (draw: (lines: readonly string[]) => Promise<void>) => Promise<void>): Promise<number> {
  const enter = (): void => void process.stdout.write(ALTERNATE[0]);
  const leave = (): void => void process.stdout.write(ALTERNATE[1]);
  const restore = (): void => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    leave();
  };
  process.once('exit', restore);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, () => {
    restore();
    process.off('exit', restore);
    process.kill(process.pid, signal);
  });
  enter();
  readKeys(enter, leave, () => process.exit(0));
  return untilInterrupted(async () => {
    await body(async lines => {
      const { rows = 24, columns = 80 } = process.stdout;
      await printed(`\x1b[H${lines.slice(0, rows - 1).map(line => `${line.slice(0, columns)}\x1b[K`).join('\n')}\n\x1b[J`);
    });
    process.exit(0);
  });
}
