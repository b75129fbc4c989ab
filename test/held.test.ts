// Commands that hold up their own end, who comes in, or who waits for them: by tracing, by children that are nobody's.
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import tap from 'tap';
import { createNamespaces, run, spawnContained, type Contained, type SpawnOptions } from 'spawn-contained';
import { busyboxRoot, fixture, mark, needsLimits, needsNoLimits, needsRoot, processesWith, runFixture, scratch, tidy, until } from './env.js';
import { errorOf, settles } from './groups.js';

const SOON = 20_000;

let holder: string | undefined;

/** A root with test/fixtures/holder.c in it. */
function holderRoot(t: { teardown(f: () => void): void }): string {
  const directory = busyboxRoot(t);
  chmodSync(directory, 0o755);
  if (holder === undefined) {
    holder = join(scratch(tap), 'holder');
    execFileSync('gcc', ['-O2', '-static', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', holder, fixture('holder.c')]);
  }
  copyFileSync(holder, join(directory, 'bin/holder'));
  return directory;
}

/** Resolves when it has said something. */
async function up(options: SpawnOptions & { command: readonly [string, ...string[]] }): Promise<Contained> {
  const container = spawnContained({ stdio: ['ignore', 'pipe', 'inherit'], ...options });
  await Promise.race([Promise.all([container.ready, once(container.stdout!, 'data')]), container.exited]);
  return container;
}

const WAYS: [string, SpawnOptions, string | false][] = [
  ['the defaults', {}, false],
  ['a group', { cgroup: { pids: { max: 20 } } }, needsLimits],
  ['a group, no pid namespace', { ns: ['mnt'], cgroup: {} }, needsRoot],
  ['a user namespace only', { ns: ['user', 'mnt'] }, needsNoLimits],
  ['a user namespace only, with init', { ns: ['user', 'mnt'], init: true }, needsNoLimits],
  ['init', { init: true }, false],
];

for (const [name, options, skip] of WAYS) {
  tidy(`stopped on its way out by a child that traces it, it ends all the same: ${name}`, async t => {
    const word = mark();
    const container = await up({ rootfs: holderRoot(t as never), ...options, command: ['holder', 'trap', word] });
    t.ok(processesWith(word).length > 1, 'it is trapped');
    container.kill('SIGKILL');
    t.ok(await settles(container.exited, SOON));
    t.match(await container.exited, { reason: 'killed' });
    t.same(processesWith(word), []);
  }, { skip });
}

for (const [name, options, how, skip] of [
  ['a trap', {}, 'trap', false],
  ['a daemon in a user namespace only', { ns: ['user', 'mnt'] }, 'daemon', needsNoLimits],
  ['the same with init', { ns: ['user', 'mnt'], init: true }, 'daemon', needsNoLimits],
] as const) {
  tidy(`when Node is killed it ends, too: ${name}`, async t => {
    const word = mark();
    const { signal } = await runFixture('say.mjs', [JSON.stringify({ rootfs: holderRoot(t as never), ...options, command: ['holder', how, word] }), 'die']);
    t.equal(signal, 'SIGKILL', 'when it had said something');
    t.ok(await until(() => processesWith(word).length === 0));
  }, { skip });
}

tidy('a thread that has asked to be traced by its parent, which is Node, is reaped', async t => {
  const word = mark();
  const container = await up({ rootfs: holderRoot(t as never), command: ['holder', 'ask', word] });
  t.ok(await settles(container.killAll(), SOON));
  t.same(processesWith(word), []);
});

tidy('likewise when it ends by itself', async t => {
  const container = await up({ rootfs: holderRoot(t as never), command: ['holder', 'ask-and-exit', mark()] });
  t.ok(await settles(container.exited, SOON));
  t.match(await container.exited, { reason: 'exit', code: 6 });
});

tidy('who traces all that comes in, and never takes notice, holds up nobody', async t => {
  const container = await up({ rootfs: holderRoot(t as never), command: ['holder', 'hunt', mark()] });
  const caught = once(container.stdout!, 'data');
  const inside = container.exec('cat');
  await caught;
  inside.stdin!.end();
  t.ok(await settles(run({ command: 'true' }), SOON), 'another container');
  t.ok(await settles(inside.exited, SOON), 'who was caught');
  t.match(await inside.exited, { reason: 'exit', code: 0 });
  t.ok(await settles(container.killAll(), SOON));
});

tidy('who traces, and takes notice a little late, goes on', async t => {
  const container = await up({ rootfs: holderRoot(t as never), command: ['holder', 'debug', mark()] });
  let said = '';
  container.stdout!.on('data', data => { said += String(data); });
  const inside = container.exec('cat');
  t.ok(await until(() => said.includes('got one')));
  inside.stdin!.end();
  t.match(await inside.exited, { reason: 'exit', code: 0 });
  t.ok(await until(() => said.includes('noticed 0')));
  t.equal(container.exitCode ?? container.signalCode, null);
  await container.killAll();
});

tidy('a detached one is reaped by its launcher, which waits for nobody', async t => {
  const word = mark();
  const container = spawnContained({ rootfs: holderRoot(t as never), ns: ['mnt'], cgroup: {}, detached: true, command: ['holder', 'traced', word] });
  t.ok(await settles(container.exited, SOON));
  t.match(await container.exited, { reason: 'exit', code: 5 });
  t.ok(await settles(run({ command: 'true' }), SOON));
  t.same(processesWith(word), []);
  await container.remove();
}, { skip: needsRoot });

tidy('children that it makes its siblings are reaped: of one without a pid namespace', async t => {
  const rootfs = holderRoot(t as never);
  t.match(await run({ rootfs, ns: ['mnt'], command: ['holder', 'siblings', '1000'] }), { stdout: 'made 1000\n' });
}, { skip: needsRoot });

tidy('likewise of a command in a container, whose end would wait for them', async t => {
  const container = await spawnContained({ rootfs: holderRoot(t as never), command: ['sleep', mark()], stdio: 'ignore' }).ready;
  t.match(await container.exec(['holder', 'siblings', '5'], { stdio: 'ignore' }).exited, { code: 0 });
  t.ok(await settles(container.killAll(), SOON));
});

tidy('likewise of those that end with the container, which ends by itself', async t => {
  const container = await spawnContained({ rootfs: holderRoot(t as never), command: 'cat', stdio: ['pipe', 'ignore', 'ignore'] }).ready;
  t.match(await container.exec(['holder', 'siblings', '5', '1000'], { stdio: 'ignore' }).exited, { code: 0 });
  container.stdin!.end();
  t.ok(await settles(container.exited, SOON));
});

tidy('likewise in a pod', async t => {
  const pod = await createNamespaces(['net', 'ipc', 'uts', 'pid']);
  const ns = { net: pod, ipc: pod, uts: pod, pid: pod, mnt: 'new' } as const;
  t.match(await run({ rootfs: holderRoot(t as never), ns, command: ['holder', 'siblings', '5'] }), { stdout: 'made 5\n' });
  t.ok(await settles(pod.remove(), SOON));
});

tidy('a daemon ends with a container that has a user namespace only, also where somebody was let in', async t => {
  const word = mark();
  const container = await up({ rootfs: holderRoot(t as never), ns: ['user', 'mnt'], command: ['holder', 'daemon', word] });
  t.match(await container.exec('true', { stdio: 'ignore' }).exited, { code: 0 });
  t.equal(processesWith(word).length, 2);
  await container.killAll();
  t.same(processesWith(word), []);
  const shared = await spawnContained('sleep', ['1000'], { ns: ['user', 'mnt'], stdio: 'ignore' }).ready;
  const guest = await spawnContained('sleep', ['1000'], { ns: { user: shared, mnt: 'new' }, stdio: 'ignore' }).ready;
  await shared.killAll();
  t.equal(guest.exitCode ?? guest.signalCode, null, 'who has a namespace of it, but is not in it, goes on');
  await guest.killAll();
}, { skip: needsNoLimits });

for (const how of ['kill-init', 'stop-init']) {
  tidy(`a command that ${how === 'kill-init' ? 'kills its init' : 'stops its init again and again'} ends nevertheless`, async t => {
    const word = mark();
    const container = await up({ rootfs: holderRoot(t as never), ns: ['user', 'mnt'], init: true, timeout: 3000, killGrace: 50, command: ['holder', how, word] });
    t.ok(await settles(container.exited, SOON));
    t.same(processesWith(word), []);
  }, { skip: needsNoLimits });
}

tidy("Node's keys stay with Node", async t => {
  const rootfs = holderRoot(t as never);
  const withKey = async (...command: string[]): Promise<string> => (await promisify(execFile)(join(rootfs, 'bin/holder'), ['with-key', ...command], { env: { ...process.env, NODE_OPTIONS: '' } })).stdout;
  t.equal(await withKey(join(rootfs, 'bin/holder'), 'keys'), '1 keys, one added\n', 'without a container');
  for (const options of [{}, { init: true }, { user: 0 }]) {
    t.equal(await withKey(process.execPath, fixture('say.mjs'), JSON.stringify({ rootfs, ...options, command: ['holder', 'keys'] })), '0 keys, none added\n', JSON.stringify(options));
  }
});

tidy("Node's raised priority stays with Node, and its randomized addresses too", async t => {
  const command = JSON.stringify({ rootfs: holderRoot(t as never), command: ['holder', 'traits'] });
  const { stdout } = await runFixture('say.mjs', [command], { before: ['chrt', '-r', '10', 'nice', '-n', '-5', 'setarch', '-R'] });
  t.equal(stdout, 'policy 0, nice 0, personality 0\n');
  const lowered = await runFixture('say.mjs', [command], { before: ['nice', '-n', '3'] });
  t.equal(lowered.stdout, 'policy 0, nice 3, personality 0\n');
}, { skip: needsRoot });

// The two stay until the machine ends; so this is for a machine that is about to.
const mortal = readFileSync('/proc/cpuinfo', 'utf8').includes('QEMU');

tap.test('what nobody can end is told, after half a minute, to whoever waits', { skip: !mortal && 'for another kind of host (one that ends soon); test/vm has one' }, async t => {
  const container = await up({ rootfs: holderRoot(t), command: ['holder', 'ring'], stdio: ['ignore', 'pipe', 'ignore'] });
  t.match(await errorOf(() => container.killAll()), { code: 'EBUSY', syscall: 'undo', hint: /PTRACE_O_TRACEEXIT/ });
  t.match(await errorOf(() => container.exited), { code: 'EBUSY' });
  t.match(await run({ command: ['echo', 'goes on'] }), { stdout: 'goes on\n' });
});
