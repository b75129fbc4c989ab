// Stopping, killing and removing whole groups, and what becomes of a handle whose group is gone.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainedError, OptionError, openCgroup, spawnContained } from 'spawn-contained';
import type { Cgroup } from 'spawn-contained';
import { mark, processesWith, until } from './env.js';
import { directoriesNamed, directoriesOf, ended, errorOf, group, grouping, member, reopened, root, settles, unified, v1, version } from './groups.js';

const BUSY = 'while :; do :; done';

/** Ticks of processor time: proc_pid_stat(5), fields 14 and 15. */
const ticks = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
};
const canFreeze = unified !== undefined || v1.has('freezer');

grouping('frozen, all stand still, also below, until they are thawed', async t => {
  const made = await group();
  if (!canFreeze) return void t.match(await errorOf(() => made.freeze()), { code: 'ENOTSUP', hint: /can freeze/ });
  const [inside, beside] = [await group({ name: 'inside', parent: made }), await group({ name: 'beside', parent: made })];
  const children = [await member(beside, BUSY), await member(inside, BUSY)];
  const outside = await member(undefined, BUSY);
  t.ok(await until(() => [...children, outside].every(({ pid }) => ticks(pid) > 2)));
  await made.freeze();
  const before = children.map(({ pid }) => ticks(pid)), other = ticks(outside.pid);
  await sleep(500);
  t.same(children.map(({ pid }) => ticks(pid)), before, 'no processor time');
  t.ok(await until(() => ticks(outside.pid) > other), 'and others have some');
  await made.freeze();
  await made.thaw();
  t.ok(await until(() => children.every(({ pid }, i) => ticks(pid) > before[i]! + 2)), 'they go on');
  await made.thaw();
  outside.kill('SIGKILL');
  await ended(outside);
}, root);

grouping('a process that comes into a frozen group stands still too', async t => {
  if (!canFreeze) return;
  const made = await group();
  await made.freeze();
  const child = await member(undefined, BUSY);
  t.ok(await until(() => ticks(child.pid) > 1));
  await made.move([child.pid]);
  const before = ticks(child.pid);
  await sleep(300);
  t.ok(ticks(child.pid) <= before + 2, `${ticks(child.pid) - before} ticks`);
  await made.kill();
  await ended(child);
}, root);

grouping('to thaw a group does not wait for one above it that stays frozen', async t => {
  if (!canFreeze) return;
  const above = await group();
  const inside = await group({ name: 'inside', parent: above });
  const child = await member(inside);
  await above.freeze();
  t.ok(await settles(inside.thaw(), 20_000), 'it settles');
  await above.thaw();
  t.ok(await settles(inside.freeze(), 20_000));
  t.ok(await settles(above.thaw(), 20_000), 'and neither for one below it that stays frozen');
  await inside.thaw();
  await above.kill();
  await ended(child);
}, root);

grouping('killed, all are gone, frozen ones and those below too, and nobody else', async t => {
  const word = mark();
  const made = await group();
  const [inside, beside] = [await group({ name: 'inside', parent: made }), await group({ name: 'beside', parent: made })];
  const deep = await group({ name: 'deep', parent: inside });
  const children = [await member(beside, `exec sleep ${word}`), await member(beside, `trap '' TERM INT HUP; sleep ${word}; sleep ${word}`), await member(deep, `exec sleep ${word}`)];
  const other = await member(await group(), `exec sleep ${word}`);
  t.ok(await until(() => processesWith(`sleep\0${word}`).length === 4));
  if (canFreeze) await made.freeze();
  await made.kill();
  t.same(processesWith(`sleep\0${word}`), [other.pid]);
  t.same(await made.processes({ recursive: true }), []);
  await Promise.all(children.map(ended));
  await made.kill();
  t.pass('to kill nobody is no error');
}, root);

grouping('a group that was frozen below one is killed with it', async t => {
  if (!canFreeze) return;
  const made = await group();
  const inside = await group({ name: 'inside', parent: made });
  const child = await member(inside);
  await inside.freeze();
  await made.kill();
  await ended(child);
  t.equal(child.signalCode, 'SIGKILL');
}, root);

