// What is printed to stdout.

const INTERRUPTED = 130;

let watched = false;
let whenGone = (): void => {};

/** `contained help | head` is no error. */
function watchStream(stream: NodeJS.WriteStream): void {
  stream.on('error', error => {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
    whenGone();
  });
}

function watch(): void {
  if (watched) return;
  watched = true;
  watchStream(process.stdout);
}

export function print(text: string): void {
  watch();
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Resolves when it has left, so that what goes on for ever does not pile up before a reader that is slow. */
export async function printed(text: string): Promise<void> {
  watch();
  await new Promise<void>(resolve => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`, () => resolve()));
}

let errorsWatched = false;

/** The same for bytes, and for either stream. */
export async function writtenTo(stream: NodeJS.WriteStream, bytes: Uint8Array): Promise<void> {
  watch();
  // To open it makes a pipe non-blocking, see note(), so only when there is something to write.
  if (stream === process.stderr && !errorsWatched) {
    errorsWatched = true;
    watchStream(stream);
  }
  await new Promise<void>(resolve => void stream.write(bytes, () => resolve()));
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2));

/**
 * For what goes on until it is interrupted, or nobody reads any more. It leaves by process.exit: what it waits for would
 * keep Node running.
 */
export async function untilInterrupted(body: () => Promise<void>): Promise<number> {
  whenGone = () => process.exit(0);
  process.once('SIGINT', () => void process.stdout.write('', () => process.exit(INTERRUPTED)));
  await body();
  return 0;
}
