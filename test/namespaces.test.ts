import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { explain, run, spawnContained, type Contained, type NamespaceKind, type SpawnOptions } from 'spawn-contained';
import { needsRoot, root, sameAs, scratch, surroundings } from './env.js';

const KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];
const SHOW = `for kind in ${KINDS.join(' ')}; do readlink /proc/self/ns/$kind; done`;

const sh = async (script: string, options: SpawnOptions = {}): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
const inodes = async (options: SpawnOptions): Promise<string[]> => (await sh(SHOW, options)).trim().split('\n');
const inodesOf = (pid: number | 'self'): string[] => KINDS.map(kind => readlinkSync(`/proc/${pid}/ns/${kind}`));
const differing = (one: readonly string[], other: readonly string[]): NamespaceKind[] => KINDS.filter((_, i) => one[i] !== other[i]);
/** Without root each container needs a user namespace. */
const withUser = (kinds: readonly NamespaceKind[]): NamespaceKind[] => root || kinds.length === 0 ? [...kinds] : KINDS.filter(kind => kind === 'user' || kinds.includes(kind));

/** A container that waits; without root its own user namespace must be entered first. */
async function waiting(t: Tap.Test, options: SpawnOptions = {}): Promise<Contained> {
  const child = spawnContained({ command: ['sleep', '1000'], ...options });
  t.teardown(() => child.killAll());
  return child.ready;
}
namespace Tap { export type Test = { teardown(f: () => unknown): void } }
const entering = (child: Contained | number, ...kinds: NamespaceKind[]): Partial<Record<NamespaceKind, Contained | number>> =>
  Object.fromEntries(withUser(kinds).map(kind => [kind, child]));

t.test('the namespaces that are new are exactly those that were asked for', async t => {
  const host = inodesOf('self');
  for (const kinds of [...KINDS.map(kind => [kind]), [], ['pid', 'net'], ['user', 'time'], KINDS] as NamespaceKind[][]) {
    t.same(differing(await inodes({ ns: kinds }), host), withUser(KINDS.filter(kind => kinds.includes(kind))), `ns: ${kinds}`);
  }
  t.same(differing(await inodes({}), host), withUser(['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup']), 'the default');
  t.same(differing(await inodes({ network: 'host' }), host), withUser(['mnt', 'pid', 'ipc', 'uts', 'cgroup']), "network: 'host'");
  t.same(differing(await inodes({ ns: { uts: 'new', ipc: 'new' } }), host), withUser(['ipc', 'uts']), 'as an object');
});

t.test('lsns, which asks the kernel from outside, tells the same', async t => {
  const child = await waiting(t, { ns: [...KINDS] });
  const rows = JSON.parse(execFileSync('lsns', ['--json', '-p', String(child.pid), '-o', 'TYPE,NS,NPROCS'], { encoding: 'utf8' })) as { namespaces: { type: NamespaceKind; ns: number; nprocs: number }[] };
  t.same(rows.namespaces.map(row => row.type).sort(), [...KINDS].sort());
  for (const { type, ns, nprocs } of rows.namespaces) {
    t.not(`${type}:[${ns}]`, readlinkSync(`/proc/self/ns/${type}`), type);
    t.equal(nprocs, 1, `nobody else is in its ${type}`);
  }
});

t.test('two containers share nothing', async t => {
  const [one, two] = await Promise.all([waiting(t, { ns: [...KINDS] }), waiting(t, { ns: [...KINDS] })]);
  t.same(differing(inodesOf(one.pid!), inodesOf(two.pid!)), KINDS);
});

t.test('the command is pid 1 and sees nobody else, in /proc and by signal', async t => {
  t.equal(await sh('echo $$; ls -d /proc/[0-9]*; kill -0 99'), '1\n/proc/1\n[1] sh: 1: kill: No such process\n\n');
});

