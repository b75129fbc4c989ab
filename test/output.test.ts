// maxOutput: what comes out of stdout and stderr is counted, cut off, held back, or the end of the container.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { buffer, text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { CommandFailed, OptionError, run, spawnContained } from 'spawn-contained';
import type { Contained, OutputLimit, Size, SpawnOptions } from 'spawn-contained';
import { tidy, until } from './env.js';

const sh = (script: string, maxOutput: Size | OutputLimit, more: SpawnOptions = {}): Contained =>
  spawnContained({ command: ['sh', '-c', script], maxOutput, timeout: 30_000, ...more });

async function all(child: Contained): Promise<[string, string]> {
  return await Promise.all([text(child.stdout!), text(child.stderr!)]);
}

/** Likewise of one that waits for a line after the first it has said, and another after the first on stderr. */
async function inTurn(child: Contained): Promise<[string, string]> {
  for (const stream of [child.stdout!, child.stderr!]) stream.once('data', () => child.stdin!.write('\n'));
  return await all(child);
}

tidy('truncate: the first bytes of both together are delivered, and the command goes on to its end', async t => {
  const child = sh('printf abcdef; read x; printf ghij >&2; read x; head -c 3000000 /dev/zero; echo z >&2; exit 3', 8);
  t.same(await inTurn(child), ['abcdef', 'gh']);
  t.match(await child.exited, { reason: 'exit', code: 3, output: { stdoutBytes: 6, stderrBytes: 2, truncated: true } });
});

tidy('what is as much as is allowed is not too much', async t => {
  for (const action of ['truncate', 'kill'] as const) {
    const child = sh('printf 12345', { bytes: 5, action });
    t.same(await all(child), ['12345', '']);
    t.match(await child.exited, { reason: 'exit', code: 0, output: { stdoutBytes: 5, truncated: false } }, action);
    const lines = sh('printf "1\\n2\\n"', { lines: 2, action });
    t.same(await all(lines), ['1\n2\n', '']);
    t.match(await lines.exited, { reason: 'exit', output: { truncated: false } }, action);
  }
  const nothing = sh('exit 0', { bytes: 0, action: 'kill' });
  t.match(await nothing.exited, { reason: 'exit', output: { truncated: false } });
});

tidy('lines are those of both streams, up to the newline', async t => {
  const child = sh('seq 1 3; read x; seq 4 9 >&2; read x; seq 10 100000', { lines: 5 });
  t.same(await inTurn(child), ['1\n2\n3\n', '4\n5\n']);
  t.match((await child.exited).output, { stdoutBytes: 6, stderrBytes: 4, truncated: true });
  const partial = sh('printf "1\\n2"', { lines: 1 });
  t.same(await all(partial), ['1\n', ''], 'a line without its end is one too many');
  const both = sh('seq 1 1000', { lines: 500, bytes: 5 });
  t.same(await all(both), ['1\n2\n3', ''], 'the limit that is met first');
});

tidy('kill: the container is ended, with its reason, and what came before is there', async t => {
  const child = sh('while :; do echo 1234567; done', { bytes: 100, action: 'kill' });
  const [stdout] = await all(child);
  t.equal(stdout, '1234567\n'.repeat(13).slice(0, 100));
  t.match(await child.exited, { reason: 'output', signal: 'SIGTERM', output: { stdoutBytes: 100, stderrBytes: 0, truncated: true } });
});

