// Several containers with namespaces in common, held by a process that does nothing else.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { contain, createNamespaces, run, spawnContained, type Contained, type NamespaceKind, type Namespaces, type SpawnOptions } from 'spawn-contained';
import { resolve } from '../dist/lib/options/resolve.js';
import { ContainedProcess } from '../dist/lib/handle/contained.js';
import { native } from '../dist/lib/native.js';
import { compile } from '../dist/lib/program/compile.js';
import { Template } from '../dist/lib/handle/template.js';
import { mark, needsLimits, needsNoLimits, needsRoot, needsUser, ofProcess, processesWith, root, runFixture, tidy, until } from './env.js';

const KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];
const POD = ['net', 'ipc', 'uts', 'pid'] as const;
const inside = (pod: Namespaces | Contained, ...kinds: NamespaceKind[]): NonNullable<SpawnOptions['ns']> =>
  ({ ...Object.fromEntries(kinds.map(kind => [kind, pod])), mnt: 'new', cgroup: 'new' });
const member = (pod: Namespaces): SpawnOptions => ({ ns: inside(pod, ...POD) });

const sh = async (script: string, options: SpawnOptions): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
const links = (kinds: readonly NamespaceKind[]): string => kinds.map(kind => `readlink /proc/self/ns/${kind}`).join('; ');
/** Who has nobody to reap it is a zombie until the host's init comes by. */
function ended(pid: number): boolean {
  const stat = ofProcess(pid, 'stat');
  return stat === '' || stat.includes(') Z ');
}

const statusOf = (pid: number): string => readFileSync(`/proc/${pid}/status`, 'utf8');

t.test('the program of the holder, as text', async t => {
  const settings = resolve({ ns: ['net', 'pid', 'user'], uidMap: [{ inside: 0, outside: process.getuid!(), count: 1 }], gidMap: [{ inside: 0, outside: process.getgid!(), count: 1 }] });
  const lines = String(compile({ ...settings, cgroup: undefined }, { count: 0, pipes: [] }, undefined)).split('\n').map(line => line.trim());
  t.notMatch(lines.join('\n'), /\bexec\b|stdio/, 'nothing of the host is executed');
  const order = ['loopback', 'unshare flags=0x20000', 'fsmount type="tmpfs"', 'pivotRoot', 'capset permitted=none', 'prctl option=1 argument=9', 'wait', 'pause'];
  const child = lines.slice(lines.indexOf('child:') + 1);
  const places = order.map(text => child.findLastIndex(line => line.replace(/^\d+ +/, '').startsWith(text)));
  t.same(places, [...places].sort((a, b) => a - b), 'an empty root, no capability, death with Node, then it waits');
  t.ok(places.every(place => place >= 0), String(places));
  t.equal(places.at(-1), child.length - 1, 'that is the last');
});

