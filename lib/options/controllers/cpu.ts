// Kernel documents admin-guide/cgroup-v2 "CPU", scheduler/sched-bwc, scheduler/sched-design-CFS; cpusets(7).
import { OptionError } from '../../errors.js';
import * as check from '../check.js';
import { given, part, type Limit, type Options, type Write } from './limit.js';

const PERIOD = 100_000;
const micros = (processors: number): string => String(Math.round(processors * PERIOD));

/** As the kernel converts: kernel/sched/core.c, cpu_weight_write_u64. The range is sched_group_set_shares's. */
const shares = (weight: number): number => Math.min(262_144, Math.max(2, Math.round(weight * 1024 / 100)));

export function cpu(all: Options): Limit[] {
  const path = 'cgroup.cpu';
  const options = part(all, 'cpu', ['max', 'weight', 'burst', 'idle']);
  const limit = (at: string, v2: readonly Write[], v1: readonly Write[]): Limit => ({ path: at, controller: 'cpu', v2, v1 });
  const processors = (v: unknown, at: string): number => check.number(at, v, 0.01, 1e5);
  const burst = given(options, path, 'burst', (v, at) => check.number(at, v, 0, 1e5))[0];
  const max = options['max'];
  if (burst !== undefined && max !== undefined && (max === 'max' || burst > processors(max, `${path}.max`))) {
    throw new OptionError(`${path}.burst`, options['burst'], 'at most cpu.max', 'ERR_OUT_OF_RANGE');
  }
  if (options['weight'] !== undefined && options['idle'] === true) throw new OptionError(`${path}.weight`, options['weight'], 'no weight beside cpu.idle');
  return [
    ...given(options, path, 'idle', (v, at) => {
      const write = [{ file: 'cpu.idle', text: check.boolean(at, v) ? '1' : '0' }];
      return limit(at, write, write);
    }),
    ...given(options, path, 'weight', (v, at) => {
      const weight = check.integer(at, v, 1, 10_000);
      return limit(at, [{ file: 'cpu.weight', text: String(weight) }], [{ file: 'cpu.shares', text: String(shares(weight)) }]);
    }),
    // The quota is checked against the period that is in force, so that comes first.
    ...given(options, path, 'max', (v, at) => {
      const quota = v === 'max' ? 'max' : micros(processors(v, at));
      return limit(at, [{ file: 'cpu.max', text: `${quota} ${PERIOD}` }],
        [{ file: 'cpu.cfs_period_us', text: String(PERIOD) }, { file: 'cpu.cfs_quota_us', text: quota === 'max' ? '-1' : quota }]);
    }),
    ...burst === undefined ? [] : [limit(`${path}.burst`, [{ file: 'cpu.max.burst', text: micros(burst) }], [{ file: 'cpu.cfs_burst_us', text: micros(burst) }])],
  ];
}

/** `0-3,5`, the kernel's "List format", cpuset(7). */
function list(path: string, value: unknown): string {
  if (Array.isArray(value)) {
    if (value.length === 0) throw new OptionError(path, value, 'at least one number');
    return value.map((v, i) => check.integer(`${path}[${i}]`, v, 0, 65_535)).join();
  }
  const text = check.nonEmpty(path, value, "a list such as '0-3,5', or an array of numbers");
  const ranges = text.split(',').map(range => /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range.trim()));
  if (ranges.some(match => !match || (match[2] !== undefined && Number(match[2]) < Number(match[1])))) throw new OptionError(path, value, "a list such as '0-3,5'");
  return text.replace(/\s/g, '');
}

export function cpuset(all: Options): Limit[] {
  const path = 'cgroup.cpuset';
  const options = part(all, 'cpuset', ['cpus', 'mems', 'partition']);
  if (options['partition'] !== undefined && options['partition'] !== 'member' && options['cpus'] === undefined) {
    throw new OptionError(`${path}.partition`, options['partition'], 'cpuset.cpus beside it');
  }
  const same = (key: string): Limit[] => given(options, path, key, (v, at) => {
    const write = [{ file: `cpuset.${key}`, text: list(at, v) }];
    return { path: at, controller: 'cpuset', v2: write, v1: write };
  });
  return [
    ...same('cpus'),
    ...same('mems'),
    ...given(options, path, 'partition', (v, at): Limit => ({
      path: at, controller: 'cpuset', v2: [{ file: 'cpuset.cpus.partition', text: check.oneOf(at, v, ['member', 'root', 'isolated']) }], v1: undefined,
    })),
  ];
}
