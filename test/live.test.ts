// What is done to a container while it runs, and what it tells of itself: pause, resume, update, stats, events.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { spawnContained, sweep } from 'spawn-contained';
import type { Contained, ContainedEvent, SpawnOptions, StatsStep } from 'spawn-contained';
import { eventsOf } from '../dist/lib/live/events.js';
import { mark, needsLimits, needsRoot, processesWith, root, tidy, until } from './env.js';
import { errorOf, group, grouping, member, settles, unified, v1, version } from './groups.js';

/** test/vm emulates its processor. */
const slow = readFileSync('/proc/cpuinfo', 'utf8').includes('QEMU');

/** For tests of containers with a group. */
const limits: { skip: string | false } = { skip: needsLimits };

/** A container that runs `script` in sh. */
async function started(script: string, options: SpawnOptions = {}): Promise<Contained & { pid: number }> {
  return await spawnContained('sh', ['-c', script], options).ready as Contained & { pid: number };
}

/** It says so as long as it runs. */
const TICKING = 'while :; do echo tick; sleep 0.01; done';

/** How often it has said so within these milliseconds. */
async function ticks(container: Contained, ms: number): Promise<number> {
  let count = 0;
  const hear = (data: Buffer): void => { count += data.toString().split('tick').length - 1; };
  container.stdout!.on('data', hear);
  await sleep(ms);
  container.stdout!.off('data', hear);
  return count;
}

/** What the kernel says of its group. */
const frozen = (container: Contained): boolean => container.cgroup['unified'] !== undefined
  ? /^frozen 1$/m.test(readFileSync(join(container.cgroup['unified'], 'cgroup.events'), 'utf8'))
  : readFileSync(join(container.cgroup['freezer']!, 'freezer.state'), 'utf8') === 'FROZEN\n';

tidy('paused, nothing in it runs; resumed, it goes on', async t => {
  const container = await started(TICKING, { cgroup: {}, stdio: ['ignore', 'pipe', 'inherit'] });
  t.ok(await until(async () => await ticks(container, 50) > 0));
  t.equal(container.paused, false);
  await container.pause();
  t.equal(container.paused, true);
  t.ok(frozen(container), 'the kernel says so');
  await ticks(container, 50);
  t.equal(await ticks(container, 200), 0);
  await container.pause();
  t.equal(container.paused, true, 'twice is fine');
  await container.resume();
  await container.resume();
  t.equal(container.paused, false);
  t.notOk(frozen(container));
  t.ok(await until(async () => await ticks(container, 50) > 0));
  await Promise.all([container.pause(), container.resume(), container.pause()]);
  t.ok(container.paused && frozen(container), 'one after the other');
  await container.killAll();
  t.equal(container.paused, false);
}, limits);

for (const init of [false, true]) {
  for (const pidns of [true, false]) {
    const options: SpawnOptions = { cgroup: {}, init, stdio: 'ignore', killSignal: 'SIGTERM', killGrace: 100, ...pidns ? {} : { ns: ['mnt', 'net'] } };
    tidy(`a paused container ends by whatever ends it: ${init ? 'init' : 'no init'}, ${pidns ? 'a pid namespace' : 'none'}`, async t => {
      const script = (word: string): string => `trap 'exit 7' TERM; sleep ${word} & while :; do wait; done`;
      const ends: [string, (container: Contained) => unknown, SpawnOptions?][] = [
        ['kill', container => container.kill()],
        ['SIGKILL', container => container.kill('SIGKILL')],
        ['killAll', container => container.killAll()],
        ['asyncDispose', container => container[Symbol.asyncDispose]()],
        ['timeout', () => {}, { timeout: slow ? 10_000 : 3000, killGrace: 30_000 }],
      ];
      for (const [name, end, more = {}] of ends) {
        const word = mark();
        const container = await started(script(word), { ...options, ...more });
        t.ok(await until(() => processesWith(word).length >= 2));
        await container.pause();
        end(container);
        t.ok(await settles(container.exited, 20_000), `${name} ends it`);
        const { reason, code, signal } = await container.exited;
        t.equal(reason, name === 'timeout' ? 'timeout' : code === 7 ? 'exit' : 'killed', `${name}: ${reason} ${code} ${signal}`);
        if (name === 'kill' || name === 'timeout') t.equal(code, 7, `${name}: its handler runs, as in one that runs`);
        t.same(processesWith(word), [], 'nothing is left of it');
      }
      const controller = new AbortController();
      const word = mark();
      const container = await started(`trap '' TERM; sleep ${word} & while :; do wait; done`, { ...options, signal: controller.signal });
      t.ok(await until(() => processesWith(word).length >= 2));
      await container.pause();
      controller.abort();
      t.match(await container.exited, { reason: 'aborted', signal: 'SIGKILL' }, 'who ignores the signal is killed after the grace');
      t.same(processesWith(word), []);
    }, limits);
  }
}

