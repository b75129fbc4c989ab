// Node, its launcher, or both are killed at any moment: nothing stays.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { ContainedError, run, spawnContained, sweep } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { fixture, mark, needsRoot, ofProcess, processesWith, root, runFixture, sameAs, surroundings, tidy, until } from './env.js';

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/m.test(status(pid));

function status(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return 'State:\tX';
  }
}

function kill(launcher: number): void {
  try {
    process.kill(launcher, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;  // it has seen the end of its Node already
  }
}

function membersOf(group: string): number[] {
  try {
    return readFileSync(`${group}/cgroup.procs`, 'utf8').split('\n').map(Number);
  } catch {
    return [];
  }
}

interface Victim {
  node: ChildProcess;
  launcher: number;
  line: string;
}

/** A Node that runs a fixture, once it has said its first line. */
async function start(name: string, ...args: string[]): Promise<Victim> {
  const node = spawn(process.execPath, [fixture(name), ...args], { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, NODE_OPTIONS: '' } });
  const line = String((await once(node.stdout!, 'data'))[0]);
  return { node, line, launcher: line.startsWith('{') ? (JSON.parse(line) as { launcher: number }).launcher : Number(line) };
}

/** No process with the word, no launcher, and in the end everything as before. */
async function nothingLeft(t: typeof import('tap').t, word: string, launcher: number, what: string): Promise<void> {
  const gone = await until(() => processesWith(word).length === 0 && !alive(launcher));
  if (!gone) t.fail(`${what}: left behind`, { processes: processesWith(word), launcher: alive(launcher) });
}

void t.test('Node is killed at random moments', async t => {
  await run({ command: 'true' });
  const before = surroundings();
  for (let i = 0; i < 60; ++i) {
    const word = mark();
    const { node, launcher } = await start('crash.mjs', word, 'kill');
    await sleep(Math.random() * 60);
    node.kill('SIGKILL');
    await once(node, 'close');
    await nothingLeft(t as never, word, launcher, `run ${i}`);
  }
  t.same(await sameAs(before), before, 'no group, mount or file is left');
});

for (const [how, wanted] of [['term', { signal: 'SIGTERM' }], ['exit', { code: 7 }], ['throw', { code: 1 }]] as const) {
  void t.test(`Node ends with containers running: ${how}`, async t => {
    const before = surroundings();
    for (let i = 0; i < 5; ++i) {
      const word = mark();
      const { node, launcher } = await start('crash.mjs', word, how, String(i * 15));
      if (how === 'term') node.kill('SIGTERM');
      const [code, signal] = await once(node, 'exit') as [number | null, string | null];
      t.match({ code, signal }, wanted);
      await nothingLeft(t as never, word, launcher, `run ${i}`);
    }
    t.same(await sameAs(before), before, 'no group, mount or file is left');
  });
}

tidy('the launcher is killed while containers run: they go on, are reaped and cleaned, and another takes its place', async t => {
  await run({ command: 'true' });
  const kinds = [{}, { init: true }, ...root ? [{ ns: [] as const, cgroup: {} }, { cgroup: { pids: { max: 10 } } }] : []];
  const children = await Promise.all(kinds.map(options => spawnContained('sh', ['-c', 'read x; exit 7'], options).ready));
  const killed = native().launcherPid();
  process.kill(killed, 'SIGKILL');
  t.ok(await until(() => native().launcherPid() !== killed && native().launcherPid() > 0), 'there is another launcher');
  t.match(await run({ command: ['echo', 'works'] }), { stdout: 'works\n' });
  for (const child of children) {
    t.ok(alive(child.pid!));
    t.ok(Object.values(child.cgroup).every(existsSync));
    child.stdin!.end('x\n');
    t.match(await child.exited, { reason: 'exit', code: 7 });
    t.notOk(Object.values(child.cgroup).some(existsSync), 'its groups are gone');
  }
});

tidy('a container can be killed when its launcher has been', async t => {
  const word = mark();
  const child = await spawnContained('sh', ['-c', `sleep ${word} & wait`]).ready;
  process.kill(native().launcherPid(), 'SIGKILL');
  await child.killAll();
  t.match(await child.exited, { reason: 'killed', signal: 'SIGKILL' });
  t.same(processesWith(word), []);
});

for (const options of [{}, { init: true }, ...root ? [{ cgroup: { pids: { max: 10 } } }] : []]) {
  tidy(`the launcher is killed and there can be no other: what runs ends, and the next one clears up: ${JSON.stringify(options)}`, async t => {
    const { code, stdout, stderr } = await runFixture('unwatched.mjs', [JSON.stringify(options)]);
    t.same([code, stderr], [0, '']);
    t.same(JSON.parse(stdout), { end: { name: 'ContainedError', code: 'EMFILE' }, next: 'exit', children: 0, groups: [] });
  });
}

