// Namespaces that are held by files, and those who hold them the same way: ip-netns(8), unshare(1).
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createNamespaces, openNamespaces, removeNamespace, run, spawnContained, type Contained, type NamespaceKind, type SpawnOptions } from 'spawn-contained';
import { needsRoot, needsUser, root, ofProcess, processesWith, runFixture, scratch, tidy } from './env.js';

const asRoot: { skip: string | false } = { skip: needsRoot || false };
const ALL: readonly NamespaceKind[] = ['mnt', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];

const sh = async (script: string, options: SpawnOptions): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
const text = (file: string, ...args: string[]): string => execFileSync(file, args, { encoding: 'utf8' });
const mounted = (path: string): string[] => readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(line => line.split(' ')[4]?.startsWith(path));
// The first time it mounts /run/netns on itself, which stays.
if (root) for (const word of ['add', 'delete']) execFileSync('ip', ['netns', word, `contained-test-${process.pid}`]);

const holders = (): number => processesWith('spawn-contained').filter(pid => ofProcess(pid, 'comm') === 'contained-pause\n').length;

tidy('held by files, without a process', async t => {
  const path = join(scratch(t), 'blue');
  const before = holders();
  const held = await createNamespaces(['net', 'uts', 'ipc'], { path, hostname: 'held' });
  t.same(held.kinds, ['net', 'ipc', 'uts']);
  t.equal(held.pid, undefined);
  t.same(held.paths, { net: join(path, 'net'), ipc: join(path, 'ipc'), uts: join(path, 'uts') });
  t.same(readdirSync(path).sort(), ['ipc', 'net', 'uts']);
  t.equal(holders(), before, 'nobody is left');
  for (const [kind, file] of Object.entries(held.paths)) {
    t.match(mounted(file)[0], ` ${kind}:[${statSync(file).ino}] `, 'as mountinfo tells');
    t.not(`${kind}:[${statSync(file).ino}]`, readlinkSync(`/proc/self/ns/${kind}`));
  }
  t.equal(text('nsenter', `--uts=${held.paths.uts}`, 'uname', '-n'), 'held\n', 'nsenter enters it');
  t.match(text('nsenter', `--net=${held.paths.net}`, 'ip', '-o', 'link'), /^1: lo: <LOOPBACK,UP/, 'the loopback device is up');
  t.equal(await sh('uname -n', { ns: { uts: held, net: held, pid: 'new', mnt: 'new' } }), 'held\n');
  t.equal(await sh('uname -n', { ns: held }), 'held\n');
  t.equal(await sh('uname -n', { ns: held.paths }), 'held\n');
  await held.remove();
  t.notOk(existsSync(path));
  t.same(mounted(path), []);
  await held.remove();
  t.throws(() => spawnContained({ command: 'true', ns: held }), { name: 'OptionError', path: 'ns', expected: /removed/ });
}, asRoot);

tidy('every kind but pid can be held, mnt among them', async t => {
  const path = join(scratch(t), 'all');
  const held = await createNamespaces(ALL, { path, hostname: 'held', timeOffsets: { boottime: 5000 }, tmpfs: ['/tmp/inside'] });
  t.same([...held.kinds].sort(), [...ALL].sort());
  t.match(mounted(path).find(line => line.split(' ')[4] === path), /^(?!.* shared:)/, 'its directory is a private mount');
  t.equal(await sh('echo there >/tmp/inside/file; cat /proc/self/uid_map | tr -s " "; cat /proc/self/timens_offsets | tail -1 | tr -s " "', { ns: held }).then(out => out.replace(/\d{6,}/, 'N')), ' 0 N 65536\nboottime 5000 0\n');
  t.equal(await sh('cat /tmp/inside/file; uname -n', { ns: held }), 'there\nheld\n', 'what was written is there for the next');
  t.equal(text('nsenter', `--user=${held.paths.user}`, `--mount=${held.paths.mnt}`, 'cat', '/tmp/inside/file'), 'there\n');
  await held[Symbol.asyncDispose]();
  t.notOk(existsSync(path));
  t.same(mounted(path), []);
}, asRoot);

tidy('another process opens them, uses them and removes them', async t => {
  const path = join(scratch(t), 'left');
  const { stdout, code } = await runFixture('persist.mjs', [path, 'net,uts,mnt']);
  t.equal(code, 0);
  t.equal(stdout, 'net,uts,mnt\n');
  const held = await openNamespaces(path);
  t.same([...held.kinds].sort(), ['mnt', 'net', 'uts']);
  t.equal(await sh('uname -n', { ns: { uts: held } }), 'left\n');
  await held.remove();
  t.same(readdirSync(path), [], 'the directory stays: who knows whose it is');
  t.same(mounted(path), []);
  await t.rejects(openNamespaces(path), { name: 'ContainedError', code: 'ENOENT', hint: /no file in it holds a namespace/ });
  await t.rejects(openNamespaces(`${path}/none`), { name: 'ContainedError', code: 'ENOENT', step: /find namespaces/ });
}, asRoot);

