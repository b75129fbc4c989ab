// Detached containers whose Node or launcher is killed.
import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, constants, existsSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { attach, containers, run, spawnContained, sweep } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { mark, processesWith, root, scratch, tidy, until } from './env.js';
import { alive, directoryOf, ended, entriesOf, killBoth, type Kind, leftOf, name, nothingLeft, starter, stateOf, textOf } from './kept.js';

const waiting = (id: string, word: string, extra: Partial<Kind> = {}): Kind => ({ id, detached: true, command: ['sh', '-c', `sleep ${word}`], ...extra });

void t.test('Node is killed at random moments of a start: it runs and is watched, or nothing is left', async t => {
  await run({ command: 'true' });
  const kinds: Partial<Kind>[] = [{}, { init: true }, { ns: root ? [] : ['user', 'mnt'] }, { ns: { ...root ? {} : { user: 'new' }, mnt: 'new', pid: 'new', net: process.pid } as never }];
  let running = 0;
  // As often as it needs to see both.
  for (let i = 0; i < 40 || (i < 200 && (running === 0 || running === i)); ++i) {
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
  t.comment(`${running} were running`);
  t.ok(running > 0 && running < 200);
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
  const child = await spawnContained('sh', ['-c', 'i=0; while [ $i -lt 2000 ]; do echo $i || exit 1; i=$((i+1)); sleep 0.002; done; exit 3'], { id, detached: true }).ready;
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
  t.same(textOf(await lines).trim().split('\n').map(Number), Array.from({ length: 2000 }, (_, i) => i));
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

/** Ticks of processor time. */
function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13).map(Number);
  return user! + system!;
}

tidy('one ends while Node stands still, which has the ends of its log too: the launcher rests, and serves the next', async t => {
  const id = name();
  const one = await starter([{ id, detached: true, command: ['sh', '-c', 'sleep 0.3; echo x'] }], 'stay');
  one.node.kill('SIGSTOP');
  process.kill(one.launcher, 'SIGSTOP');
  t.ok(await until(() => !alive(one.pids[0]!)));
  process.kill(one.launcher, 'SIGCONT');
  t.ok(await until(async () => await stateOf(id) === 'exited'));
  const before = ticksOf(one.launcher);
  await sleep(500);
  t.ok(ticksOf(one.launcher) - before < 10, `${ticksOf(one.launcher) - before} ticks`);
  one.node.kill('SIGKILL');
  one.node.kill('SIGCONT');
  await ended(one);
  t.ok(await until(() => !alive(one.launcher)));
  const kept = await attach(id);
  t.equal(textOf(await entriesOf(kept)), 'x\n');
  await kept.remove();
});

tidy('many end while Node stands still, and cannot be told: the launcher goes on with its work', async t => {
  const directory = scratch(t), fifo = join(directory, 'fifo');
  chmodSync(directory, 0o755);
  execFileSync('mkfifo', ['-m', '644', fifo]);
  const ids = Array.from({ length: 400 }, name);
  const one = await starter(ids.map(id => ({ id, detached: true, autoRemove: true, ns: [], command: ['sh', '-c', `read x <${fifo}; exit 0`] })), 'wait');
  t.ok(ids.every(id => existsSync(directoryOf(id))));
  one.node.kill('SIGSTOP');
  // All who wait for a writer go on, and so does who comes later; but not one that is not there yet when it is closed.
  const writer = openSync(fifo, constants.O_RDWR);
  writeSync(writer, '\n'.repeat(ids.length));
  t.ok(await until(() => !ids.some(id => existsSync(directoryOf(id)))), 'each is taken away');
  closeSync(writer);
  one.node.kill('SIGCONT');
  t.equal(await ended(one), 0);
  t.equal(one.said().split('exit 0').length - 1, ids.length, 'and Node hears of each');
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
