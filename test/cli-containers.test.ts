// `contained run -d` and all that other commands do to containers with a name, run as users run them.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { attach, containers } from 'spawn-contained';
import { registryPath } from '../dist/lib/host/registry.js';
import { contained, env, nothingIsLeft, program, type Result } from './contained.js';
import { mark, needsLimits, needsNoLimits, needsRoot, processesWith, scratch, surroundings, until } from './env.js';

await attach('contained-no-such').catch(() => {});
const before = surroundings();

let names = 0;
const fresh = (): string => `cli-${process.pid}-${++names}`;
const done = (stdout = ''): Result => ({ code: 0, stdout, stderr: '' });

/** A detached container that is forgotten when the test is over. */
function started(t: Test, flags: readonly string[], ...command: string[]): string {
  const name = fresh();
  t.teardown(() => void contained('rm', '-f', name));
  t.same(contained('run', '-d', '--name', name, ...flags, '--', ...command), done(`${name}\n`));
  return name;
}

const stateOf = (name: string): string | undefined =>
  (JSON.parse(contained('ps', '-a', '--json').stdout) as { id: string; state: string }[]).find(({ id }) => id === name)?.state;

const ended = (name: string): Promise<boolean> => until(async () => (await containers()).some(({ id, state }) => id === name && state === 'exited'));

t.test('run -d: it goes on, is found, and is remembered until rm', async t => {
  const name = started(t, ['--label', 'app=web', '--label', 'mine'], 'sh', '-c', 'trap "exit 3" TERM; echo out; echo err >&2; while :; do sleep 0.05; done');
  t.ok(await until(() => contained('logs', name).stderr === 'err\n'));
  t.equal(stateOf(name), 'running');
  t.match(contained('ps').stdout, new RegExp(`^NAME +PID +COMMAND +CREATED +STATUS\n[^]*^${name} +\\d+ +sh -c trap .* Up `, 'm'));
  t.match(contained('rm', name), { code: 1, stdout: '', stderr: /^contained: remove the container .*: EBUSY \(it has not ended: .*--force\)\n$/ });
  t.same(contained('stop', name), done(`${name}\n`));
  t.notMatch(contained('ps').stdout, name);
  t.match(contained('ps', '-a').stdout, new RegExp(`^${name} +- .* Exited \\(3\\)$`, 'm'));
  t.same(contained('wait', name), done('3\n'), 'of one that has ended');
  const slow = started(t, [], 'sh', '-c', 'sleep 1.5; exit 6');
  t.same(contained('wait', name, slow), done('3\n6\n'), 'and of one that ends meanwhile');
  t.same(contained('logs', name), { code: 0, stdout: 'out\n', stderr: 'err\n' });
  for (const filter of [['label=app=web', 'label=mine'], ['status=exited', `name=${name}`], ['exited=3']]) {
    t.match(contained('ps', '-aq', ...filter.flatMap(text => ['--filter', text])).stdout, new RegExp(`^${name}$`, 'm'), filter.join(' '));
  }
  for (const filter of ['label=app=other', 'label=app=web=x', 'status=running', 'exited=4']) t.notMatch(contained('ps', '-aq', '--filter', filter).stdout, name, filter);
  t.same(contained('rm', name), done(`${name}\n`));
  t.match(contained('rm', name), { code: 1, stderr: /: ENOENT/ });
});

t.test('run -d: what cannot be started is told as in the foreground, and not remembered', async t => {
  const name = fresh();
  t.match(contained('run', '-d', '--name', name, '--', 'no-such-command'), { code: 127, stdout: '', stderr: /^contained: execute no-such-command: ENOENT/ });
  t.equal(contained('run', '-d', '--name', name, '--', '/etc/passwd').code, 126);
  t.equal(contained('run', '-d', '--name', name, '-w', '/no/such', '--', 'true').code, 125);
  t.equal(stateOf(name), undefined);
  await Promise.resolve();
});

