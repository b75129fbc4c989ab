// The command `contained`: how what it runs ends and what it tells of it, signals, streams, and its other commands.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { explain } from 'spawn-contained';
import { contained, env, nothingIsLeft, program, sh, type Result } from './contained.js';
import { needsRoot, root, scratch, surroundings, until } from './env.js';

const uid = process.getuid!();
const before = surroundings();

t.test('what is run is alone: pid 1, a host name of its own, no network, no privileges, no way to write', async t => {
  const { code, stdout } = sh([], `echo $$; hostname; ls /sys/class/net; id -u; grep -E 'NoNewPrivs|CapEff' /proc/self/status; ls -d /proc/[0-9]* | wc -l; touch /etc/x 2>&1; echo ok > /tmp/x && cat /tmp/x`);
  const [pid, hostname, network, user, capabilities, privileges, processes, touch, tmp] = stdout.split('\n');
  t.same([pid, hostname, network], ['1', 'contained', 'lo']);
  t.equal(user, root ? '65534' : String(uid));
  t.match(capabilities, /CapEff:\s0{16}$/);
  t.match(privileges, /NoNewPrivs:\s1$/);
  t.ok(Number(processes) <= 3, `${processes} processes are seen`);
  t.match(touch, /Read-only file system/);
  t.equal(tmp, 'ok');
  t.equal(code, 0);
});

t.test('the exit code tells how it ended', async t => {
  t.equal(sh([], 'exit 42').code, 42, 'that of the command');
  t.equal(sh(['--init'], 'kill -KILL $$').code, 137, '128 + 9 for SIGKILL');
  t.equal(sh(['--init'], 'kill -TERM $$').code, 143, '128 + 15 for SIGTERM');
  const missing = contained('run', '--', 'no-such-command');
  t.same([missing.code, missing.stderr.split(' (')[0]], [127, 'contained: execute no-such-command: ENOENT'], '127: not found');
  t.equal(contained('run', '--', '/no/such/file').code, 127, '127 for a path too');
  t.equal(contained('run', '--', '/etc/passwd').code, 126, '126: no permission to execute it');
  t.equal(contained('run', '--', '/etc').code, 126, '126: a directory');
  t.equal(contained('run', '--init', '--', 'no-such-command').code, 127, '127 below an init');
  t.equal(contained('run', '-w', '/no/such/directory', '--', 'true').code, 125, '125: it could not be started');
  t.equal(contained('run').code, 125, '125: nothing to run');
});

t.test('an interpreter that is not there and a file that is no program have codes of their own', async t => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'orphan'), '#!/no/such/interpreter\n', { mode: 0o755 });
  writeFileSync(join(directory, 'garbage'), '\x7fELF no program', { mode: 0o755 });
  const flags = ['-v', `${directory}:/mnt:ro`];
  // mkdtemp makes it for its owner only, and root runs the command as nobody.
  if (root) flags.push('-u', '0');
  t.equal(contained('run', ...flags, '--', '/mnt/orphan').code, 127);
  t.equal(contained('run', ...flags, '--', '/mnt/garbage').code, 126);
});

t.test('a command that takes too long is asked to end, and then killed', async t => {
  const asked = contained('run', '--timeout', '300', '--', 'sleep', '20');
  t.equal(asked.code, 143);
  t.match(asked.stderr, /^contained: timed out after \d+ ms \(SIGTERM\)\n$/);
  const stubborn = sh(['--timeout', '3s', '--kill-grace', '100ms'], 'trap "" TERM; while :; do :; done');
  t.equal(stubborn.code, 137);
  t.match(stubborn.stderr, /timed out after \d+ ms \(SIGKILL\)/);
  const own = sh(['--timeout', '2s', '--kill-signal', 'int'], 'trap "echo asked; exit 4" INT; while :; do sleep 0.1; done');
  t.same([own.code, own.stdout], [4, 'asked\n'], 'what it does then is up to it, with the signal of --kill-signal');
  t.equal(sh(['--timeout', '2s'], 'trap "exit 0" TERM; while :; do sleep 0.1; done').code, 124, 'but a timeout is never a success');
});

/** Starts `contained`, waits for a first line, sends a signal. */
async function signalled(signal: NodeJS.Signals, script: string): Promise<Result> {
  const child = spawn(program[0], [...program.slice(1), 'run', '--', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let [stdout, stderr] = ['', ''];
  child.stderr.on('data', data => stderr += data);
  const closed = new Promise<number | null>(resolve => child.on('close', resolve));
  child.stdout.on('data', data => {
    if (stdout === '') child.kill(signal);
    stdout += data;
  });
  return { code: await closed, stdout, stderr };
}

t.test('signals to contained reach the command', async t => {
  for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1], ['SIGQUIT', 3]] as const) {
    const handled = await signalled(signal, `trap 'echo got it; exit 7' ${signal.slice(3)}; echo ready; while :; do sleep 0.05; done`);
    t.same([handled.code, handled.stdout], [7, 'ready\ngot it\n'], `${signal} is handled by the command`);
    const ended = await signalled(signal, 'echo ready; while :; do sleep 0.05; done');
    t.equal(ended.code, 128 + number, `${signal} ends a command without a handler, though it is pid 1`);
  }
});

