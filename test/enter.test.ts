// Entering what is there: nsenter(1) as a function call.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { explain, run, spawnContained, type Contained, type NamespaceKind, type SpawnOptions } from 'spawn-contained';
import { contained } from './contained.js';
import { busyboxRoot, needsRoot, needsUser, root, sameAs, surroundings } from './env.js';

const KINDS: readonly NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];
const SHOW = `for kind in ${KINDS.join(' ')}; do readlink /proc/self/ns/$kind; done`;

const sh = async (script: string, options: SpawnOptions): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
const linksOf = (pid: number | 'self'): string => KINDS.map(kind => `${readlinkSync(`/proc/${pid}/ns/${kind}`)}\n`).join('');

async function started(t: { teardown(f: () => unknown): void }, options: SpawnOptions = {}): Promise<Contained> {
  const child = spawnContained({ command: ['sleep', '1000'], ...options });
  t.teardown(() => child.killAll());
  return child.ready;
}

/** A process in namespaces that unshare(1) has made. */
async function unshared(t: { teardown(f: () => unknown): void }, ...words: string[]): Promise<number> {
  const other = spawn('unshare', [...words, 'sh', '-c', 'echo up; exec sleep 1000']);
  t.teardown(() => other.kill('SIGKILL'));
  await once(other.stdout, 'data');
  return other.pid!;
}

t.test('a pid as ns: all that the process has and we have not, as nsenter --all', async t => {
  const pid = await unshared(t, '--user', '--map-root-user', '--net', '--uts', '--ipc', '--cgroup');
  t.equal(await sh(SHOW, { ns: pid }), linksOf(pid));
  // Without root nsenter stumbles over those that are ours anyway: setns(2) of the host's pid namespace is EPERM.
  const all = root ? ['--all'] : ['-U', '-n', '-u', '-i', '-C'];
  t.equal(execFileSync('nsenter', [...all, '--preserve-credentials', '-t', String(pid), 'sh', '-c', SHOW], { encoding: 'utf8' }), linksOf(pid), 'nsenter does');
  t.equal(await sh(SHOW, { ns: { all: pid } }), linksOf(pid), 'the long form');
  const flags = explain({ command: 'true', ns: pid }).join.filter(op => op.op === 'setns').map(op => op.flags);
  t.same(flags.sort((a, b) => a - b), [0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x4000_0000], 'and nothing that is ours anyway');
  t.equal(await sh(SHOW, { ns: process.pid }), linksOf('self'), 'nothing of a process that has none of its own');
});

t.test('a container as ns: all of its own', async t => {
  const first = await started(t, { hostname: 'first', tmpfs: ['/tmp/inside'] });
  t.equal(await sh(SHOW, { ns: first }), linksOf(first.pid!));
  t.equal(await sh('uname -n; ls -d /tmp/inside; pwd; tr "\\0" " " </proc/1/cmdline', { ns: first }), 'first\n/tmp/inside\n/\nsleep 1000 ');
  const program = explain({ command: 'true', ns: first });
  t.equal([...program.join, ...program.child].filter(op => op.op === 'setns').length, 1, 'at once');
  t.notOk(program.child.some(op => op.op === 'pivotRoot' || op.op === 'fsmount'), 'and no mounts');
});

t.test('others override single ones of them', async t => {
  const first = await started(t, { hostname: 'first' });
  const theirs = linksOf(first.pid!).split('\n'), ours = linksOf('self').split('\n');
  const found = (await sh(SHOW, { ns: { all: first, net: 'host', mnt: 'new', uts: 'new' }, hostname: 'second' })).split('\n');
  for (const kind of ['pid', 'ipc', 'user', 'cgroup', 'time'] as const) t.equal(found[KINDS.indexOf(kind)], theirs[KINDS.indexOf(kind)], kind);
  t.equal(found[KINDS.indexOf('net')], ours[KINDS.indexOf('net')], 'host');
  for (const kind of ['mnt', 'uts'] as const) t.notOk([...theirs, ...ours].includes(found[KINDS.indexOf(kind)]!), `new ${kind}`);
  t.equal(await sh('uname -n', { ns: { all: first, uts: 'new' }, hostname: 'second' }), 'second\n');
});

t.test('one namespace of a container can be entered without naming its owner, with root and without', async t => {
  const first = await started(t, { hostname: 'first' });
  for (const kind of ['net', 'uts', 'ipc'] as const) {
    const found = (await sh(SHOW, { ns: { [kind]: first } })).split('\n');
    t.equal(found[KINDS.indexOf(kind)], readlinkSync(`/proc/${first.pid}/ns/${kind}`), kind);
  }
  t.equal(await sh('uname -n', { ns: { uts: first, mnt: 'new', pid: 'new' } }), 'first\n');
});

t.test('who comes in is who `user` says, with the environment that `env` says', async t => {
  const first = await started(t);
  t.equal(await sh('id -u', { ns: first }), root ? '65534\n' : `${process.getuid!()}\n`);
  t.match(await sh('env', { ns: first }), /^PATH=[^\n]*\n(PWD=\/\n)?$/);
  if (root) t.equal(await sh('id -u', { ns: first, user: 0 }), '0\n', 'as nsenter');
  t.equal(await sh('pwd', { ns: first, cwd: '/etc' }), '/etc\n');
});