tidy('a directory that was there stays, with what others have put into it', async t => {
  const path = scratch(t);
  writeFileSync(join(path, 'mine'), 'x');
  const held = await createNamespaces(['net', 'mnt'], { path });
  await held.remove();
  t.same(readdirSync(path), ['mine']);
  const made = await createNamespaces(['net'], { path: join(path, 'made') });
  writeFileSync(join(path, 'made/more'), 'x');
  await made.remove();
  t.same(readdirSync(join(path, 'made')), ['more']);
}, asRoot);

tidy('a namespace of a running container outlives it, under a name that `ip netns` knows', async t => {
  const name = `contained-test-${process.pid}`;
  const path = `/run/netns/${name}`;
  const child = spawnContained({ command: ['sleep', '1000'], hostname: 'brief' });
  const persisted = child.persist('net', path);
  await persisted;
  t.match(text('ip', 'netns', 'list'), name);
  t.equal(text('ip', 'netns', 'pids', name).trim(), String(child.pid), 'who is in it');
  t.equal(text('ip', 'netns', 'identify', String(child.pid)).trim(), name);
  text('ip', '-n', name, 'addr', 'add', '10.9.8.7/32', 'dev', 'lo');
  const directory = scratch(t);
  await child.persist('uts', join(directory, 'uts'));
  await t.rejects(child.persist('uts', join(directory, 'uts')), { name: 'ContainedError', code: 'EEXIST', hint: /removeNamespace/, path: join(directory, 'uts') });
  await child.killAll();
  t.match(await sh('ip -o addr', { ns: { net: path } }), '10.9.8.7');
  t.match(text('ip', 'netns', 'exec', name, 'ip', '-o', 'addr'), '10.9.8.7');
  t.equal(await sh('uname -n', { ns: { uts: join(directory, 'uts') } }), 'brief\n');
  await t.rejects(child.persist('net', `${path}-2`), { name: 'ContainedError', code: 'ESRCH', hint: /has ended/ });
  await removeNamespace(path);
  await removeNamespace(join(directory, 'uts'));
  t.notOk(existsSync(path));
  t.same(readdirSync(directory), []);
}, asRoot);

tidy('what `ip netns` and unshare hold is removed, and they remove ours', async t => {
  const name = `contained-test-${process.pid}-ip`;
  text('ip', 'netns', 'add', name);
  await removeNamespace(`/run/netns/${name}`);
  t.notMatch(text('ip', 'netns', 'list'), name);
  const file = join(scratch(t), 'uts');
  writeFileSync(file, '');
  text('unshare', `--uts=${file}`, 'true');
  await removeNamespace(file);
  t.notOk(existsSync(file));
  const child = spawnContained({ command: ['sleep', '1000'] });
  await child.persist('net', `/run/netns/${name}`);
  text('ip', 'netns', 'delete', name);
  t.notOk(existsSync(`/run/netns/${name}`));
  text('ip', 'netns', 'attach', name, String(child.pid));
  t.match(await sh('readlink /proc/self/ns/net', { ns: { net: `/run/netns/${name}` } }), readlinkSync(`/proc/${child.pid}/ns/net`));
  text('ip', 'netns', 'delete', name);
  await child.killAll();
}, asRoot);

tidy('removal reaches the copies that other mount namespaces have of the mount', async t => {
  const path = join(scratch(t), 'seen');
  const held = await createNamespaces(['net'], { path });
  const other = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', 'echo up; exec sleep 1000']);
  await once(other.stdout, 'data');
  const copies = (): string[] => readFileSync(`/proc/${other.pid}/mountinfo`, 'utf8').split('\n').filter(line => line.includes(`${path}/net`));
  t.equal(copies().length, 1);
  await held.remove();
  t.same(copies(), []);
  other.kill('SIGKILL');
  await once(other, 'exit');
}, asRoot);

tidy('nothing is left of what fails half-way', async t => {
  const path = scratch(t);
  const before = holders();
  // The order is mnt, net, ipc, uts: the last of them is in the way.
  writeFileSync(join(path, 'uts'), 'somebody else');
  await t.rejects(createNamespaces(['net', 'uts', 'mnt', 'ipc'], { path }), { name: 'ContainedError', code: 'EEXIST', hint: /openNamespaces|another path/ });
  t.same(readdirSync(path), ['uts']);
  t.same(mounted(path), []);
  t.equal(readFileSync(join(path, 'uts'), 'utf8'), 'somebody else');
  unlinkSync(join(path, 'uts'));
  symlinkSync('/tmp/nowhere-at-all', join(path, 'net'));
  await t.rejects(createNamespaces(['net'], { path }), { code: 'EEXIST' }, 'a symlink is not followed');
  t.notOk(existsSync('/tmp/nowhere-at-all'));
  unlinkSync(join(path, 'net'));
  const one = await createNamespaces(['net'], { path });
  await t.rejects(createNamespaces(['ipc', 'net'], { path }), { code: 'EEXIST' });
  t.same(readdirSync(path), ['net']);
  await one.remove();
  await t.rejects(createNamespaces(['net'], { path: join(path, 'no/such') }), { name: 'ContainedError', code: 'ENOENT', step: /make the directory/, hint: /above it/ });
  writeFileSync(join(path, 'file'), '');
  await t.rejects(createNamespaces(['net'], { path: join(path, 'file') }), { name: 'ContainedError', code: 'ENOTDIR' });
  const read = join(path, 'read');
  mkdirSync(read);
  text('mount', '-t', 'tmpfs', '-o', 'ro', 'none', read);
  await t.rejects(createNamespaces(['net'], { path: read }), { name: 'ContainedError', code: 'EROFS' });
  await t.rejects(createNamespaces(['net'], { path: join(read, 'below') }), { name: 'ContainedError', code: 'EROFS' });
  text('umount', read);
  rmdirSync(read);
  t.equal(holders(), before);
}, asRoot);

