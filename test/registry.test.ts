// Names: who has one, who finds it, and what stays of it in the registry, whatever is in there.
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { attach, ContainedError, containers, explain, OptionError, spawnContained, sweep } from 'spawn-contained';
import { bootId, startTimeOf } from '../dist/lib/host/facts.js';
import { registryPath } from '../dist/lib/host/registry.js';
import { fixture, mark, needsRoot, needsUser, ofProcess, processesWith, root, runFixture, tidy, until } from './env.js';
import { alive, directoryOf, ended, killBoth, leftOf, name, nothingLeft, starter, stateOf } from './kept.js';

void t.test('as a program: the name is the first thing that is made, and the last that is taken away', async t => {
  const program = explain({ command: 'true', id: 'blue', labels: { a: 'b' } });
  const directory = `${registryPath()}/blue`;
  t.match(program.host[0], { op: 'mkdir', path: directory, mode: 0o700 });
  t.same(program.host.slice(1, 3).map(op => (op as { path: string }).path), [`${directory}/outcome`, `${directory}/state.json`]);
  t.match(program.undo.at(-1), { op: 'record', path: directory, keep: 0 });
  t.match(explain({ command: 'true', id: 'blue', detached: true }).undo.at(-1), { op: 'record', keep: 1, most: 2 ** 24 });
});

void t.test('bad names and options', async t => {
  for (const id of ['', '.', '..', '-a', '.a', 'a/b', 'a b', 'a\0', 'ä', 'a'.repeat(101), 5, null]) {
    t.throws(() => spawnContained('true', [], { id: id as string }), OptionError, String(id));
    await t.rejects(attach(id as string), OptionError);
  }
  t.throws(() => spawnContained('true', [], { labels: {} }), /labels/);
  t.throws(() => spawnContained('true', [], { autoRemove: false }), /autoRemove/);
  t.throws(() => spawnContained('true', [], { id: 'a', logSize: '1M' }), /logSize/);
  for (const key of ['tty', 'timeout', 'cpuTimeout', 'maxOutput']) t.throws(() => spawnContained('true', [], { detached: true, [key]: key === 'tty' ? true : 100 }), new RegExp(key));
  for (const logSize of ['1K', '17G', -1]) t.throws(() => spawnContained('true', [], { detached: true, logSize }), /logSize/);
  t.throws(() => spawnContained('true', [], { detached: true, stdio: 'pipe' }), /pipe/);
  await t.rejects(attach(name()), { code: 'ENOENT' });
});

tidy('a name that is taken: EEXIST with a hint, nothing is left, and who has it is unharmed', async t => {
  const id = name();
  const first = await spawnContained('sh', ['-c', 'read x; exit 7'], { id }).ready;
  const state = readFileSync(`${directoryOf(id)}/state.json`, 'utf8');
  for (const detached of [false, true]) {
    const second = spawnContained('sh', ['-c', 'exit 1'], { id, detached });
    await t.rejects(second.ready, { code: 'EEXIST', hint: 'another container has this name; remove() it, or give another id' });
    await second.remove();
  }
  t.equal(readFileSync(`${directoryOf(id)}/state.json`, 'utf8'), state);
  const found = await attach(id);
  t.equal(found.pid, first.pid);
  first.stdin!.end('x\n');
  t.match(await found.exited, { reason: 'exit', code: 7 });
  t.match(await first.exited, { reason: 'exit', code: 7 });
  t.ok(await nothingLeft(id));
  t.match(await spawnContained('true', [], { id }).exited, { code: 0 }, 'it is free again');
});

tidy('what fails to start leaves no name', async t => {
  const id = name();
  for (const detached of [false, true]) {
    await t.rejects(spawnContained('/nowhere', [], { id, detached }).ready, { code: 'ENOENT' });
    t.equal(leftOf(id), '');
  }
});

tidy('two processes race for one name: one of them wins', async t => {
  const racers = await Promise.all([0, 1].map(async () => {
    const node = spawn(process.execPath, [fixture('name.mjs')], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } });
    const lines = createInterface({ input: node.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => (await lines.next()).value as string;
    t.equal(await next(), 'here');
    return { node, next };
  }));
  const ask = (line: string): Promise<string[]> => Promise.all(racers.map(({ node, next }) => (node.stdin.write(`${line}\n`), next())));
  const wins = [0, 0];
  for (let i = 0; i < 50; ++i) {
    const said = await ask(`start ${name()}`);
    const winners = said.filter(word => word === 'won').length;
    if (winners !== 1 || !said.some(word => word.startsWith('EEXIST '))) t.same(said, ['won', 'EEXIST'], `run ${i}`);
    wins[said.indexOf('won')]! += 1;
    await ask('end');
  }
  t.comment(`wins: ${wins}`);
  for (const { node } of racers) node.stdin.end();
  await Promise.all(racers.map(({ node }) => ended({ node })));
});

