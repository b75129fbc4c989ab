// A command to its end, with its output.
import type { Readable, Writable } from 'node:stream';
import type { Contained, Outcome, RunResult } from '../types/contained.js';
import type { CollectOptions, RunOptions, SpawnOptions } from '../types/options.js';
import type { SandboxRunOptions } from '../types/sandbox.js';
import { CommandFailed, OptionError } from './errors.js';
import { resolveStdio, TERMINAL, type Entry } from './handle/stdio.js';
import * as check from './options/check.js';
import { bytesOf } from './options/output.js';
import { spawnContained } from './spawn.js';

/** Everything a stream says, or the first `most` bytes of it; the rest is read and dropped, so that nobody waits. */
async function collect(stream: Readable | null, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  if (stream) {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (size >= most) continue;
      const kept = chunk.subarray(0, most - size);
      chunks.push(kept);
      size += kept.length;
    }
  }
  return Buffer.concat(chunks);
}

function feed(stdin: Writable | null, input: string | Uint8Array | undefined): void {
  // A command that ends without reading its input has not failed by that.
  stdin?.on('error', () => {});
  stdin?.end(input ?? '');
}

async function finish(child: Contained, input: CollectOptions['input'], most: number): Promise<[Outcome, Buffer, Buffer]> {
  feed(child.stdin, input);
  return Promise.all([child.exited, collect(child.stdout, most), collect(child.stderr, most)]);
}

/** What is to be written needs somewhere to go. */
export function checkInput(input: CollectOptions['input'], [stdin]: readonly Entry[]): void {
  if (stdin !== 'pipe' && stdin !== TERMINAL) throw new OptionError('input', input, "'pipe' as stdin beside it");
}

/** The options of `run` that are its own, checked, and all others. A `maxOutput` that is no size is one of the others. */
export function splitOptions<T extends SandboxRunOptions>(options: T): { own: Collecting; rest: Omit<T, keyof CollectOptions> & Pick<SpawnOptions, 'maxOutput'> } {
  const { input, maxOutput, encoding = 'utf8', reject = true, ...rest } = check.object('options', options) as unknown as T;
  if (input !== undefined && typeof input !== 'string' && !(input instanceof Uint8Array)) throw new OptionError('input', input, 'a string or bytes', 'ERR_INVALID_ARG_TYPE');
  if (encoding !== 'buffer' && !Buffer.isEncoding(encoding)) throw new OptionError('encoding', encoding, "an encoding of Buffer, or 'buffer'");
  const whole = typeof maxOutput === 'object';
  const most = whole ? Infinity : check.optional(maxOutput, v => bytesOf('maxOutput', v), Infinity);
  return { own: { input, most, encoding, reject: check.boolean('reject', reject) }, rest: whole ? { ...rest, maxOutput } : rest };
}

export interface Collecting {
  input: CollectOptions['input'];
  /** Bytes of each stream. */
  most: number;
  encoding: BufferEncoding | 'buffer';
  reject: boolean;
}

/** What a container that was started says, and how it ends. */
export async function collected(child: Contained, { input, most, encoding, reject }: Collecting): Promise<RunResult<string | Buffer>> {
  const [outcome, stdout, stderr] = await finish(child, input, most);
  const text = (bytes: Buffer): string | Buffer => encoding === 'buffer' ? bytes : bytes.toString(encoding);
  const result = { ...outcome, stdout: text(stdout), stderr: text(stderr) };
  if (reject && !(outcome.reason === 'exit' && outcome.code === 0)) throw new CommandFailed(child.spawnargs, result);
  return result;
}

/**
 * Runs a command in a container to its end and collects what it writes.
 *
 * Rejects with {@link CommandFailed}, which has the same fields, when the command does not exit with 0, unless
 * `reject` is false; and with a ContainedError when it cannot be started.
 */
export function run(options: RunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
export function run(options: RunOptions): Promise<RunResult>;
export async function run(options: RunOptions): Promise<RunResult<string | Buffer>> {
  const { own, rest } = splitOptions(options);
  if (own.input !== undefined) checkInput(own.input, resolveStdio(rest));
  return await collected(spawnContained(rest), own);
}
