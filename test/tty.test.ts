// The option `tty`: a terminal of the container's own, seen from both sides.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import t from 'tap';
import { explain, run, spawnContained } from 'spawn-contained';
import type { SpawnOptions } from 'spawn-contained';
import { Dialog, sh, shell } from './dialog.js';
import { busyboxRoot, mark, ofProcess, processesWith, root, tidy, until } from './env.js';
const names = (options: SpawnOptions): string[] => explain({ command: 'true', ...options }).child.map(({ op }) => op);

t.test('the terminal is made after the change of root and before privileges go, and taken by the command itself', async t => {
  const ops = names({ tty: true });
  const order = ['pivotRoot', 'terminal', 'setresuid', 'stdio', 'init', 'controllingTerminal', 'exec'].filter(op => root || op !== 'setresuid' || ops.includes(op));
  t.same(ops.filter(op => order.includes(op)).slice(-order.length), order);
  const [terminal] = explain({ command: 'true', tty: { columns: 100 } }).child.filter(({ op }) => op === 'terminal');
  t.same(terminal, { op: 'terminal', path: '/dev/pts/ptmx', to: 0, columns: 100, rows: 24 });
  t.match(explain({ command: 'true', tty: true, ns: [] }).child.find(({ op }) => op === 'terminal'), { path: '/dev/ptmx' }, "the host's where there is no devpts of its own");
  for (const op of ['terminal', 'controllingTerminal', 'init']) t.notOk(names({}).includes(op), `no ${op} without`);
  t.same(names({ tty: false }), names({}));
  t.match(String(explain({ command: 'true', tty: true })), /^ +\d+ {2}terminal path="\/dev\/pts\/ptmx" to=0 columns=80 rows=24$/m);
});

t.test('a reaper is pid 1 unless the caller, or the namespaces, say otherwise', async t => {
  t.ok(names({ tty: true }).includes('init'));
  t.notOk(names({ tty: true, init: false }).includes('init'));
  t.notOk(names({ tty: true, ns: [] }).includes('init'));
});

t.test('wrong options are refused', async t => {
  const refused = (options: object, path: string, code = 'ERR_INVALID_ARG_VALUE'): void =>
    void t.throws(() => spawnContained('true', options as SpawnOptions), { name: 'OptionError', path, code }, JSON.stringify(options));
  refused({ tty: 1 }, 'tty', 'ERR_INVALID_ARG_TYPE');
  refused({ tty: { columns: 0 } }, 'tty.columns', 'ERR_OUT_OF_RANGE');
  refused({ tty: { rows: 65536 } }, 'tty.rows', 'ERR_OUT_OF_RANGE');
  refused({ tty: { rows: '5' } }, 'tty.rows', 'ERR_INVALID_ARG_TYPE');
  refused({ tty: { cols: 5 } }, 'tty.cols');
  refused({ tty: true, stdio: 'inherit' }, 'stdio');
  refused({ tty: true, stdio: ['pipe', 'ignore'] }, 'stdio[1]');
  refused({ tty: true, stdio: [undefined, null, 2] }, 'stdio[2]');
});

const kinds: [title: string, options: SpawnOptions][] = [
  ['by default', {}],
  ['with the command as pid 1', { init: false }],
  ['without namespaces', { ns: [] }],
  ['with some namespaces', { ns: ['pid', 'mnt'] }],
  ['as root of a user namespace', { ns: ['user', 'mnt', 'pid', 'uts'], user: 0 }],
  ...root ? [['as root of the host', { user: 0 }], ['as another user', { user: 1234 }], ['as a user by name', { user: 'daemon' }]] as [string, SpawnOptions][] : [],
];

for (const [title, options] of kinds) {
  tidy(`it is a terminal, of the size asked for, and the command's own: ${title}`, async t => {
    const script = 'tty; stty size; for i in 0 1 2; do test -t $i && echo terminal; done; stat -c "%u %t" $(tty); id -u; echo again > /dev/tty; echo reopened > $(tty); ps -o tty= -p $$; echo $TERM';
    const { stdout } = await run({ command: ['sh', '-c', script], tty: { columns: 101, rows: 37 }, ...options });
    const [tty, size, ...rest] = stdout.split('\r\n');
    t.match(tty, Array.isArray(options.ns) && options.ns.length === 0 ? /^\/dev\/pts\/\d+$/ : /^\/dev\/pts\/0$/);
    t.equal(size, '37 101');
    const owner = rest[4];
    t.same(rest, ['terminal', 'terminal', 'terminal', `${owner} 88`, owner, 'again', 'reopened', `pts/${tty!.split('/').at(-1)}   `.slice(0, rest[7]!.length), 'xterm', '']);
  });
}