t.test('the host name is the container own, and the host keeps its', async t => {
  const before = readFileSync('/proc/sys/kernel/hostname', 'utf8');
  t.equal(await sh('uname -n; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname', { hostname: 'blue', domainname: 'example' }), 'blue\nblue\nexample\n');
  t.equal(await sh('uname -n'), 'contained\n');
  t.equal(await sh('uname -n', { ns: ['pid'] }), before);
  t.equal(await sh('uname -n', { hostname: 'a'.repeat(64) }), `${'a'.repeat(64)}\n`);
  t.equal(readFileSync('/proc/sys/kernel/hostname', 'utf8'), before);
});

t.test('clocks of a time namespace are set off, in /proc/uptime and for clock_gettime', async t => {
  const options: SpawnOptions = { ns: ['time', 'mnt', 'pid'], timeOffsets: { monotonic: 5000, boottime: 1_000_000 } };
  t.match(explain({ command: 'true', ...options }).join.find(op => op.op === 'write'), { path: '/proc/self/timens_offsets', text: 'monotonic 5000 0\nboottime 1000000 0\n' });
  const uptime = (): number => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  const before = [uptime(), Number(process.hrtime.bigint()) / 1e9];
  const script = "const f = require('fs'); console.log(f.readFileSync('/proc/uptime', 'utf8').split(' ')[0], Number(process.hrtime.bigint()) / 1e9, f.readFileSync('/proc/self/timens_offsets', 'utf8'))";
  const { stdout } = await run({ command: [process.execPath, '-e', script], ...options });
  const [boottime, monotonic, ...offsets] = stdout.trim().split(/\s+/);
  const after = [uptime(), Number(process.hrtime.bigint()) / 1e9];
  t.ok(Number(boottime) >= before[0]! + 1e6 && Number(boottime) <= after[0]! + 1e6, `${boottime} is between ${before[0]} and ${after[0]} plus a million`);
  t.ok(Number(monotonic) >= before[1]! + 5000 && Number(monotonic) <= after[1]! + 5000, `${monotonic} is between ${before[1]} and ${after[1]} plus 5000`);
  t.same(offsets, ['monotonic', '5000', '0', 'boottime', '1000000', '0']);
  t.match(await sh('cat /proc/self/timens_offsets', { ns: ['time'] }), /^monotonic +0 +0\nboottime +0 +0\n$/);
});

t.test('the loopback device is the only one, is up, and carries a connection', async t => {
  t.match(await sh('ip -o addr'), /^1: lo +inet 127\.0\.0\.1\/8 [^\n]*\n(1: lo +inet6 ::1\/128 [^\n]*\n)?$/);
  t.match(await sh('ip -o link'), /^1: lo: <LOOPBACK,UP,LOWER_UP>[^\n]*\n$/);
  t.equal(await sh('ls /sys/class/net'), 'lo\n');
  const talk = `const net = require('net');
    const server = net.createServer(s => s.end('hello')).listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').on('data', d => { console.log(String(d)); server.close(); }));`;
  t.equal((await run({ command: [process.execPath, '-e', talk] })).stdout, 'hello\n');
});