tidy('what is asked for is made, and is held by one process that can do nothing', async t => {
  const pod = await createNamespaces([...POD], { hostname: 'blue' });
  t.same(pod.kinds, ['pid', 'net', 'ipc', 'uts', ...root ? [] : ['user']]);
  for (const kind of KINDS) {
    if (!pod.kinds.includes(kind)) t.equal(pod.paths[kind], undefined);
    else t.not(execFileSync('stat', ['-L', '-c', '%i', pod.paths[kind]!], { encoding: 'utf8' }), execFileSync('stat', ['-L', '-c', '%i', `/proc/self/ns/${kind}`], { encoding: 'utf8' }), kind);
  }
  const status = statusOf(pod.pid!);
  t.match(status, /^Name:\tcontained-pause$/m);
  t.match(status, /^CapEff:\t0+$/m);
  t.match(status, /^CapPrm:\t0+$/m);
  t.match(status, /^NoNewPrivs:\t1$/m);
  t.equal(readFileSync(`/proc/${pod.pid}/mountinfo`, 'utf8').split('\n').length, 2, 'its root is the only mount');
  if (root) {
    t.same(execFileSync('ls', [`/proc/${pod.pid}/fd`], { encoding: 'utf8' }), '', 'no descriptor');
    t.same(execFileSync('ls', [`/proc/${pod.pid}/root/`], { encoding: 'utf8' }), '', 'no file');
    const rows = JSON.parse(execFileSync('lsns', ['--json', '-p', String(pod.pid), '-o', 'TYPE,NS'], { encoding: 'utf8' })) as { namespaces: { type: string; ns: number }[] };
    for (const kind of pod.kinds) t.equal(rows.namespaces.find(row => row.type === kind)?.ns, Number(execFileSync('stat', ['-L', '-c', '%i', pod.paths[kind]!], { encoding: 'utf8' })), `lsns: ${kind}`);
  } else {
    t.throws(() => readlinkSync(`/proc/${pod.pid}/ns/net`), { code: 'EACCES' }, 'nobody may look into it');
  }
  await pod.remove();
  t.notOk(existsSync(`/proc/${pod.pid}`));
  await pod.remove();
  t.throws(() => spawnContained({ command: 'true', ns: pod }), { name: 'OptionError', path: 'ns', expected: /removed/ });
  t.throws(() => spawnContained({ command: 'true', ns: { net: pod } }), { name: 'OptionError', path: 'ns.net', expected: /removed/ });
});

tidy('containers of a pod have these namespaces in common and the others for themselves', async t => {
  await using pod = await createNamespaces([...POD], { hostname: 'blue' });
  const [one, two] = await Promise.all([1, 2].map(async () => (await sh(links(KINDS), member(pod))).trim().split('\n')));
  const same = KINDS.filter((_, i) => one![i] === two![i]);
  t.same(same, KINDS.filter(kind => !['mnt', 'cgroup'].includes(kind)));
  t.equal(await sh('uname -n', member(pod)), 'blue\n');
  t.equal(await sh('uname -n', { ns: { uts: pod } }), 'blue\n', 'one alone can be entered, without root too');
  t.equal(await sh('uname -n', { ns: pod }), 'blue\n', 'all are, by the pod as ns');
  t.equal(await sh('uname -n', { ns: pod.paths }), 'blue\n', 'or by its paths');
  t.throws(() => spawnContained({ command: 'true', ns: { time: pod } }), { name: 'OptionError', path: 'ns.time', expected: /`time` among them/ });
});

tidy('they talk over localhost and see each other, and the first may end while the others go on', async t => {
  await using pod = await createNamespaces([...POD]);
  const serve = "require('net').createServer(s => s.end('from the pod')).listen(8080, '127.0.0.1', () => console.log('up'))";
  const call = "require('net').connect(8080, '127.0.0.1').on('data', d => console.log(String(d))).on('error', e => console.log(e.code))";
  const early = spawnContained({ command: ['sleep', '1000'], ...member(pod) });
  await early.ready;
  const server = spawnContained({ command: [process.execPath, '-e', serve], ...member(pod) });
  await once(server.stdout!, 'data');
  await early.killAll();
  t.equal((await run({ command: [process.execPath, '-e', call], ...member(pod) })).stdout, 'from the pod\n');
  t.match(await sh('cat /proc/[0-9]*/cmdline | tr "\\0" " "', member(pod)), 'createServer', 'in a /proc of this pid namespace');
  t.equal((await run({ command: [process.execPath, '-e', call], ns: { net: pod, pid: 'new', mnt: 'new' } })).stdout, 'from the pod\n');
  await server.killAll();
});

tidy('semaphores and shared memory of one are there for the others', async t => {
  await using pod = await createNamespaces(['ipc']);
  const ns = { ipc: pod, pid: 'new', mnt: 'new' } as const;
  await sh('ipcmk -M 4096', { ns });
  t.equal((await sh('cat /proc/sysvipc/shm', { ns })).trim().split('\n').length, 2);
  t.equal((await sh('cat /proc/sysvipc/shm', {})).trim().split('\n').length, 1);
});

