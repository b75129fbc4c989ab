// System calls as such.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readlinkSync, rmdirSync, readdirSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { ContainedError, OptionError, run, spawnContained, sys } from 'spawn-contained';
import { mark, needsRoot, needsUser, root, runFixture, tidy } from './env.js';

async function inChild(scenario: string, argument = ''): Promise<Record<string, any>> {
  const { code, stdout, stderr } = await runFixture('sys.mjs', [scenario, argument]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, any>;
}

tidy('unshare, mount and umount: a file system that only this process sees', async t => {
  t.same(await inChild('mount'), { during: true, readonly: 'EROFS', after: false, left: [] });
  t.same(await inChild('bind'), { same: true });
}, { skip: needsRoot });

tidy('pivotRoot: what was the root is nowhere', async t => {
  const { root, directory } = await inChild('pivotRoot');
  t.same(root, ['only this']);
  rmdirSync(directory);
}, { skip: needsRoot });

tidy('setns: the network of a container', async t => {
  const child = await spawnContained('cat').ready;
  const { before, after, wanted } = await inChild('setns', `/proc/${child.pid}/ns/net`);
  t.not(before, after);
  t.equal(after, wanted);
  t.equal(before, readlinkSync('/proc/self/ns/net'));
  await child.killAll();
}, { skip: needsRoot });

tidy('what the kernel refuses is a ContainedError with its errno', async t => {
  const errors = await inChild('errors');
  const wanted = {
    mount: { code: 'ENOENT', errno: -2, syscall: 'mount', dest: '/no/such/target' }, type: { code: 'ENODEV', path: 'none' },
    umount: { code: 'EINVAL', syscall: 'umount', dest: '/etc' }, setns: { code: 'EINVAL', syscall: 'setns' }, closed: { code: 'EBADF' },
    unshare: { code: 'EINVAL', syscall: 'unshare' }, pivotRoot: { code: 'ENOTDIR', syscall: 'pivotRoot' },
  };
  for (const [name, fields] of Object.entries(wanted)) t.match(errors[name], { name: 'ContainedError', ...fields }, name);
}, { skip: needsRoot });

tidy('without root the kernel refuses', t => {
  for (const call of [() => sys.mount('tmpfs', '/tmp', 'tmpfs', 0), () => sys.umount('/proc'), () => sys.unshare(sys.CLONE_NEWNS)]) {
    t.throws(call, { name: 'ContainedError', code: 'EPERM', errno: -1 });
  }
  return Promise.resolve();
}, { skip: needsUser });

tidy('wrong arguments are an OptionError, and nothing is called', async t => {
  const wrong: [string, () => unknown][] = [
    ['fd', () => sys.setns('x' as never, 0)], ['fd', () => sys.setns(-1, 0)], ['flags', () => sys.setns(0, -1)], ['flags', () => sys.setns(0, 1.5)],
    ['flags', () => sys.unshare('NEWNS' as never)], ['fd', () => sys.pivotRoot(NaN)], ['target', () => sys.mount('a', 5 as never, 'b', 0)],
    ['source', () => sys.mount(undefined as never, '/', 'b', 0)], ['type', () => sys.mount('a', '/', 7 as never, 0)], ['target', () => sys.mount('a', 'b\0c', 'd', 0)],
    ['data', () => sys.mount('a', '/', 'b', 0, {} as never)], ['target', () => sys.umount(null as never)], ['flags', () => sys.umount('/x', '2' as never)],
    ['options', () => sys.clone(0, null as never)], ['file', () => sys.clone(0, {} as never)], ['argv[1]', () => sys.clone(0, { file: '/bin/true', argv: ['a', 1 as never] })],
    ['files', () => sys.clone(0, { file: '/bin/true', files: [] } as never)], ['flags', () => sys.clone(2 ** 40, { file: '/bin/true' })],
  ];
  for (const [path, call] of wrong) {
    t.throws(call, OptionError, path);
    t.throws(call, { path } as Error & { path: string });
  }
  await t.rejects(sys.writeProcs('x' as never, [1]), OptionError);
  await t.rejects(sys.writeProcs(0, ['1'] as never), { name: 'OptionError', path: 'pids[0]' });
  await t.rejects(sys.writeProcs(0, 5 as never), OptionError);
});

tidy('clone with flags: the command is in new namespaces, with what it is given', async t => {
  const flags = sys.CLONE_NEWUTS | sys.CLONE_NEWIPC | (root ? 0 : sys.CLONE_NEWUSER);
  const child = sys.clone(flags, { file: '/bin/sh', argv: ['shell', '-c', 'echo $0 $A; readlink /proc/self/ns/uts /proc/self/ns/net; exit 5'], env: ['A=b', 'PATH=/bin:/usr/bin'], stdio: ['ignore', 'pipe', 'ignore'] });
  const lines = (await text(child.stdout!)).trim().split('\n');
  t.equal(lines[0], 'shell b');
  t.not(lines[1], readlinkSync('/proc/self/ns/uts'));
  t.equal(lines[2], readlinkSync('/proc/self/ns/net'));
  t.match(await child.exited, { reason: 'exit', code: 5 });
});

tidy('a clone that fails says so', async t => {
  await t.rejects(sys.clone(0, { file: '/no/such/file' }).exited, { name: 'ContainedError', code: 'ENOENT', syscall: 'exec', path: '/no/such/file' });
  await t.rejects(sys.clone(sys.CLONE_NEWUSER | 0x200 /* CLONE_FS */, { file: '/bin/true' }).exited, { name: 'ContainedError', code: 'EINVAL', syscall: 'clone' });
  const child = await sys.clone(0, { file: '/bin/sleep', argv: ['sleep', mark()] }).ready;
  t.ok(child.kill());
  t.match(await child.exited, { reason: 'killed', signal: 'SIGKILL' });
});

tidy('writeProcs moves many processes at once, and tells which it could not', async t => {
  const mount = existsSync('/sys/fs/cgroup/pids/cgroup.procs') ? '/sys/fs/cgroup/pids' : '/sys/fs/cgroup';
  const group = join(mount, `contained-test.${process.pid}.many`);
  mkdirSync(group);
  const sleepers = Array.from({ length: 190 }, () => spawn('sleep', ['1000'], { stdio: 'ignore' }));
  await Promise.all(sleepers.map(child => once(child, 'spawn')));
  const dead = Array.from({ length: 10 }, (_, i) => 4_194_000 + i).filter(pid => !existsSync(`/proc/${pid}`));
  const living = sleepers.map(({ pid }) => pid!);
  const pids = [...living.slice(0, 100), ...dead, ...living.slice(100)];
  const fd = openSync(group, 'r');
  const { moved, errors } = await sys.writeProcs(fd, Int32Array.from(pids));
  closeSync(fd);
  t.equal(moved, living.length);
  t.same(errors, dead.map(pid => ({ pid, code: 'ESRCH', errno: -3 })));
  t.same(readFileSync(join(group, 'cgroup.procs'), 'utf8').trim().split('\n').map(Number).sort((a, b) => a - b), [...living].sort((a, b) => a - b));
  for (const pid of living) if (!readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`contained-test.${process.pid}.many`)) t.fail(`${pid} is not in it`);
  await Promise.all(sleepers.map(child => (child.kill('SIGKILL'), once(child, 'exit'))));
  rmdirSync(group);
}, { skip: needsRoot });

tidy('writeProcs of nothing, and to what is no cgroup', async t => {
  const fd = openSync('/etc', 'r');
  t.same(await sys.writeProcs(fd, []), { moved: 0, errors: [] });
  const { moved, errors } = await sys.writeProcs(fd, [process.pid]);
  t.equal(moved, 0);
  t.match(errors, [{ pid: process.pid, code: /ENOENT|EACCES/ }]);
  closeSync(fd);
  t.notOk(readdirSync('/etc').includes('cgroup.procs'));
  t.equal((await run({ command: 'true' })).reason, 'exit');
  t.ok(ContainedError.prototype instanceof Error);
});
