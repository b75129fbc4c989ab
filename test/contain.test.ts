// contain: options that are checked and compiled once.
import { mkdirSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { CommandFailed, contain, ContainedError, explain, OptionError, spawnContained } from 'spawn-contained';
import type { SandboxRunOptions, SpawnOptions } from 'spawn-contained';
import { mark, needsLimits, needsNoLimits, processesWith, scratch, tidy } from './env.js';

const sh = (script: string): readonly [string, ...string[]] => ['sh', '-c', script];

tidy('a sandbox runs many commands, each in a container of its own', async t => {
  const sandbox = contain({ hostname: 'box', env: { COLOR: 'blue' } });
  const results = await Promise.all(Array.from({ length: 30 }, (_, i) => sandbox.run(sh(`echo ${i} $$ $(hostname) $COLOR; touch /tmp/x; ls /tmp`))));
  results.forEach(({ stdout }, i) => t.equal(stdout, `${i} 1 box blue\nx\n`));
});

tidy('spawn gives a Contained', async t => {
  const child = contain().spawn(['cat']);
  t.equal(await child.ready, child);
  child.stdin!.end('hi');
  t.equal(await text(child.stdout!), 'hi');
  t.match(await child.exited, { reason: 'exit', code: 0 });
  t.same([child.spawnfile, child.spawnargs], ['cat', ['cat']]);
  t.match(await contain().spawn('/no/such/file').exited.catch((error: unknown) => error), { code: 'ENOENT' });
});

tidy('what differs between runs: each option takes the place of that of the sandbox', async t => {
  const sandbox = contain({ cwd: '/usr', env: { A: '1' }, argv0: 'shell', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000, maxOutput: 10_000 });
  const said = async (script: string, options: SandboxRunOptions = {}): Promise<string> => (await sandbox.run(sh(script), options)).stdout;
  t.equal(await said('pwd; echo $A $B $0'), '/usr\n1 sh\n'.replace('sh', 'shell'));
  t.equal(await said('pwd; echo $A $B', { cwd: '/etc', env: { B: '2' } }), '/etc\n2\n');
  t.equal(await said('pwd', { cwd: '/etc' }), '/etc\n', 'the same once more');
  t.equal(await said('pwd; echo $A'), '/usr\n1\n', 'and as before without');
  t.equal(await said('echo $0', { argv0: 'other' }), 'other\n');
  t.equal(await said('cat', { stdio: ['pipe', 'pipe', 'pipe'], input: 'in' }), 'in');
  t.equal(await said('cat', { stdio: [Buffer.from('bytes'), 'pipe', 'ignore'] }), 'bytes');
  t.equal(await said('readlink /proc/self/fd/4', { stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'ignore'] }), '/dev/null\n');

  const word = mark();
  t.match(await sandbox.run(['sleep', word], { timeout: 100, reject: false }), { reason: 'timeout', signal: 'SIGTERM' });
  t.match(await sandbox.run(['sleep', word], { timeout: 100, killSignal: 'SIGINT', reject: false }), { signal: 'SIGINT' });
  t.match(await sandbox.run(sh('trap "" TERM; while :; do :; done'), { timeout: 2000, killGrace: 10, reject: false }), { reason: 'timeout', signal: 'SIGKILL' });
  t.match(await sandbox.run(['sleep', word], { signal: AbortSignal.timeout(100), reject: false }), { reason: 'aborted' });
  t.match(await sandbox.run(sh('while :; do :; done'), { cpuTimeout: 100, reject: false }), { reason: 'cpu-timeout' });
  t.match(await sandbox.run(['yes'], { maxOutput: { lines: 2, action: 'kill' }, reject: false }), { reason: 'output', stdout: 'y\ny\n' });
  t.match(await sandbox.run(['head', '-c', '50000', '/dev/zero']), { output: { stdoutBytes: 10_000, truncated: true } }, 'and those of the sandbox hold without');
  t.same(processesWith(word), []);
  const traced = sandbox.spawn('true', { trace: true });
  await traced.exited;
  t.ok(traced.trace!.length > 5);
});