tidy('kill: also when it ends by itself at once, every time', async t => {
  for (let i = 0; i < 30; ++i) {
    const child = sh('seq 1 100', { bytes: '10', action: 'kill' });
    // So that Node hears of the end and of the output at once.
    if (i % 2 === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
    t.equal((await child.exited).reason, 'output');
  }
});

tidy('kill: nobody need read, or have touched the streams', async t => {
  for (const limit of [{ bytes: '3M' }, { lines: 1e6 }, { bytes: 1 }] as const) {
    const child = spawnContained({ command: ['yes'], maxOutput: { ...limit, action: 'kill' }, timeout: 20_000 });
    const { reason, output } = await child.exited;
    t.equal(reason, 'output', JSON.stringify(limit));
    t.ok(output!.truncated);
    if ('bytes' in limit) t.equal((await buffer(child.stdout as Readable)).length, output!.stdoutBytes, 'and it is still there to be read');
  }
});

tidy('kill asks first, as timeout does', async t => {
  const child = sh('trap "exit 7" TERM; while :; do echo x; done', { lines: 3, action: 'kill' });
  t.match(await child.exited, { reason: 'output', code: 7 });
});

tidy('truncate: nobody need read', async t => {
  const child = sh('head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 4', 1000);
  t.match(await child.exited, { reason: 'exit', code: 4, output: { stdoutBytes: 1000, truncated: true } });
});

tidy('rate: the command is held back, and nothing is lost', async t => {
  const started = performance.now();
  const child = sh('seq 1 20000 | tee /dev/stderr | md5sum >/dev/null; seq 1 10000', { rate: 300_000 });
  const [stdout, stderr] = await all(child);
  const ms = performance.now() - started;
  const seq = (last: number): string => Array.from({ length: last }, (_, i) => `${i + 1}\n`).join('');
  t.equal(stdout, seq(10000));
  t.equal(stderr, seq(20000));
  const wanted = (stdout.length + stderr.length) / 300;
  t.ok(ms > wanted * 0.8, `${ms} ms, of ${wanted}`);
  t.match(await child.exited, { reason: 'exit', code: 0, output: { stdoutBytes: stdout.length, stderrBytes: stderr.length, truncated: false } });
});

tidy('rate: the command feels it', async t => {
  const child = sh('exec head -c 400000 /dev/zero', { rate: 400_000 });
  const chunks: number[] = [];
  child.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk.length));
  await child.exited;
  t.ok((await child.exited).usage.wallMs > 400, 'all but what the pipe holds had to be read first');
  await once(child, 'close');
  t.equal(chunks.reduce((a, b) => a + b, 0), 400_000);
  t.ok(Math.max(...chunks) <= 40_001, 'in small portions');
});

tidy('rate and bytes together', async t => {
  const started = performance.now();
  const child = sh('yes', { rate: 100_000, bytes: 30_000, action: 'kill' });
  t.match(await child.exited, { reason: 'output', output: { stdoutBytes: 30_000 } });
  t.ok(performance.now() - started > 200);
});

tidy('what is dropped after the end has no rate', async t => {
  const child = sh('head -c 60000 /dev/zero', { rate: 1000, bytes: 100 });
  let closed = false;
  child.once('close', () => { closed = true; });
  const stdout = buffer(child.stdout!);
  t.ok(await until(() => closed), 'at this rate it would take a minute');
  t.equal((await stdout).length, 100);
  t.match(await child.exited, { reason: 'exit', code: 0, output: { stdoutBytes: 100, truncated: true } });
});

tidy('a reader who is slow holds the command back, once 16 MiB are kept', async t => {
  const child = sh('head -c 40000000 /dev/zero', { bytes: '100M', action: 'kill' });
  await child.ready;
  await sleep(1000);
  t.ok(child.exitCode === null, 'it waits');
  let size = 0;
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) size += chunk.length;
  t.equal(size, 40_000_000);
  t.match(await child.exited, { reason: 'exit', code: 0, output: { stdoutBytes: 40_000_000, truncated: false } });
});

tidy('a flood does not fill the memory of Node', async t => {
  global.gc?.();
  const before = process.memoryUsage().rss;
  const child = spawnContained({ command: ['yes'], maxOutput: '1M', timeout: 3000 });
  let most = 0;
  const timer = setInterval(() => { most = Math.max(most, process.memoryUsage().rss); }, 20);
  const outcome = await child.exited;
  clearInterval(timer);
  t.match(outcome, { reason: 'timeout', output: { stdoutBytes: 2 ** 20, truncated: true } });
  t.ok(most - before < 150 * 2 ** 20, `${(most - before) / 2 ** 20} MiB more`);
});

tidy('a stream that is destroyed is closed for the command too', async t => {
  const child = sh('while :; do echo x; done; exit 5', 1e9, { init: true });
  await once(child.stdout!, 'data');
  child.stdout!.destroy();
  t.not((await child.exited).code, 0);
});

tidy('a command that cannot be started: the streams end, and close comes', async t => {
  const child = spawnContained('/no/such/file', { maxOutput: 5 });
  const closed = new Promise(resolve => child.on('error', () => {}).on('close', resolve));
  await t.rejects(child.exited, { code: 'ENOENT' });
  await closed;
  t.same([await text(child.stdout!).catch(() => ''), child.stdout!.closed, child.stderr!.closed], ['', true, true]);
});

