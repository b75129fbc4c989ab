// Containers that go on without the Node that has started them.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { attach, ContainedError, containers, createCgroup, createNamespaces, spawnContained } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { fixture, mark, needsLimits, processesWith, root, runFixture, tidy, until } from './env.js';
import { alive, directoryOf, ended, entriesOf, groupsOf, type Kind, leftOf, logSizeOf, name, nothingLeft, starter, stateOf, textOf } from './kept.js';

tidy('Node has gone: how it ended is told to all who wait, and to those who come later', async t => {
  const id = name();
  const one = await starter([{ id, detached: true, command: ['sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 9'], ...root ? { cgroup: { memory: { max: '64M' } } } : {} }], 'end');
  t.equal(await ended(one), 0);
  t.ok(alive(one.launcher) && alive(one.pids[0]!));
  const waiters = await Promise.all(Array.from({ length: 5 }, () => attach(id)));
  t.same(waiters.map(({ pid }) => pid), Array(5).fill(one.pids[0]));
  const exits = waiters.map(({ exited }) => exited);
  t.match(await waiters[0]!.exec('false').exited, { code: 1 });
  t.match(await waiters[0]!.exec(['touch', '/tmp/go']).exited, { code: 0 });
  for (const outcome of await Promise.all(exits)) {
    t.match(outcome, { reason: 'exit', code: 9, signal: null });
    t.ok(outcome.usage.userMs! + outcome.usage.systemMs! > 0 && outcome.usage.minorFaults! > 0);
    if (root) t.ok(outcome.usage.memoryPeak! > 0);
  }
  t.ok(await until(() => !alive(one.launcher)), 'the launcher has gone with the last');
  t.match((await containers()).find(info => info.id === id), { state: 'exited', exitCode: 9, signal: null, pid: undefined, detached: true });
  const { wallMs } = (await waiters[0]!.exited).usage;
  await sleep(300);
  const late = await attach(id);
  t.match(await late.exited, { reason: 'exit', code: 9 });
  t.ok(Math.abs((await late.exited).usage.wallMs - wallMs) < 200, 'how long it ran does not depend on who asks when');
  t.notOk(late.kill());
  await t.rejects(late.stats(), { code: 'ESRCH' });
  await t.rejects(late.exec('true').exited, ContainedError);
  await late.remove();
  t.equal(leftOf(id), '');
  await t.rejects(attach(id), { code: 'ENOENT' });
});

tidy('killed for its memory, by a signal, by killAll', async t => {
  const id = name();
  const kinds: Kind[] = [
    { id, detached: true, command: ['sh', '-c', 'kill -SEGV $$'], init: true },
    { id: `${id}b`, detached: true, command: ['sleep', '600'] },
    { id: `${id}c`, detached: true, command: ['sleep', '600'] },
    ...root ? [{ id: `${id}d`, detached: true, command: ['sh', '-c', 'x=$(cat /dev/zero | tr "\\0" x)'], cgroup: { memory: { max: '16M', swapMax: 0 } } } as Kind] : [],
  ];
  const one = await starter(kinds, 'end');
  await ended(one);
  const all = await Promise.all(kinds.map(kind => attach(kind.id!)));
  t.match(await all[0]!.exited, { reason: 'signal', signal: 'SIGSEGV', code: null });
  t.ok(all[1]!.kill('SIGTERM'), 'to pid 1 without a handler');
  t.match(await all[1]!.exited, { reason: 'killed', signal: 'SIGTERM' });
  await all[2]!.killAll();
  t.match(await all[2]!.exited, { reason: 'killed', signal: 'SIGKILL' });
  if (root) t.match(await all[3]!.exited, { reason: 'oom' });
  for (const container of all) await container.remove();
});

tidy('what can be asked of one that another process has started', async t => {
  const id = name();
  const one = await starter([{ id, detached: true, labels: { a: 'b' }, hostname: 'blue', env: { A: '1' }, command: ['sh', '-c', 'sleep 600 & wait'] }], 'end');
  await ended(one);
  const found = await attach(id);
  t.match(await found.inspect(), { id });
  t.ok(await until(async () => (await found.processes()).length >= 2));
  t.ok((await found.stats()).timeMs > 0);
  const { stdout } = await new Promise<{ stdout: string }>(resolve => {
    const child = found.exec(['sh', '-c', 'echo $A; hostname']);
    let text = '';
    child.stdout!.on('data', (data: Buffer) => { text += String(data); });
    child.on('close', () => resolve({ stdout: text }));
  });
  t.equal(stdout, '1\nblue\n');
  if (root) {
    await found.pause();
    t.equal(await stateOf(id), 'paused');
    await found.resume();
    await found.update({ pids: { max: 100 } });
    t.ok(Object.values(found.cgroup).some(directory => existsSync(`${directory}/pids.max`) && readFileSync(`${directory}/pids.max`, 'utf8') === '100\n'));
  }
  await t.rejects(found.remove(), { code: 'EBUSY', hint: /force/ });
  t.ok(alive(one.pids[0]!));
  await found.remove({ force: true });
  t.equal(leftOf(id), '');
});