t.test('no process is left when contained itself is killed', async t => {
  const child = spawn(program[0], [...program.slice(1), 'run', '--', 'sh', '-c', 'sleep 4711 & echo ready; wait'], { stdio: ['ignore', 'pipe', 'inherit'], env });
  const ended = new Promise(resolve => child.once('close', resolve));
  t.not(await Promise.race([once(child.stdout, 'data'), ended]), null, 'it runs');
  const sleepers = (): string[] => readdirSync('/proc').filter(pid => /^\d+$/.test(pid)).filter(pid => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === 'sleep\x004711\0';
    } catch {
      return false;
    }
  });
  // Between fork and execve it still has the name of its parent.
  t.ok(await until(() => sleepers().length === 1), 'it was there');
  child.kill('SIGKILL');
  t.ok(await until(() => sleepers().length === 0));
});

t.test('standard input goes to the command and both outputs come back, apart', async t => {
  const { status, stdout, stderr } = spawnSync(program[0], [...program.slice(1), 'run', '--', 'sh', '-c', 'read line; echo "out $line"; echo err >&2'], { input: 'hello\n', encoding: 'utf8', env });
  t.same([status, stdout, stderr], [0, 'out hello\n', 'err\n']);
});

t.test('a large output through a pipe arrives whole, with reports of ours on the same stderr', async t => {
  const { stdout, stderr, code } = sh(['--trace', '--stats'], 'head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2');
  t.equal(code, 0);
  t.equal(stdout.length, 3_000_000);
  t.equal(stderr.split('\0').length - 1, 300_000);
});

t.test('--stats prints how it ended and what it used', async t => {
  const { stderr } = sh(['--stats'], 'exit 3');
  t.match(stderr, /^contained: exit, exit code 3; wall [\d.]+ ms; user [\d.]+ ms; system [\d.]+ ms; memory peak [\d.]+ (Ki|Mi)B/);
});

t.test('--trace prints the time of each step', async t => {
  const { stderr } = contained('run', '--trace', '--', 'true');
  const lines = stderr.trimEnd().split('\n');
  t.equal(lines[0], 'contained: steps of the start');
  t.match(stderr, /^\s+[\d.]+ µs {2}child {4}change the root$/m);
  const total = /^\s+([\d.]+) µs {2}all {6}(\d+) steps$/.exec(lines.at(-1)!);
  t.equal(Number(total?.[2]), lines.length - 2);
  t.ok(Number(total?.[1]) > 0);
});

t.test('explain prints the program and runs nothing', async t => {
  const directory = scratch(t);
  const made = join(directory, 'made');
  const { code, stdout } = contained('explain', '--hostname', 'box', '-v', `${directory}:/mnt`, '--', 'sh', '-c', `touch ${made}`);
  t.equal(code, 0);
  const expected = explain('sh', ['-c', `touch ${made}`], { hostname: 'box', mounts: [{ type: 'bind', source: directory, target: '/mnt', readonly: false }], stdio: 'inherit' });
  t.equal(stdout, `${String(expected)}\n`);
  t.match(stdout, /^ +\d+ {2}sethostname name="box"$/m);
  t.same(readdirSync(directory), []);
});

t.test('probe tells what the host can do, as a table and as JSON', async t => {
  const table = contained('probe');
  const json = contained('probe', '--json');
  const report = JSON.parse(json.stdout);
  t.equal(report.mode, root ? 'root' : 'rootless');
  t.match(table.stdout, new RegExp(`^kernel ${report.kernel}, node ${process.version}, mode ${report.mode}, cgroups ${report.cgroups}\n`));
  for (const { name, available } of report.abilities) t.match(table.stdout, new RegExp(`^  ${available ? 'yes' : 'no '}  ${name} `, 'm'));
  t.ok(report.abilities.some((ability: { name: string }) => ability.name === 'a full container'));
  t.same([table.code, json.code], [0, 0]);
});

t.test('sweep removes the cgroup of a dead owner and says so', { skip: needsRoot }, async t => {
  const line = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').find(l => / - cgroup2? /.test(l) && /unified|cgroup2 /.test(l))!;
  // No process has this pid and start time.
  const directory = join(line.split(' ')[4]!, 'spawn-contained.4194303.1.0.00000001');
  mkdirSync(directory);
  const { code, stdout } = contained('sweep', '--json');
  const report = JSON.parse(stdout);
  // Others may have left something too.
  t.ok(report.removed.includes(directory), stdout);
  t.same([code, report.failed], [0, []]);
});

t.test('sweep counts what it did, and leaves alone what is in use', async t => {
  const { code, stdout } = contained('sweep');
  t.equal(code, 0);
  t.match(stdout, /^(removed .*\n)*\d+ removed, \d+ killed, 0 failed\n$/);
  t.notMatch(stdout, `spawn-contained.${process.pid}.`, 'what a living process has is left alone');
});

nothingIsLeft(before);