tidy('close comes when the streams have ended, whether or not anybody reads, with a rate too', async t => {
  for (const maxOutput of [5, 1e6, { rate: 100_000 }]) {
    const child = sh('head -c 20000 /dev/zero', maxOutput);
    await once(child, 'close');
    t.ok(child.stdout!.closed && child.stderr!.closed);
    t.equal((await child.exited).output!.stdoutBytes, maxOutput === 5 ? 5 : 20_000);
  }
});

tidy('killAll ends it whatever is held back', async t => {
  const child = sh('yes', { rate: 1000 });
  await child.ready;
  await child.killAll();
  t.match(await child.exited, { reason: 'killed' });
  child.stdout!.destroy();
  child.stderr!.destroy();
});

tidy('setEncoding, pause and pipe work as on any stream', async t => {
  const child = sh('printf "grüße"; read x; echo', 1000);
  child.stdout!.setEncoding('utf8');
  const [first] = await once(child.stdout!, 'data') as [string];
  t.equal(first, 'grüße');
  child.stdout!.pause();
  child.stdin!.end('\n');
  await child.exited;
  t.equal(await text(child.stdout!), '\n');
});

tidy('run: a number is of each stream as ever, an object is the limit of the container', async t => {
  t.match(await run({ command: ['sh', '-c', 'echo abc; echo def >&2'], maxOutput: 2 }), { stdout: 'ab', stderr: 'de', output: undefined });
  t.match(await run({ command: ['head', '-c', '5000', '/dev/zero'], maxOutput: '1K' }), { stdout: '\0'.repeat(1024) });
  t.match(await run({ command: ['sh', '-c', 'echo abc; echo def'], maxOutput: { bytes: 6 } }), { stdout: 'abc\nde', output: { stdoutBytes: 6, truncated: true } });
  const error = await run({ command: ['yes'], maxOutput: { lines: 2, action: 'kill' } }).catch((error: unknown) => error);
  t.ok(error instanceof CommandFailed);
  t.match(error, { reason: 'output', stdout: 'y\ny\n', output: { stdoutBytes: 4 }, message: /output/ });
});

tidy('without the option there is no count, and only with it', async t => {
  t.notOk('output' in await run({ command: 'true' }));
  t.match(await run({ command: 'true', maxOutput: { bytes: 5 } }), { output: { stdoutBytes: 0, stderrBytes: 0, truncated: false } });
});

tidy('wrong limits are refused, with their place', async t => {
  const wrong: [unknown, string][] = [
    [-1, 'maxOutput'], [1.5, 'maxOutput'], ['lots', 'maxOutput'], [null, 'maxOutput'], [true, 'maxOutput'], [[], 'maxOutput'],
    [{}, 'maxOutput'], [{ byte: 5 }, 'maxOutput.byte'], [{ bytes: -1 }, 'maxOutput.bytes'], [{ lines: 0.5 }, 'maxOutput.lines'], [{ rate: 0 }, 'maxOutput.rate'],
    [{ bytes: 5, action: 'stop' }, 'maxOutput.action'], [{ bytes: 5, action: 'pause' }, 'maxOutput.action'], [{ lines: 5, action: 'pause' }, 'maxOutput.action'],
    [{ rate: 5, action: 'kill' }, 'maxOutput.action'], [{ rate: 5, action: 'truncate' }, 'maxOutput.action'], [{ action: 'kill' }, 'maxOutput'],
  ];
  for (const [maxOutput, path] of wrong) {
    try {
      spawnContained({ command: 'true', maxOutput: maxOutput as number });
      t.fail(JSON.stringify(maxOutput));
    } catch (error) {
      t.ok(error instanceof OptionError, String(error));
      t.equal((error as OptionError).path, path, String(error));
    }
  }
  t.throws(() => spawnContained({ command: 'true', maxOutput: 5, stdio: 'inherit' }), { path: 'maxOutput', message: /pipe/ });
  const one = spawnContained({ command: ['sh', '-c', 'echo abc'], maxOutput: 2, stdio: ['ignore', 'pipe', 'ignore'] });
  t.equal(await text(one.stdout!), 'ab');
  await one.exited;
});