tidy('run is as run', async t => {
  const sandbox = contain();
  t.equal((await sandbox.run('cat', { input: 'grüße' })).stdout, 'grüße');
  t.same((await sandbox.run('cat', { input: 'a', encoding: 'buffer' })).stdout, Buffer.from('a'));
  t.equal((await sandbox.run(sh('echo abc'), { maxOutput: 2 })).stdout, 'ab');
  const error = await sandbox.run(sh('exit 3')).catch((error: unknown) => error);
  t.ok(error instanceof CommandFailed);
  t.match(await sandbox.run(sh('exit 3'), { reject: false }), { code: 3 });
});

tidy('a change of the options object afterwards changes nothing', async t => {
  const options: SpawnOptions & { env: Record<string, string>; tmpfs: string[] } = { env: { A: '1' }, hostname: 'before', tmpfs: ['/srv'], cwd: '/srv', rlimits: { nofile: 99 } };
  const sandbox = contain(options);
  options.env['A'] = '2';
  options.hostname = 'after';
  options.tmpfs[0] = '/opt';
  options.cwd = '/opt';
  (options.rlimits as Record<string, number>)['nofile'] = 55;
  for (const more of [{}, { cwd: '/srv' }, { cpuTimeout: 5000 }]) {
    t.equal((await sandbox.run(sh('echo $A; hostname; pwd; ulimit -n'), more)).stdout, '1\nbefore\n/srv\n99\n');
  }
});

tidy('nor does a change of the current directory', async t => {
  const directory = scratch(t), before = process.cwd();
  mkdirSync(`${directory}/lib`);
  try {
    process.chdir(directory);
    const sandbox = contain({ mounts: [{ type: 'bind', source: 'lib', target: '/tmp/lib' }] });
    process.chdir('/');
    for (const cwd of ['/', '/tmp/lib']) t.equal((await sandbox.run(['ls', '/tmp/lib'], { cwd })).stdout, '');
  } finally {
    process.chdir(before);
  }
});

void t.test('what is wrong is told at once', async t => {
  const wrong: [object, string][] = [
    [{ hostnam: 'x' }, 'hostnam'], [{ cwd: 'relative' }, 'cwd'], [{ env: { 'a=b': 'x' } }, 'env.a=b'], [{ stdio: 'all' }, 'stdio'], [{ timeout: -1 }, 'timeout'],
    [{ cpuTimeout: 0 }, 'cpuTimeout'], [{ maxOutput: {} }, 'maxOutput'], [{ argv0: 5 }, 'argv0'], [{ killSignal: 'SIGNO' }, 'killSignal'],
    [{ mounts: [{ type: 'bind', target: '/x' }] }, 'mounts[0].source'], [{ command: 'true' }, 'command'], [{ maxOutput: 5, stdio: 'ignore' }, 'maxOutput'],
    [{ cgroup: { memory: { max: -1 } } }, 'cgroup.memory.max'],
  ];
  for (const [options, path] of wrong) t.throws(() => contain(options), { name: 'OptionError', path }, JSON.stringify(options));
  for (const options of [null, 5, []]) t.throws(() => contain(options as never), OptionError);

  const sandbox = contain();
  const wrongRuns: [unknown, object, string][] = [
    ['', {}, 'command[0]'], [[], {}, 'command[0]'], [undefined, {}, 'command'], ['true', { cwd: 'x' }, 'cwd'], ['true', { env: 5 }, 'env'], ['true', { stdio: 5 }, 'stdio'],
    ['true', { hostname: 'x' }, 'hostname'], ['true', { tiemout: 5 }, 'tiemout'], ['true', { cpuTimeout: 'x' }, 'cpuTimeout'], ['true', { maxOutput: -5 }, 'maxOutput'],
    ['true', { maxOutput: 5, stdio: 'ignore' }, 'maxOutput'], ['true', { timeout: NaN }, 'timeout'],
  ];
  for (const [command, options, path] of wrongRuns) {
    t.throws(() => sandbox.spawn(command as string, options), { name: 'OptionError', path }, JSON.stringify(options));
    // A size is to `run` what it keeps.
    if (!('stdio' in options && 'maxOutput' in options)) await t.rejects(sandbox.run(command as string, options), { name: 'OptionError', path });
  }
  t.throws(() => sandbox.spawn('true', { tiemout: 5 } as never), { message: /did you mean timeout/ });
  t.throws(() => contain({ maxOutput: 5 }).spawn('true', { stdio: 'inherit' }), { name: 'OptionError', path: 'maxOutput' });
});