tidy('who has ended counts as ended, reaped or not; a first thread that has ended does not', async t => {
  const script = `
import ctypes, os, threading, time
child = os.fork()
if child == 0: os._exit(0)
other = os.fork()
if other == 0:
  threading.Thread(target=lambda: time.sleep(${mark()})).start()
  ctypes.CDLL(None).pthread_exit(None)
print(child, other, flush=True)
input()
os.kill(other, 9)`;
  const python = spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [zombie, going] = ((await createInterface({ input: python.stdout })[Symbol.asyncIterator]().next()).value as string).split(' ').map(Number) as [number, number];
  const isZombie = (pid: number): boolean => /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  t.ok(await until(() => isZombie(zombie) && isZombie(going)));
  t.equal(startTimeOf(zombie), undefined);
  t.match(startTimeOf(going), /^\d+$/);
  python.stdin.end('\n');
  await ended({ node: python });
});

void t.test('one in the foreground is found by another process, and its state goes with it, however it ends', async t => {
  for (const how of ['ends', 'killed', 'node', 'both'] as const) {
    const id = name(), word = mark(), other = mark();
    const one = await starter([{ id, command: ['sh', '-c', `sleep ${word} & read x; wait`], stdio: 'ignore', init: true, labels: { a: 'b' } }, { id: `${id}x`, command: ['sh', '-c', `sleep ${other}`], stdio: 'ignore' }], 'stay');
    const found = await attach(`${id}x`);
    t.equal(found.pid, one.pids[1]);
    t.match((await containers()).find(info => info.id === id), { state: 'running', detached: false, labels: { a: 'b' }, pid: one.pids[0] });
    const exited = found.exited.then(({ reason, signal }) => `${reason} ${signal}`, (error: ContainedError) => error.code);
    if (how === 'ends') {
      const sleeping = (): number | undefined => processesWith(word).find(pid => ofProcess(pid, 'cmdline').startsWith('sleep') && startTimeOf(pid) !== undefined);
      t.ok(await until(() => sleeping() !== undefined));
      process.kill(sleeping()!, 'SIGKILL');
    }
    if (how === 'killed' || how === 'ends') found.kill('SIGTERM');
    if (how === 'node') one.node.kill('SIGKILL');
    if (how === 'both') await killBoth(one);
    const end = await exited;
    if (how === 'killed' || how === 'ends') t.equal(end, 'killed SIGTERM');
    if (how === 'node') t.equal(end, 'signal SIGKILL');
    if (how === 'both') {
      t.equal(end, 'ECHILD');
      t.ok(await until(() => processesWith(word).length + processesWith(other).length === 0), 'PDEATHSIG');
      t.equal(await stateOf(id), 'lost');
      await sweep();
    }
    one.node.kill('SIGKILL');
    t.ok(await nothingLeft(id, word), `${how}: ${leftOf(id, word)}`);
    t.ok(await nothingLeft(`${id}x`, other), how);
    t.ok(await until(() => !alive(one.launcher)));
  }
});

tidy('what cannot be read for want of descriptors is not taken for dead', async t => {
  const id = name(), ids = Array.from({ length: 200 }, name);
  const child = await spawnContained('sleep', [mark()], { id, detached: true }).ready;
  const [state, pid] = ['state.json', 'pid'].map(file => readFileSync(join(directoryOf(id), file), 'utf8'));
  t.teardown(() => ids.forEach(other => rmSync(directoryOf(other), { recursive: true, force: true })));
  for (const other of ids) {
    mkdirSync(directoryOf(other), { mode: 0o700 });
    writeFileSync(join(directoryOf(other), 'pid'), pid!);
    writeFileSync(join(directoryOf(other), 'state.json'), state!.replace(`"${id}"`, `"${other}"`));
    utimesSync(directoryOf(other), new Date(0), new Date(0));
  }
  const { code, stdout, stderr } = await runFixture('sweep.mjs');
  t.same([code, stderr], [0, '']);
  const { removed, killed, failed } = JSON.parse(stdout) as { removed: string[]; killed: number; failed: string[] };
  t.same([removed, killed], [[], 0]);
  t.ok(failed.every(error => error === 'EMFILE'), failed.join());
  t.ok(ids.every(other => existsSync(directoryOf(other))));
  t.equal(await stateOf(id), 'running');
  ids.forEach(other => rmSync(directoryOf(other), { recursive: true, force: true }));
  await child.remove({ force: true });
});

