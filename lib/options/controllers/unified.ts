import { OptionError } from '../../errors.js';
import * as check from '../check.js';
import type { Limit, Options } from './limit.js';

/** Files that move, stop or restructure have methods of their own. */
const OURS = /^cgroup\.(?!max\.)/;

/** Any other file of v2, as it is. */
export function unified(all: Options): Limit[] {
  const options = check.object('cgroup.unified', all['unified'] ?? {});
  return Object.entries(options).filter(([, v]) => v !== undefined).map(([file, v]) => {
    const path = `cgroup.unified.${file}`;
    if (!/^[a-z_]+\.[\w.-]+$/i.test(file) || OURS.test(file)) throw new OptionError(path, file, 'the name of a file of a controller, as memory.zswap.max');
    return { path, controller: file.slice(0, file.indexOf('.')), v2: [{ file, text: check.nonEmpty(path, v, 'the text to be written') }], v1: undefined };
  });
}