tidy('two of one name, one after the other', async t => {
  const id = name();
  for (const code of [1, 2]) {
    const child = await spawnContained('sh', ['-c', `exit ${code}`], { id, detached: true }).ready;
    t.match(await (await attach(id)).exited, { code });
    await t.rejects(spawnContained('true', [], { id, detached: true }).ready, { code: 'EEXIST' });
    await child.exited;
    await child.remove();
  }
  t.match(await spawnContained('sh', ['-c', 'exit 3'], { id, detached: true, autoRemove: true }).exited, { code: 3 });
  t.equal(leftOf(id), '');
});

tidy('a signal whose default action had to be carried out is told by its name, whoever asks', async t => {
  const id = name();
  const child = await spawnContained('sleep', ['600'], { id, detached: true }).ready;
  child.kill('SIGTERM');
  t.match(await child.exited, { signal: 'SIGTERM', reason: 'killed' });
  t.match((await containers()).find(info => info.id === id), { state: 'exited', signal: 'SIGTERM', exitCode: null });
  t.match(await (await attach(id)).exited, { signal: 'SIGTERM', reason: 'killed' });
  await child.remove();
});

tidy('a signal arrives, also when its sender ends at once', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'trap "echo heard" USR1; echo up; while :; do sleep 0.02; done'], { id, detached: true }).ready;
  const heard = async (): Promise<string> => textOf(await entriesOf(child));
  t.ok(await until(async () => await heard() === 'up\n'));
  let wanted = 'up\n';
  for (let i = 0; i < 10; ++i) {
    wanted += 'heard\n';
    t.equal((await runFixture('lastwords.mjs', [id, 'SIGUSR1'])).code, 0);
    if (!await until(async () => await heard() === wanted, 10_000)) t.equal(await heard(), wanted);
  }
  t.equal((await runFixture('lastwords.mjs', [id, 'SIGKILL'])).code, 0);
  t.match(await child.exited, { code: null, signal: 'SIGKILL' });
  await child.remove();
});

tidy('attach while it starts', async t => {
  for (let i = 0; i < 10; ++i) {
    const id = name();
    const child = spawnContained('sh', ['-c', 'read x < /dev/null; sleep 60'], { id, detached: true });
    await until(() => existsSync(`${directoryOf(id)}/state.json`));
    const found = await attach(id).catch((error: ContainedError) => error.code);
    if (typeof found === 'string') t.equal(found, 'ENOENT');
    else t.match(await found.exec('true').exited, { code: 0 });
    await (await child.ready).remove({ force: true });
  }
});

tidy('100 at once', async t => {
  const ids = Array.from({ length: 100 }, name);
  const children = await Promise.all(ids.map((id, i) => spawnContained('sh', ['-c', `echo ${i}; exit ${i}`], { id, detached: true }).ready));
  t.same((await Promise.all(children.map(({ exited }) => exited))).map(({ code }) => code), ids.map((_, i) => i));
  for (const [i, child] of children.entries()) if (textOf(await entriesOf(child)) !== `${i}\n`) t.fail(`log of ${i}`);
  await Promise.all(children.map(child => child.remove()));
  t.same(ids.filter(id => existsSync(directoryOf(id))), []);
});

tidy('a worker that ends does not take it along', async t => {
  const id = name(), word = mark();
  const worker = new Worker(fixture('worker.mjs'), { workerData: { word, kinds: [{ id, detached: true }] } });
  await once(worker, 'message');
  await worker.terminate();
  await sleep(50);
  const found = await attach(id).catch(() => undefined);
  if (found) await found.remove({ force: true });
  else t.fail('gone');
  t.equal(leftOf(id), '');
});

void t.test('a script that starts one ends at once; one that awaits exited waits', async t => {
  const id = name(), start = performance.now();
  const one = await starter([{ id, detached: true, command: ['sleep', '30'] }], 'end');
  t.equal(await ended(one), 0);
  t.ok(performance.now() - start < 15_000);
  await (await attach(id)).remove({ force: true });
  const other = await starter([{ id: `${id}b`, detached: true, command: ['sh', '-c', 'sleep 0.5; exit 5'] }], 'wait');
  t.equal(await ended(other), 0);
  t.match(other.said(), /exit 5/);
  await (await attach(`${id}b`)).remove();
});

const residentOf = (pid: number): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
const filesOf = (pid: number): string[] => readdirSync(`/proc/${pid}/fd`).map(fd => { try { return readlinkSync(`/proc/${pid}/fd/${fd}`); } catch { return ''; } }).filter(Boolean);

