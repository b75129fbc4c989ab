// Controllers that count things: kernel document admin-guide/cgroup-v2 "PID", "HugeTLB", "RDMA", "Misc"; cgroup-v1/hugetlb.
import { readdirSync } from 'node:fs';
import { OptionError } from '../../errors.js';
import * as check from '../check.js';
import { count, given, part, sizeOrZero, v1Max, word, type Limit, type Options } from './limit.js';

export function pids(all: Options): Limit[] {
  return given(part(all, 'pids', ['max']), 'cgroup.pids', 'max', (v, at) => {
    const write = [{ file: 'pids.max', text: count(at, v, 1, 2 ** 22) }];
    return { path: at, controller: 'pids', v2: write, v1: write };
  });
}

/** The sizes that this machine has, as the files are named: 64KB, 2MB, 1GB (mm/hugetlb_cgroup.c, mem_fmt). */
function pageSizes(): string[] {
  let names: string[];
  try {
    names = readdirSync('/sys/kernel/mm/hugepages');
  } catch {
    return [];
  }
  return names.map(name => Number(/^hugepages-(\d+)kB$/.exec(name)?.[1])).map(kB => kB >= 2 ** 20 ? `${kB / 2 ** 20}GB` : kB >= 1024 ? `${kB / 1024}MB` : `${kB}KB`);
}

export function hugetlb(all: Options): Limit[] {
  const options = check.object('cgroup.hugetlb', all['hugetlb'] ?? {});
  return Object.entries(options).filter(([, v]) => v !== undefined).map(([key, v]) => {
    const path = `cgroup.hugetlb.${key}`;
    const page = key.toUpperCase().replace(/(?<=[KMG])$/, 'B');
    const known = pageSizes();
    if (!known.includes(page)) throw new OptionError(path, key, known.length > 0 ? `a page size of this machine: ${known.join(', ')}` : 'none: this machine has no huge pages');
    const text = sizeOrZero(path, v);
    return { path, controller: 'hugetlb', v2: [{ file: `hugetlb.${page}.max`, text }], v1: [{ file: `hugetlb.${page}.limit_in_bytes`, text: v1Max(text) }] };
  });
}

export function rdma(all: Options): Limit[] {
  const options = check.object('cgroup.rdma', all['rdma'] ?? {});
  return Object.entries(options).filter(([, v]) => v !== undefined).map(([device, v]) => {
    const path = `cgroup.rdma.${device}`;
    const objects = check.object(path, v);
    check.knownKeys(path, objects, ['hcaHandle', 'hcaObject']);
    const texts = [['hcaHandle', 'hca_handle'], ['hcaObject', 'hca_object']].flatMap(([key, name]) =>
      given(objects, path, key!, (n, at) => `${name}=${count(at, n, 0, 2 ** 31 - 1)}`));
    if (texts.length === 0) throw new OptionError(path, v, 'hcaHandle or hcaObject');
    const write = [{ file: 'rdma.max', text: `${word(path, device)} ${texts.join(' ')}` }];
    return { path, controller: 'rdma', v2: write, v1: write };
  });
}

export function misc(all: Options): Limit[] {
  const options = check.object('cgroup.misc', all['misc'] ?? {});
  return Object.entries(options).filter(([, v]) => v !== undefined).map(([name, v]) => {
    const path = `cgroup.misc.${name}`;
    const write = [{ file: 'misc.max', text: `${word(path, name)} ${count(path, v, 0, Number.MAX_SAFE_INTEGER)}` }];
    return { path, controller: 'misc', v2: write, v1: write };
  });
}