void t.test('where they are kept, without root', { skip: needsUser }, async t => {
  const base = mkdtempSync('/tmp/contained-test-');
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const id = name(), env = (runtime?: string): { env: NodeJS.ProcessEnv } => ({ env: { ...process.env, XDG_RUNTIME_DIR: runtime } });
  const place = async (runtime: string | undefined, directory: string): Promise<string> => (await runFixture('place.mjs', [id, directory], env(runtime))).stdout;
  t.equal(await place(base, `${base}/spawn-contained`), 'true true\n4 false\n');
  t.equal(statSync(`${base}/spawn-contained`).mode & 0o777, 0o700);
  chmodSync(`${base}/spawn-contained`, 0o777);
  t.match(await place(base, base), /^EPERM .*somebody else/, 'others may write to it');
  rmSync(`${base}/spawn-contained`, { recursive: true });
  mkdirSync(`${base}/mine`);
  symlinkSync(`${base}/mine`, `${base}/spawn-contained`);
  t.match(await place(base, base), /^EPERM .*\n\[".*spawn-contained"\]/, 'a link; and sweep() says so');
  rmSync(`${base}/spawn-contained`);
  writeFileSync(`${base}/spawn-contained`, '');
  t.match(await place(base, base), /^EPERM /, 'a file');
  t.match(await place('/root', base), /^EACCES .*XDG_RUNTIME_DIR/, 'somebody else’s');
  t.match(await place('/nowhere', base), /^ENOENT .*XDG_RUNTIME_DIR/, 'no directory');
  t.equal(await place('relative', `/tmp/spawn-contained.${process.getuid!()}`), 'true true\n4 false\n', 'none');
});

void t.test('root does not look at XDG_RUNTIME_DIR', { skip: needsRoot }, async t => {
  t.equal((await runFixture('place.mjs', [name(), '/run/spawn-contained'], { env: { ...process.env, XDG_RUNTIME_DIR: '/tmp' } })).stdout, 'true true\n4 false\n');
});

tidy('its files are for its user alone', async t => {
  const id = name();
  const child = await spawnContained('sleep', ['60'], { id, detached: true, env: { SECRET: 'x' } }).ready;
  t.equal(statSync(registryPath()).mode & 0o777, 0o700);
  t.equal(statSync(directoryOf(id)).mode & 0o777, 0o700);
  for (const file of ['state.json', 'pid', 'outcome', 'log']) t.equal(statSync(`${directoryOf(id)}/${file}`).mode & 0o777, 0o600, file);
  t.match(readFileSync(`${directoryOf(id)}/state.json`, 'utf8'), /SECRET=x/);
  await child.remove({ force: true });
});

/** A copy of what is kept of a living container, changed. */
function forge(id: string, from: string, pids: string, change: object = {}): void {
  mkdirSync(directoryOf(id), { mode: 0o700 });
  const state = JSON.parse(readFileSync(`${directoryOf(from)}/state.json`, 'utf8')) as object;
  writeFileSync(`${directoryOf(id)}/state.json`, JSON.stringify({ ...state, id, group: null, maker: { pid: 1, start: '1' }, ...change }));
  writeFileSync(`${directoryOf(id)}/pid`, pids);
  writeFileSync(`${directoryOf(id)}/outcome`, '');
}

tidy('records of processes whose numbers others have by now: never killed, never entered', async t => {
  const from = name();
  const real = await spawnContained('sh', ['-c', 'read x'], { id: from }).ready;
  const other = spawn('sleep', ['60']), pid = other.pid!, start = startTimeOf(pid)!;
  const forged = { reused: [`${pid} ${Number(start) - 1} ${pid} ${Number(start) - 1} 1\n`], boot: [`${pid} ${start} ${pid} ${start} 1\n`, { boot: 'another' }], keeper: [`${pid} ${Number(start) - 1} ${process.pid} 1 0\n`] } as const;
  for (const [what, [pids, change]] of Object.entries(forged)) {
    const id = name();
    forge(id, from, pids, change);
    t.equal(await stateOf(id), 'lost', what);
    const found = await attach(id);
    found.kill('SIGKILL');
    await t.rejects(found.exec('true').exited, ContainedError);
    await t.rejects(found.stats(), ContainedError);
    await t.rejects(found.exited, { code: 'ECHILD' });
    await found.killAll();
    t.ok(alive(pid), `${what}: is not killed`);
    const { removed } = await sweep();
    t.ok(removed.includes(directoryOf(id)), what);
    t.ok(alive(pid), `${what}: nor by sweep`);
  }
  t.equal(bootId() === 'another', false);
  other.kill();
  t.ok(alive(real.pid!), 'and the real one goes on');
  real.stdin!.end('x\n');
  t.match(await real.exited, { code: 0 });
});