grouping('a fork bomb is killed', async t => {
  const word = mark();
  const made = await group({ pids: { max: 100 } });
  const shell = await member(made, `f() { sleep ${word} & (f) & f; }; f 2>/dev/null; exec sleep ${word}`);
  t.ok(await until(async () => (await made.processes()).length > 50));
  await made.kill();
  t.same([processesWith(word), await made.processes()], [[], []]);
  await ended(shell);
  await made.remove();
}, root);

grouping('containers in a group end with it, as those that were killed', async t => {
  const made = await group();
  const children = [1, 2, 3].map(() => spawnContained('sleep', [mark()], { cgroup: made }));
  await Promise.all(children.map(child => child.ready));
  await made.kill();
  for (const child of children) t.match(await child.exited, { reason: 'signal', signal: 'SIGKILL' });
  t.same(await made.processes(), []);
}, root);

grouping('a group in use is not removed, on no hierarchy', async t => {
  const made = await group();
  const child = await member(made);
  const before = directoriesNamed(made.name);
  for (const options of [{}, { recursive: true }]) t.match(await errorOf(() => made.remove(options)), { name: 'ContainedError', code: 'EBUSY', hint: /kill/ });
  t.same(directoriesNamed(made.name), before);
  await made.kill();
  await ended(child);
  await group({ name: 'inside', parent: made });
  t.match(await errorOf(() => made.remove()), { name: 'ContainedError', code: 'EBUSY' });
  t.same(directoriesNamed(made.name), before);
  await made.remove({ recursive: true });
  t.same(directoriesNamed(made.name), []);
}, root);

grouping('one with a process deep below stays as a whole', async t => {
  const made = await group();
  const inside = await group({ name: 'inside', parent: made });
  await group({ name: 'beside', parent: made });
  const child = await member(await group({ name: 'deep', parent: inside }));
  const all = (): string => execFileSync('find', [...directoriesOf(made), '-type', 'd'], { encoding: 'utf8' });
  const before = all();
  t.match(await errorOf(() => made.remove({ recursive: true })), { code: 'EBUSY' });
  t.equal(all(), before, 'with an error nothing is removed');
  await made.kill();
  await ended(child);
  await made.remove({ recursive: true });
}, root);

grouping('memory is taken away on demand', async t => {
  const made = await group();
  for (const bytes of [0, -1, 'lots', null]) t.match(await errorOf(() => made.reclaim(bytes as never)), { name: 'OptionError', path: 'bytes' });
  const has = made.paths['unified'] !== undefined && existsSync(join(made.paths['unified'], 'memory.reclaim'));
  if (!has) return void t.match(await errorOf(() => made.reclaim('1M')), { name: 'ContainedError', code: version('memory') === 2 ? 'ENOENT' : 'ENOTSUP' });
  const child = await member(made, 'head -c 40M /dev/zero > /var/tmp/contained-test-cache; sync; cat /var/tmp/contained-test-cache > /dev/null; rm /var/tmp/contained-test-cache; exec head -c 30M /dev/zero | { tail -c 25M; sleep 1000; }');
  t.ok(await until(async () => (await made.stats()).memory.current! > 15 * 2 ** 20));
  t.type(await made.reclaim('1M'), 'boolean');
  t.equal(await made.reclaim('1T'), false, 'more than there is');
  await made.kill();
  await ended(child);
}, root);

grouping('what is done to all of a group is not done to the root of a hierarchy', async t => {
  const top = await openCgroup('/');
  for (const f of [() => top.freeze(), () => top.remove(), () => top.remove({ recursive: true })]) {
    const error = await errorOf(f);
    if (!t.match(error, { name: 'ContainedError', code: 'EPERM', hint: /root of the hierarchy/ })) return;
  }
  // Only now: where it were not refused, it would be the end of the machine.
  t.match(await errorOf(() => top.kill()), { name: 'ContainedError', code: 'EPERM' });
  t.ok((await top.processes()).length > 0);
}, root);

