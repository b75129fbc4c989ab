// How a terminal ends: its streams, whoever has it open, and all who are on it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { spawnContained } from 'spawn-contained';
import type { Contained, ContainedError } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { sh, shell } from './dialog.js';
import { fixture, mark, needsRoot, processesWith, root, runFixture, tidy, until } from './env.js';

tidy('whoever closes its terminal is not hung up on, and may open it again', async t => {
  const closed = 'exec <&- >&- 2>&-; sleep 0.3';
  const host = await spawnContained('sleep', [mark()], { stdio: 'ignore' }).ready;
  const starts: [string, (script: string) => Contained][] = [
    ['with init', script => sh(script)], ['without', script => sh(script, { init: false })], ['in no namespace', script => sh(script, { ns: root ? [] : ['user'] })],
    ['by exec', script => host.exec(['sh', '-c', script], { tty: true })],
  ];
  for (const [way, start] of starts) {
    const first = start(`echo said; ${closed}; exit 3`);
    t.equal(await text(first.stdout!), 'said\r\n');
    t.match(await first.exited, { reason: 'exit', code: 3 }, way);
    const again = start(`${closed}; seq -w 1 20000 >/dev/tty; read x </dev/tty; ${closed}; echo $x >/dev/tty; exit 4`);
    again.stdin!.write('typed\n');
    const said = await text(again.stdout!);
    t.equal(said.replace('typed\r\n', '').length, 20_000 * 7 + 7, 'all of it');
    t.match(await again.exited, { reason: 'exit', code: 4 }, `${way}, again`);
  }
  await host.killAll();
});

for (const [which, hangUp] of [
  ['stdout.destroy()', child => void child.stdout!.destroy()],
  ['stdin.destroy()', child => void child.stdin!.destroy()],
] as [string, (child: Contained) => void][]) {
  tidy(`${which} hangs up`, async t => {
    const child = sh('trap "exit 9" HUP; echo here; while :; do sleep 0.05; done');
    await once(child.stdout!, 'data');
    hangUp(child);
    const closed = once(child, 'close');
    t.match(await child.exited, { reason: 'exit', code: 9 });
    await closed;
    const plain = spawnContained('sleep', [mark()], { tty: true });
    await plain.ready;
    hangUp(plain);
    t.match(await plain.exited, { reason: 'signal', signal: 'SIGHUP' }, 'a command without a handler ends by it');
    const early = spawnContained('sleep', [mark()], { tty: true });
    hangUp(early);
    t.match(await early.exited, { signal: 'SIGHUP' }, 'before it runs too');
  });
}

tidy('what is written when it is over is no error', async t => {
  const child = sh('exit 0');
  child.stdin!.on('error', error => t.fail(String(error)));
  await child.exited;
  child.stdin!.write('hello?\n');
  await once(child, 'close');
});

tidy('a command that cannot be started ends both streams', async t => {
  const child = spawnContained('/no/such/file', { tty: true });
  const closed = new Promise(resolve => child.once('close', resolve));
  const rejected = t.rejects(child.exited, { code: 'ENOENT', syscall: 'exec' });
  t.equal(await buffer(child.stdout!).then(bytes => bytes.length), 0);
  await rejected;
  await closed;
});

tidy('a container that may not use terminals says why', async t => {
  const error = await spawnContained('true', { tty: true, cgroup: { devices: [{ allow: false, type: 'c', major: 5, minor: 2 }] } }).exited.then(() => undefined, (error: ContainedError) => error);
  t.match(error, { code: 'EPERM', syscall: 'terminal', hint: /c 5:2/ });
}, { skip: needsRoot });

tidy('a launcher that is killed takes no terminal along', async t => {
  const { child, dialog } = await shell();
  process.kill(native().launcherPid(), 'SIGKILL');
  await dialog.ask('echo still-$((1+1))', /still-2\r\n/);
  child.resize(55, 5);
  await dialog.ask('stty size', /5 55\r\n/);
  dialog.type('exit 3\n');
  t.match(await child.exited, { reason: 'exit', code: 3 });
});

tidy('in a worker thread', async t => {
  const word = mark();
  const worker = new Worker(fixture('terminal.mjs'), { workerData: { word } });
  const exit = once(worker, 'exit');
  t.same(await once(worker, 'message'), ['ready']);
  worker.postMessage('hello\n');
  t.same(await once(worker, 'message'), [{ code: 0, said: 'hello\r\ngot hello\r\n13 91\r\n' }]);
  await exit;
  const second = new Worker(fixture('terminal.mjs'), { workerData: { word } });
  await once(second, 'message');
  await second.terminate();
  t.ok(await until(() => processesWith(word).length === 0), 'one that is terminated takes its terminal along');
});

tidy('a worker that is terminated while terminals are on their way', async t => {
  for (let i = 0; i < 5; ++i) {
    const word = mark();
    const worker = new Worker(fixture('terminal.mjs'), { workerData: { word } });
    await until(() => processesWith(word).length > 0);
    await worker.terminate();
    if (!await until(() => processesWith(word).length === 0)) t.same(processesWith(word), [], `run ${i}`);
  }
});

tidy('when Node dies nothing of it is left', async t => {
  const word = mark();
  const node = spawn(process.execPath, [fixture('terminal.mjs'), word], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } });
  await once(node.stdout, 'data');
  t.ok(await until(() => processesWith(word).length > 1));
  node.kill('SIGKILL');
  await once(node, 'close');
  t.ok(await until(() => processesWith(word).length === 0));
});

t.test('for want of descriptors the terminal is lost: both streams end, the command is hung up, and the next one works', async t => {
  const { code, stdout, stderr } = await runFixture('terminal-full.mjs');
  t.same([code, stderr], [0, '']);
  t.same(JSON.parse(stdout), { code: 'EMFILE', name: 'ContainedError', closed: { code: null, signal: 'SIGHUP' }, next: 'hi\r\n' });
});

