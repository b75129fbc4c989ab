// Limits: that they are there, that they limit, and that nothing of them stays.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { once } from 'node:events';
import { ContainedError, createCgroup, OptionError, run, spawnContained } from 'spawn-contained';
import type { CgroupOptions, Contained } from 'spawn-contained';
import { mark, needsLimits, needsNoLimits, needsRoot, processesWith, tidy, until } from './env.js';

/** A shell that has started, and waits for a line. */
async function shell(cgroup: CgroupOptions, script = 'read x'): Promise<Contained> {
  const child = spawnContained({ command: ['sh', '-c', `echo up; ${script}`], cgroup });
  await Promise.all([child.ready, once(child.stdout!, 'data')]);
  return child;
}

/** The first of these files that there is in a group of the container: v2 names and v1 names. */
function fileOf(child: Contained, ...names: string[]): string {
  const found = Object.values(child.cgroup).flatMap(directory => names.map(name => join(directory, name))).find(existsSync);
  if (found === undefined) throw new Error(`none of ${names.join(', ')} in ${JSON.stringify(child.cgroup)}`);
  return readFileSync(found, 'utf8').trim();
}

tidy('the limits stand in the files of its groups, and it is in them', async t => {
  const child = await shell({ memory: { max: '64M' }, cpu: { max: 0.5 }, pids: { max: 7 } });
  t.equal(fileOf(child, 'memory.max', 'memory.limit_in_bytes'), String(64 * 2 ** 20));
  t.match(fileOf(child, 'cpu.max', 'cpu.cfs_quota_us'), /^50000( 100000)?$/);
  t.equal(fileOf(child, 'pids.max'), '7');
  const groups = readFileSync(`/proc/${child.pid}/cgroup`, 'utf8').split('\n');
  const directories = [...new Set(Object.values(child.cgroup))];
  t.ok(directories.length > 0);
  for (const directory of directories) {
    const name = directory.slice(directory.lastIndexOf('/'));
    t.ok(groups.some(line => line.endsWith(name)), directory);
    t.ok(readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').includes(String(child.pid)));
  }
  child.stdin!.end('x\n');
  t.match(await child.exited, { reason: 'exit', code: 0 });
  for (const directory of directories) t.equal(existsSync(directory), false, `${directory} is gone`);
}, { skip: needsLimits });

tidy('beyond pids.max a fork fails, and the container goes on', async t => {
  const script = 'i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; echo all';
  const { stdout, stderr, code, usage } = await run({ command: ['sh', '-c', `(${script}); echo after`], cgroup: { pids: { max: 8 } }, reject: false });
  t.equal(stdout, 'after\n');
  t.match(stderr, /fork/i);
  t.equal(code, 0);
  t.ok(usage.pidsPeak === undefined || usage.pidsPeak <= 8 && usage.pidsPeak >= 7, `${usage.pidsPeak}`);
}, { skip: needsLimits });

tidy('beyond memory.max the kernel kills, and the reason is oom', async t => {
  const outcome = await run({ command: ['sh', '-c', 'head -c 100M /dev/zero | tail -c 90M | wc -c; exit 1'], cgroup: { memory: { max: '20M' } }, reject: false });
  t.equal(outcome.reason, 'oom');
  t.ok(outcome.usage.oomKills! >= 1);
  t.ok(outcome.usage.memoryPeak! > 15 * 2 ** 20 && outcome.usage.memoryPeak! <= 20 * 2 ** 20, `${outcome.usage.memoryPeak}`);
}, { skip: needsLimits });

tidy('the reason is oom only then', async t => {
  const cgroup = { memory: { max: '50M' } };
  const below = await run({ command: ['sh', '-c', 'head -c 10M /dev/zero | tail -c 9M | wc -c; exit 9'], cgroup, reject: false });
  t.match(below, { reason: 'exit', code: 9, stdout: `${9 * 2 ** 20}\n`, usage: { oomKills: 0 } });
  const killed = spawnContained({ command: ['sh', '-c', 'kill -9 $$'], init: true, cgroup });
  t.match(await killed.exited, { reason: 'signal', signal: 'SIGKILL', usage: { oomKills: 0 } });
  const timed = await run({ command: ['sleep', mark()], timeout: 100, killSignal: 'SIGKILL', cgroup, reject: false });
  t.equal(timed.reason, 'timeout');
}, { skip: needsLimits });

tidy('in a group that others use too, what was killed before and beside is not of this container', async t => {
  const group = await createCgroup({ memory: { max: '16M' } });
  const hog = ['sh', '-c', 'exec tail /dev/zero'] as const;
  for (let i = 0; i < 2; ++i) {
    const { reason, signal, usage } = await run({ command: hog, cgroup: group, reject: false });
    t.same([reason, signal, usage.oomKills! > 0], ['oom', 'SIGKILL', true]);
  }
  t.match(await run({ command: ['sh', '-c', 'exit 3'], cgroup: group, reject: false }), { reason: 'exit', code: 3, usage: { oomKills: 0 } });
  const killed = spawnContained({ command: ['sleep', mark()], cgroup: group });
  await killed.ready;
  process.kill(killed.pid!, 'SIGKILL');
  t.match(await killed.exited, { reason: 'signal', usage: { oomKills: 0 } });
  await group.remove();
}, { skip: needsLimits });

tidy('a page cache that is as large as the limit is no reason to kill', async t => {
  const { reason } = await run({ command: ['sh', '-c', 'head -c 60M /dev/zero > /tmp/x; rm /tmp/x'], cgroup: { memory: { max: '100M' } } });
  t.equal(reason, 'exit');
}, { skip: needsLimits });

/** cpu.stat is there on v2 without the controller too, but without this line. */
const throttled = (child: Contained): number => Math.max(...Object.values(child.cgroup).map(directory => join(directory, 'cpu.stat')).filter(existsSync)
  .map(file => Number(/nr_throttled (\d+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 0)));

tidy('beyond cpu.max it is throttled', async t => {
  const child = await shell({ cpu: { max: 0.1 } }, 'while :; do :; done');
  t.ok(await until(() => throttled(child) > 2), 'the kernel says that it was throttled');
  await child.killAll();
  const { usage } = await child.exited;
  t.ok(usage.userMs + usage.systemMs < usage.wallMs * 0.5, `${usage.userMs + usage.systemMs} of ${usage.wallMs} ms`);
}, { skip: needsLimits });

tidy('what it used is told, and what is not known is undefined and never 0', async t => {
  const burn = ['sh', '-c', 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'] as const;
  const counted = (await run({ command: burn, cgroup: { memory: { max: '64M' }, pids: { max: 10 } } })).usage;
  t.ok(counted.userMs > 0 && counted.wallMs >= counted.userMs, JSON.stringify(counted));
  t.ok(counted.memoryPeak! > 0);
  t.ok(counted.pidsPeak === undefined || counted.pidsPeak >= 1);
  t.equal(counted.oomKills, 0);
  const bare = (await run({ command: burn })).usage;
  t.ok(bare.userMs > 0);
  t.ok(bare.memoryPeak! > 0, 'the largest resident set of one process');
  t.same([bare.pidsPeak, bare.oomKills], [undefined, undefined]);
}, { skip: needsLimits });

tidy('the use of all processes is told, not only that of the first', async t => {
  const busy = 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done';
  const { usage } = await run({ command: ['sh', '-c', `(setsid sh -c '${busy}; echo done' &) ; cat`], cgroup: { pids: { max: 10 } }, stdio: ['ignore', 'pipe', 'pipe'], ns: [] });
  t.ok(usage.wallMs > 0);
  const whole = await run({ command: ['sh', '-c', `sh -c '${busy}' & wait`], cgroup: {} });
  t.ok(whole.usage.userMs + whole.usage.systemMs > 50, JSON.stringify(whole.usage));
}, { skip: needsLimits });

tidy('without a cgroup there are no paths', async t => {
  const child = spawnContained('true');
  t.same(child.cgroup, {});
  await child.exited;
});

tidy('a group of a given name has it, and is gone after', async t => {
  const name = `contained-test.${process.pid}`;
  const child = await shell({ name, pids: { max: 5 } });
  for (const directory of Object.values(child.cgroup)) t.ok(directory.endsWith(`/${name}`) && existsSync(directory), directory);
  await child.killAll();
  for (const directory of Object.values(child.cgroup)) t.notOk(existsSync(directory), directory);
}, { skip: needsLimits });

tidy('a name that is in use fails the start; the other and its group are untouched', async t => {
  const name = `contained-test.${process.pid}.used`;
  const first = await shell({ name, pids: { max: 5 } }, 'read x; exit 3');
  for (let i = 0; i < 3; ++i) {
    const error = await spawnContained('true', { cgroup: { name, pids: { max: 9 } } }).exited.catch((error: unknown) => error);
    t.ok(error instanceof ContainedError);
    t.match(error, { code: 'EEXIST', syscall: 'mkdir', hint: /another name/ });
  }
  t.equal(fileOf(first, 'pids.max'), '5');
  for (const directory of Object.values(first.cgroup)) t.ok(readFileSync(join(directory, 'cgroup.procs'), 'utf8').includes(String(first.pid)), directory);
  first.stdin!.end('x\n');
  t.match(await first.exited, { reason: 'exit', code: 3 });
}, { skip: needsLimits });

tidy('a group that somebody else has made on one hierarchy only stays, and ours on the others go', async t => {
  const name = `contained-test.${process.pid}.theirs`;
  const probing = spawnContained('true', { cgroup: { memory: { max: '64M' }, pids: { max: 5 } } });
  const theirs = join(dirname(Object.values(probing.cgroup).at(-1)!), name);
  await probing.exited;
  mkdirSync(theirs);
  await t.rejects(spawnContained('true', { cgroup: { name, memory: { max: '64M' }, pids: { max: 5 } } }).exited, { code: 'EEXIST', path: theirs });
  t.ok(existsSync(theirs));
  rmdirSync(theirs);
}, { skip: needsRoot });

tidy('a given parent has the group in it', async t => {
  const probing = spawnContained('true', { cgroup: { parent: '/', pids: { max: 5 } } });
  const mounts = Object.values(probing.cgroup).map(directory => dirname(directory));
  await probing.exited;
  const parent = `/contained-test.${process.pid}.parent`;
  for (const mount of mounts) mkdirSync(join(mount, parent));
  const child = await shell({ parent, pids: { max: 5 } });
  for (const directory of Object.values(child.cgroup)) t.ok(directory.includes(`${parent}/`) && existsSync(directory), directory);
  await child.killAll();
  for (const mount of mounts) {
    t.same(readdirSync(join(mount, parent), { withFileTypes: true }).filter(entry => entry.isDirectory()), []);
    rmdirSync(join(mount, parent));
  }
}, { skip: needsRoot });

tidy('names that are paths, and values that are none, are refused', t => {
  const wrong: [CgroupOptions, string][] = [
    [{ name: 'a/b' }, 'cgroup.name'], [{ name: '..' }, 'cgroup.name'], [{ name: 'a\nb' }, 'cgroup.name'], [{ name: '' }, 'cgroup.name'],
    [{ name: 'cgroup.procs' }, 'cgroup.name'], [{ name: 'a\0b' }, 'cgroup.name'],
    [{ parent: '../up' }, 'cgroup.parent'], [{ parent: '/a/../../b' }, 'cgroup.parent'], [{ parent: '/a\nb' }, 'cgroup.parent'],
    [{ memory: { max: 'lots' } }, 'cgroup.memory.max'], [{ memory: { max: -1 } }, 'cgroup.memory.max'], [{ memory: { max: 0 } }, 'cgroup.memory.max'],
    [{ cpu: { max: 0 } }, 'cgroup.cpu.max'], [{ cpu: { max: NaN } }, 'cgroup.cpu.max'], [{ pids: { max: 0 } }, 'cgroup.pids.max'], [{ pids: { max: 1.5 } }, 'cgroup.pids.max'],
  ];
  for (const [cgroup, path] of wrong) {
    let found: unknown;
    try {
      spawnContained('true', { cgroup }).on('error', () => {});
    } catch (error) {
      found = error;
    }
    t.ok(found instanceof OptionError, JSON.stringify(cgroup));
    t.equal((found as OptionError | undefined)?.path, path);
  }
  return Promise.resolve();
});

tidy('a container that forks for ever is gone after killAll, and its groups with it', async t => {
  const word = mark();
  const child = await shell({ pids: { max: 60 } }, `f() { sleep ${word} & (f) & wait; }; f 2>/dev/null; sleep ${word}`);
  t.ok(await until(() => processesWith(word).length > 5));
  await child.killAll();
  t.same(processesWith(word), []);
}, { skip: needsLimits });

tidy('without root, and without delegation, a limit is refused with cause and remedy', async t => {
  for (const cgroup of [{ memory: { max: '64M' } }, { pids: { max: 5 } }, { cpu: { max: 1 } }]) {
    const error = await spawnContained('true', { cgroup }).exited.catch((error: unknown) => error);
    t.ok(error instanceof ContainedError);
    t.match(error, { code: 'ENOTSUP', step: /cgroup/, hint: /root.*delegated/ });
  }
}, { skip: needsNoLimits });
