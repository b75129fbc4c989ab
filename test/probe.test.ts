// probe: what this host can do, and what would change that.
import { release } from 'node:os';
import { probe, run } from 'spawn-contained';
import { needsUser, root, tidy } from './env.js';

const KERNEL_NAMES = ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'time'];

tidy('the report says what the host is', async t => {
  const report = await probe();
  t.match(report, { kernel: release(), node: process.version, cgroups: /^(v2|v1|hybrid|none)$/ });
  t.equal(report.mode, root ? 'root' : 'rootless');
});

tidy('every ability has a name of its own and says what was found', async t => {
  const { abilities } = await probe();
  const names = abilities.map(({ name }) => name);
  t.equal(new Set(names).size, names.length);
  for (const name of ['user namespaces', 'a full container', 'cgroup memory', 'cgroup cpu', 'cgroup pids', ...KERNEL_NAMES.map(kind => `${kind} namespace`)]) {
    t.ok(names.includes(name), name);
  }
  for (const { name, available, detail } of abilities) {
    t.type(available, 'boolean', name);
    t.ok(detail.length > 0, name);
  }
});

tidy('what is said to be available is', async t => {
  const { abilities } = await probe();
  const can = (name: string): boolean => abilities.find(ability => ability.name === name)!.available;
  t.equal(can('a full container'), await run({ command: 'true' }).then(() => true, () => false));
  t.equal(can('cgroup pids'), await run({ command: 'true', cgroup: { pids: { max: 10 } } }).then(() => true, () => false));
  t.equal(can('time namespace'), await run({ command: 'true', ns: ['time'] }).then(() => true, () => false));
});

tidy('without root limits need somebody to delegate, and the report says how', async t => {
  const { abilities } = await probe();
  const memory = abilities.find(({ name }) => name === 'cgroup memory')!;
  t.equal(memory.available, false);
  t.match(memory.remedy, /delegate/i);
}, { skip: needsUser });

tidy('for all that is not available there is a remedy', async t => {
  for (const { name, available, remedy } of (await probe()).abilities) {
    if (available) t.equal(remedy, undefined, name);
    else t.ok(remedy && remedy.length > 0, name);
  }
});
