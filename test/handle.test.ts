// The handle: what ChildProcess has, and what comes on top.
import { spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, getEventListeners, once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { ContainedError, explain, OptionError, spawnContained } from 'spawn-contained';
import type { Contained, SpawnOptions } from 'spawn-contained';
import { mark, needsNoLimits, needsRoot, processesWith, runFixture, tidy, until } from './env.js';

const sh = (script: string, options: SpawnOptions = {}): Contained => spawnContained({ ...options, command: ['sh', '-c', script] });

/** Resolves with the next line that a command prints. */
async function line(stream: Readable): Promise<string> {
  let all = '';
  while (!all.includes('\n')) all += String((await once(stream, 'data'))[0]);
  return all.trimEnd();
}

/** Everything there is to hear from a process, in its order. */
function record(child: ChildProcess | Contained): { events: unknown[][]; closed: Promise<unknown> } {
  const events: unknown[][] = [];
  for (const name of ['spawn', 'exit', 'close', 'error']) child.on(name, (...args: unknown[]) => events.push([name, ...name === 'error' ? [] : args]));
  return { events, closed: new Promise(resolve => child.on('close', resolve)) };
}

tidy('the events are those of ChildProcess, in its order and with its arguments', async t => {
  for (const script of ['echo out; echo err >&2', 'exit 3', 'kill -9 $$']) {
    const theirs = record(spawn('sh', ['-c', script]));
    const ours = record(spawnContained('sh', ['-c', script], { ns: [] }));
    await Promise.all([theirs.closed, ours.closed]);
    t.same(ours.events, theirs.events, script);
  }
});

tidy('the members are those of ChildProcess', async t => {
  const child = spawnContained('sh', ['-c', 'read x; exit 4'], { argv0: 'shell' });
  t.ok(child instanceof EventEmitter);
  t.equal(child.pid, undefined, 'there is no pid before it is there');
  t.equal(await child.ready, child);
  t.match(readFileSync(`/proc/${child.pid}/comm`, 'utf8'), 'sh');
  t.same([child.spawnfile, child.spawnargs], ['sh', ['shell', '-c', 'read x; exit 4']]);
  t.same([child.exitCode, child.signalCode, child.killed], [null, null, false]);
  t.same(child.stdio, [child.stdin, child.stdout, child.stderr]);
  child.stdin!.end('x\n');
  t.match(await child.exited, { reason: 'exit', code: 4, signal: null });
  t.same([child.exitCode, child.signalCode, child.killed], [4, null, false]);
});

tidy('streams are still there when it has ended, as those of ChildProcess are', async t => {
  const child = sh('echo hi');
  await child.exited;
  t.not(child.stdout, null);
});

tidy('each event and each promise comes once, ready before exit', async t => {
  const order: string[] = [];
  const child = sh('true');
  child.on('spawn', () => order.push('spawn')).on('exit', () => order.push('exit')).on('close', () => order.push('close'));
  void child.ready.then(() => order.push('ready'));
  void child.exited.then(() => order.push('exited'));
  await Promise.all([once(child, 'close'), child.exited]);
  await new Promise(setImmediate);
  t.ok(order.indexOf('ready') < order.indexOf('exit'), order.join());
  t.same([...order].sort(), ['close', 'exit', 'exited', 'ready', 'spawn']);
});

tidy('a command that cannot be started: error and close, both promises reject, no spawn and no exit', async t => {
  const child = spawnContained('/no/such/file');
  const { events, closed } = record(child);
  const error = await once(child, 'error').then(([error]) => error as unknown);
  t.ok(error instanceof ContainedError);
  await t.rejects(child.ready, { code: 'ENOENT' });
  await t.rejects(child.exited, { code: 'ENOENT' });
  await closed;
  t.same(events, [['error'], ['close', null, null]]);
  t.same([child.exitCode, child.signalCode, child.kill(), child.killed], [null, null, false, false]);
});

for (const how of ['error', 'exited', 'ready']) {
  tidy(`who uses only ${how} of a failing start hears of no other`, async t => {
    const { code, stdout, stderr } = await runFixture('failing.mjs', [how]);
    t.same([code, stderr], [0, '']);
    t.equal(stdout, `${how} ENOENT\n`);
  });
}

tidy('a failing start that nobody listens to is an uncaught exception, as with child_process', async t => {
  const { code, stderr } = await runFixture('failing.mjs', ['nothing']);
  t.equal(code, 1);
  t.match(stderr, /ContainedError: execute .no.such.file: ENOENT/);
});

tidy('the trace has a time for each step, in the order in which explain lists them', async t => {
  const command = ['true'] as const;
  const child = await spawnContained({ command, trace: true }).ready;
  const program = explain({ command });
  const lists = ['host', 'join', 'release', 'child'] as const;
  t.same(child.trace!.map(({ list }) => list), lists.flatMap(list => program[list].map(() => list)));
  t.ok(child.trace!.every(({ step, ns }) => step !== '' && Number.isInteger(ns)));
  t.ok(child.trace!.find(({ step }) => step === 'change the root')!.ns > 0);
  await child.exited;
  t.equal((await spawnContained('true').ready).trace, undefined);
});

for (const dispose of ['using', 'killAll'] as const) {
  tidy(`${dispose === 'using' ? 'the end of an `await using`' : 'killAll'} resolves when nothing is left`, async t => {
    const word = mark();
    const child = sh(`sleep ${word} & (sleep ${word} &) ; echo up; sleep ${word}`);
    await line(child.stdout!);
    t.ok(await until(() => processesWith(word).length >= 3));
    await (dispose === 'using' ? child[Symbol.asyncDispose]() : child.killAll());
    t.same(processesWith(word), []);
    t.match(await child.exited, { reason: 'killed', signal: 'SIGKILL', code: null });
    await child.killAll();
  });
}

tidy('without namespaces killAll finds daemons that have forked twice and left the session', async t => {
  const word = mark();
  const child = sh(`(setsid sh -c '(sleep ${word} &) ; (setsid sleep ${word} &)' &) ; echo up; sleep ${word}`, { ns: [] });
  await line(child.stdout!);
  t.ok(await until(() => processesWith(word).length >= 3));
  await child.killAll();
  t.same(processesWith(word), []);
}, { skip: needsRoot });

tidy('daemons of a command that ends by itself end with it', async t => {
  const word = mark();
  const child = sh(`(setsid sleep ${word} >/dev/null 2>&1 &) ; exit 6`, { ns: [] });
  t.match(await child.exited, { reason: 'exit', code: 6 });
  t.same(processesWith(word), []);
}, { skip: needsRoot });

tidy('with init, its process group ends with a command that has neither namespace nor group, and it with its init', async t => {
  const options = { ns: ['mnt', 'net'], init: true } as const;
  for (const [script, end] of [
    ['echo up; sleep WORD & wait', child => child.kill('SIGKILL')],
    ['kill -STOP $PPID; echo up; sleep WORD & wait', child => void child.killAll()],
    ['(sleep WORD >/dev/null &); echo up', () => {}],
    ['echo up; exec sleep WORD', ({ pid }) => process.kill(pid!, 'SIGKILL')],
  ] as const satisfies readonly (readonly [string, (child: Contained) => unknown])[]) {
    const word = mark();
    const child = sh(script.replace('WORD', word), options);
    await Promise.all([script.includes('STOP') || child.ready, line(child.stdout!)]);
    end(child);
    await child.exited;
    t.ok(await until(() => processesWith(word).length === 0), script);
  }
}, { skip: needsNoLimits });

tidy('a container keeps Node running until unref, and not beyond', async t => {
  const [referenced, not, again] = await Promise.all(['ref', 'unref', 'unref-ref'].map(how => runFixture('refs.mjs', [how])));
  t.match(referenced, { code: 0, signal: null, stdout: 'exit 0\n' });
  t.match(not, { code: 0, signal: null, stdout: '' });
  t.match(again, { code: 0, signal: null, stdout: 'exit 0\n' });
});

tidy('3000 starts at once all succeed', async t => {
  const children = Array.from({ length: 3000 }, (_, i) => spawnContained('sh', ['-c', `exit ${i % 100}`], { stdio: 'ignore' }));
  const outcomes = await Promise.all(children.map(child => child.exited));
  t.same(outcomes.map(({ code }) => code), children.map((_, i) => i % 100));
});

for (const stdio of ['pipe', 'ignore']) {
  for (const limit of [64, 256]) {
    tidy(`with ${limit} descriptors 400 starts at once (stdio ${stdio}) succeed or fail with EMFILE, and none is lost`, async t => {
      const { code, stdout, stderr } = await runFixture('many.mjs', ['400', stdio, String(limit)], { before: ['prlimit', `--nofile=${limit}:${limit}`] });
      t.same([code, stderr], [0, '']);
      const { settled, codes, next } = JSON.parse(stdout || '{}') as { settled: number; codes: Record<string, number>; next: string };
      t.equal(settled, 400);
      t.same(Object.keys(codes).filter(code => code !== 'exit' && code !== 'EMFILE'), []);
      t.equal(next, 'exit', 'later ones work');
    });
  }
}

tidy('wrong signals are refused', async t => {
  const child = sh('read x');
  for (const signal of ['SIGNOPE', -1, 65, 1.5, {}]) t.throws(() => child.kill(signal as never), OptionError);
  t.equal(child.killed, false);
  await child.killAll();
});

tidy('an abort listener does not outlive the container', async t => {
  const controller = new AbortController();
  const child = sh('exit 5', { signal: controller.signal });
  t.equal(getEventListeners(controller.signal, 'abort').length, 1);
  t.match(await child.exited, { reason: 'exit', code: 5 });
  t.equal(getEventListeners(controller.signal, 'abort').length, 0);
  controller.abort();
  t.match(await child.exited, { reason: 'exit', code: 5 });
});

tidy('signals have the names that child_process gives them, and those without a name a number', async t => {
  for (const signal of ['SIGABRT', 'SIGIO', 'SIGKILL'] as const) t.match(await sh(`kill -${signal.slice(3)} $$`, { init: true }).exited, { signal, code: null, reason: 'signal' });
  const child = spawnContained('sleep', ['600']);
  await child.ready;
  t.ok(child.kill(40));
  t.match(await child.exited, { signal: 'SIG40', code: null, reason: 'killed' });
});

tidy('a signal that was sent and taken does not make the end by another `killed`', async t => {
  const child = sh('trap : USR1; echo ready; while :; do sleep 0.02; done', { init: true });
  await line(child.stdout!);
  child.kill('SIGUSR1');
  process.kill((await child.processes()).find(({ innerPid }) => innerPid === 2)!.pid, 'SIGSEGV');
  t.match(await child.exited, { reason: 'signal', signal: 'SIGSEGV' });
});

tidy('a signal that pid 1 has no handler for ends it as any other process', async t => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    const child = spawnContained('sleep', [mark()]);
    await child.ready;
    t.equal(child.kill(signal), true);
    t.match(await child.exited, { reason: 'killed', code: null, signal });
    t.match(child, { killed: true, exitCode: null, signalCode: signal });
    t.equal(child.kill(signal), false);
  }
});

