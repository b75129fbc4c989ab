// --cpu-timeout and --max-output: what the command line says of an end that was not the command's own.
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { contained, program, sh } from './contained.js';

t.test('--cpu-timeout ends what uses too much, and says so; who exits then has not succeeded', async t => {
  const busy = sh(['--cpu-timeout', '200ms'], 'while :; do :; done');
  t.equal(busy.code, 143);
  t.match(busy.stderr, /^contained: used up its processor time: \d+ ms \(SIGTERM\)\n$/);
  t.equal(sh(['--cpu-timeout', '0.2s'], 'trap "exit 0" TERM; while :; do :; done').code, 124);
  t.equal(sh(['--cpu-timeout', '200', '--kill-signal', 'KILL'], 'while :; do :; done').code, 137);
  t.same(sh(['--cpu-timeout', '300'], 'sleep 0.5; echo slept'), { code: 0, stdout: 'slept\n', stderr: '' });
  t.match(contained('run', '--cpu-timeout', 'soon', '--', 'true'), { code: 125, stderr: /--cpu-timeout: expected milliseconds/ });
  await Promise.resolve();
});

t.test('--max-output ends what writes too much; what came before has come through', async t => {
  const flood = contained('run', '--max-output', '10K', '--', 'yes');
  t.equal(flood.code, 143);
  t.equal(flood.stdout, 'y\n'.repeat(5 * 1024));
  t.equal(flood.stderr, 'contained: wrote more than is allowed: ended after 10.0 KiB (SIGTERM)\n');
  t.equal(sh(['--max-output', 'lines=3'], 'trap "exit 0" TERM; while :; do echo x; done').code, 124);
  t.match(sh(['--max-output', 'bytes=5,action=truncate'], 'echo abc; sleep 1; echo def >&2; echo more; exit 4'), { code: 4, stdout: 'abc\n', stderr: /^dcontained: .*cut off after 5 B\n$/ });
  t.same(sh(['--max-output', '1M'], 'echo out; cat; echo err >&2'), { code: 0, stdout: 'out\n', stderr: 'err\n' });
  for (const wrong of ['lots', 'lines=x', 'size=5', '5,action=stop', '5,action=pause', '']) {
    t.match(contained('run', '--max-output', wrong, '--', 'true'), { code: 125, stderr: /^contained: --max-output: / }, wrong);
  }
  t.equal(contained('explain', '--max-output', '5', '--cpu-timeout', '5s', '--', 'true').code, 0);
  t.equal(contained('run', '--max-output', '5', '--', 'no-such-command').code, 127);
  await Promise.resolve();
});

t.test('--max-output rate= holds it back and loses nothing', async t => {
  const before = performance.now();
  const { code, stdout, stderr } = sh(['--max-output', 'rate=50K'], 'head -c 40000 /dev/zero | tr "\\0" x');
  t.same([code, stdout.length, stderr], [0, 40_000, '']);
  t.ok(performance.now() - before > 600);
  await Promise.resolve();
});

t.test('--max-output: a reader who goes away ends it as it would without', async t => {
  const child = spawn('sh', ['-c', '"$@" | head -n 1', 'sh', ...program, 'run', '--max-output', '100M', '--', 'yes'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  t.equal(stdout, 'y\n');
  t.notMatch(stderr, /at |Error:/, stderr);
});
