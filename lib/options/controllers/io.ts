// Kernel documents admin-guide/cgroup-v2 "IO", cgroup-v1/blkio-controller.
import { existsSync, statSync, type Stats } from 'node:fs';
import { ContainedError, OptionError } from '../../errors.js';
import { cgroupHost } from '../../host/cgroups.js';
import { deviceNumbers } from '../../host/devices.js';
import * as check from '../check.js';
import { count, given, part, size, type Limit, type Options, type Write } from './limit.js';

const noDevice = (path: string, code: string, errno: number, hint: string): ContainedError => new ContainedError({
  code, errno, syscall: 'stat', path, dest: undefined, step: `find the block device ${path}`, hint,
});

function block(path: string, value: unknown): string {
  const text = check.nonEmpty(path, value, "the path of a block device, or its numbers as '8:0'");
  if (/^\d{1,4}:\d{1,7}$/.test(text)) {
    if (!existsSync(`/sys/dev/block/${text}`)) throw noDevice(text, 'ENODEV', -19, 'no block device has these numbers; `lsblk` lists them');
    return text;
  }
  if (!text.startsWith('/')) throw new OptionError(path, value, "an absolute path, or numbers as '8:0'");
  let found: Stats;
  try {
    found = statSync(text);
  } catch (error) {
    const { code = 'UNKNOWN', errno = 0 } = error as NodeJS.ErrnoException;
    throw noDevice(text, code, errno, 'there is no such device; `lsblk` lists them');
  }
  if (!found.isBlockDevice()) throw noDevice(text, 'ENOTBLK', -15, 'it is not a block device');
  const { major, minor } = deviceNumbers(found.rdev);
  return `${major}:${minor}`;
}

const V1_THROTTLE = { rbps: 'read_bps', wbps: 'write_bps', riops: 'read_iops', wiops: 'write_iops' } as const;

function most(value: unknown, path: string): { v2: Write; v1: Write[] } {
  const options = check.object(path, value);
  check.knownKeys(path, options, ['device', ...Object.keys(V1_THROTTLE)]);
  const device = block(`${path}.device`, options['device']);
  const limits = Object.keys(V1_THROTTLE).flatMap(key => given(options, path, key, (v, at) =>
    ({ key: key as keyof typeof V1_THROTTLE, text: key.endsWith('bps') ? size(at, v) : count(at, v, 1, 2 ** 32 - 1) })));
  if (limits.length === 0) throw new OptionError(path, value, `at least one of ${Object.keys(V1_THROTTLE).join(', ')}`);
  return {
    v2: { file: 'io.max', text: `${device} ${limits.map(({ key, text }) => `${key}=${text}`).join(' ')}` },
    v1: limits.map(({ key, text }) => ({ file: `blkio.throttle.${V1_THROTTLE[key]}_device`, text: `${device} ${text === 'max' ? 0 : text}` })),
  };
}

function latency(value: unknown, path: string): Write {
  const options = check.object(path, value);
  check.knownKeys(path, options, ['device', 'targetUs']);
  const device = block(`${path}.device`, options['device']);
  return { file: 'io.latency', text: `${device} target=${check.integer(`${path}.targetUs`, options['targetUs'], 0, 2 ** 32 - 1)}` };
}

/**
 * Which of the kernel's weights there is depends on how it was built and on its modules. The root group has no weight, but
 * other files of the same origin.
 */
function weightWrites(weight: number): Pick<Limit, 'v1' | 'v2'> {
  const { unified, v1 } = cgroupHost();
  const blkio = v1.get('blkio')?.mount;
  const cost = unified !== undefined && (existsSync(`${unified.mount}/io.cost.qos`) || existsSync(`${unified.mount}${unified.own}/io.weight`));
  // BFQ's goes to 1000: kernel document block/bfq-iosched.
  const bfq = String(Math.min(1000, weight));
  return {
    v2: cost ? [{ file: 'io.weight', text: `default ${weight}` }] : [{ file: 'io.bfq.weight', text: bfq }],
    v1: blkio !== undefined && existsSync(`${blkio}/blkio.bfq.io_serviced`) ? [{ file: 'blkio.bfq.weight', text: bfq }] : undefined,
  };
}

export function io(all: Options): Limit[] {
  const path = 'cgroup.io';
  const options = part(all, 'io', ['weight', 'max', 'latency']);
  const limit = (at: string, v2: readonly Write[], v1: readonly Write[] | undefined): Limit => ({ path: at, controller: 'io', v1Controller: 'blkio', v2, v1 });
  return [
    ...given(options, path, 'weight', (v, at) => {
      const { v2, v1 } = weightWrites(check.integer(at, v, 1, 10_000));
      return limit(at, v2!, v1);
    }),
    ...given(options, path, 'max', (v, at) => {
      const devices = check.array(at, v, 'a list of devices and their limits').map((entry, i) => most(entry, `${at}[${i}]`));
      return limit(at, devices.map(({ v2 }) => v2), devices.flatMap(({ v1 }) => v1));
    }),
    ...given(options, path, 'latency', (v, at) =>
      limit(at, check.array(at, v, 'a list of devices and their targets').map((entry, i) => latency(entry, `${at}[${i}]`)), undefined)),
  ];
}