tidy('a mount namespace needs a private place, and one that is younger than ours', async t => {
  const path = scratch(t);
  text('mount', '--bind', path, path);
  text('mount', '--make-shared', path);
  // See `bindYounger` in lib/namespaces/create.ts: outside of the first mount namespace it may take several tries.
  const persisted = async (file: string): Promise<Contained> => {
    for (let tries = 1; ; ++tries) {
      const child = spawnContained({ command: ['sleep', '1000'] });
      try {
        await child.persist('mnt', file);
        return child;
      } catch (error) {
        await child.killAll();
        if ((error as NodeJS.ErrnoException).code !== 'ELOOP' || tries === 100) throw error;
      }
    }
  };
  // A peer, that the mount would be propagated to.
  const peer = spawn('unshare', ['--mount', '--propagation', 'unchanged', 'sh', '-c', 'echo up; exec sleep 1000']);
  await once(peer.stdout, 'data');
  await t.rejects(persisted(join(path, 'mnt')), { name: 'ContainedError', code: 'EINVAL', hint: /private mount/ });
  t.same(readdirSync(path), []);
  text('mount', '--make-private', path);
  await (await persisted(join(path, 'mnt'))).killAll();
  t.match(await sh('cat /proc/self/mountinfo | head -c 20; ls -d /etc', { ns: { mnt: join(path, 'mnt'), pid: 'new' } }), '/etc');
  await removeNamespace(join(path, 'mnt'));
  peer.kill('SIGKILL');
  await once(peer, 'exit');
  text('umount', path);
}, asRoot);

t.test('what holds no namespace is not removed', asRoot, async t => {
  const file = join(scratch(t), 'file');
  writeFileSync(file, 'mine');
  await t.rejects(removeNamespace(file), { name: 'ContainedError', code: 'EINVAL', hint: /holds no namespace/ });
  t.equal(readFileSync(file, 'utf8'), 'mine');
  await t.rejects(removeNamespace(`${file}-2`), { name: 'ContainedError', code: 'ENOENT', hint: /no such file/ });
  await t.rejects(removeNamespace('/proc/self/ns/net'), { name: 'ContainedError', code: 'EINVAL', syscall: 'umount' });
});

t.test('wrong arguments', async t => {
  const refused = async (promise: Promise<unknown>, found: object): Promise<void> => void await t.rejects(promise, { name: 'OptionError', ...found });
  await refused(createNamespaces(['net'], { path: 'relative' }), { path: 'path', expected: /absolute/ });
  await refused(createNamespaces(['net'], { path: '/tmp/../x' }), { path: 'path' });
  await refused(createNamespaces(['net'], { path: '' }), { path: 'path' });
  await refused(createNamespaces(['net', 'pid'], { path: '/tmp/x' }), { path: 'kinds', expected: /without `path`/ });
  await refused(removeNamespace('x'), { path: 'path' });
  await refused(openNamespaces('x'), { path: 'path' });
  const child = spawnContained('true', { stdio: 'ignore' });
  await refused(child.persist('pid', '/tmp/x'), { path: 'kind', expected: /first process/ });
  await refused(child.persist('nett' as NamespaceKind, '/tmp/x'), { path: 'kind', expected: /did you mean net/ });
  await refused(child.persist('net', 'x'), { path: 'path' });
  await child.exited;
});

t.test('without root it is refused before anything is made, with the way out', { skip: needsUser }, async t => {
  const path = join(scratch(t), 'blue');
  await t.rejects(createNamespaces(['net'], { path }), { name: 'ContainedError', code: 'EPERM', hint: /CAP_SYS_ADMIN.*leave `path` out/ });
  t.notOk(existsSync(path));
  const child = spawnContained({ command: ['sleep', '1000'] });
  t.teardown(() => child.killAll());
  await t.rejects(child.persist('net', path), { name: 'ContainedError', code: 'EPERM' });
  t.notOk(existsSync(path));
});