tidy('in a root of its own too, where busybox is all there is', async t => {
  const rootfs = busyboxRoot(t);
  const { stdout } = await run({ command: ['sh', '-c', 'tty; stty size; cat /proc/$$/stat; echo console > /dev/console; ls -l /dev/pts'], tty: { columns: 50, rows: 10 }, rootfs });
  t.match(stdout, /^\/dev\/pts\/0\r\n10 50\r\n2 \(sh\) [RSD] 1 2 2 34816 2 /, 'leader of a session on /dev/pts/0 (136:0), in its foreground');
  t.match(stdout, /\nconsole\r\n/, 'its console is the terminal');
  t.match(stdout, /ptmx\r\n/);
});

tidy('TERM is xterm unless it is given', async t => {
  const term = async (env: Record<string, string>): Promise<string> => (await run({ command: ['sh', '-c', 'echo $TERM'], tty: true, env })).stdout;
  t.equal(await term({ A: '1' }), 'xterm\r\n');
  t.equal(await term({ TERM: 'vt100' }), 'vt100\r\n');
  t.equal((await run({ command: ['sh', '-c', 'echo ${TERM-none}'] })).stdout, `${(await run({ command: ['env'] })).stdout.includes('TERM') ? 'dumb' : 'none'}\n`);
});

tidy('the streams are there at once, what is written early is not lost, and end() is ^D', async t => {
  const child = spawnContained('cat', [], { tty: true });
  t.same([child.stderr, child.stdio], [null, [child.stdin, child.stdout, null]]);
  child.stdin!.write('one\n');
  child.stdin!.end('two');
  const said = await text(child.stdout!);
  t.match(said, /^one\r\n(twoone\r\ntwo|one\r\ntwotwo)$/, 'once as an echo, once by cat; that the line is not finished does not hold up the end');
  t.match(await child.exited, { reason: 'exit', code: 0 });
});

tidy('the events are those of a container with pipes, in the same order', async t => {
  const order = async (options: SpawnOptions): Promise<unknown[]> => {
    const child = spawnContained('sh', ['-c', 'echo hi; exit 3'], options);
    const events: unknown[] = [];
    for (const name of ['spawn', 'exit', 'close', 'error']) child.on(name, (...args: unknown[]) => events.push([name, ...args]));
    child.stdout!.on('end', () => events.push('end')).resume();
    await once(child, 'close');
    return events.filter(event => event !== 'end');
  };
  t.same(await order({ tty: true }), await order({ init: true }));
});

tidy('a terminal that nobody reads does not hold up the end of a command that has said little', async t => {
  const child = sh('echo hello');
  await once(child, 'close');
  t.match(await child.exited, { code: 0 });
});

tidy('further descriptors are as ever', async t => {
  const child = sh('echo four >&4; read x <&3; echo $x', { stdio: [null, undefined, 'pipe', Buffer.from('three\n'), 'pipe'] });
  const [terminal, four] = await Promise.all([text(child.stdout!), text(child.stdio[4] as Readable)]);
  t.same([terminal, four], ['three\r\n', 'four\n']);
});

tidy('job control: ^C ends the job and not the shell, ^Z stops it, fg goes on', async t => {
  const { child, dialog } = await shell();
  t.notMatch(dialog.said, /no job control|cannot set terminal/);
  /** It has the terminal once it is executed. */
  const job = async (): Promise<string> => {
    const word = mark();
    dialog.type(`sleep ${word}\n`);
    t.ok(await until(() => processesWith(`sleep\0${word}`).length === 1));
    return word;
  };
  await job();
  dialog.type('\x03');
  await dialog.hear(/\^C.*\r\n> $/);
  await dialog.ask('echo $?', /\n130\r\n> $/);
  const word = await job();
  dialog.type('\x1a');
  await dialog.hear(new RegExp(`Stopped +sleep ${word}`));
  await dialog.ask('bg', new RegExp(`sleep ${word} &`));
  await dialog.ask('jobs', new RegExp(`Running +sleep ${word}`));
  await dialog.ask('fg', new RegExp(`fg\r\n[^]*sleep ${word}\r\n`));
  // proc_pid_stat(5): its group, and that in the foreground.
  t.ok(await until(() => processesWith(`sleep\0${word}`).some(pid => /\) S \d+ (\d+) \d+ \d+ \1 /.test(ofProcess(pid, 'stat')))));
  dialog.type('\x03');
  await dialog.hear(/\^C.*\r\n> $/);
  await dialog.ask('exit 5', /exit/);
  t.match(await child.exited, { reason: 'exit', code: 5 });
});

