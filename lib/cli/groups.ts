// What the short commands of `contained cgroup` do.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { getSystemErrorMap } from 'node:util';
import type { Cgroup, CgroupLimits, CreateCgroupOptions } from '../../types/cgroup.js';
import { ContainedError, createCgroup, openCgroup } from '../index.js';
import { printable } from './columns.js';
import { OWN_ERROR } from './exit.js';
import { note } from './note.js';
import { print, printJson } from './output.js';
import type { Named } from './streams.js';
import { UsageError } from './values.js';

const FAILED = 1;

/** Not the library's own name for it: that says that this process owns it, which is about to end. */
const madeUp = (): string => `contained-${randomBytes(4).toString('hex')}`;

/** As the library takes it; `web/api` is api in web. */
export async function open(word: string): Promise<Cgroup> {
  const { parent, name } = split(word);
  return parent === undefined || word.startsWith('/') ? await openCgroup(word) : await openCgroup({ parent: await open(parent), name });
}

function split(word: string): { parent: string | undefined; name: string } {
  const at = word.lastIndexOf('/');
  return { parent: at < 0 ? undefined : word.slice(0, at) || '/', name: word.slice(at + 1) };
}

/** What is printed opens the group again. */
export async function create(word: string | undefined, above: string | undefined, options: CreateCgroupOptions, json: boolean): Promise<number> {
  const given = word === undefined ? { parent: undefined, name: options.name ?? madeUp() } : split(word);
  if (given.parent !== undefined && above !== undefined) throw new UsageError('NAME: with --parent a name, not a path');
  const { name } = given, parent = given.parent ?? above;
  // A scope of systemd would end with this process.
  const group = await createCgroup({ manager: 'cgroupfs', ...options, name, ...parent === undefined ? {} : { parent: await open(parent) } });
  const opens = parent === undefined ? name : `${parent.replace(/\/+$/, '')}/${name}`;
  if (json) printJson({ name: opens, paths: group.paths });
  else print(opens);
  return 0;
}

export async function set(group: Cgroup, limits: CgroupLimits | undefined): Promise<number> {
  if (limits === undefined) throw new UsageError('no limit given, as in `contained cgroup set NAME --memory 1G`');
  await group.update(limits);
  return 0;
}

/** As ps(1) shows it; a kernel thread has a name only. */
async function commandOf(pid: number): Promise<string | undefined> {
  try {
    const words = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    if (words !== '') return words.replace(/\0$/, '').replaceAll('\0', ' ');
    return `[${(await readFile(`/proc/${pid}/comm`, 'utf8')).trimEnd()}]`;
  } catch {
    return undefined;
  }
}

export async function ps(group: Cgroup, { recursive = false, quiet = false, json = false }: { recursive?: boolean; quiet?: boolean; json?: boolean }): Promise<number> {
  const pids = await group.processes({ recursive });
  const processes = await Promise.all(pids.map(async pid => ({ pid, command: quiet ? undefined : await commandOf(pid) })));
  const lines = processes.map(({ pid, command = '-' }) => `${String(pid).padStart(8)}  ${printable(command)}`);
  if (json) printJson(quiet ? pids : processes);
  else if (!quiet) print(['     PID  COMMAND', ...lines].join('\n'));
  else if (pids.length > 0) print(pids.join('\n'));
  return 0;
}

export async function move(group: Cgroup, words: readonly string[], json: boolean): Promise<number> {
  const wrong = words.find(word => !/^\d+$/.test(word));
  if (wrong !== undefined) throw new UsageError(`PID: expected an integer, got ${JSON.stringify(wrong)}`);
  if (words.length === 0) throw new UsageError('no process given, as in `contained cgroup move NAME PID`');
  const result = await group.move(words.map(Number));
  if (json) printJson(result);
  else for (const { pid, code, errno } of result.errors) note(`move ${pid}: ${code} (${getSystemErrorMap().get(errno)?.[1] ?? 'unknown'})`);
  return result.errors.length === 0 ? 0 : FAILED;
}

export async function remove(group: Cgroup, recursive: boolean, kill: boolean): Promise<void> {
  if (kill) await group.kill();
  try {
    await group.remove({ recursive });
  } catch (error) {
    // The library's hint is for programs.
    if (!(error instanceof ContainedError) || error.code !== 'EBUSY') throw error;
    throw new ContainedError({ ...error, hint: 'there are processes or groups in it: --kill ends the former, --recursive removes the latter' });
  }
}

/** Of several groups each is tried. */
export async function each(groups: readonly Named[], act: (group: Cgroup) => Promise<void>): Promise<number> {
  let code = 0;
  for (const { group } of groups) {
    try {
      await act(group);
    } catch (error) {
      if (!(error instanceof ContainedError)) throw error;
      note(error.message);
      code = OWN_ERROR;
    }
  }
  return code;
}
