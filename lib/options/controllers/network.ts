// Kernel documents admin-guide/cgroup-v1/net_cls, net_prio. cgroup v2 has neither: there iptables and eBPF match the path.
import * as check from '../check.js';
import { given, part, word, type Limit, type Options } from './limit.js';

export function network(all: Options): Limit[] {
  const priorities = check.object('cgroup.netPrio', all['netPrio'] ?? {});
  return [
    ...given(part(all, 'netCls', ['classid']), 'cgroup.netCls', 'classid', (v, at): Limit => ({
      path: at, controller: 'net_cls', v2: undefined, v1: [{ file: 'net_cls.classid', text: String(check.integer(at, v, 0, 2 ** 32 - 1)) }],
    })),
    ...Object.entries(priorities).filter(([, v]) => v !== undefined).map(([device, v]): Limit => {
      const path = `cgroup.netPrio.${device}`;
      return { path, controller: 'net_prio', v2: undefined, v1: [{ file: 'net_prio.ifpriomap', text: `${word(path, device)} ${check.integer(path, v, 0, 2 ** 31 - 1)}` }] };
    }),
  ];
}
