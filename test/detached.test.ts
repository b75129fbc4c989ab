// Containers that go on without the Node that has started them.
import { existsSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { attach, ContainedError, containers, createCgroup, createNamespaces, run, spawnContained, sweep, type Contained, type LogEntry } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { fixture, mark, needsLimits, processesWith, root, tidy, until } from './env.js';
import { alive, directoryOf, ended, groupsOf, killBoth, leftOf, name, nothingLeft, starter, stateOf, type Kind } from './kept.js';

const waiting = (id: string, word: string, extra: Partial<Kind> = {}): Kind => ({ id, detached: true, command: ['sh', '-c', `sleep ${word}`], ...extra });

async function entriesOf(container: Contained, options = {}): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const entry of container.logs(options)) entries.push(entry);
  return entries;
}

const textOf = (entries: readonly LogEntry[], stream?: string): string => Buffer.concat(entries.filter(entry => stream === undefined || entry.stream === stream).map(({ data }) => data)).toString();

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
  const late = await attach(id);
  t.match(await late.exited, { reason: 'exit', code: 9 });
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
  t.ok((await found.processes()).length >= 2);
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

tidy('the log: order, streams, times, since, and following to the end', async t => {
  const id = name();
  const before = Date.now();
  const child = await spawnContained('sh', ['-c', 'for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done; read x < /dev/null; sleep 0.3; echo last'], { id, detached: true }).ready;
  const found = await attach(id);
  const followed = await entriesOf(found, { follow: true });
  t.same(followed.map(({ stream, data }) => `${stream} ${data}`), ['stdout out1\n', 'stderr err1\n', 'stdout out2\n', 'stderr err2\n', 'stdout out3\n', 'stderr err3\n', 'stdout last\n']);
  const times = followed.map(({ time }) => time.getTime());
  t.same(times, [...times].sort((a, b) => a - b));
  t.ok(times[0]! >= before && times.at(-1)! <= Date.now() && times.at(-1)! - times[0]! > 500);
  t.same(await entriesOf(child), followed);
  t.same(await entriesOf(found, { since: followed[5]!.time }), followed.slice(5));
  await child.exited;
  await found.remove();
});

tidy('following ends with its signal, and reading alone does not keep Node running', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'echo a; sleep 60'], { id, detached: true }).ready;
  const stop = new AbortController();
  const seen: string[] = [];
  for await (const { data } of child.logs({ follow: true, signal: stop.signal })) {
    seen.push(String(data));
    stop.abort();
  }
  t.same(seen, ['a\n']);
  t.equal(textOf(await entriesOf(child)), 'a\n');
  await child.remove({ force: true });
});

/** 100 MB of lines of nine digits. */
const FLOOD = 'seq -f %09.0f 1 10000000';

tidy('100 MB of output: what is kept is bounded, the newest, and whole', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', FLOOD], { id, detached: true, logSize: '1M' }).ready;
  let most = 0;
  const timer = setInterval(() => { most = Math.max(most, sizeOf(id)); }, 5);
  const found = await attach(id);
  let lines = 0, last = 0, rest = '', lost = 0;
  for await (const { data } of found.logs({ follow: true })) {
    const all = (rest + data.toString('latin1')).split('\n');
    rest = all.pop()!;
    for (const line of all) {
      const number = Number(line);
      // What was dropped before it could be read begins and ends in the middle of a line.
      if (number !== last + 1) ++lost;
      last = number;
      ++lines;
    }
  }
  clearInterval(timer);
  await child.exited;
  t.equal(last, 10_000_000, 'the end has come');
  t.comment(`followed ${lines} lines, ${lost} breaks, at most ${most} bytes`);
  t.ok(most <= 2 ** 20, `${most}`);
  const kept = textOf(await entriesOf(child)).split('\n').slice(1, -1).map(Number);
  t.ok(kept.length > 40_000, `${kept.length}`);
  t.equal(kept.at(-1), 10_000_000);
  t.ok(kept.every((number, i) => i === 0 || number === kept[i - 1]! + 1), 'no record is torn, and none is missing');
  await child.remove();
});

const sizeOf = (id: string): number => ['log', 'log.1'].map(file => `${directoryOf(id)}/${file}`).reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);

tidy('a slow writer is followed over every turn of the files without a gap', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'for i in $(seq 1 40); do seq -f %09.0f $((i*5000-4999)) $((i*5000)); sleep 0.03; done'], { id, detached: true, logSize: '256K' }).ready;
  const numbers = textOf(await entriesOf(await attach(id), { follow: true })).trim().split('\n').map(Number);
  t.equal(numbers.length, 200_000);
  t.ok(numbers.every((number, i) => number === i + 1));
  await child.exited;
  await child.remove();
});