t.test('the root is that of the mount namespace, whatever the process has made of its own', { skip: needsRoot }, async t => {
  const pid = await unshared(t, '--mount', '--root', busyboxRoot(t));
  t.notOk(existsSync(`/proc/${pid}/root/etc/passwd`));
  t.equal(await sh('ls /etc/passwd', { ns: { mnt: pid } }), '/etc/passwd\n');
});

t.test('nsenter and lsns find a container by its pid', { skip: needsRoot }, async t => {
  const first = await started(t, { hostname: 'first' });
  t.equal(execFileSync('nsenter', ['--all', '-t', String(first.pid), 'uname', '-n'], { encoding: 'utf8' }), 'first\n');
  const rows = JSON.parse(execFileSync('lsns', ['--json', '-p', String(first.pid), '-o', 'TYPE,NS'], { encoding: 'utf8' })) as { namespaces: { type: string; ns: number }[] };
  for (const { type, ns } of rows.namespaces) t.equal(`${type}:[${ns}]`, readlinkSync(`/proc/${first.pid}/ns/${type}`));
});

t.test('a process is looked at each time: it may have ended', async t => {
  const other = spawn('unshare', ['--user', '--map-root-user', '--uts', 'sh', '-c', 'echo up; exec sleep 1000']);
  await once(other.stdout, 'data');
  const options = { command: ['true'] as [string], ns: other.pid!, stdio: 'ignore' } as const;
  await spawnContained(options).exited;
  other.kill('SIGKILL');
  await once(other, 'exit');
  await t.rejects(spawnContained(options).exited, { name: 'ContainedError', code: 'ENOENT', step: `find the namespaces of process ${other.pid}`, hint: /no such process/ });
  t.throws(() => explain(options), { name: 'ContainedError', code: 'ENOENT' });
  await t.rejects(run({ command: 'true', ns: { net: other.pid! } }), { name: 'ContainedError', code: 'ENOENT', path: `/proc/${other.pid}/ns/net`, hint: /no such process/ });
});

t.test('what cannot be entered is told with step and hint', async t => {
  const refused = async (ns: SpawnOptions['ns'], found: object): Promise<void> => void await t.rejects(run({ command: 'true', ns: ns! }), { name: 'ContainedError', ...found });
  await refused({ net: '/run/netns/there-is-none' }, { code: 'ENOENT', syscall: 'open', hint: /does not exist/ });
  await refused({ net: '/etc/passwd' }, { code: 'EINVAL', syscall: 'setns', step: 'enter the namespace', hint: /no namespace/ });
  await refused({ net: '/proc/self/ns/uts' }, { code: 'EINVAL', syscall: 'setns', hint: /another kind/ });
  await refused({ user: '/proc/self/ns/user' }, { code: 'EINVAL', syscall: 'setns', hint: /is in anyway/ });
});

t.test('without root what is not ours is not entered', { skip: needsUser }, async t => {
  await t.rejects(run({ command: 'true', ns: 1 }), { name: 'ContainedError', code: 'EACCES', hint: /of another user/ });
  await t.rejects(run({ command: 'true', ns: { net: 1 } }), { name: 'ContainedError', code: 'EACCES', path: '/proc/1/ns/net', hint: /of another user/ });
  await t.rejects(run({ command: 'true', ns: { net: '/proc/self/ns/net' } }), { name: 'ContainedError', code: 'EPERM', syscall: 'setns', hint: /`user`/ });
});

t.test('wrong sources', async t => {
  const refused = (ns: unknown, found: object): void => void t.throws(() => spawnContained({ command: 'true', ns: ns as number }), { name: 'OptionError', ...found });
  refused(0, { path: 'ns', code: 'ERR_OUT_OF_RANGE' });
  refused(1.5, { path: 'ns', code: 'ERR_OUT_OF_RANGE' });
  refused('net', { path: 'ns', code: 'ERR_INVALID_ARG_TYPE' });
  refused({ all: 'new' }, { path: 'ns.all', expected: /pid/ });
  refused({ all: '/proc/1/ns/net' }, { path: 'ns.all' });
  refused({ al: 1 }, { path: 'ns.al', expected: /did you mean all/ });
  refused({ net: 'nwe' }, { path: 'ns.net', expected: /'new', 'host'/ });
  const child = spawnContained('true');
  refused(child, { path: 'ns', expected: /running/ });
  refused({ all: child }, { path: 'ns.all', expected: /running/ });
  await child.exited;
  const first = await started(t);
  t.throws(() => spawnContained({ command: 'true', ns: first, hostname: 'x' }), { name: 'OptionError', path: 'hostname' });
  t.throws(() => spawnContained({ command: 'true', ns: first, rootfs: '/' }), { name: 'OptionError', path: 'rootfs' });
});

t.test('from the command line', async t => {
  const first = await started(t, { hostname: 'first', ns: ['user', 'uts', 'net'] });
  t.same(contained('run', '--ns', String(first.pid), '--', 'uname', '-n'), { code: 0, stdout: 'first\n', stderr: '' });
  t.same(contained('run', '--ns', `all=${first.pid},net=host`, '--', 'readlink', '/proc/self/ns/net'), { code: 0, stdout: `${readlinkSync('/proc/self/ns/net')}\n`, stderr: '' });
});

t.test('nothing is left of any of them', async t => {
  await sh('true', {});
  const before = surroundings();
  const first = spawnContained({ command: ['sleep', '1000'] });
  await first.ready;
  await sh('true', { ns: first });
  await first.killAll();
  t.same(await sameAs(before), before);
});