tidy('a signal that is not to end it waits until it is resumed', async t => {
  const container = await started("trap 'echo tick' USR1; echo tick; while :; do sleep 0.01; done", { cgroup: {}, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(container.stdout!, 'data');
  await container.pause();
  container.kill('SIGUSR1');
  t.equal(await ticks(container, 200), 0);
  t.ok(container.paused && frozen(container));
  const heard = once(container.stdout!, 'data');
  await container.resume();
  await heard;
  await container.killAll();
}, limits);

tidy('what it needs a group of its own for says so, and one that has ended too', async t => {
  const container = await started('sleep 1000');
  for (const ask of [() => container.pause(), () => container.resume(), () => container.update({ pids: { max: 5 } })]) {
    t.match(await errorOf(ask), { name: 'ContainedError', code: 'ENOTSUP', hint: /cgroup: \{\}/ });
  }
  await container.killAll();
  const asks: [string, () => Promise<unknown>][] = [
    ['pause', () => container.pause()], ['resume', () => container.resume()], ['update', () => container.update({ pids: { max: 5 } })],
    ['stats', () => container.stats()], ['processes', () => container.processes()],
  ];
  for (const [name, ask] of asks) t.match(await errorOf(ask), { name: 'ContainedError', code: 'ESRCH', hint: 'the container has ended' }, name);
  t.match(await container.inspect(), { state: 'ended', pid: container.pid, command: ['sh', '-c', 'sleep 1000'] });
  for await (const step of container.stats({ interval: 10 })) t.fail(JSON.stringify(step));
});

tidy('one that could not start tells why, whatever is asked of it', async t => {
  const container = spawnContained('/there/is/none');
  container.on('error', () => {});
  for (const ask of [() => container.pause(), () => container.stats(), () => container.processes(), () => container.inspect(), async () => { for await (const event of container.events()) t.fail(event.type); }]) {
    t.match(await errorOf(ask), { code: 'ENOENT', path: '/there/is/none' });
  }
  t.match(await errorOf(() => container.pause()), { code: 'ENOENT' }, 'afterwards too');
});

tidy('asked before it has started, it is asked when it has', async t => {
  const container = spawnContained('sleep', ['1000'], { cgroup: {} });
  const [, processes, stats] = await Promise.all([container.pause(), container.processes(), container.stats()]);
  t.equal(processes.length, 1);
  t.ok(stats.timeMs > 0 && container.paused);
  await container.killAll();
}, limits);

grouping('others in its group are not stopped with it', async t => {
  const made = await group({ memory: { max: '100M' } });
  const neighbour = await member(made);
  const container = await started('exec sleep 1000', { cgroup: made });
  for (const ask of [() => container.pause(), () => container.update({ memory: { max: '10M' } })]) {
    t.match(await errorOf(ask), { code: 'ENOTSUP', hint: /parent: group/ });
  }
  t.equal((await container.stats()).pids.current, 1, 'it tells of itself, not of them');
  t.equal((await container.inspect()).state, 'running');
  await made.freeze();
  t.equal(container.paused, false);
  await made.thaw();
  await container.killAll();
  t.equal(neighbour.exitCode ?? neighbour.signalCode, null);
}, { skip: needsRoot });

tidy('limits are changed while it runs, and wrong ones refused', async t => {
  const container = await started('while :; do sleep 1000; done', { cgroup: { pids: { max: 10 } } });
  const file = ['unified', 'pids'].map(hierarchy => join(container.cgroup[hierarchy] ?? '/none', 'pids.max')).find(existsSync)!;
  t.equal(readFileSync(file, 'utf8'), '10\n');
  const given = { pids: { max: 7 } };
  await container.update(given);
  t.same(given, { pids: { max: 7 } }, 'what is given is not changed');
  t.equal(readFileSync(file, 'utf8'), '7\n', 'the kernel has it');
  t.match(await errorOf(() => container.update({ pids: { max: -1 } })), { name: 'OptionError', path: 'cgroup.pids.max' });
  t.match(await errorOf(() => container.update({ pid: {} } as never)), { name: 'OptionError', path: 'cgroup.pid' });
  t.equal(readFileSync(file, 'utf8'), '7\n');
  await container.killAll();
}, limits);

tidy('processor time and memory are counted, with a group and without', async t => {
  for (const options of [...needsLimits ? [] : [{ cgroup: { memory: { max: '100M' } } }], {}]) {
    const container = await started("x=$(head -c 5000000 /dev/zero | tr '\\0' x); while :; do :; done; echo $x", options as SpawnOptions);
    t.ok(await until(async () => { const { cpu, memory } = await container.stats(); return cpu.usageMs! > 200 && memory.anon! > 5_000_000; }), 'it computes');
    t.ok(await until(async () => (await container.processes()).length === 1));
    const stats = await container.stats();
    t.ok(stats.memory.current! > 5_000_000 && stats.memory.current! < 100_000_000, `${stats.memory.current}`);
    t.ok(stats.memory.anon! > 5_000_000, `${stats.memory.anon}`);
    t.equal(stats.pids.current, 1);
    t.equal(stats.net?.length, 1, 'the loopback');
    const steps: StatsStep[] = [];
    for await (const step of container.stats({ interval: 200 })) {
      steps.push(step);
      if (steps.length === 3) break;
    }
    t.ok(steps.some(({ delta }) => delta.cpus! > 0.1) && steps.every(({ delta }) => delta.cpus! < 2.1), JSON.stringify(steps.map(({ delta }) => delta)));
    let count = 0;
    const endless = (async () => { for await (const { delta } of container.stats({ interval: 50 })) count += delta.timeMs > 0 ? 1 : 0; })();
    const long = (async () => { for await (const step of container.stats({ interval: 2 ** 31 - 1 })) t.fail(JSON.stringify(step)); })();
    t.ok(await until(() => count > 1));
    await container.killAll();
    t.ok(await settles(endless, 5000), 'the series ends with the container');
    t.ok(await settles(long, 5000), 'and at once');
  }
});

tidy('the series ends when it is aborted; wrong options are refused at once', async t => {
  const container = await started('sleep 1000');
  const controller = new AbortController();
  let count = 0;
  for await (const { delta } of container.stats({ interval: 10, signal: controller.signal })) {
    t.ok(delta.timeMs > 0);
    if (++count === 3) controller.abort();
  }
  t.equal(count, 3);
  t.throws(() => container.stats({ interval: 0 }), { name: 'OptionError', path: 'interval' });
  t.throws(() => container.stats({ interval: 5, step: 3 } as never), { name: 'OptionError', path: 'step' });
  t.throws(() => container.events({ signals: 3 } as never), { name: 'OptionError', path: 'signals' });
  t.throws(() => container.events({ pressure: [{ resource: 'net', stallUs: 5 }] } as never), { name: 'OptionError', path: 'pressure[0].resource' });
  await container.killAll();
});

tidy('the network is counted as it counts itself; that of the host is not told', async t => {
  const container = await started('cd /tmp; while :; do ping -c 1 127.0.0.1 >/dev/null 2>&1 || python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\\"x\\" * 1000, (\\"127.0.0.1\\", 9))"; sleep 0.1; done');
  t.ok(await until(async () => (await container.stats()).net![0]!.rxPackets > 2));
  await container.killAll();
  const quiet = await started('python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b\\"x\\" * 1000, (\\"127.0.0.1\\", 9))"; echo sent; sleep 1000');
  await once(quiet.stdout!, 'data');
  const [told] = (await quiet.stats()).net!;
  const enter = root ? ['-t', String(quiet.pid), '-n'] : ['-t', String(quiet.pid), '-U', '-n', '--preserve-credentials'];
  const line = /lo:\s*(.*)/.exec(execFileSync('nsenter', [...enter, 'cat', '/proc/net/dev'], { encoding: 'utf8' }))![1]!.trim().split(/\s+/).map(Number);
  t.same([told!.interface, told!.rxBytes, told!.rxPackets, told!.txBytes, told!.txPackets], ['lo', line[0], line[1], line[8], line[9]], 'nsenter sees the same');
  t.ok(told!.rxBytes > 1000 && told!.txBytes > 1000);
  await quiet.killAll();
  const host = await started('sleep 1000', { network: 'host' });
  t.equal((await host.stats()).net, undefined);
  await host.killAll();
});

/** All events up to the last. */
async function all(events: AsyncIterable<ContainedEvent>): Promise<ContainedEvent[]> {
  const list: ContainedEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

tidy('whatever happens, the last event is how it ended', async t => {
  const container = await started('read go; exit 3');
  const during = all(container.events());
  container.stdin!.end('go\n');
  t.match(await during, [{ type: 'exit', outcome: { reason: 'exit', code: 3 } }]);
  t.same(await all(container.events()), [{ type: 'exit', outcome: await container.exited }], 'and of one that has ended the only one');
  const early = spawnContained('sh', ['-c', 'exit 4']);
  t.match(await all(early.events()), [{ type: 'exit', outcome: { code: 4 } }], 'asked before it has started');
  const other = await started('sleep 1000');
  const controller = new AbortController();
  const stopped = all(other.events({ signal: controller.signal }));
  controller.abort();
  t.same(await stopped, [], 'a signal ends the loop without one');
  t.same(await all(other.events({ signal: AbortSignal.abort() })), []);
  if (root) {
    const grouped = await started('sleep 1000', { cgroup: {} });
    t.same(await all(grouped.events({ signal: AbortSignal.abort() })), [], 'nor begins, where there is a group to watch');
    await grouped.killAll();
  }
  t.match(await errorOf(() => other.events({ pressure: [{ resource: 'cpu', stallUs: 1 }] })), { code: 'ENOTSUP' });
  const gone = (): Promise<undefined> => Promise.reject(new Error('somebody has removed the group'));
  t.match(await all(eventsOf(gone(), early.exited, new AbortController(), undefined)), [{ type: 'exit', outcome: { code: 4 } }], 'its group went before it was looked at');
  t.match(await errorOf(() => all(eventsOf(gone(), other.exited, new AbortController(), undefined))), { message: /removed/ }, 'while it runs that is an error');
  await other.killAll();
});

tidy('what its group tells: oom, refused forks, standing still', async t => {
  const container = await started('read go; (for i in 1 2 3 4 5 6 7 8; do sleep 1 & done); sleep 3; head -c 100M /dev/zero | tail -c 90M | wc -c; exit 1', {
    cgroup: { memory: { max: '20M', oomGroup: false }, pids: { max: 6 } }, stdio: ['pipe', 'ignore', 'ignore'], init: true,
  });
  const events: ContainedEvent[] = [];
  const over = (async () => { for await (const event of container.events()) events.push(event); })();
  const states = (): boolean[] => events.flatMap(event => event.type === 'frozen' ? [event.value] : []);
  await container.pause();
  if (unified !== undefined) t.ok(await until(() => states().length === 1));
  await container.resume();
  if (unified !== undefined) t.ok(await until(() => states().length === 2));
  t.same(states(), unified === undefined ? [] : [true, false]);
  container.stdin!.end('go\n');
  await over;
  const types = new Set(events.map(({ type }) => type));
  // v1's pids.events does not notify since Linux 6.12.
  t.ok(types.has('oomKill') && (types.has('pidsMax') || version('pids') === 1), [...types].join());
  t.equal(events.at(-1)!.type, 'exit');
  t.notOk((types as Set<string>).has('removed'));
  const kills = events.flatMap(event => event.type === 'oomKill' ? [event.count] : []);
  t.ok(kills.at(-1)! >= (await container.exited).usage.oomKills!, 'as often as the outcome says');
}, { skip: needsLimits || (version('memory') === undefined && 'for hosts with a memory controller') });

tidy('an oom that ends it at once is told before the end', async t => {
  for (let i = 0; i < 5; ++i) {
    const container = await started('read go; exec tail /dev/zero', { cgroup: { memory: { max: '10M' } }, stdio: ['pipe', 'ignore', 'ignore'] });
    const during = all(container.events());
    container.stdin!.end('go\n');
    const events = await during;
    t.ok(events.some(({ type }) => type === 'oomKill'), events.map(({ type }) => type).join());
    t.match(events.at(-1), { type: 'exit', outcome: { reason: 'oom' } });
  }
}, { skip: needsLimits || (version('memory') === undefined && 'for hosts with a memory controller') });

tidy('pressure is told when there is as much as was asked for', async t => {
  if (unified === undefined || !existsSync('/proc/pressure/cpu')) {
    const container = await started('sleep 1000', { cgroup: {} });
    t.match(await errorOf(async () => { for await (const event of container.events({ pressure: [{ resource: 'cpu', stallUs: 1000 }] })) t.fail(event.type); }), { name: 'ContainedError' });
    return await container.killAll();
  }
  const container = await started(`for i in $(seq ${2 * availableParallelism()}); do while :; do :; done & done; wait`, { cgroup: {} });
  for await (const event of container.events({ pressure: [{ resource: 'cpu', stallUs: 1000 }] })) {
    if (event.type !== 'pressure') continue;
    t.same(event, { type: 'pressure', resource: 'cpu', kind: 'some' });
    break;
  }
  await container.killAll();
}, limits);

tidy('paused by a process that is killed with its launcher, it does not outlive them', async t => {
  const { fixture } = await import('./env.js');
  const { spawn } = await import('node:child_process');
  const word = mark();
  const child = spawn(process.execPath, [fixture('paused.mjs'), word], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } });
  await once(child.stdout, 'data');
  t.ok(processesWith(word).filter(pid => pid !== child.pid).length > 0);
  const gone = once(child, 'close');
  child.kill('SIGKILL');
  await gone;
  t.ok(await until(() => processesWith(word).length === 0), 'the launcher ends what is paused');
  t.same((await sweep()).failed, []);
}, limits);

void t.test('the groups of v1 hosts can be paused too', async t => {
  if (unified !== undefined || !v1.has('freezer') || !root) return;
  const container = await started('sleep 1000', { cgroup: {} });
  t.ok('freezer' in container.cgroup);
  await container.killAll();
});