tidy('a plain container can be the first, and its namespaces outlast it', async t => {
  const first = spawnContained({ command: ['sleep', '1000'], hostname: 'first' });
  await first.ready;
  const second = spawnContained({ command: ['sh', '-c', 'read go; uname -n; ip -o link'], ns: { ...inside(first, 'net', 'ipc', 'uts') as object, pid: 'new' } });
  await second.ready;
  await first.killAll();
  const third = spawnContained({ command: ['uname', '-n'], ns: { ...inside(second, 'uts') as object, pid: 'new' } });
  let seen = '';
  for await (const chunk of third.stdout as AsyncIterable<Buffer>) seen += chunk;
  t.equal(seen, 'first\n', 'the second has them now');
  second.stdin!.end('\n');
  seen = '';
  for await (const chunk of second.stdout as AsyncIterable<Buffer>) seen += chunk;
  t.match(seen, /^first\n1: lo:/);
  t.match(await second.exited, { reason: 'exit', code: 0 });
  await third.exited;
});

/** A daemon that nobody but a group or a pid namespace finds: a session of its own, and its parent is gone. */
const daemon = (word: string): string => `(setsid sh -c "sleep ${word} & exit" </dev/null >/dev/null 2>&1 &); sleep 1000`;

/** Those that are there: the shells have the word in their command lines too. */
const daemons = (word: string): number[] => processesWith(word).filter(pid => ofProcess(pid, 'comm') === 'sleep\n');

tidy('killing one container of a pod kills its daemons and nobody else', async t => {
  await using pod = await createNamespaces([...POD]);
  const [mine, others] = [mark(), mark()];
  const one = spawnContained({ command: ['sh', '-c', daemon(mine)], ...member(pod) });
  const two = spawnContained({ command: ['sh', '-c', daemon(others)], ...member(pod) });
  t.ok(await until(() => daemons(mine).length === 1 && daemons(others).length === 1));
  await one.killAll();
  t.same(processesWith(mine), [], 'none of the first is left');
  t.equal(daemons(others).length, 1, 'that of the second is');
  t.equal(two.exitCode, null);
  two.kill('SIGKILL');
  await two.exited;
  t.same(processesWith(others), [], 'likewise by the end of its command');
}, { skip: needsLimits });

tidy('without a group of cgroups a daemon that has left its session ends with the pod at the latest', async t => {
  const pod = await createNamespaces([...POD]);
  const word = mark();
  const one = spawnContained({ command: ['sh', '-c', daemon(word)], ...member(pod) });
  t.ok(await until(() => daemons(word).length === 1));
  await one.killAll();
  t.equal(daemons(word).length, 1, 'it has outlived its container');
  await pod.remove();
  t.ok(await until(() => processesWith(word).length === 0));
}, { skip: needsNoLimits });

tidy('the end of the pod is the end of all who share its pid namespace', async t => {
  const pod = await createNamespaces([...POD]);
  const one = spawnContained({ command: ['sleep', '1000'], ...member(pod) });
  const apart = spawnContained({ command: ['sleep', '1000'], ns: { ...inside(pod, 'net') as object, pid: 'new' } });
  await Promise.all([one.ready, apart.ready]);
  await pod.remove();
  t.match(await one.exited, { reason: 'signal', signal: 'SIGKILL' });
  t.equal(apart.exitCode ?? apart.signalCode, null, 'who has one of its own goes on');
  await apart.killAll();
});

