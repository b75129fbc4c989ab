// What `contained` keeps up to date on a terminal, and what of it comes through a pipe.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { attach } from 'spawn-contained';
import { registryPath } from '../dist/lib/host/registry.js';
import { contained, env, nothingIsLeft, program } from './contained.js';
import { mark, surroundings, until } from './env.js';
import { onScreen } from './screen.js';

const CONTAINED = program.join(' ');

await attach('contained-no-such').catch(() => {});
const before = surroundings();

let names = 0;

function started(t: Test, ...command: string[]): string {
  const name = `cli-live-${process.pid}-${++names}`;
  t.teardown(() => void contained('rm', '-f', name));
  t.equal(contained('run', '-d', '--name', name, '--', ...command).code, 0);
  return name;
}

/** Whether a process has this file of the container's open, which is watched until it says the end. */
const holds = (file: string, name: string): boolean => {
  const path = join(registryPath(), name, file);
  return readdirSync('/proc').filter(pid => /^\d+$/.test(pid)).some(pid => {
    try {
      return /node$/.test(readlinkSync(`/proc/${pid}/exe`)) && readdirSync(`/proc/${pid}/fd`).some(fd => readlinkSync(`/proc/${pid}/fd/${fd}`) === path);
    } catch {
      return false;
    }
  });
};

t.test('top in a pipe is one table', async t => {
  const name = started(t, 'sh', '-c', 'sleep 100 & sleep 200; :');
  t.ok(await until(() => contained('top', name).stdout.includes('sleep 200\n')), 'it has forked');
  const { code, stdout, stderr } = contained('top', name);
  t.same([code, stderr], [0, '']);
  t.match(stdout, /^ *PID +INNER +UID +STATE +THREADS +CPU +TIME +MEMORY +COMMAND\n *\d+ +1 +\d+ +sleeping +1 +\d+\.\d% +0:0\d\.\d\d +\S+ [KM]iB +sh -c sleep 100 .*\n( *\d+ .*sleep [12]00\n){2}$/);
  const list = JSON.parse(contained('top', '--json', name).stdout) as { command: string[] }[];
  t.same(list.map(({ command }) => command.at(-1)).sort(), ['100', '200', 'sleep 100 & sleep 200; :']);
  await Promise.resolve();
});

t.test('top on a terminal is a screen of its own, until q, ^C, or the end', async t => {
  const name = started(t, 'sh', '-c', 'while :; do :; done');
  await onScreen(t as never, async screen => {
    screen.type(`clear; echo before; ${CONTAINED} top -d 300ms ${name}; echo code $?`);
    t.ok(await screen.shows(new RegExp(`^${name}: 1 process, \\d+\\.\\d% of a processor; q quits\n\n *PID`, 'm')));
    t.ok(await screen.shows(/ running +1 +[1-9]\d*\.\d% +\d+:\d\d\.\d\d .* sh -c while/), 'with the time that it takes');
    screen.press('q');
    t.ok(await screen.shows(/^before\ncode 0$/m), 'and what was there before is there again');
    screen.type(`clear; ${CONTAINED} top -d 300ms ${name}; echo code $?`);
    t.ok(await screen.shows(/q quits/));
    screen.press('C-c');
    t.ok(await screen.shows(/^code 130$/m));
    screen.type(`clear; ${CONTAINED} top -d 300ms ${name}; echo code $?`);
    t.ok(await screen.shows(/q quits/));
    screen.press('C-z');
    t.ok(await screen.shows(/Stopped/));
    screen.type('fg');
    t.ok(await screen.shows(/q quits/));
    contained('kill', name);
    t.ok(await until(() => !screen.text().includes('q quits')));
    screen.type('echo ended $?');
    t.ok(await screen.shows(/^ended 0$/m), 'its end is the end');
  });
});

