// What tests of `contained cgroup` share.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import type { Test } from 'tap';
import { createCgroup, type Cgroup, type CreateCgroupOptions } from 'spawn-contained';
import { contained, env, program, type Result } from './contained.js';
import { mark, needsRoot, tidy } from './env.js';

export const cgroup = (...args: string[]): Result => contained('cgroup', ...args);
export const done = (stdout = ''): Result => ({ code: 0, stdout, stderr: '' });

let names = 0;
export const fresh = (): string => `contained-test-cli.${process.pid}.${++names}`;

export interface Scope {
  teardown(undo: () => unknown): void;
}

/** A test as root, behind which everything is as it was before, once what it has made is taken back. */
export function onHost(title: string, body: (t: Test, scope: Scope) => Promise<void>, skip: string | false = needsRoot): void {
  tidy(title, async t => {
    const undos: (() => unknown)[] = [];
    try {
      await body(t as never, { teardown: undo => void undos.unshift(undo) });
    } finally {
      for (const undo of undos) await undo();
    }
  }, { skip });
}

/** A group that is removed with all in it when the test is over. */
export async function made(scope: Scope, options: CreateCgroupOptions = {}): Promise<{ name: string; group: Cgroup }> {
  const name = options.name ?? fresh();
  const group = await createCgroup({ ...options, name });
  scope.teardown(() => group[Symbol.asyncDispose]());
  return { name, group };
}

export async function sleeper(scope: Scope): Promise<number> {
  const child = spawn('sleep', [mark()], { stdio: 'ignore' });
  await once(child, 'spawn');
  scope.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return child.pid!;
}

export interface Running {
  child: ChildProcess;
  output(): string;
  ended: Promise<Result>;
}

export function started(...args: string[]): Running {
  const child = spawn(program[0], [...program.slice(1), 'cgroup', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env, timeout: 30_000, killSignal: 'SIGKILL' });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', data => stdout += data);
  child.stderr.on('data', data => stderr += data);
  return { child, output: () => stdout, ended: new Promise(resolve => child.on('close', code => resolve({ code, stdout, stderr }))) };
}

/** Whether it has files of the group open: then it watches. */
export const watches = ({ child }: Running, { paths }: Cgroup): boolean => readdirSync(`/proc/${child.pid}/fd`).some(fd => {
  try {
    const file = readlinkSync(`/proc/${child.pid}/fd/${fd}`);
    return Object.values(paths).some(directory => file.startsWith(`${directory}/`));
  } catch {
    return false;
  }
});

export const jsonLines = (text: string): Record<string, unknown>[] => text.split('\n').filter(Boolean).map(line => JSON.parse(line));