tidy('who is in a pod can neither end its holder nor look into it', async t => {
  await using pod = await createNamespaces([...POD]);
  const attack = `for signal in KILL TERM HUP INT QUIT USR1 STOP ABRT SEGV; do kill -$signal 1 2>/dev/null; done
    for file in mem environ auxv syscall stack maps root/. cwd/. fd/. ns/net ns/mnt exe; do head -c 1 /proc/1/$file >/dev/null 2>&1 && echo $file; done
    readlink /proc/1/root /proc/1/cwd /proc/1/exe /proc/1/ns/mnt; ls /proc/1/fd 2>/dev/null; ls /proc/1/root/ 2>/dev/null; dd if=/dev/zero of=/proc/1/mem bs=1 count=1 2>/dev/null && echo written; true`;
  // maps shows no line without the right to look, but opens.
  const harmless = /^(maps\n)?$/;
  t.match(await sh(attack, member(pod)), harmless);
  t.match(await sh(attack, { ...member(pod), ...root ? { user: 0 } : {} }), harmless, 'nor with its uid');
  if (root) t.match(await sh(attack, { ...member(pod), user: 0, capabilities: ['KILL'] }), harmless, 'nor with a right to kill');
  t.ok(await until(() => /^State:\tS/m.test(statusOf(pod.pid!))), 'it is there, and not stopped');
  t.equal(await sh('uname -n', member(pod)), 'contained\n', 'and the pod works');
});

tidy('orphans are reaped by the holder', async t => {
  await using pod = await createNamespaces([...POD]);
  const one = spawnContained({ command: ['sh', '-c', '(sh -c "sleep 0.05 & exit" &); sleep 0.3; while grep -qs "^State:.Z" /proc/[0-9]*/status; do :; done; echo end'], timeout: 30_000, ...member(pod) });
  let seen = '';
  for await (const chunk of one.stdout as AsyncIterable<Buffer>) seen += chunk;
  t.equal(seen, 'end\n', 'no zombie stays');
  await one.exited;
});

tidy('a holder that is ended from outside leaves nothing', async t => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const pod = await createNamespaces(['pid', 'net']);
    process.kill(pod.pid!, signal);
    t.ok(await until(() => !existsSync(`/proc/${pod.pid}`)), signal);
    await pod.remove();
    t.throws(() => spawnContained({ command: 'true', ns: { net: pod } }), { name: 'OptionError', expected: /removed/ });
  }
});

tidy('a pod outlives the launcher', async t => {
  await using pod = await createNamespaces(['uts', 'pid'], { hostname: 'blue' });
  const launcher = native().launcherPid();
  process.kill(launcher, 'SIGKILL');
  t.ok(await until(() => !existsSync(`/proc/${launcher}`)));
  t.equal(await sh('uname -n', { ns: pod }), 'blue\n');
  const { pid } = pod;
  await pod.remove();
  t.notOk(existsSync(`/proc/${pid}`));
});

tidy('a program that was made for a pod does not enter what has its descriptors later', async t => {
  const pod = await createNamespaces(['uts']);
  const settings = resolve({ ns: { uts: pod } });
  const command = { file: '/bin/true', search: '', argv: ['true'], env: [] };
  const template = new Template(settings, given => compile(settings, { count: 0, pipes: [] }, given));
  await pod.remove();
  await using another = await createNamespaces(['uts']);
  t.equal(another.kinds.includes('uts'), true);
  const child = new ContainedProcess(template, command, { timeout: undefined, cpuTimeout: undefined, output: undefined, signal: undefined, killSignal: 9, killGrace: 0, trace: false }, []);
  await t.rejects(child.ready, { name: 'ContainedError', code: 'ESRCH', hint: /removed/ });
});

tidy('root and mounts can be in common too', async t => {
  await using pod = await createNamespaces(['mnt', 'pid', 'user'], { tmpfs: ['/tmp/shared'] });
  t.equal(await sh('echo there >/tmp/shared/file', { ns: pod }), '');
  t.equal(await sh('cat /tmp/shared/file; tr "\\0" "\\n" </proc/1/comm; touch /x 2>/dev/null || echo read-only', { ns: pod }), 'there\ncontained-pause\nread-only\n');
});

tidy('clocks can be in common', async t => {
  await using pod = await createNamespaces(['time'], { timeOffsets: { boottime: 5000 } });
  t.match(await sh('cat /proc/self/timens_offsets', { ns: { time: pod } }), /boottime +5000 +0/);
});