t.test("a server on the host's loopback is out of reach, but with network: 'host'", async t => {
  const server = createServer(socket => socket.end('from the host')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const call = `require('net').connect(${(server.address() as AddressInfo).port}, '127.0.0.1').on('data', d => console.log(String(d))).on('error', e => console.log(e.code))`;
  t.equal((await run({ command: [process.execPath, '-e', call] })).stdout, 'ECONNREFUSED\n');
  t.equal((await run({ command: [process.execPath, '-e', call], network: 'host' })).stdout, 'from the host\n');
  t.match((await run({ command: [process.execPath, '-e', call.replace('127.0.0.1', '192.0.2.1')] })).stdout, 'ENETUNREACH');
});

t.test('System V segments of the host are not seen inside', async t => {
  const id = /\d+/.exec(execFileSync('ipcmk', ['-M', '4096'], { encoding: 'utf8' }))![0];
  t.teardown(() => execFileSync('ipcrm', ['-m', id]));
  const count = (text: string): number => text.trim().split('\n').length - 1;
  t.ok(count(readFileSync('/proc/sysvipc/shm', 'utf8')) >= 1);
  t.equal(count(await sh('cat /proc/sysvipc/shm')), 0);
});

t.test('a network namespace made by `ip netns` is entered by its path', { skip: needsRoot }, async t => {
  const name = `contained-test-${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  t.teardown(() => execFileSync('ip', ['netns', 'delete', name]));
  const path = `/run/netns/${name}`;
  const program = explain({ command: 'true', ns: { net: path } });
  const open = program.host.find(op => op.op === 'open' && op.path === path) as { to: number };
  t.match(program.child.find(op => op.op === 'setns'), { fd: open.to, flags: 0x4000_0000 });
  execFileSync('ip', ['-n', name, 'addr', 'add', '10.9.8.7/32', 'dev', 'lo']);
  t.equal(await sh('readlink /proc/self/ns/net; ip -o addr | grep -c 10.9.8.7', { ns: { net: path } }), `net:[${statSync(path).ino}]\n1\n`);
  t.match(await sh('ip -o addr', { ns: { net: path, mnt: 'new', pid: 'new' } }), '10.9.8.7', 'beside new ones');
});

t.test('a namespace bound to a file is entered by its path', { skip: needsRoot }, async t => {
  const file = join(scratch(t), 'uts');
  writeFileSync(file, '');
  execFileSync('unshare', [`--uts=${file}`, 'hostname', 'green']);
  t.teardown(() => execFileSync('umount', [file]));
  t.equal(await sh('uname -n', { ns: { uts: file } }), 'green\n');
});

t.test('namespaces of a process are entered by its pid, as nsenter does', async t => {
  const other = spawn('unshare', ['--user', '--map-root-user', '--net', '--uts', '--ipc', 'sh', '-c', 'hostname red; echo; exec sleep 1000']);
  t.teardown(() => other.kill('SIGKILL'));
  await once(other.stdout, 'data');
  const kinds = ['user', 'net', 'uts', 'ipc'] as const;
  const ns = Object.fromEntries(kinds.map(kind => [kind, other.pid!]));
  const witness = execFileSync('nsenter', ['-t', String(other.pid), '-U', '-n', '-u', '-i', '--preserve-credentials', 'sh', '-c', `${SHOW}; uname -n`], { encoding: 'utf8' });
  t.equal(await sh(`${SHOW}; uname -n`, { ns }), witness);
  t.match(witness, /\nred\n$/);
  t.same(differing(await inodes({ ns }), inodesOf('self')), KINDS.filter(kind => ns[kind] !== undefined));
});

t.test('each namespace of a running container can be entered, alone and all together', async t => {
  const first = await waiting(t, { ns: KINDS.filter(kind => kind !== 'time'), hostname: 'first' });
  const theirs = inodesOf(first.pid!);
  const host = inodesOf('self');
  for (const kinds of [['pid'], ['net'], ['uts'], ['mnt'], ['user'], ['cgroup'], ['ipc'], ['pid', 'mnt'], KINDS.filter(kind => kind !== 'time')] as NamespaceKind[][]) {
    const ns = Object.fromEntries([...new Set<NamespaceKind>(['user', ...kinds])].map(kind => [kind, first]));
    const found = await inodes({ ns });
    const wanted = KINDS.map((kind, i) => kind in ns ? theirs[i] : host[i]);
    // Another /proc shows what is in its own pid namespace only: who is not in it has no /proc/self there.
    if (kinds.includes('mnt') && !kinds.includes('pid')) t.match(found[0], /^\[1\]|^$/, String(kinds));
    else t.same(found, wanted, String(kinds));
  }
  t.equal(await sh('uname -n; cat /proc/1/cmdline | tr "\\0" " "', { ns: { user: first, uts: first, pid: first, mnt: first } }), 'first\nsleep 1000 ');
});

t.test('as root the namespaces of a container without a user namespace can be entered', { skip: needsRoot }, async t => {
  const first = await waiting(t);
  const [theirs, host] = [inodesOf(first.pid!), inodesOf('self')];
  for (const kind of ['pid', 'net', 'uts', 'ipc', 'cgroup'] as const) {
    t.same(await inodes({ ns: { [kind]: first } }), KINDS.map((k, i) => k === kind ? theirs[i] : host[i]), kind);
  }
  t.same(differing(await inodes({ ns: { pid: first, net: first, uts: first, ipc: first, cgroup: first, mnt: first } }), theirs), []);
});

t.test('who enters the pid namespace is seen by who was there first, and ends with it', async t => {
  const first = spawnContained({ command: ['sh', '-c', 'read go; cat /proc/[0-9]*/cmdline'] });
  t.teardown(() => first.killAll());
  await first.ready;
  const second = spawnContained({ command: ['sleep', '4321'], ns: entering(first, 'pid') });
  await second.ready;
  const third = spawnContained({ command: ['sleep', '1'], ns: { ...entering(first, 'net'), pid: 'new' } });
  await third.ready;
  first.stdin!.end('\n');
  let seen = '';
  for await (const chunk of first.stdout as AsyncIterable<Buffer>) seen += chunk;
  t.match(seen, 'sleep\x004321\0');
  t.match(await second.exited, { reason: 'signal', signal: 'SIGKILL' });
  await third.killAll();
});

t.test('containers that share a network namespace talk over its loopback: a pod', async t => {
  const first = spawnContained({ command: [process.execPath, '-e', "require('net').createServer(s => s.end('from the pod')).listen(8080, '127.0.0.1', () => console.log('up'))"] });
  t.teardown(() => first.killAll());
  await once(first.stdout!, 'data');
  const call = "require('net').connect(8080, '127.0.0.1').on('data', d => console.log(String(d))).on('error', e => console.log(e.code))";
  const ns = { ...entering(first, 'net'), pid: 'new' as const, mnt: 'new' as const };
  t.equal((await run({ command: [process.execPath, '-e', call], ns })).stdout, 'from the pod\n');
});

t.test('a container that has ended, or has not begun, cannot be entered', async t => {
  const child = spawnContained('true');
  t.throws(() => spawnContained({ command: 'true', ns: { net: child } }), { name: 'OptionError', path: 'ns.net', expected: /running/ });
  await child.exited;
  t.throws(() => spawnContained({ command: 'true', ns: { net: child } }), { name: 'OptionError', path: 'ns.net', expected: /running/ });
});

t.test('what is no namespace is told by an error with the step', async t => {
  await t.rejects(run({ command: 'true', ns: { net: '/run/netns/there-is-none' } }), { name: 'ContainedError', code: 'ENOENT', syscall: 'open', path: '/run/netns/there-is-none' });
  await t.rejects(run({ command: 'true', ns: { net: '/etc/passwd' } }), { name: 'ContainedError', code: 'EINVAL', syscall: 'setns', step: /namespace/ });
  await t.rejects(run({ command: 'true', ns: { net: '/proc/self/ns/uts' } }), { name: 'ContainedError', code: 'EINVAL', syscall: 'setns' }, 'of another kind');
});

t.test('a new clock can be had beside an entered container', async t => {
  const first = await waiting(t);
  const ns = { ...entering(first, 'pid', 'mnt'), time: 'new' as const };
  t.match(await sh('cat /proc/self/timens_offsets', { ns, timeOffsets: { boottime: 77 } }), /boottime +77 +0/);
});

t.test('attributes of the process can be set beside an entered mount namespace', async t => {
  const first = await waiting(t);
  t.match(await sh('cut -d" " -f1 /proc/self/stat >/dev/null; cat /proc/self/oom_score_adj', { ns: entering(first, 'pid', 'mnt'), oomScoreAdj: 500 }), '500');
  t.equal((await run({ command: 'true', ns: { ...entering(first, 'mnt'), pid: 'new' }, oomScoreAdj: 500 })).code, 0);
});

t.test('nothing is left of any of them', async t => {
  await sh('true');
  const before = surroundings();
  for (const ns of [[...KINDS], ['pid'], []] as NamespaceKind[][]) await sh('true', { ns });
  const first = spawnContained({ command: ['sleep', '1000'] });
  await first.ready;
  await sh('true', { ns: entering(first, 'net', 'pid', 'uts') });
  await first.killAll();
  t.same(await sameAs(before), before);
});