void t.test('Node is killed at random moments of a start: it runs and is watched, or nothing is left', async t => {
  await run({ command: 'true' });
  const kinds: Partial<Kind>[] = [{}, { init: true }, { ns: root ? [] : ['user', 'mnt'] }, { ns: { ...root ? {} : { user: 'new' }, mnt: 'new', pid: 'new', net: process.pid } as never }];
  let running = 0;
  for (let i = 0; i < 40; ++i) {
    const word = mark(), id = name();
    const one = await starter([waiting(id, word, i % 4 === 3 && !root ? {} : kinds[i % 4])], 'start');
    await sleep(Math.random() * 10 - 2);
    one.node.kill('SIGKILL');
    await ended(one);
    if (!await until(() => !alive(one.launcher) || readyOf(id))) t.fail(`run ${i}: neither`);
    const found = alive(one.launcher) ? await attach(id) : undefined;
    if (!found) {
      const gone = await nothingLeft(id, word);
      if (!gone) t.fail(`run ${i}: ${leftOf(id, word)}`);
      continue;
    }
    ++running;
    if (await stateOf(id) !== 'running' || processesWith(word).length === 0) t.fail(`run ${i}: ${await stateOf(id)}`);
    await found.remove({ force: true });
    if (leftOf(id) !== '' || !await until(() => !alive(one.launcher))) t.fail(`run ${i}: ${leftOf(id)}`);
  }
  t.comment(`${running} of 40 were running`);
  t.ok(running > 0 && running < 40);
});

const readyOf = (id: string): boolean => {
  try {
    return readFileSync(`${directoryOf(id)}/pid`, 'utf8').endsWith(' 1\n');
  } catch {
    return false;
  }
};

tidy('the launcher is killed, Node goes on: another takes over, the log loses nothing, and how it ends is known', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'i=0; while [ $i -lt 400 ]; do echo $i || exit 1; i=$((i+1)); sleep 0.002; done; exit 3'], { id, detached: true }).ready;
  const found = await attach(id);
  const lines = entriesOf(found, { follow: true });
  for (let i = 0; i < 3; ++i) {
    const launcher = native().launcherPid();
    process.kill(launcher, 'SIGKILL');
    t.ok(await until(() => native().launcherPid() !== launcher && native().launcherPid() > 0));
    await sleep(100);
    t.equal(await stateOf(id), 'running');
    t.same((await sweep()).removed.filter(path => path.includes(id)), []);
  }
  t.match(await found.exited, { code: 3 });
  t.match(await child.exited, { code: 3 });
  t.same(textOf(await lines).trim().split('\n').map(Number), Array.from({ length: 400 }, (_, i) => i));
  t.match((await containers()).find(info => info.id === id), { state: 'exited', exitCode: 3 });
  await child.remove();
  t.equal(leftOf(id), '');
});

tidy('it is killed in the middle of starts of detached ones: each runs, or leaves nothing', async t => {
  for (let i = 0; i < 10; ++i) {
    const word = mark();
    const ids = Array.from({ length: 8 }, name);
    const children = ids.map((id, k) => spawnContained('sh', ['-c', `sleep ${word}`], { id, detached: true, ...k % 2 ? { init: true } : {} }));
    const ready = Promise.allSettled(children.map(child => child.ready));
    await sleep(Math.random() * 15);
    process.kill(native().launcherPid(), 'SIGKILL');
    for (const [k, { status }] of (await ready).entries()) {
      if (status === 'rejected') {
        if (!await until(() => leftOf(ids[k]!) === '')) t.fail(`run ${i}: ${leftOf(ids[k]!)} ${existsSync(directoryOf(ids[k]!)) && readdirSync(directoryOf(ids[k]!))}`);
      } else await children[k]!.remove({ force: true });
      t.equal(leftOf(ids[k]!), '');
    }
    if (!await until(() => processesWith(word).length === 0)) t.fail(`run ${i}: processes`);
  }
});

tidy('Node and its launcher are killed: it is lost, can still be reached and killed, and sweep() takes away the rest', async t => {
  const id = name(), word = mark();
  const one = await starter([waiting(id, word), waiting(`${id}b`, word, { init: true })], 'stay');
  await killBoth(one);
  t.equal(await stateOf(id), 'running');
  await sweep();
  t.ok(alive(one.pids[0]!), 'sweep() lets be what runs');
  const found = await attach(id);
  t.match(await found.exec('true').exited, { code: 0 });
  t.ok(found.kill());
  await t.rejects(found.exited, { code: 'ECHILD', hint: /sweep/ });
  t.equal(await stateOf(id), 'lost');
  await (await attach(`${id}b`)).remove({ force: true });
  t.equal(leftOf(`${id}b`), '');
  t.ok((await sweep()).removed.includes(directoryOf(id)));
  t.equal(leftOf(id, word), '');
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

tidy('detached, in a pod', async t => {
  const id = name();
  const pod = await createNamespaces(['net', 'ipc', 'uts', 'pid']);
  const child = await spawnContained('sleep', ['600'], { id, detached: true, ns: { net: pod, ipc: pod, uts: pod, pid: pod, mnt: 'new', cgroup: 'new' } }).ready;
  const found = await attach(id);
  t.equal(readlinkSync(`/proc/${found.pid}/ns/pid_for_children`).startsWith('pid:'), true);
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
  t.ok(sizeOf(id) <= 2 ** 20);
  const seen = noisy.exec(['sh', '-c', `ls -d ${directoryOf(id)} ${directoryOf(id)}/* 2>/dev/null; cat ${directoryOf(id)}/state.json`]);
  let text = '';
  seen.stdout!.on('data', (data: Buffer) => { text += String(data); });
  await once(seen, 'close');
  t.equal(text, '');
  await noisy.remove({ force: true });
  t.equal(leftOf(id), '');
});