t.test('stats: a table on a terminal, lines in a pipe', async t => {
  const name = started(t, 'sh', '-c', 'while :; do :; done');
  const once = contained('stats', '--no-stream', '--interval', '300', name);
  t.match(once, { code: 0, stderr: '', stdout: new RegExp(`^NAME +CPU +MEMORY +PEAK +PIDS +READ/s +WRITE/s +NET IN/s +NET OUT/s\n${name} +[1-9]\\d*\\.\\d% .*\n$`) });
  t.match(contained('stats', '--no-stream', '--interval', '100').stdout, new RegExp(`^${name} `, 'm'), 'all, when none is named');
  const reading = JSON.parse(contained('stats', '--no-stream', '--json', '--interval', '1s', name).stdout) as { id: string; delta: { cpus: number } };
  t.equal(reading.id, name);
  t.ok(reading.delta.cpus > 0.05);
  t.match(contained('stats', '--no-stream', '--interval', '50', name, 'contained-no-such'), { code: 1, stdout: new RegExp(name), stderr: /ENOENT/ });
  await onScreen(t as never, async screen => {
    screen.type(`clear; ${CONTAINED} stats --interval 200 ${name}; echo code $?`);
    t.ok(await screen.shows(new RegExp(`^NAME .*\n${name} +[1-9]\\d*\\.\\d% `, 'm')));
    t.equal(screen.text().split('\n').filter(line => line.startsWith(name)).length, 1, 'in one place');
    screen.press('C-c');
    t.ok(await screen.shows(/code 130$/m));
    screen.type(`clear; ${CONTAINED} stats --interval 200 ${name}; echo code $?`);
    t.ok(await screen.shows(/%/));
    contained('kill', name);
    t.ok(await screen.shows(/^code 0$/m), 'it ends with the last of them');
  });
});

t.test('logs -f goes on to the end of the container, and ^C ends it before', async t => {
  const name = started(t, 'sh', '-c', 'i=0; trap "echo bye; exit 0" TERM; while :; do i=$((i + 1)); echo line $i; sleep 0.1; done');
  await onScreen(t as never, async screen => {
    screen.type(`clear; ${CONTAINED} logs -f --tail 1 ${name}; echo code $?`);
    t.ok(await screen.shows(/(line \d+\n){3}/));
    screen.press('C-c');
    t.ok(await screen.shows(/code 130$/m));
    screen.type(`clear; ${CONTAINED} events ${name}; echo code $?`);
    // It is interrupted as this says once it waits for the end.
    t.ok(await until(() => holds('outcome', name)));
    await sleep(500);
    screen.press('C-c');
    t.ok(await screen.shows(/code 130$/m), 'events too');
  });
  const following = spawn(program[0], [...program.slice(1), 'logs', '-f', '--tail', '2', name], { stdio: ['ignore', 'pipe', 'inherit'], env });
  let all = '';
  following.stdout.on('data', data => all += data);
  const closed = once(following, 'close');
  t.ok(await until(() => all.split('\n').length > 5));
  contained('stop', name);
  t.same(await closed, [0, null]);
  const lines = all.trimEnd().split('\n');
  t.equal(lines.pop(), 'bye');
  const numbers = lines.map(line => Number(line.slice('line '.length)));
  t.ok(numbers.length > 3);
  t.same(numbers, numbers.map((_, i) => numbers[0]! + i), 'none twice, none left out');
});

t.test('a reader that goes away ends it silently', async t => {
  const name = started(t, 'sh', '-c', 'i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); echo line $i; done; sleep 1000');
  t.ok(await until(() => contained('logs', '-n', '1', name).stdout === 'line 20000\n'));
  for (const command of [['logs', name], ['logs', '-f', name], ['stats', '--interval', '50', name], ['inspect', name], ['help', 'run'], ['completion', 'bash']]) {
    const child = spawn('sh', ['-c', '"$@" | head -n 1', 'sh', ...program, ...command], { stdio: ['ignore', 'pipe', 'pipe'], env });
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    t.same([stdout.trimEnd().split('\n').length, stderr], [1, ''], command.join(' '));
  }
});

t.test('what takes its time says so on a terminal, and clears the line', async t => {
  const name = started(t, 'sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done');
  await onScreen(t as never, async screen => {
    screen.type(`clear; ${CONTAINED} stop -t 6 ${name}; echo code $?`);
    t.ok(await screen.shows(/^waiting for .* to end; it has 6 s from SIGTERM to SIGKILL \(\d s\)/m));
    t.ok(await screen.shows(new RegExp(`^${name}\ncode 0$`, 'm')));
    t.notMatch(screen.text(), /waiting/);
  });
});

t.test('exec -it: a shell in the container of another', async t => {
  const name = started(t, 'sleep', mark());
  await onScreen(t as never, async screen => {
    screen.type(`clear; ${CONTAINED} exec -it -e PS1='inside> ' ${name} sh`);
    t.ok(await screen.shows(/^inside>/m));
    screen.type('stty size; hostname');
    t.ok(await screen.shows(/^30 100\ncontained/m));
    screen.type('clear; sleep 1000');
    await new Promise(resolve => setTimeout(resolve, 500));
    screen.press('C-c');
    screen.type('exit 7');
    await screen.shows(/\n\$ ?$/);  // what is typed before is for whoever has ended
    screen.type('echo code $?');
    t.ok(await screen.shows(/^code 7$/m));
  });
});

nothingIsLeft(before);