tidy('the launcher is killed in the middle of many starts: each settles once, and nothing is left', async t => {
  for (let i = 0; i < 30; ++i) {
    const word = mark();
    let settled = 0;
    const children = Array.from({ length: 20 }, (_, k) => spawnContained('sh', ['-c', 'exit 3', word], { stdio: 'ignore', ...root && k % 3 === 0 ? { cgroup: {} } : {} }));
    const exits = children.map(child => {
      child.on('exit', () => ++settled).on('error', () => ++settled);
      return child.exited.then(({ reason, code }) => `${reason} ${code}`, (error: unknown) => error instanceof ContainedError ? error.code : String(error));
    });
    await sleep(Math.random() * 20);
    process.kill(native().launcherPid(), 'SIGKILL');
    const ends = await Promise.all(exits);
    const odd = ends.filter(end => end !== 'exit 3' && end !== 'ECONNRESET');
    if (odd.length > 0) t.same(odd, [], `run ${i}`);
    if (settled !== children.length) t.equal(settled, children.length, `run ${i}: events`);
    if (processesWith(word).length > 0) t.same(processesWith(word), [], `run ${i}`);
    t.equal((await run({ command: 'true' })).reason, 'exit');
  }
});

tidy('the launcher is killed, and so is the one that takes over, before it has heard of all', async t => {
  for (let i = 0; i < 10; ++i) {
    const word = mark();
    const children = Array.from({ length: 150 }, (_, k) => spawnContained('sh', ['-c', `sleep 0.0${k % 10}; exit 3`, word], { stdio: 'ignore', ...root && k % 3 === 0 ? { cgroup: {} } : {}, ...k % 5 === 0 ? { init: true } : {} }));
    const exits = children.map(({ exited }) => exited.then(({ reason, code }) => `${reason} ${code}`, (error: unknown) => error instanceof ContainedError ? error.code : String(error)));
    await sleep(Math.random() * 100);
    for (let k = 0; k < 3; ++k) {
      const killed = native().launcherPid();
      process.kill(killed, 'SIGKILL');
      while (native().launcherPid() === killed || native().launcherPid() === 0) await new Promise(resolve => void setImmediate(resolve));
    }
    const odd = (await Promise.all(exits)).filter(end => end !== 'exit 3' && end !== 'ECONNRESET');
    if (odd.length > 0) t.same(odd, [], `run ${i}`);
    if (processesWith(word).length > 0) t.same(processesWith(word), [], `run ${i}`);
    t.equal((await run({ command: 'true' })).reason, 'exit');
  }
});

const BOTH = [{}, { init: true }, ...root ? [{ ns: [] }, { cgroup: { pids: { max: 10 } } }] : []];

for (const stopped of [false, true]) {
  tidy(`Node and its launcher are killed${stopped ? ', the launcher while it is stopped' : ' at once'}: PDEATHSIG ends the containers, sweep does the rest`, async t => {
    const other = await spawnContained('sh', ['-c', 'read x; exit 4'], root ? { cgroup: {} } : {}).ready;
    for (let i = 0; i < 5; ++i) {
      const word = mark();
      const { node, line, launcher } = await start('hold.mjs', word, JSON.stringify(BOTH));
      const { groups } = JSON.parse(line) as { groups: string[] };
      t.ok(groups.every(existsSync));
      if (stopped) process.kill(launcher, 'SIGSTOP');
      // In this order, or Node could start another launcher, which would do what PDEATHSIG is for.
      node.kill('SIGKILL');
      const exit = once(node, 'exit');
      kill(launcher);
      await exit;
      // Only those in no pid namespace, which have left their session, may still be there: they are in a group.
      const left = (): number => processesWith(word).filter(pid => !groups.some(group => membersOf(group).includes(pid))).length;
      t.ok(await until(() => left() === 0), 'the containers have died');
      const { removed, failed } = await sweep();
      t.same(failed, []);
      t.same(groups.filter(existsSync), [], 'the groups are gone');
      // A launcher that is only killed may have been quicker.
      if (root && stopped) t.ok(removed.length > 0);
      t.same(processesWith(word), [], 'and whoever was in them');
    }
    t.ok(Object.values(other.cgroup).every(existsSync), 'a group of a living process stays');
    other.stdin!.end('x\n');
    t.match(await other.exited, { reason: 'exit', code: 4 });
  });
}

tidy('sweep kills what is left in the groups of the dead, and leaves those of the living alone', async t => {
  const word = mark();
  const [dead, living] = await Promise.all([start('hold.mjs', word, '[{"ns":[]}]'), start('hold.mjs', `${word}1`, '[{"cgroup":{}}]')]);
  const theirs = (JSON.parse(living.line) as { groups: string[] }).groups;
  // The shell has forked, and whoever has left its session is there.
  t.ok(await until(() => processesWith(word).filter(pid => ofProcess(pid, 'cmdline') === `sleep\0${word}\0`).length === 2));
  process.kill(dead.launcher, 'SIGSTOP');
  dead.node.kill('SIGKILL');
  process.kill(dead.launcher, 'SIGKILL');
  await once(dead.node, 'exit');
  const report = await sweep();
  t.ok(report.killed >= 1 && report.removed.length >= 1, JSON.stringify(report));
  t.same(report.removed.filter(path => theirs.includes(path)), []);
  t.ok(theirs.every(existsSync));
  t.ok(processesWith(`${word}1`).length >= 2);
  living.node.kill('SIGKILL');
  await once(living.node, 'exit');
  await nothingLeft(t, word, living.launcher, 'the living one');
  t.ok(await until(() => !theirs.some(existsSync)));
}, { skip: needsRoot });
