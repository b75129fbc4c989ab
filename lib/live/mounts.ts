// proc_pid_mountinfo(5) → mounts.
import type { MountInspection } from '../../types/live.js';
import { headOf } from './proc.js';

/** A container may have a hundred thousand mounts: fs.mount-max, proc_sys_fs(5). */
const MOST = 4 * 2 ** 20;

/** Space, tab, newline and backslash are written in octal, byte by byte. */
const unescape = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

function propagationOf(fields: readonly string[]): MountInspection['propagation'] {
  if (fields.includes('unbindable')) return 'unbindable';
  const shared = fields.some(field => field.startsWith('shared:')), slave = fields.some(field => field.startsWith('master:'));
  return shared ? slave ? 'shared,slave' : 'shared' : slave ? 'slave' : 'private';
}

function mountOf(line: string): MountInspection[] {
  const words = line.split(' ');
  const end = words.indexOf('-', 6);
  if (end < 0 || words.length < end + 4) return [];
  const [, , , root, target, options] = words;
  const [type, source, superOptions] = words.slice(end + 1);
  return [{
    target: unescape(target!), source: unescape(source!), type: type!, root: unescape(root!),
    options: options!.split(','), superOptions: unescape(superOptions!).split(','), propagation: propagationOf(words.slice(6, end)),
  }];
}

export async function mountsOf(pid: number): Promise<MountInspection[] | undefined> {
  const bytes = await headOf(`/proc/${pid}/mountinfo`, MOST).catch(() => undefined);
  if (!bytes || bytes.length === 0) return undefined;
  const text = bytes.toString('utf8');
  return text.slice(0, text.lastIndexOf('\n')).split('\n').flatMap(mountOf);
}
