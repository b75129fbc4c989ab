// What is said on a terminal, to be waited for.
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnContained, type Contained, type SpawnOptions } from 'spawn-contained';

export class Dialog {
  /** Everything so far. */
  said = '';
  readonly #input: Writable;
  #from = 0;
  #ended = false;

  constructor({ stdin, stdout }: Pick<Contained, 'stdin' | 'stdout'>) {
    this.#input = stdin!;
    (stdout as Readable).on('data', data => this.said += String(data)).on('close', () => this.#ended = true);
  }

  type(text: string): void {
    this.#input.write(text);
  }

  /** Resolves with what is matched when it is said, after what was waited for before. Ten seconds. */
  async hear(expected: RegExp): Promise<RegExpExecArray> {
    for (let i = 0; i < 1000; ++i) {
      const found = expected.exec(this.said.slice(this.#from));
      if (found) {
        this.#from += found.index + found[0].length;
        return found;
      }
      if (this.#ended) break;
      await sleep(10);
    }
    throw new Error(`${String(expected)} was not said, but ${JSON.stringify(this.said.slice(this.#from))}${this.#ended ? ', and then the end' : ''}`);
  }

  /** Types a line and waits for what is said after its echo. */
  async ask(line: string, expected: RegExp): Promise<RegExpExecArray> {
    this.type(`${line}\n`);
    return await this.hear(expected);
  }
}

/** A script on a terminal. */
export const sh = (script: string, options: SpawnOptions = {}): Contained => spawnContained('sh', ['-c', script], { tty: true, ...options });

/** An interactive shell, its prompt having been seen. */
export async function shell(options: SpawnOptions = {}): Promise<{ child: Contained; dialog: Dialog }> {
  const child = spawnContained('bash', ['--norc', '--noediting', '-i'], { tty: true, env: { PS1: '> ' }, ...options });
  const dialog = new Dialog(child);
  await dialog.hear(/> $/);
  return { child, dialog };
}