tidy('files that are torn, empty, missing or of somebody else: no crash', async t => {
  const from = name();
  const real = await spawnContained('sleep', ['60'], { id: from, detached: true }).ready;
  const whole = readFileSync(`${directoryOf(from)}/state.json`, 'utf8');
  const before = (await containers()).length;
  const made: string[] = [];
  const make = (files: Record<string, string>): string => {
    const id = name();
    made.push(id);
    mkdirSync(directoryOf(id), { mode: 0o700 });
    for (const [file, text] of Object.entries(files)) writeFileSync(`${directoryOf(id)}/${file}`, text);
    return id;
  };
  for (const state of ['', '{', 'null', '5', '[]', '{}', '{"version":1}', whole.slice(0, 200), whole]) await t.rejects(attach(make({ 'state.json': state, pid: 'x' })), { code: 'ENOENT' }, state.slice(0, 20));
  await t.rejects(attach(make({})), { code: 'ENOENT' });
  const file = name();
  writeFileSync(directoryOf(file), '');
  await t.rejects(attach(file), { code: 'ENOENT' });
  await t.rejects(spawnContained('true', [], { id: file }).ready, { code: 'EEXIST' });
  const link = name();
  symlinkSync(directoryOf(from), directoryOf(link));
  await t.rejects(attach(link), { code: 'ENOENT' });
  if (root) {
    const id = make({ 'state.json': whole });
    chownSync(directoryOf(id), 65534, 65534);
    await t.rejects(attach(id), { code: 'ENOENT' });
  }
  t.equal((await containers()).length, before);

  const record = { ...JSON.parse(whole) as object, group: null, maker: { pid: 1, start: '1' } };
  for (const pids of ['', '12', 'a b c d e\n', '1 2 3 4\n', '-1 1 -1 1 1\n']) {
    const id = name();
    made.push(id);
    forge(id, from, pids);
    t.equal(await stateOf(id), 'lost', JSON.stringify(pids));
    await t.rejects((await attach(id)).exited, { code: 'ECHILD' });
  }
  for (const [outcome, state] of [['0 0', 'lost'], ['768 0 0 1 2 3 4 5 6 7\n\nend\n', 'exited'], ['\nend\n', 'lost'], ['x\nend\n', 'lost'], ['-1 0 0\n\nend\n', 'lost']] as const) {
    const id = make({ outcome });
    writeFileSync(`${directoryOf(id)}/state.json`, JSON.stringify({ ...record, id }));
    t.equal(await stateOf(id), state, JSON.stringify(outcome));
  }
  const gone = make({});
  writeFileSync(`${directoryOf(gone)}/state.json`, JSON.stringify({ ...record, id: gone }));
  await t.rejects(attach(gone), { code: 'ENOENT' }, 'no outcome');

  await sweep();
  t.ok(made.some(id => existsSync(directoryOf(id))), 'what may be in the making stays');
  for (const id of made) if (existsSync(directoryOf(id))) utimesSync(directoryOf(id), 1, 1);
  await sweep();
  t.ok(alive(real.pid!), 'the real one goes on');
  for (const id of made) rmSync(directoryOf(id), { recursive: true, force: true });
  rmSync(directoryOf(file));
  rmSync(directoryOf(link));
  await real.remove({ force: true });
});

tidy('a directory whose maker was killed before it wrote what it is: sweep() frees the name', async t => {
  const id = name();
  mkdirSync(directoryOf(id), { mode: 0o700 });
  await sweep();
  t.ok(existsSync(directoryOf(id)), 'not at once');
  utimesSync(directoryOf(id), 1, 1);
  t.ok((await sweep()).removed.includes(directoryOf(id)));
  t.match(await spawnContained('true', [], { id }).exited, { code: 0 });
});

tidy('remove() of one that has ended leaves alone who has its name by now', async t => {
  const id = name();
  const first = spawnContained('true', [], { id });
  await first.exited;
  const second = await spawnContained('sh', ['-c', 'read x'], { id }).ready;
  await first.remove();
  t.ok(existsSync(directoryOf(id)));
  await t.rejects(second.remove(), { code: 'EBUSY', hint: /force/ });
  second.stdin!.end();
  await second.exited;
});
