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
 * What is saved up may at no time be above cpu.max, so it is given up meanwhile (kernel/sched/core.c, tg_set_cfs_bandwidth).
 * v1: memory may at no time be above memory and swap together, so the way up is the other way round: kernel document
 * cgroup-v1/memory, 2.4.
 */
async function inOrder(writes: readonly CgroupWrite[]): Promise<CgroupWrite[]> {
  const at = (file: string): number => writes.findIndex(({ path }) => fileOf(path) === file);
  const memory = at('memory.limit_in_bytes'), both = at('memory.memsw.limit_in_bytes');
  const result = [...writes];
  if (memory >= 0 && both >= 0) {
    const { path, text } = writes[memory]!;
    if (text === '-1' || Number(text) > await numberIn(path)) [result[memory], result[both]] = [writes[both]!, writes[memory]!];
  }
  const burst = Math.max(at('cpu.max.burst'), at('cpu.cfs_burst_us'));
  return burst >= 0 && Math.max(at('cpu.max'), at('cpu.cfs_quota_us')) >= 0 ? [{ ...writes[burst]!, text: '0' }, ...result] : result;
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

/** Files of a line per device or name, and what stands in such a line when nothing was said. */
const BY_LINE: readonly [file: RegExp, unsaid: string][] = [
  [/^io\.max$/, 'rbps=max wbps=max riops=max wiops=max'], [/^io\.latency$/, 'target=0'], [/^blkio\.throttle\./, '0'],
  [/^rdma\.max$/, 'hca_handle=max hca_object=max'], [/^misc\.max$/, 'max'], [/^net_prio\.ifpriomap$/, '0'], [/^io\.weight$/, '100'],
];

/** The text that a file had, as it must be written to have it again. */
function before(path: string, text: string, now: string): string {
  const unsaid = BY_LINE.find(([file]) => file.test(fileOf(path)))?.[1];
  if (unsaid === undefined) return takenBack(path, text.trim());
  const key = now.slice(0, now.indexOf(' ') + 1);
  return text.split('\n').find(line => line.startsWith(key)) ?? key + unsaid;
}

/** What takes each write back, the last first. */
async function restoring(writes: readonly CgroupWrite[]): Promise<Op[]> {
  const texts = await Promise.all(writes.map(({ path }) => textOf(path)));
  return writes.flatMap(({ path, text: now }, i): Op[] => {
    const text = texts[i];
    return text === undefined ? [] : [{ op: 'write', path, text: before(path, text, now), at: CWD, after: i }];
  }).reverse();
}

/** `filter`: the device filter that is in force, where that is known. Resolves to the one that is now. */
export async function update(where: Placement, limits: CgroupLimits, filter: DeviceSetting | undefined): Promise<DeviceSetting | undefined> {
  const { writes, devices } = resolveUpdate(limits, where);
  const ordered = await inOrder(writes);
  for (const write of ordered) await makeRoom(write);
  const ops = ordered.map(({ path, text, optional }): Op => ({ op: 'write', path, text, at: CWD, ...optional ? { forgive: ENOENT } : {} }));
  const attach = devices ? deviceOps(devices, where.unified?.directory, new Slots(0), filter) : [];
  await perform([...ops, ...attach], await restoring(ordered));
  return devices?.setting ?? filter;
}
