// Changing limits while they are in force: in the right order, and back again when one of them is refused.
import { readFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import type { CgroupLimits } from '../../types/cgroup.js';
import { single } from '../host/texts.js';
import { resolveUpdate } from '../options/cgroup.js';
import type { CgroupWrite, DeviceSetting, Placement } from '../options/settings.js';
import { deviceOps } from '../program/cgroup.js';
import { CWD, type Op } from '../program/ops.js';
import { Slots } from '../program/slots.js';
import { opError } from '../program/words.js';
import { perform } from './perform.js';

const { EAGAIN, EBUSY, ENOENT } = os.errno;

const textOf = async (path: string): Promise<string | undefined> => await readFile(path, 'utf8').catch(() => undefined);
const numberIn = async (path: string): Promise<number> => single(await textOf(path)) ?? 0;
const fileOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/**
 * v1: memory may at no time be above memory and swap together, so the way up is the other way round: kernel document
 * cgroup-v1/memory, 2.4.
 */
async function inOrder(writes: readonly CgroupWrite[]): Promise<CgroupWrite[]> {
  const at = (file: string): number => writes.findIndex(({ path }) => fileOf(path) === file);
  const memory = at('memory.limit_in_bytes'), both = at('memory.memsw.limit_in_bytes');
  const result = [...writes];
  if (memory < 0 || both < 0) return result;
  const { path, text } = writes[memory]!;
  if (text === '-1' || Number(text) > await numberIn(path)) [result[memory], result[both]] = [writes[both]!, writes[memory]!];
  return result;
}

/**
 * v2 takes a limit below what is used and kills to reach it, v1 refuses it. So the kernel is asked to take memory away
 * first, and what it cannot take away is EBUSY on both.
 */
async function makeRoom({ path, text }: CgroupWrite): Promise<void> {
  if (fileOf(path) !== 'memory.max' || text === 'max') return;
  const directory = path.slice(0, path.lastIndexOf('/'));
  const excess = async (): Promise<number> => await numberIn(join(directory, 'memory.current')) - Number(text);
  const bytes = await excess();
  if (bytes <= 0) return;
  await perform([{ op: 'write', path: join(directory, 'memory.reclaim'), text: String(bytes), at: CWD, forgive: EAGAIN }]).catch(() => {});
  if (await excess() > 0) throw opError({ op: 'write', path, text, at: CWD }, 'host', EBUSY);
}

/** v1 shows no limit as a number of pages beyond any memory, which it does not take back. */
const UNLIMITED = 2 ** 62;
const takenBack = (path: string, text: string): string => /_in_bytes$/.test(path) && Number(text) > UNLIMITED ? '-1' : text;

/** What takes each write back, the last first. A file of a line per device cannot be written as a whole, and stays. */
async function restoring(writes: readonly CgroupWrite[]): Promise<Op[]> {
  const texts = await Promise.all(writes.map(({ path }) => textOf(path)));
  return writes.flatMap(({ path }, i): Op[] => {
    const text = texts[i]?.trim() ?? '';
    return text === '' || text.includes('\n') ? [] : [{ op: 'write', path, text: takenBack(path, text), at: CWD, after: i }];
  }).reverse();
}

/** `before`: the device filter that is in force, where that is known. Resolves to the one that is now. */
export async function update(where: Placement, limits: CgroupLimits, before: DeviceSetting | undefined): Promise<DeviceSetting | undefined> {
  const { writes, devices } = resolveUpdate(limits, where);
  const ordered = await inOrder(writes);
  for (const write of ordered) await makeRoom(write);
  const ops = ordered.map(({ path, text, optional }): Op => ({ op: 'write', path, text, at: CWD, ...optional ? { forgive: ENOENT } : {} }));
  const filter = devices ? deviceOps(devices, where.unified?.directory, new Slots(0), before) : [];
  await perform([...ops, ...filter], await restoring(ordered));
  return devices?.setting ?? before;
}