tidy('a signal that the command handles is its own affair', async t => {
  for (const init of [false, true]) {
    const child = sh('trap "echo got it; exit 7" TERM; echo up; sleep 1000 & wait', { init });
    t.equal(await line(child.stdout!), 'up');
    child.kill();
    t.equal(await line(child.stdout!), 'got it');
    t.match(await child.exited, { reason: 'exit', code: 7, signal: null });
  }
});

tidy('a signal that is not ours has the reason signal', async t => {
  const child = await spawnContained('sleep', [mark()]).ready;
  process.kill(child.pid!, 'SIGKILL');
  t.match(await child.exited, { reason: 'signal', signal: 'SIGKILL' });
  t.match(await sh('kill -SEGV $$', { init: true }).exited, { reason: 'signal', signal: 'SIGSEGV', code: null });
});

tidy('kill(0) asks, and says so until the end', async t => {
  const child = await sh('read x').ready;
  t.same([child.kill(0), child.killed], [true, false]);
  child.stdin!.end();
  await child.exited;
  t.same([child.kill(0), child.killed], [false, false]);
});

tidy('a container can be stopped and continued', async t => {
  const child = await sh('echo up; read x; exit 3').ready;
  const state = (): string => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.charAt(0);
  child.kill('SIGSTOP');
  t.ok(await until(() => state() === 'T'));
  child.kill('SIGCONT');
  child.stdin!.end('x\n');
  t.match(await child.exited, { reason: 'exit', code: 3 });
});