tidy('as root a pod can have a user namespace, whose root its members are', async t => {
  await using pod = await createNamespaces(['user', 'net', 'pid']);
  const found = await sh('id -u; cat /proc/self/uid_map', { ns: { user: pod, net: pod, pid: pod, mnt: 'new' } });
  t.match(found, /^0\n +0 +\d{5,} +65536\n$/);
  t.equal(await sh('id -u', { ns: pod, user: 1000 }), '1000\n');
}, { skip: needsRoot });

tidy('without root the ids of a pod are the caller own, or those of /etc/subuid', async t => {
  await using pod = await createNamespaces(['net', 'pid']);
  t.equal(await sh('id -u', { ns: inside(pod, 'net', 'pid') }), `${process.getuid!()}\n`);
}, { skip: needsUser });

tidy('thirty pods at once', async t => {
  const pods = await Promise.all(Array.from({ length: 30 }, () => createNamespaces(['uts', 'pid'], { hostname: 'many' })));
  t.equal(new Set(pods.map(({ pid }) => pid)).size, 30);
  t.same(await Promise.all(pods.slice(0, 10).map(pod => sh('uname -n', { ns: { uts: pod } }))), Array(10).fill('many\n'));
  await Promise.all(pods.map(pod => pod.remove()));
});

t.test('wrong kinds and options are told before anything is made', async t => {
  const before = processesWith('spawn-contained').length;
  const refused = async (kinds: unknown, options: unknown, found: object): Promise<void> =>
    void await t.rejects(createNamespaces(kinds as NamespaceKind[], options as object), { name: 'OptionError', ...found });
  await refused([], {}, { path: 'kinds', expected: /at least one/ });
  await refused('net', {}, { path: 'kinds', code: 'ERR_INVALID_ARG_TYPE' });
  await refused(['net', 'nett'], {}, { path: 'kinds[1]', expected: /did you mean net/ });
  await refused(['net', 'pid', 'net'], {}, { path: 'kinds[2]', expected: /once/ });
  await refused(['net'], { hostname: 'x' }, { path: 'hostname', expected: /uts/ });
  await refused(['net'], { rootfs: '/' }, { path: 'rootfs', expected: /mnt/ });
  await refused(['net'], { command: 'x' }, { path: 'command' });
  await refused(['uts'], { hostnam: 'x' }, { path: 'hostnam', expected: /did you mean hostname/ });
  t.equal(processesWith('spawn-contained').length, before);
});

t.test('it does not keep Node running, and ends with it, however that ends', async t => {
  for (const how of ['return', 'exit', 'kill']) {
    const { stdout, code, signal } = await runFixture('pod.mjs', [how]);
    const [holder, child] = stdout.trim().split(' ').map(Number) as [number, number];
    t.ok(holder > 0, stdout);
    t.equal(how === 'kill' ? signal : code, how === 'kill' ? 'SIGKILL' : 0, how);
    t.ok(await until(() => ended(holder) && ended(child)), `${how}: nothing is left`);
  }
});

tidy('a member can be entered by exec, and many come from one sandbox', async t => {
  await using pod = await createNamespaces([...POD], { hostname: 'blue' });
  const one = spawnContained({ command: ['sleep', '1000'], ...member(pod) });
  await one.ready;
  const second = one.exec(['sh', '-c', 'uname -n; cat /proc/1/comm']);
  let seen = '';
  for await (const chunk of second.stdout as AsyncIterable<Buffer>) seen += chunk;
  t.equal(seen, 'blue\ncontained-pause\n');
  await second.exited;
  const sandbox = contain(member(pod));
  const ended = await Promise.all([1, 2, 3].map(() => sandbox.spawn(['sh', '-c', 'test $(uname -n) = blue'], { stdio: 'ignore' }).exited));
  t.same(ended.map(({ code }) => code), [0, 0, 0]);
  await one.killAll();
  await pod.remove();
  await t.rejects(sandbox.spawn('true').exited, { name: 'ContainedError', code: 'ESRCH', hint: /removed/ });
});
