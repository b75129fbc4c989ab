// `contained cgroup stats` and `events`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { contained, program } from './contained.js';
import { until } from './env.js';
import { cgroup, done, fresh, jsonLines, made, onHost, sleeper, started, watches } from './cligroups.js';

onHost('stats tells what groups use, once or again and again, as lines and as JSON', async (t, scope) => {
  const { name, group } = await made(scope);
  const { name: other } = await made(scope);
  await group.move([await sleeper(scope)]);
  const once = cgroup('stats', name, other, '--no-stream', '--interval', '50');
  t.match(once.stdout, new RegExp(`^NAME +CPU +MEMORY +PEAK +PIDS +READ/s +WRITE/s +THROTTLED +OOM KILLS\n${name} .* 1 .*\n${other} .*\n$`));
  t.same([once.code, once.stderr], [0, '']);
  const running = started('stats', name, other, '--json', '--interval', '50');
  t.ok(await until(() => jsonLines(running.output().replace(/[^\n]*$/, '')).length >= 4));
  t.same(cgroup('rm', name, '--kill'), done());
  const count = running.output().length;
  t.ok(await until(() => running.output().length > count), 'it goes on with the other');
  t.same(cgroup('rm', other), done());
  const { code, stdout, stderr } = await running.ended;
  t.same([code, stderr], [0, ''], 'it ends with the last of them');
  const lines = jsonLines(stdout);
  t.match(lines[0], { name, memory: {}, pids: { current: 1 }, delta: { timeMs: Number } });
  t.same(lines.slice(0, 4).map(line => line['name']), [name, other, name, other]);
  t.equal(lines.at(-1)!['name'], other);
});

onHost('a busy process is seen in percent of a processor', async (t, scope) => {
  const { name, group } = await made(scope, { cpu: { max: 0.5 } });
  const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  await group.move([child.pid!]);
  const [, percent] = new RegExp(`^${name} +([\\d.]+)%`, 'm').exec(cgroup('stats', name, '--no-stream', '--interval', '1s').stdout) ?? [];
  t.ok(Number(percent) > 1 && Number(percent) < 80, `${percent} %`);
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
});

onHost('in a terminal the table is drawn over itself, as wide and as high as that is, and ^C ends it', async (t, scope) => {
  const { name } = await made(scope);
  const { name: other } = await made(scope);
  const command = [...program, 'cgroup', 'stats', name, other, '--interval', '100'].map(word => `'${word}'`).join(' ');
  // The terminal sends the signal, for the character that is typed.
  const child = spawn('script', ['-qec', `stty rows 3 cols 60; ${command}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, SHELL: '/bin/bash' }, timeout: 30_000, killSignal: 'SIGKILL' });
  let shown = '';
  child.stdout.on('data', data => shown += data);
  t.ok(await until(() => shown.split('\x1b[2A\r\x1b[J').length > 3), JSON.stringify(shown));
  const closed = once(child, 'close');
  child.stdin.write('\x03');
  t.same(await closed, [130, null]);
  const [first = '', second = ''] = shown.split('\x1b[2A\r\x1b[J');
  const [head, line, ...rest] = second.split('\r\n');
  t.match(head!, /^NAME +CPU +MEMORY/);
  t.ok(line!.startsWith(name), 'one of two groups, for there are three rows');
  t.same(rest, ['']);
  t.match(line!, /^\S+ +[\d.]+% /);
  t.match(first, new RegExp(`${name} +- `), 'before the first interval is over there is no CPU');
  for (const text of [head, line]) t.ok(text!.length <= 60, text!);
});

onHost('^C ends what goes on with 130, however long the interval is', async (t, scope) => {
  const { name, group } = await made(scope);
  for (const args of [['stats', name, '--interval', '1h'], ['stats', name, '--json', '--interval', '1h'], ['events', name]]) {
    const running = started(...args);
    t.ok(await until(() => watches(running, group)), `${args.join(' ')} runs`);
    running.child.kill('SIGINT');
    t.match(await running.ended, { code: 130, stderr: '' });
  }
});

onHost('a reader that leaves ends it, and nobody complains', async (t, scope) => {
  const { name } = await made(scope);
  const { child, ended } = started('stats', name, '--interval', '20');
  await once(child.stdout!, 'data');
  child.stdout!.destroy();
  t.match(await ended, { code: 0, stderr: '' });
});

onHost('events tells what happens, until the group is removed', async (t, scope) => {
  const { name, group } = await made(scope);
  const [lines, objects] = [started('events', name), started('events', name, '--json')];
  t.ok(await until(() => [lines, objects].every(running => watches(running, group))));
  // The first text is where it starts from, so what happens before that is read is not told.
  if (group.paths['unified'] !== undefined) {
    t.ok(await until(async () => {
      await group.freeze();
      await group.thaw();
      await sleep(20);
      return [lines, objects].every(running => /frozen/.test(running.output()));
    }));
  }
  await group.remove();
  const text = await lines.ended, asJson = await objects.ended;
  t.match(text, { code: 0, stderr: '', stdout: /^(\d{4}-\d\d-\d\dT[\d:.]+Z frozen (true|false)\n)*\d{4}-\S+Z removed\n$/ });
  t.match(asJson, { code: 0, stderr: '' });
  t.match(jsonLines(asJson.stdout).at(-1), { time: String, type: 'removed' });
  if (group.paths['unified'] !== undefined) t.match(jsonLines(asJson.stdout)[0], { type: 'frozen' });
});

onHost('a process that takes too much memory is told of', async (t, scope) => {
  const { name, group } = await made(scope, { memory: { max: '24M' } });
  const running = started('events', name, '--json');
  t.ok(await until(() => watches(running, group)));
  await sleep(300);
  contained('run', '--cgroup', name, '--', 'sh', '-c', 'x=a; while :; do x=$x$x; done');
  t.ok(await until(() => /"oomKill"/.test(running.output())), running.output());
  t.same(cgroup('rm', name), done());
  t.match(jsonLines((await running.ended).stdout).find(({ type }) => type === 'oomKill'), { count: Number });
});

onHost('a name that is hostile to terminals is shown harmless', async (t, scope) => {
  const name = `${fresh()}\x1b[31m`;
  await made(scope, { name });
  const shown = `${name.slice(0, -5)}?[31m`;
  t.same(cgroup('tree', name), done(`${shown} (0)\n`));
  t.match(cgroup('stats', name, '--no-stream', '--interval', '1').stdout, shown);
});
