// Kernel documents admin-guide/cgroup-v2 "Memory", cgroup-v1/memory.
import { OptionError } from '../../errors.js';
import * as check from '../check.js';
import { given, part, size, sizeOrZero, v1Max, type Limit, type Options, type Write } from './limit.js';

const KNOWN = ['max', 'high', 'low', 'min', 'swapMax', 'oomGroup'];

/** memsw is memory and swap together, and may not be lower than memory, so it comes second. */
function v1Swap(max: string | undefined, swap: string): Write[] {
  const both = max === undefined || max === 'max' || swap === 'max' ? '-1' : String(Number(max) + Number(swap));
  return [{ file: 'memory.memsw.limit_in_bytes', text: both, optional: swap === '0' }];
}

/**
 * A limit of memory alone would be none: what is above it would go to swap. So there is no swap where none is asked for,
 * and the group dies as one.
 */
export function memory(all: Options): Limit[] {
  const path = 'cgroup.memory';
  const options = part(all, 'memory', KNOWN);
  const max = given(options, path, 'max', (v, at) => size(at, v))[0];
  const limited = max !== undefined && max !== 'max';
  const swap = given(options, path, 'swapMax', (v, at) => sizeOrZero(at, v))[0] ?? (limited ? '0' : max);
  const oomGroup = given(options, path, 'oomGroup', (v, at) => check.boolean(at, v))[0] ?? (limited ? true : undefined);
  if (options['swapMax'] !== undefined && options['swapMax'] !== 'max' && !limited) {
    throw new OptionError(`${path}.swapMax`, options['swapMax'], 'memory.max beside it: cgroup v1 knows only the sum');
  }
  const low = given(options, path, 'low', (v, at) => sizeOrZero(at, v));
  const only = (key: string, file: string): Limit[] => given(options, path, key, (v, at) =>
    ({ path: at, controller: 'memory', v2: [{ file, text: key === 'min' ? sizeOrZero(at, v) : size(at, v) }], v1: undefined }));
  return [
    ...only('min', 'memory.min'),
    ...low.map(text => ({
      path: `${path}.low`, controller: 'memory', v2: [{ file: 'memory.low', text }], v1: [{ file: 'memory.soft_limit_in_bytes', text: v1Max(text) }],
    })),
    ...only('high', 'memory.high'),
    ...max === undefined ? [] : [{
      path: `${path}.max`, controller: 'memory', v2: [{ file: 'memory.max', text: max }], v1: [{ file: 'memory.limit_in_bytes', text: v1Max(max) }],
    }],
    ...swap === undefined ? [] : [{
      path: `${path}.swapMax`, controller: 'memory', v2: [{ file: 'memory.swap.max', text: swap, optional: options['swapMax'] === undefined }], v1: v1Swap(max, swap),
    }],
    ...oomGroup === undefined ? [] : [{
      path: `${path}.oomGroup`, controller: 'memory', v2: [{ file: 'memory.oom.group', text: oomGroup ? '1' : '0' }],
      v1: options['oomGroup'] === true ? undefined : [],
    }],
  ];
}
