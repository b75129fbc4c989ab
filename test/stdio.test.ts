// Standard streams: what the command has for them, and what the caller.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream, createWriteStream, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { contain, spawnContained } from 'spawn-contained';
import type { Contained, SpawnOptions } from 'spawn-contained';
import { mark, processesWith, runFixture, scratch, tidy, until } from './env.js';

const sh = (script: string, options: SpawnOptions = {}): Contained => spawnContained({ ...options, command: ['sh', '-c', script] });

tidy('stdio: ignore gives no stream and /dev/null', async t => {
  const child = sh('readlink /proc/self/fd/0 /proc/self/fd/2', { stdio: ['ignore', 'pipe', 'ignore'] });
  t.same([child.stdin, child.stderr], [null, null]);
  t.equal(await text(child.stdout!), '/dev/null\n/dev/null\n');
});

tidy("stdio: inherit gives Node's own", async t => {
  const { code, stdout, stderr } = await runFixture('inherit.mjs');
  t.same([code, stdout, stderr], [0, 'to stdout\n', 'to stderr\n']);
});

tidy('stdio: descriptors and streams of the caller, which stay open', async t => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'in'), 'from the file');
  const input = createReadStream(join(directory, 'in'));
  const output = createWriteStream(join(directory, 'out'));
  await Promise.all([once(input, 'open'), once(output, 'open')]);
  const errors = openSync(join(directory, 'err'), 'w');
  await sh('cat; echo err >&2', { stdio: [input, output, errors] }).exited;
  await sh('echo again >&2', { stdio: ['ignore', 'ignore', errors] }).exited;
  closeSync(errors);
  input.destroy();
  output.destroy();
  t.equal(readFileSync(join(directory, 'out'), 'utf8'), 'from the file');
  t.equal(readFileSync(join(directory, 'err'), 'utf8'), 'err\nagain\n');
});

tidy('stdio: a Buffer at index 3 is read there, and pipes at 4 and 5 are written there', async t => {
  const child = sh('cat <&3; echo four >&4; echo five >&5', { stdio: ['ignore', 'pipe', 'pipe', Buffer.from('three'), 'pipe', 'pipe'] });
  const [out, four, five] = await Promise.all([1, 4, 5].map(i => text(child.stdio[i] as Readable)));
  t.same([out, four, five], ['three', 'four\n', 'five\n']);
  t.match(await child.exited, { reason: 'exit', code: 0 });
});

tidy('stdio: a descriptor that is not open fails that start and no other', async t => {
  const { code, stdout } = await runFixture('closed-fd.mjs', [], { timeout: 10_000 });
  t.same([code, stdout], [0, 'EBADF\nnext: exit\n']);
});

tidy('50 MB of output arrive', async t => {
  const child = spawnContained('head', ['-c', '50M', '/dev/zero']);
  let size = 0;
  for await (const chunk of child.stdout!) size += (chunk as Buffer).length;
  t.equal(size, 50 * 2 ** 20);
  t.match(await child.exited, { reason: 'exit', code: 0 });
});

tidy('a command waits while nobody reads, and loses nothing', async t => {
  const child = spawnContained('head', ['-c', '5000000', '/dev/zero']);
  await child.ready;
  t.ok(await until(() => readFileSync(`/proc/${child.pid}/wchan`, 'utf8').includes('pipe_write')), 'it waits for room in the pipe');
  t.equal((await buffer(child.stdout!)).length, 5_000_000);
  t.match(await child.exited, { reason: 'exit', code: 0 });
});

tidy('10 MB of input arrive, by the stream and as a Buffer', async t => {
  const input = Buffer.alloc(10_000_000, 'all of this ');
  const sum = createHash('sha256').update(input).digest('hex');
  const streamed = spawnContained('sha256sum');
  streamed.stdin!.end(input);
  const given = spawnContained('sha256sum', { stdio: [input, 'pipe', 'pipe'] });
  for (const output of await Promise.all([text(streamed.stdout!), text(given.stdout!)])) t.match(output, sum);
});

tidy('input that the command does not read is no error when it came with the options, and one of the write otherwise', async t => {
  const input = Buffer.alloc(10_000_000);
  t.match(await spawnContained('true', { stdio: [input, 'pipe', 'pipe'] }).exited, { reason: 'exit', code: 0 });
  const child = spawnContained('true');
  child.stdin!.on('error', () => {});
  const error = await new Promise<NodeJS.ErrnoException | null | undefined>(resolve => child.stdin!.write(input, resolve));
  // Node calls back with null when the stream was destroyed first, as it is with the exit: net.Socket, onWriteComplete.
  t.ok(error === null || /^(EPIPE|ERR_STREAM_DESTROYED)$/.test(error?.code ?? ''), String(error));
  await child.exited;
});

for (const ns of [undefined, []] as const) {
  const where = ns ? 'without namespaces' : 'with a pid namespace';
  tidy(`a grandchild that keeps stdout open ends with the command, so close comes (${where})`, async t => {
    const word = mark();
    const child = sh(`sleep ${word} & echo up`, ns ? { ns } : {});
    const [code] = await once(child, 'close');
    t.equal(code, 0);
    // Where there is neither a group nor a pid namespace its end is not waited for.
    t.ok(await until(() => processesWith(word).length === 0));
  });
}

tidy('stdio: a stream that was closed since it was given is an error, and not what has its number by now', async t => {
  const log = createWriteStream(join(scratch(t), 'log'));
  await once(log, 'open');
  const sandbox = contain({ stdio: ['ignore', log, 'ignore'] });
  t.match(await sandbox.spawn(['echo', 'first']).exited, { code: 0 });
  log.end();
  await once(log, 'close');
  const child = sandbox.spawn(['echo', 'second']);
  await t.rejects(child.exited, { code: 'EBADF', step: 'hand on stdio[1]', hint: /closed/ });
});

tidy('stdio: a command that cannot even be asked for has its streams all the same', async t => {
  const host = spawnContained('sleep', ['600']);
  const child = host.exec('cat', { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });  // before it is ready
  const closed = new Promise(resolve => child.once('close', resolve));
  const failed = t.rejects(child.exited, { code: 'ESRCH' });
  child.stdin!.end('nobody reads this');
  t.equal(await text(child.stdout!), '');
  await failed;
  await closed;
  const quiet = host.exec('cat', { stdio: ['pipe', 'pipe', 'pipe', 'pipe', Buffer.from('x')] });
  quiet.on('error', () => {});
  await new Promise(resolve => quiet.once('close', resolve));
  await host.killAll();
});