for (const ns of [undefined, []] as const) {
  const where = ns ? 'without namespaces' : 'with a pid namespace';
  tidy(`kill before it is there ends it as later (${where})`, async t => {
    for (let i = 0; i < 20; ++i) {
      const child = spawnContained('sleep', [mark()], ns ? { ns } : {});
      t.equal(child.kill(), true);
      t.match(await child.exited, { reason: 'killed', signal: 'SIGTERM' });
    }
  });
}

tidy('the timeout sends killSignal, and SIGKILL after the grace', async t => {
  const word = mark();
  t.match(await spawnContained('sleep', [word], { timeout: 100 }).exited, { reason: 'timeout', signal: 'SIGTERM', code: null });
  const polite = sh('trap "exit 5" INT; sleep 1000 & wait', { timeout: 2000, killSignal: 'SIGINT', killGrace: 30_000 });
  t.match(await polite.exited, { reason: 'timeout', code: 5, signal: null });
  const stubborn = sh(`trap "" TERM; sleep ${word}; sleep ${word}`, { timeout: 2000, killGrace: 100 });
  t.match(await stubborn.exited, { reason: 'timeout', signal: 'SIGKILL' });
  t.same(processesWith(word), []);
});

tidy('a timeout that comes before it is there has the reason timeout', async t => {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => spawnContained('sleep', ['1000'], { timeout: 1 }).exited));
  for (const outcome of outcomes) t.match(outcome, { reason: 'timeout', signal: 'SIGTERM' });
});

tidy('a timeout that is not reached changes nothing', async t => {
  t.match(await sh('exit 2', { timeout: 60_000 }).exited, { reason: 'exit', code: 2 });
});

tidy('aborting ends it with the reason aborted, also with a signal that is aborted already', async t => {
  const controller = new AbortController();
  const child = spawnContained('sleep', ['1000'], { signal: controller.signal });
  await child.ready;
  controller.abort();
  t.match(await child.exited, { reason: 'aborted', signal: 'SIGTERM' });
  t.match(await spawnContained('sleep', ['1000'], { signal: controller.signal }).exited, { reason: 'aborted', signal: 'SIGTERM' });
});
