// Builds floor.c and talks to it.
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

export function compile(output, source, input) {
  const { status, stderr, error } = spawnSync('gcc', ['-O2', '-static', '-Wall', '-Wextra', '-x', 'c', '-o', output, source], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`gcc ${source}: ${error?.message ?? stderr}`);
}

export const buildTrue = output => compile(output, '-', 'int main(void) { return 0; }\n');
export const buildFloor = (output, source = 'floor.c') => compile(output, fileURLToPath(new URL(source, import.meta.url)));

/** A running floor.c, one per case. */
export class Floor {
  #child;
  #answers;
  #errors = '';

  constructor(binary, args) {
    this.#child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', text => { this.#errors += text; });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Nanoseconds that `count` runs take, `flight` at a time, of the case or of a command line. */
  async time(count, flight, command = []) {
    this.#child.stdin.write(`${[count, flight, ...command].join(' ')}\n`);
    const { value, done } = await this.#answers.next();
    if (!done) return Number(value);
    throw new Error(this.#errors.trim() || 'floor ended');
  }

  async stop() {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }
}

/** Mounts cgroup v1 hierarchies of these controllers nowhere: they are there until `stop`, or until the process dies. */
export async function holdControllers(binary, controllers) {
  const child = spawn(binary, ['hold', ...controllers], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise(resolve => child.once('exit', resolve));
  await Promise.race([new Promise(resolve => child.stdout.once('data', resolve)), ended]);
  return {
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
