// What happens in a group, as the kernel tells it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, spawnContained } from 'spawn-contained';
import type { Cgroup, CgroupEvent } from 'spawn-contained';
import { fixture, mark, until } from './env.js';
import { ended, errorOf, group, grouping, member, reopened, root, settles, textOf, unified, v1, version } from './groups.js';

/** CAP_SYS_RESOURCE, without which the kernel takes fewer windows. */
const mayChoose = (BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`) >> 24n & 1n) === 1n;
const BUSY = 'while :; do :; done';
const HOG = ['sh', '-c', 'head -c 100M /dev/zero | tail -c 90M | wc -c; exit 1'] as const;
const hold = (bytes: number): string => `x=$(head -c ${bytes} /dev/zero | tr '\\0' x); read y < /dev/null; sleep 1000; echo "$x"`;

/** All that is told from now on; `stop` resolves when the loop has ended. */
function listen(made: Cgroup): { events: CgroupEvent[]; of(type: CgroupEvent['type']): CgroupEvent[]; stop(): Promise<void>; over: Promise<void> } {
  const events: CgroupEvent[] = [];
  const controller = new AbortController();
  const over = (async () => { for await (const event of made.events({ signal: controller.signal })) events.push(event); })();
  return {
    events, over,
    of: type => events.filter(event => event.type === type),
    stop: async () => { controller.abort(); await over; },
  };
}
const kernelKills = (made: Cgroup): number => Number(/^oom_kill (\d+)$/m.exec(textOf(made, ...version('memory') === 2 ? ['memory.events'] : ['memory.oom_control']))![1]);

grouping('a hog is killed alone, and it is told; its neighbours live', async t => {
  if (version('memory') === undefined) return void t.match(await errorOf(() => group({ memory: { max: '20M' } })), { code: 'ENOTSUP' });
  const made = await group({ memory: { max: '20M' } });
  const word = mark();
  const sibling = spawnContained('sleep', [word], { cgroup: { memory: { max: '20M' } } });
  const inParent = await member(await group());
  await sibling.ready;
  const { events, of, stop } = listen(made);
  const beside = listen(await reopened(made));
  await run({ command: HOG, cgroup: made, reject: false });
  t.ok(await until(() => of('oomKill').length > 0 && of('oom').length > 0), JSON.stringify(events.filter(({ type }) => type !== 'memoryPressure')));
  t.ok(await until(() => (of('oomKill').at(-1) as { count: number }).count === kernelKills(made)), 'as often as the kernel says');
  t.ok([...of('oom'), ...of('oomKill')].every(event => (event as { count: number }).count >= 1));
  if (version('memory') === 2) t.ok(of('max').length > 0);
  else t.ok(await until(() => of('memoryPressure').length > 0));
  t.ok(await until(() => beside.of('oomKill').length > 0), 'a second listener hears it too');
  await run({ command: HOG, cgroup: made, reject: false });
  t.ok(await until(() => (of('oomKill').at(-1) as { count: number }).count === kernelKills(made)));
  t.ok(of('oomKill').length >= 2 && new Set(of('oomKill').map(event => (event as { count: number }).count)).size === of('oomKill').length, 'each number once');
  t.same([sibling.exitCode, sibling.signalCode, inParent.exitCode, inParent.signalCode], [null, null, null, null]);
  await Promise.all([stop(), beside.stop(), sibling.killAll()]);
}, root);

grouping('the reason of a container is oom when the kernel has killed in its group, and never else', async t => {
  if (version('memory') === undefined) return;
  const parent = await group();
  const options = { cgroup: { parent, memory: { max: '20M' } }, reject: false } as const;
  t.match(await run({ command: HOG, ...options }), { reason: 'oom', usage: { oomKills: version('memory') === 2 ? Number : 1 } });
  t.match(await run({ command: ['sh', '-c', 'kill -9 $$'], init: true, ...options }), { reason: 'signal', usage: { oomKills: 0 } });
  t.match(await run({ command: ['sh', '-c', 'exit 137'], ...options }), { reason: 'exit', code: 137, usage: { oomKills: 0 } });
}, root);

grouping('a limit of memory that slows down is told, and nobody dies of it', async t => {
  if (version('memory') !== 2) return void t.match(await errorOf(() => group({ memory: { high: '8M' } })), { code: 'ENOTSUP' });
  const made = await group({ memory: { high: '8M' } });
  const { of, stop } = listen(made);
  const child = await member(made, hold(20 * 2 ** 20));
  t.ok(await until(() => of('high').length > 0));
  t.ok((of('high')[0] as { count: number }).count > 0);
  t.ok((await made.stats()).memory.events.high! > 0);
  t.same([child.exitCode, child.signalCode], [null, null]);
  await stop();
}, root);

grouping('a fork that is refused is told where the kernel tells it', async t => {
  if (version('pids') === undefined) return void t.match(await errorOf(() => group({ pids: { max: 3 } })), { code: 'ENOTSUP' });
  const made = await group({ pids: { max: 3 } });
  const { of, stop } = listen(made);
  const { stderr } = await run({ command: ['sh', '-c', 'for i in 1 2 3 4 5; do sleep 0.3 & done; wait'], cgroup: made, ns: [], reject: false });
  t.match(stderr, /fork/i);
  // v1's pids.events does not notify since Linux 6.12.
  if (version('pids') === 2) t.ok(await until(() => of('pidsMax').length > 0));
  const refused = (await made.stats()).pids.refused!;
  t.ok(refused > 0);
  for (const event of of('pidsMax')) t.ok((event as { count: number }).count >= 1 && (event as { count: number }).count <= refused);
  await stop();
}, root);

grouping('populated and empty, frozen and thawed, and at last removed', async t => {
  const made = await group();
  const { events, over } = listen(made);
  const child = await member(made);
  if (unified !== undefined) {
    t.ok(await until(() => events.length === 1), JSON.stringify(events));
    await made.freeze();
    t.ok(await until(() => events.length === 2), JSON.stringify(events));
    await made.thaw();
    t.ok(await until(() => events.length === 3), JSON.stringify(events));
  }
  child.kill('SIGKILL');
  await ended(child);
  if (unified !== undefined) t.ok(await until(() => events.length === 4), JSON.stringify(events));
  await made.remove();
  t.ok(await settles(over, 10_000), 'the loop ends by itself');
  const states = unified === undefined ? [] : [
    { type: 'populated', value: true }, { type: 'frozen', value: true }, { type: 'frozen', value: false }, { type: 'populated', value: false },
  ];
  t.same(events, [...states, { type: 'removed' }]);
}, root);

grouping('what happened before is not told, and what happens before the first look is', async t => {
  const made = await group();
  const child = await member(made);
  const events = made.events()[Symbol.asyncIterator]();
  child.kill('SIGKILL');
  await ended(child);
  await made.remove();
  const told: CgroupEvent[] = [];
  for (let next = await events.next(); !next.done; next = await events.next()) told.push(next.value);
  t.equal(told.at(-1)?.type, 'removed');
  t.notOk(told.some(event => event.type === 'populated' && event.value), 'it was populated before');
  t.same(await events.next(), { done: true, value: undefined });
}, root);

grouping('the loop ends when it is left or aborted, and its descriptors are closed', async t => {
  const made = await group();
  await member(made);
  t.ok(await settles(listen(made).stop(), 5000), 'aborted');
  const aborted: CgroupEvent[] = [];
  for await (const event of made.events({ signal: AbortSignal.abort() })) aborted.push(event);
  t.same(aborted, []);
  if (unified !== undefined) {
    void sleep(100).then(() => made.freeze());
    for await (const event of made.events()) {
      t.same(event, { type: 'frozen', value: true });
      break;
    }
    await made.thaw();
  }
  const unread = made.events()[Symbol.asyncIterator]();
  await unread.return!();
  t.same(await unread.next(), { done: true, value: undefined });
}, root);

/** How often the threads of a process have been on and off a processor: proc_pid_status(5). */
const switches = (pid: number): number => readdirSync(`/proc/${pid}/task`)
  .reduce((sum, tid) => sum + [...readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8').matchAll(/ctxt_switches:\s*(\d+)/g)].reduce((n, match) => n + Number(match[1]), 0), 0);

grouping('who listens sleeps until something happens', async t => {
  const made = await group();
  const measured = unified !== undefined && existsSync('/proc/pressure/cpu');
  const node = spawn(process.execPath, [fixture('listen.mjs'), made.name, ...measured ? ['pressure'] : []], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } });
  const lines: string[] = [];
  const reader = createInterface(node.stdout).on('line', line => lines.push(line));
  try {
    t.ok(await until(() => lines.length === 1), 'it listens');
    // What Node itself does after its start, it does once.
    let fewest = Infinity;
    for (let i = 0; i < 5 && fewest > 2; ++i) {
      const before = switches(node.pid!);
      await sleep(2000);
      fewest = Math.min(fewest, switches(node.pid!) - before);
    }
    t.ok(fewest <= 2, `woken ${fewest} times in 2 s`);
    const exit = once(node, 'exit');
    await made.remove();
    t.same(await exit, [0, null], 'and Node ends with the group');
    t.same(lines, ['"up"', '{"type":"removed"}']);
  } finally {
    node.kill('SIGKILL');
    reader.close();
  }
}, root);

grouping('pressure is told under load, at most once a window, and not after', async t => {
  const made = await group({ ...version('cpu') !== undefined ? { cpu: { max: 0.2 } } : {} });
  const windowUs = mayChoose ? 500_000 : 2_000_000;
  const trigger = { resource: 'cpu', stallUs: 100_000, windowUs } as const;
  if (unified === undefined) return void t.match(await errorOf(() => made.onPressure(trigger, () => {})), { name: 'ContainedError', code: 'ENOTSUP', hint: /v2/ });
  if (!existsSync('/proc/pressure/cpu')) return void t.match(await errorOf(() => made.onPressure(trigger, () => {})), { name: 'ContainedError', code: /ENOENT|EOPNOTSUPP/ });
  let calls = 0;
  const end = await made.onPressure(trigger, () => { ++calls; });
  await sleep(windowUs / 1000 + 200);
  t.equal(calls, 0, 'nobody waits');
  const start = performance.now();
  for (let i = 0; i < 4; ++i) await member(made, BUSY);
  t.ok(await until(() => calls >= 3), `${calls}`);
  t.ok(calls <= (performance.now() - start) / (windowUs / 1000) + 1, `${calls} in ${performance.now() - start} ms`);
  t.ok((await made.stats()).pressure.cpu!.some.totalUs > 100_000);
  end();
  const after = calls;
  await sleep(windowUs / 1000 + 700);
  t.equal(calls, after, 'and no more when it was ended');
  end();
}, root);

grouping('what the kernel does not take as a trigger is told', async t => {
  const made = await group();
  if (unified === undefined || !existsSync('/proc/pressure/cpu')) return;
  const odd = await errorOf(async () => (await made.onPressure({ resource: 'cpu', stallUs: 1000, windowUs: 500_000 }, () => {}))());
  if (mayChoose) t.match(odd, { message: 'there was no error' });
  else t.match(odd, { name: 'ContainedError', code: 'EINVAL', hint: /CAP_SYS_RESOURCE/ });
  await made.remove();
  t.match(await errorOf(() => made.onPressure({ resource: 'cpu', stallUs: 1000 }, () => {})), { name: 'ContainedError', code: /ENOENT|ENODEV/ });
}, root);

grouping('under pressure the soft limit is in force', async t => {
  if (version('memory') === undefined) return;
  const made = await group({ memory: { low: '16M', max: '64M' } });
  t.equal(textOf(made, 'memory.low', 'memory.soft_limit_in_bytes'), String(16 * 2 ** 20));
  await made.update({ memory: { low: 0 } });
  t.equal(textOf(made, 'memory.low', 'memory.soft_limit_in_bytes'), '0');
  if (v1.has('memory')) t.notOk((await made.stats()).memory.events.low);
}, root);