t.test('run -d --rm is forgotten when it ends; one name is one container', async t => {
  const name = started(t, ['--rm'], 'sleep', mark());
  t.match(contained('run', '--name', name, '--', 'true'), { code: 125, stdout: '', stderr: /^contained: .*EEXIST \(another container has this name/ });
  t.same(contained('kill', name), done(`${name}\n`));
  t.ok(await until(() => stateOf(name) === undefined));
});

t.test('run in the foreground has a name too, while it runs', async t => {
  const word = mark();
  const child = spawn(program[0], [...program.slice(1), 'run', '--', 'sleep', word], { stdio: ['ignore', 'inherit', 'inherit'], env });
  const closed = new Promise<number | null>(resolve => child.once('close', resolve));
  const found = async (): Promise<string | undefined> => (await containers()).find(({ command, state }) => state === 'running' && command.includes(word))?.id;
  t.ok(await until(async () => await found() !== undefined));
  const name = (await found())!;
  t.match(name, /^[0-9a-f]{12}$/);
  t.match(contained('exec', name, 'cat', '/proc/1/cmdline').stdout, `sleep\0${word}`);
  t.match(contained('logs', name), { code: 1, stderr: /ENOTSUP \(only what a detached container writes is kept/ });
  t.same(contained('stop', name), done(`${name}\n`));
  t.equal(await closed, 137, 'a pid 1 without a handler is killed by any signal that is to end it');
  t.equal(await found(), undefined, 'and is forgotten');
});

t.test('exec: streams, flags, exit codes', async t => {
  const name = started(t, ['-e', 'A=1', '--hostname', 'box'], 'sleep', mark());
  t.same(contained('exec', name, 'sh', '-c', 'hostname; echo $A $B; pwd; echo err >&2; exit 42'), { code: 42, stdout: 'box\n1\n/\n', stderr: 'err\n' });
  t.same(contained('exec', '-e', 'B=2', '-w', '/usr', name, '--', 'sh', '-c', 'echo $A $B; pwd'), done('1 2\n/usr\n'));
  t.equal(contained('exec', name, 'no-such-command').code, 127);
  t.equal(contained('exec', name, '/etc/passwd').code, 126);
  t.equal(contained('exec', name, 'sh', '-c', 'kill -KILL $$').code, 137);
  t.match(contained('exec', '--timeout', '200ms', name, 'sleep', '20'), { code: 143, stderr: /timed out after/ });
  t.match(contained('exec', '-it', name, 'sh'), { code: 125, stderr: /^contained: the input device is not a terminal/ });
  t.match(contained('exec', '-t', name, 'sh', '-c', 'test -t 1 && echo terminal'), { code: 0, stdout: 'terminal\r\n' });
  t.match(contained('exec', '-d', name, 'true'), { code: 125, stderr: /^contained: no flag -d: a command in a container ends with contained/ });
  t.match(contained('exec', name), { code: 125, stderr: /^contained: no command given, as in `contained exec / });
  t.match(contained('exec', `${name}x`, 'true'), { code: 125, stderr: new RegExp(`ENOENT .*did you mean ${name}\\?`) });
  contained('kill', name);
  await ended(name);
  t.match(contained('exec', name, 'true'), { code: 125, stderr: /ESRCH \(it has ended\)/ });
});

t.test('stop: its signal, its time, then SIGKILL', async t => {
  const polite = started(t, ['--stop-signal', 'INT'], 'sh', '-c', 'trap "echo asked; exit 5" INT; echo up; while :; do sleep 0.05; done');
  t.ok(await until(() => contained('logs', polite).stdout === 'up\n'));
  t.same(contained('stop', polite), done(`${polite}\n`));
  t.match(contained('ps', '-a').stdout, new RegExp(`^${polite} .*Exited \\(5\\)$`, 'm'));
  t.equal(contained('logs', polite).stdout, 'up\nasked\n');
  t.same(contained('stop', polite), done(`${polite}\n`), 'one that has ended is stopped');
  const stubborn = started(t, ['--stop-timeout', '0.3'], 'sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done');
  const began = performance.now();
  t.same(contained('stop', stubborn), done(`${stubborn}\n`));
  t.ok(performance.now() - began < 9000, 'not the ten seconds of others');
  t.same(contained('wait', stubborn), done('137\n'));
  const given = started(t, [], 'sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done');
  t.same(contained('stop', '-t', '0', given), done(`${given}\n`));
  await Promise.resolve();
});

t.test('kill: KILL to all, any other to the first process', async t => {
  const name = started(t, [], 'sh', '-c', 'trap "echo got it" USR1; echo up; while :; do sleep 0.05; done');
  t.ok(await until(() => contained('logs', name).stdout === 'up\n'));
  t.same(contained('kill', '-s', 'usr1', name), done(`${name}\n`));
  t.ok(await until(() => contained('logs', name).stdout === 'up\ngot it\n'));
  t.same(contained('kill', name), done(`${name}\n`));
  t.equal(stateOf(name), 'exited', 'it is waited for');
  t.match(contained('kill', name), { code: 1, stdout: '', stderr: /ESRCH \(it has ended\)/ });
  t.match(contained('kill', '-s', 'TREM', name), { code: 125, stderr: /^contained: -s: expected a signal/ });
});

t.test('of several containers each is seen to, and each failure is a line', async t => {
  const [a, b] = [started(t, [], 'sleep', mark()), started(t, [], 'sleep', mark())];
  const { code, stdout, stderr } = contained('rm', '-f', a, 'contained-no-such', 'a/b', b);
  t.equal(code, 1);
  t.equal(stdout, `${a}\n${b}\n`);
  const lines = stderr.trimEnd().split('\n');
  t.equal(lines.length, 2);
  t.match(lines[0], /^contained: find the container contained-no-such: ENOENT/);
  t.match(lines[1], /^contained: "a\/b" is no name of a container: expected a name of up to 100/);
  for (const command of ['pause', 'resume', 'kill', 'stop', 'wait', 'rm', 'inspect', 'logs', 'top']) {
    t.match(contained(command), { code: 125, stderr: /^contained: no container given; see `contained ps`\n$/ }, command);
    t.match(contained(command, 'contained-no-such'), { code: 1, stderr: /ENOENT/ }, command);
  }
  await Promise.resolve();
});

t.test('pause, resume and update, in a group of its own', { skip: needsLimits }, async t => {
  const name = started(t, [], 'sleep', mark());
  t.same(contained('pause', name), done(`${name}\n`));
  t.match(contained('ps').stdout, new RegExp(`^${name} .* \\(Paused\\)$`, 'm'));
  t.match(contained('exec', name, 'true'), { code: 125, stderr: /EBUSY \(the container is paused/ });
  t.same(contained('unpause', name), done(`${name}\n`));
  t.equal(stateOf(name), 'running');
  t.match(contained('update', name), { code: 125, stderr: /^contained: no limit given/ });
  t.match(contained('update', '--memory', 'lots', name), { code: 125, stderr: /^contained: --memory: expected a number of bytes/ });
  contained('pause', name);
  t.same(contained('stop', '-t', '1', name), done(`${name}\n`), 'one that is paused is stopped');
  t.equal(stateOf(name), 'exited');
  const limited = started(t, ['-m', '64M', '--pids-limit', '20'], 'sleep', mark());
  t.same(contained('update', '--pids-limit', '5', '--memory', '80M', limited), done(`${limited}\n`));
  const paths = JSON.parse(contained('inspect', '--field', 'cgroup', limited).stdout) as Record<string, string>;
  const files = Object.values(paths).map(path => join(path, 'pids.max')).filter(existsSync);
  t.equal(readFileSync(files[0]!, 'utf8'), '5\n');
  await Promise.resolve();
});

t.test('where no group can be had, pause says so, and stats are counted otherwise', { skip: needsNoLimits }, async t => {
  const name = started(t, [], 'sleep', mark());
  t.match(contained('pause', name), { code: 1, stderr: /^contained: .*: pause the container: ENOTSUP \(it has no group/ });
  t.match(contained('update', '--memory', '1G', name), { code: 1, stderr: /ENOTSUP/ });
  t.match(contained('stats', '--no-stream', '--interval', '100', name).stdout, new RegExp(`^NAME .*\n${name} +\\d+\\.\\d% +\\d`));
  await Promise.resolve();
});

t.test('inspect: JSON of all that are found, or one field', async t => {
  const name = started(t, ['--hostname', 'box', '-l', 'a=b'], 'sleep', mark());
  const { code, stdout, stderr } = contained('inspect', name, 'contained-no-such');
  t.match({ code, stderr }, { code: 1, stderr: /ENOENT/ });
  const [one] = JSON.parse(stdout) as [Record<string, unknown>];
  t.match(one, { id: name, state: 'running', hostname: 'box', labels: { a: 'b' }, detached: true });
  const pid = contained('inspect', '--field', 'pid', name).stdout.trim();
  t.equal(contained('inspect', '-f', 'namespaces.net.inode', name).stdout.trim(), /\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))![0]);
  t.match(contained('inspect', '-f', 'namespaces.nte', name), { code: 125, stderr: /^contained: --field: there is no namespaces\.nte\n$/ });
  await Promise.resolve();
});

t.test('logs: tail, timestamps, since', async t => {
  const name = started(t, [], 'sh', '-c', 'for i in 1 2 3 4 5; do echo line $i; done; printf "no newline" >&2; sleep 0.2; printf " yet\\nand more" >&2');
  await ended(name);
  t.same(contained('logs', name), { code: 0, stdout: 'line 1\nline 2\nline 3\nline 4\nline 5\n', stderr: 'no newline yet\nand more' });
  t.same(contained('logs', '--tail', '2', name), { code: 0, stdout: '', stderr: 'no newline yet\nand more' });
  t.same(contained('logs', '-n', '3', name), { code: 0, stdout: 'line 5\n', stderr: 'no newline yet\nand more' });
  t.same(contained('logs', '--tail', '0', name), done());
  t.equal(contained('logs', '--tail', 'all', name).stdout.split('\n').length, 6);
  const stamped = contained('logs', '-t', name);
  t.match(stamped.stdout, /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z line \d\n){5}$/);
  t.match(stamped.stderr, /^\S+Z no newline yet\n\S+Z and more$/, 'one time a line, though it came in pieces');
  t.same(contained('logs', '--since', '2100-01-01', name), done());
  t.equal(contained('logs', '--since', '1h', name).stdout.split('\n').length, 6);
  t.match(contained('logs', '--since', 'yesterday', name), { code: 125, stderr: /^contained: --since: expected a time/ });
  t.match(contained('logs', '--tail', 'x', name), { code: 125, stderr: /^contained: --tail: expected an integer/ });
});

t.test('--env-file, --cidfile, --pidfile', async t => {
  const directory = scratch(t);
  const file = (name: string): string => join(directory, name);
  writeFileSync(file('env'), '# a comment\n\nA=1=2\n  B=from file\nCONTAINED_TEST\nUNSET_ANYWHERE\n');
  t.equal(contained('run', '-e', 'B=mine', '--env-file', file('env'), '--', 'sh', '-c', 'echo "$A,$B,$CONTAINED_TEST,${UNSET_ANYWHERE-unset}"').stdout, '1=2,mine,from outside,unset\n');
  // Node 20 looks for this flag among the words of its program too, and then it is Node that says so.
  t.match(contained('run', '--env-file', file('none'), '--', 'true'), { stdout: '', stderr: /none: (not found|ENOENT)/ });
  t.match(contained('run', '--env-file', directory, '--', 'true').code === 0 ? 'ran' : 'refused', 'refused');
  const name = started(t, ['--cidfile', file('cid'), '--pidfile', file('pid')], 'sleep', mark());
  t.equal(readFileSync(file('cid'), 'utf8'), name);
  const pid = readFileSync(file('pid'), 'utf8');
  t.equal(pid, contained('inspect', '-f', 'pid', name).stdout.trim());
  t.match(contained('run', '--cidfile', file('cid'), '--', 'true'), { code: 125, stderr: /^contained: --cidfile: .* is there/ });
  t.match(contained('run', '-d', '--pidfile', file('no/such/pid'), '--', 'sleep', '600'), { code: 125, stdout: '', stderr: /^contained: --pidfile: .* cannot be written: ENOENT/ });
  t.match(contained('run', '--cidfile', file('none'), '--', 'no-such-command'), { code: 127 });
  t.notOk(existsSync(file('none')), 'of one that has not run there is nothing to tell');
  t.match(contained('run', '--pidfile', file('pid'), '--', 'no-such-command'), { code: 127 });
  t.equal(readFileSync(file('pid'), 'utf8'), pid, 'nor is what is told of another lost');
  await Promise.resolve();
});

t.test('--network container:NAME and --ns KIND=NAME share what another has', async t => {
  const name = started(t, [], 'sleep', mark());
  const pid = contained('inspect', '-f', 'pid', name).stdout.trim();
  const net = `${readlinkSync(`/proc/${pid}/ns/net`)}\n`;
  t.equal(contained('run', '--network', `container:${name}`, '--', 'readlink', '/proc/self/ns/net').stdout, net);
  t.same(contained('run', '--ns', `mnt,pid,net=${name}`, '--', 'readlink', '/proc/self/ns/net'), done(net));
  await Promise.resolve();
});

t.test('ns: namespaces that stay', { skip: needsRoot }, async t => {
  const name = fresh(), path = join(scratch(t), 'held');
  t.teardown(() => void contained('ns', 'rm', name));
  t.same(contained('ns', 'create', '--ns', 'net,uts', '--hostname', 'blue', name), done(`${name}\n`));
  t.match(contained('ns', 'ls').stdout, new RegExp(`^${name} +net,uts +/run/contained/ns/${name}$`, 'm'));
  t.match(contained('ns', 'ls', '-q').stdout, new RegExp(`^${name}$`, 'm'));
  t.same(contained('run', '--ns', `mnt,pid,ipc,net=${name},uts=${name}`, '--', 'hostname'), done('blue\n'));
  t.match(contained('ns', 'create', name), { code: 1, stderr: /EEXIST/ });
  t.match(contained('ns', 'create', '--ns', 'pid', name), { code: 125, stderr: /^contained: --ns: expected no pid/ });
  t.same(contained('ns', 'create', path), done(`${path}\n`));
  t.same(contained('ns', 'rm', path, name), done(`${path}\n${name}\n`));
  t.match(contained('ns', 'rm', name), { code: 1, stderr: /^contained: find namespaces in .*: ENOENT/ });
  t.notOk(existsSync(`/run/contained/ns/${name}`));
  await Promise.resolve();
});

t.test('events: of those that are named until they end, and of all', async t => {
  const name = started(t, [], 'sh', '-c', 'sleep 15; exit 4');  // longer than a busy machine needs to start two Nodes
  const all = spawn(program[0], [...program.slice(1), 'events', '--json'], { stdio: ['ignore', 'pipe', 'inherit'], env });
  let seen = '';
  all.stdout.on('data', data => seen += data);
  const { code, stdout } = contained('events', name);
  t.equal(code, 0);
  t.match(stdout, new RegExp(`^\\S+Z ${name} exit 4 exit$`, 'm'));
  t.ok(await until(() => seen.includes(`"id":"${name}","type":"exit"`)));
  const later = started(t, ['--rm'], 'sleep', '5');
  t.ok(await until(() => seen.includes(`"id":"${later}","type":"start"`)), 'one that starts later');
  t.ok(await until(() => seen.includes(`"id":"${later}","type":"exit"`)));
  // One of which at first there is nothing but the name.
  const kept = started(t, [], 'sleep', '1000'), half = fresh(), directory = join(registryPath(), half);
  const [state, pid] = ['state.json', 'pid'].map(file => readFileSync(join(registryPath(), kept, file), 'utf8'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(directory, { mode: 0o700 });
  await sleep(300);
  writeFileSync(join(directory, 'pid'), pid!);
  writeFileSync(join(directory, 'state.json'), state!.replace(`"${kept}"`, `"${half}"`));
  t.ok(await until(() => seen.includes(`"id":"${half}","type":"start"`)), 'one that is on its way');
  for (const line of seen.trimEnd().split('\n')) t.ok(JSON.parse(line).time);
  all.kill('SIGINT');
  t.equal(await new Promise(resolve => all.once('close', resolve)), 130);
  t.match(contained('events', 'contained-no-such'), { code: 1, stderr: /ENOENT/ });
});

t.test('a container whose launcher was killed is shown as lost, and rm takes it away', async t => {
  const word = mark();
  const name = started(t, [], 'sleep', word);
  const { keeper } = (await import('../dist/lib/registry/records.js').then(records => records.readKept(name)))!;
  process.kill(keeper!.pid, 'SIGKILL');
  for (const pid of processesWith(`sleep\0${word}`)) process.kill(pid, 'SIGKILL');
  t.ok(await until(() => stateOf(name) === 'lost'));
  t.match(contained('wait', name), { code: 1, stderr: /ECHILD/ });
  t.match(contained('logs', name), { code: 0 });
  t.same(contained('rm', name), done(`${name}\n`));
  await sleep(0);
});

nothingIsLeft(before);
