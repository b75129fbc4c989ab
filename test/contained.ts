// The command `contained`, run as its users run it.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { sameAs, type Surroundings } from './env.js';

const main = fileURLToPath(new URL('../dist/lib/cli/main.js', import.meta.url));

// By way of env(1), or tap would load its own modules into each of these: slow, and they make a pipe non-blocking.
export const program = ['/usr/bin/env', '-u', 'NODE_OPTIONS', process.execPath, main] as const;
export const env = { ...process.env, CONTAINED_TEST: 'from outside' };

export interface Result { code: number | null; stdout: string; stderr: string }

export function contained(...args: string[]): Result {
  const { status, stdout, stderr } = spawnSync(program[0], [...program.slice(1), ...args], { encoding: 'utf8', timeout: 30_000, maxBuffer: 2 ** 24, env });
  return { code: status, stdout, stderr };
}

/** A script in a container. */
export const sh = (flags: readonly string[], script: string): Result => contained('run', ...flags, '--', 'sh', '-c', script);

/** The last test of a file: what all the commands before it have left. */
export const nothingIsLeft = (before: Surroundings): void => void t.test('nothing is left on the host', async t => {
  const after = await sameAs(before);
  t.same(after.children, before.children);
  t.same(after.mounts, before.mounts);
  t.same(after.temporary, before.temporary);
  t.same(after.descriptors, before.descriptors);
});