tidy('1000 starts: the launcher does not grow, nor do its descriptors or ours', async t => {
  const some = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i += 10) {
      const children = Array.from({ length: 10 }, () => spawnContained('true', [], { id: name(), detached: true, autoRemove: true }));
      await Promise.all(children.map(({ exited }) => exited));
    }
  };
  await some(100);
  const launcher = native().launcherPid(), before = { kb: residentOf(launcher), theirs: root ? filesOf(launcher).length : 0, ours: filesOf(process.pid).filter(path => path.startsWith('pipe:')).length };
  await some(1000);
  t.ok(residentOf(launcher) <= before.kb + 200, `${before.kb} → ${residentOf(launcher)} KiB`);
  if (root) t.ok(await until(() => filesOf(launcher).length <= before.theirs), `${before.theirs} → ${filesOf(launcher)}`);
  t.ok(await until(() => filesOf(process.pid).filter(path => path.startsWith('pipe:')).length <= before.ours));
});

const ways: [string, Partial<Kind>][] = [
  ['init', { init: true }],
  ['time namespace', { ns: { ...root ? {} : { user: 'new' }, mnt: 'new', pid: 'new', time: 'new' } as never }],
  ['no pid namespace', { ns: root ? ['mnt'] : ['user', 'mnt'] }],
  ...root ? [] : [['ranges of ids', { ns: ['user', 'mnt', 'pid'], uidMap: 'auto', gidMap: 'auto' } as never] as [string, Partial<Kind>]],
];

for (const [what, kind] of ways) {
  tidy(`detached, with ${what}`, async t => {
    const id = name(), word = mark();
    const one = await starter([{ id, detached: true, command: ['sh', '-c', `sleep ${word} & read x </dev/null; echo here; wait`], ...kind }], 'end');
    await ended(one);
    const found = await attach(id);
    t.match(await found.exec('true').exited, { code: 0 });
    t.ok(await until(async () => textOf(await entriesOf(found)) === 'here\n'));
    found.kill('SIGTERM');
    t.match(await found.exited, { reason: 'killed' });
    await found.remove();
    t.ok(await nothingLeft(id, what === 'no pid namespace' && groupsOf(id).length === 0 && !root ? undefined : word), leftOf(id, word));
    for (const pid of processesWith(word)) process.kill(pid, 'SIGKILL');
    t.ok(await until(() => !alive(one.launcher)));
  });
}

const zombiesOf = (parent: number): string[] => readdirSync('/proc').filter(pid => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith(`Z ${parent} `);
  } catch {
    return false;
  }
});

tidy('detached, in a pod', async t => {
  const id = name();
  const pod = await createNamespaces(['net', 'ipc', 'uts', 'pid']);
  const child = await spawnContained('sleep', ['600'], { id, detached: true, ns: { net: pod, ipc: pod, uts: pod, pid: pod, mnt: 'new', cgroup: 'new' } }).ready;
  const found = await attach(id);
  t.equal(readlinkSync(`/proc/${found.pid}/ns/pid_for_children`).startsWith('pid:'), true);
  t.ok(await until(() => zombiesOf(native().launcherPid()).length === 0), 'who has gone ahead of it is not left as a zombie');
  t.match(await found.exec('true').exited, { code: 0 });
  await found.killAll();
  t.match(await child.exited, { signal: 'SIGKILL' });
  await child.remove();
  await pod.remove();
  t.equal(leftOf(id), '');
});

tidy('detached, in a group of the caller', async t => {
  const id = name();
  const group = await createCgroup({ pids: { max: 50 } });
  const child = await spawnContained('sh', ['-c', 'exit 2'], { id, detached: true, cgroup: group }).ready;
  t.match(await (await attach(id)).exited, { code: 2 });
  await child.remove();
  await group.remove();
}, { skip: needsLimits });

tidy('a hostile container: it cannot see what is kept of it, nor keep its launcher from others', async t => {
  const id = name();
  const measure = async (): Promise<number> => {
    const times: number[] = [];
    for (let i = 0; i < 30; ++i) {
      const start = performance.now();
      await spawnContained('true', [], { stdio: 'ignore' }).exited;
      times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[15]!;
  };
  const quiet = await measure();
  const noisy = await spawnContained('sh', ['-c', 'yes | cat & yes >&2'], { id, detached: true, logSize: '1M' }).ready;
  const loud = await measure();
  t.comment(`a start takes ${quiet.toFixed(1)} ms, ${loud.toFixed(1)} ms beside \`yes\``);
  t.ok(loud < quiet * 20 + 50);
  t.ok(logSizeOf(id) <= 2 ** 20);
  const seen = noisy.exec(['sh', '-c', `ls -d ${directoryOf(id)} ${directoryOf(id)}/* 2>/dev/null; cat ${directoryOf(id)}/state.json`]);
  let text = '';
  seen.stdout!.on('data', (data: Buffer) => { text += String(data); });
  await once(seen, 'close');
  t.equal(text, '');
  await noisy.remove({ force: true });
  t.equal(leftOf(id), '');
});
