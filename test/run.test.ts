// run: a command to its end, with its output.
import { CommandFailed, contain, ContainedError, OptionError, run } from 'spawn-contained';
import { mark, processesWith, tidy } from './env.js';

const sh = (script: string): readonly [string, ...string[]] => ['sh', '-c', script];

tidy('stdout and stderr come apart, as text', async t => {
  const result = await run({ command: sh('echo "grüße"; echo err >&2') });
  t.match(result, { reason: 'exit', code: 0, signal: null, stdout: 'grüße\n', stderr: 'err\n' });
  t.ok(result.usage.wallMs > 0);
});

tidy('input is all that the command reads: text, bytes, nothing', async t => {
  t.equal((await run({ command: 'cat', input: 'grüße' })).stdout, 'grüße');
  t.same((await run({ command: 'cat', input: Buffer.from([0, 255, 10]), encoding: 'buffer' })).stdout, Buffer.from([0, 255, 10]));
  t.equal((await run({ command: 'cat' })).stdout, '');
  t.equal((await run({ command: 'true', input: 'x'.repeat(5_000_000) })).reason, 'exit');
});

tidy('input and output of 20 MB pass through at the same time', async t => {
  const input = Buffer.alloc(20_000_000, 'spawn');
  const { stdout } = await run({ command: 'cat', input, encoding: 'buffer' });
  t.ok(input.equals(stdout));
});

tidy('output can be had in any encoding of Buffer', async t => {
  t.equal((await run({ command: sh('printf "\\377\\001"'), encoding: 'hex' })).stdout, 'ff01');
  t.equal((await run({ command: sh('printf abc'), encoding: 'base64' })).stdout, 'YWJj');
});

tidy('maxOutput keeps the first bytes of each stream; the command goes on', async t => {
  const result = await run({ command: sh('head -c 3000000 /dev/zero | tr "\\0" x; echo err >&2; exit 0'), maxOutput: 5 });
  t.match(result, { stdout: 'xxxxx', stderr: 'err\n', reason: 'exit', code: 0 });
  t.equal((await run({ command: sh('echo abc'), maxOutput: 0 })).stdout, '');
});

tidy('a command that fails rejects with all there is to know', async t => {
  const error = await run({ command: sh('echo out; echo first >&2; echo last words >&2; exit 3') }).catch((error: unknown) => error);
  t.ok(error instanceof CommandFailed);
  t.match(error, { reason: 'exit', code: 3, signal: null, stdout: 'out\n', stderr: 'first\nlast words\n', name: 'CommandFailed' });
  t.match((error as Error).message, /^sh -c .*exit code 3: last words$/s);
  t.type((error as CommandFailed).usage.wallMs, 'number');
});

tidy('a command that is ended by a signal, or by its timeout, rejects and says so', async t => {
  await t.rejects(run({ command: sh('kill -9 $$'), init: true }), { name: 'CommandFailed', reason: 'signal', signal: 'SIGKILL', message: /SIGKILL/ });
  const word = mark();
  await t.rejects(run({ command: sh(`echo before; sleep ${word}`), timeout: 2000 }), { name: 'CommandFailed', reason: 'timeout', stdout: 'before\n', message: /timeout/ });
  t.same(processesWith(word), []);
});

tidy('with reject: false a command that fails is a result like any other', async t => {
  t.match(await run({ command: sh('echo out; exit 3'), reject: false }), { reason: 'exit', code: 3, stdout: 'out\n' });
  t.match(await run({ command: ['sleep', '1000'], timeout: 100, reject: false }), { reason: 'timeout' });
});

tidy('a command that cannot be started rejects with a ContainedError, with reject: false too', async t => {
  for (const reject of [true, false]) {
    const error = await run({ command: '/no/such/file', reject }).catch((error: unknown) => error);
    t.ok(error instanceof ContainedError);
    t.match(error, { code: 'ENOENT', syscall: 'exec', path: '/no/such/file' });
  }
});

tidy('input without a pipe to write it to is refused', async t => {
  await t.rejects(run({ command: 'cat', input: 'x', stdio: 'ignore' }), { name: 'OptionError', path: 'input' });
  await t.rejects(contain().run('cat', { input: 'x', stdio: ['ignore', 'pipe', 'pipe'] }), { name: 'OptionError', path: 'input' });
});

tidy('wrong options reject with an OptionError that names them', async t => {
  const wrong = [
    [{ command: 'true', input: 5 }, 'input'], [{ command: 'true', encoding: 'utf9' }, 'encoding'],
    [{ command: 'true', maxOutput: -1 }, 'maxOutput'], [{ command: 'true', reject: 'no' }, 'reject'],
    [{ command: 'true', hostnam: 'x' }, 'hostnam'], [{ command: [] }, 'command[0]'], [{}, 'command'],
  ] as const;
  for (const [options, path] of wrong) {
    const error = await run(options as never).catch((error: unknown) => error);
    t.ok(error instanceof OptionError, path);
    t.equal((error as OptionError).path, path);
  }
});

tidy('fifty at once keep their output apart', async t => {
  const results = await Promise.all(Array.from({ length: 50 }, (_, i) => run({ command: 'cat', input: `${i} `.repeat(10_000) })));
  results.forEach(({ stdout }, i) => t.equal(stdout, `${i} `.repeat(10_000)));
});