void t.test('explain tells what spawn does, and is what explain tells of the same options', async t => {
  const options = { hostname: 'box', env: { A: '1' }, stdio: 'ignore' } as const;
  const sandbox = contain(options);
  t.equal(String(sandbox.explain(['echo', 'hi'])), String(explain({ ...options, command: ['echo', 'hi'] })));
  const more = { cwd: '/tmp', env: { B: '2' }, argv0: 'x' };
  t.equal(String(sandbox.explain('true', more)), String(explain({ ...options, ...more, command: 'true' })));
  t.equal(String(contain({ cwd: '/usr' }).explain('true', { stdio: ['pipe', 'ignore', 'pipe', 'pipe'] })), String(explain({ cwd: '/usr', stdio: ['pipe', 'ignore', 'pipe', 'pipe'], command: 'true' })));
  await Promise.resolve();
});

tidy('groups are those of each run', async t => {
  const sandbox = contain({ cgroup: { pids: { max: 7 } }, cpuTimeout: 10_000 });
  const children = [sandbox.spawn(['sleep', '0.2']), sandbox.spawn(['sleep', '0.2'], { cwd: '/tmp' })];
  t.equal(new Set(children.flatMap(({ cgroup }) => Object.values(cgroup))).size, 2 * Object.values(children[0]!.cgroup).length);
  for (const child of children) t.match(await child.exited, { reason: 'exit', code: 0 });
  t.match(await sandbox.run(sh('while :; do :; done'), { cpuTimeout: 100, reject: false }), { reason: 'cpu-timeout' });
}, { skip: needsLimits });

tidy('what the host cannot do is told by each run', async t => {
  const sandbox = contain({ cgroup: { pids: { max: 7 } } });
  for (let i = 0; i < 2; ++i) {
    const error = await sandbox.run('true').catch((error: unknown) => error);
    t.ok(error instanceof ContainedError);
    t.match(error, { code: 'ENOTSUP' });
  }
  t.throws(() => sandbox.explain('true'), { code: 'ENOTSUP' });
}, { skip: needsNoLimits });

tidy('more programs than are kept: each is right all the same', async t => {
  const sandbox = contain();
  for (let round = 0; round < 2; ++round) {
    for (let i = 1; i <= 70; ++i) {
      const seconds = await sandbox.run(sh('ulimit -t'), { cpuTimeout: i * 1000 });
      if (seconds.stdout !== `${i + 1}\n`) t.fail(`${i}: ${seconds.stdout}`);
    }
  }
});

tidy('it does nothing else than spawnContained does', async t => {
  const script = 'id -u; id -g; cat /proc/self/status | grep -E "^(Cap|NoNew|Seccomp)"; ulimit -a; readlink /proc/self/ns/* | sed "s/\\[.*//"; umask; env; cat /proc/self/mountinfo | cut -d" " -f4-6';
  const child = spawnContained({ command: sh(script) });
  const [plain, contained] = await Promise.all([text(child.stdout!), contain().run(sh(script))]);
  t.equal(contained.stdout, plain);
  await child.exited;
});