tidy('^C ends a command that has no handler, and ^\\ too, since it is not pid 1', async t => {
  for (const [key, signal] of [['\x03', 'SIGINT'], ['\x1c', 'SIGQUIT']] as const) {
    const child = spawnContained('sleep', [mark()], { tty: true });
    await child.ready;
    child.stdin!.write(key);
    t.match(await child.exited, { reason: 'signal', signal });
  }
});

tidy('resize: SIGWINCH comes, with the new size; before the start it is the first size, after the end nothing', async t => {
  const child = sh('trap "stty size" WINCH; echo here; while :; do sleep 0.05; done', { tty: { columns: 80, rows: 24 } });
  const dialog = new Dialog(child);
  await dialog.hear(/here/);
  child.resize({ columns: 120, rows: 50 });
  await dialog.hear(/50 120\r\n/);
  child.resize(33, 44);
  await dialog.hear(/44 33\r\n/);
  t.throws(() => child.resize(0, 1), { name: 'OptionError', path: 'columns' });
  t.throws(() => child.resize({ columns: 5 } as never), { name: 'OptionError', path: 'rows' });
  await child.killAll();
  await once(child, 'close').catch(() => {});
  child.resize(5, 5);
  const early = sh('read x; stty size');
  early.resize(66, 77);
  early.stdin!.write('\n');
  t.match(await text(early.stdout!), /77 66\r\n/);
  const none = spawnContained('true');
  t.throws(() => none.resize(80, 24), { name: 'ContainedError', code: 'ENOTTY', errno: -25, hint: /option tty/ });
  t.throws(() => none.resize(0, 24), { name: 'OptionError' });
  await none.exited;
});

tidy('echo and the line discipline are the command’s to change', async t => {
  const child = sh('stty raw -echo; echo ready; head -c 4 | od -An -c; stty sane; echo cooked; read x; echo "<$x>"');
  const dialog = new Dialog(child);
  await dialog.hear(/ready/);
  dialog.type('\x03\x04a\r');
  await dialog.hear(/003 004 +a +\\r[^]*cooked/);
  dialog.type('wromg\x7f\x7fng\n');
  await dialog.hear(/<wrong>/);
  t.match(await child.exited, { code: 0 });
});

tidy('nothing that was said before the end is lost, however much', async t => {
  for (const options of [{}, { init: false }, ...root ? [{ ns: [] as [] }] : []]) {
    for (let i = 0; i < 10; ++i) {
      const { stdout } = await run({ command: ['sh', '-c', 'seq -w 1 125000; echo END'], tty: true, ...options });
      if (stdout.length !== 1_000_005 || !stdout.endsWith('\r\nEND\r\n')) t.fail(`${stdout.length} of 1000005`);
    }
  }
  const slow = sh('seq -w 1 25000; echo END');
  slow.stdout!.pause();
  await sleep(300);
  t.equal((await text(slow.stdout!)).length, 175_005, 'a slow reader is waited for');
});

tidy('what is lost by many short ones: nothing', async t => {
  const outputs = await Promise.all(Array.from({ length: 60 }, async (_, i) => (await run({ command: ['sh', '-c', `printf '%s' ${i}; kill -9 $$`], tty: true, reject: false })).stdout));
  t.same(outputs, outputs.map((_, i) => String(i)));
});

tidy('a megabyte typed into a program that reads it slowly arrives whole', async t => {
  const bytes = Buffer.alloc(1_000_000, 'The quick brown fox.\n');
  const child = sh('stty raw -echo; echo ready; sleep 0.3; head -c 1000000 | sha256sum');
  const dialog = new Dialog(child);
  await dialog.hear(/ready/);
  child.stdin!.write(bytes);
  const [, digest] = await dialog.hear(/([0-9a-f]{64})/);
  t.equal(digest, createHash('sha256').update(bytes).digest('hex'));
  await child.exited;
});

tidy('a command that never reads does not hold up the event loop', async t => {
  const child = sh('stty raw -echo; echo ready; sleep 1000');
  const dialog = new Dialog(child);
  await dialog.hear(/ready/);
  t.equal(child.stdin!.write(Buffer.alloc(2_000_000, 'x')), false, 'it tells that it is full');
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  // A loop that is held up would never come to their end; one that asks again and again would use all the time there is.
  for (let turns = 0; turns < 100; ++turns) await sleep(5);
  const { user, system } = process.cpuUsage(cpu), ms = performance.now() - start;
  t.ok((user + system) / 1000 < ms / 2, `${(user + system) / 1000} ms of processor time in ${ms} ms`);
  await child.killAll();
});