const pressure = async (made: Cgroup): Promise<unknown> => await made.onPressure({ resource: 'cpu', stallUs: 100_000 }, () => {});

grouping('removed beneath us, every method tells so', async t => {
  const made = await group({ pids: { max: 5 } });
  const other = await member(undefined);
  await made.stats();
  const fresh = await reopened(made);
  for (const directory of directoriesOf(made)) execFileSync('rmdir', [directory]);
  const silent: string[] = [];
  for (const handle of [made, fresh]) {
    const methods: Record<string, () => Promise<unknown>> = {
      stats: () => handle.stats(), processes: () => handle.processes(), recursive: () => handle.processes({ recursive: true }), threads: () => handle.threads(),
      children: () => handle.children(), walk: async () => { for await (const each of handle.walk()) void each.name; },
      move: () => handle.move([other.pid]), moveThreads: () => handle.moveThreads([other.pid]), update: () => handle.update({ pids: { max: 6 } }),
      ...canFreeze ? { freeze: () => handle.freeze(), thaw: () => handle.thaw() } : {},
      ...unified !== undefined ? { pressure: () => pressure(handle) } : {},
      ...version('memory') === 2 ? { reclaim: () => handle.reclaim('1M') } : {},
      events: async () => { for await (const event of handle.events()) void event; },
      spawn: () => spawnContained('true', { cgroup: handle }).exited,
    };
    for (const [name, method] of Object.entries(methods)) {
      const promise = method();
      if (!await settles(promise, 5000)) { t.fail(`${name} settles`); continue; }
      const error = await errorOf(() => promise);
      t.ok(error instanceof ContainedError, `${name}: ${String(error)}`);
      t.match(error.code, /^(ENOENT|ENODEV)$/, name);
      if (!/removed/.test(error.hint ?? '')) silent.push(`${name}: ${String(error)}`);
    }
    for (const gone of [() => handle.kill(), () => handle.remove(), () => handle.remove({ recursive: true }), () => handle[Symbol.asyncDispose]()]) {
      const error = await errorOf(gone);
      t.ok(error.message === 'there was no error' || error instanceof ContainedError, 'nobody is in it, and it is not there: that is what was asked for');
    }
  }
  t.same(silent, [], 'all say that somebody has removed it');
}, root);

grouping('wrong arguments are refused', async t => {
  const made = await group();
  t.ok(await errorOf(() => made.update({ pids: { max: 0 } })) instanceof OptionError);
  t.match(await errorOf(() => made.update({ name: 'x' } as never)), { name: 'OptionError', path: 'cgroup.name' });
  t.match(await errorOf(() => made.stats({ interval: 0 })), { name: 'OptionError', path: 'interval' });
  t.match(await errorOf(() => made.stats({ every: 5 } as never)), { name: 'OptionError', path: 'every' });
  t.match(await errorOf(() => made.events({ signl: 5 } as never)), { name: 'OptionError', path: 'signl' });
  t.match(await errorOf(() => made.events({ signal: 5 } as never)), { name: 'OptionError', path: 'signal' });
  for (const [trigger, path] of [
    [{ resource: 'disk', stallUs: 1 }, 'resource'], [{ resource: 'cpu' }, 'stallUs'], [{ resource: 'cpu', stallUs: 0 }, 'stallUs'], [{ resource: 'cpu', stallUs: 3_000_000 }, 'stallUs'],
    [{ resource: 'cpu', stallUs: 1, windowUs: 499_999 }, 'windowUs'], [{ resource: 'cpu', stallUs: 1, windowUs: 10_000_001 }, 'windowUs'], [{ resource: 'cpu', stallUs: 1, kind: 'most' }, 'kind'], [null, 'trigger'],
  ] as const) t.match(await errorOf(() => made.onPressure(trigger as never, () => {})), { name: 'OptionError', path }, JSON.stringify(trigger));
  t.match(await errorOf(() => made.onPressure({ resource: 'cpu', stallUs: 1 }, undefined as never)), { name: 'OptionError', path: 'listener' });
}, root);
