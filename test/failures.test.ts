// What can go wrong on the way to execve, and that it says so.
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ContainedError, run, spawnContained } from 'spawn-contained';
import type { RunOptions } from 'spawn-contained';
import { busyboxRoot, hierarchies, needsRoot, needsUser, runFixture, scratch, tidy, until } from './env.js';

type Wanted = { code: string | RegExp; syscall?: string; step?: RegExp | string; hint?: RegExp; path?: string | RegExp };

/** It fails with all that an error must have, says what is wanted, and the next start works. */
async function fails(t: typeof import('tap').t, options: RunOptions, wanted: Wanted): Promise<void> {
  const error = await run(options).then(() => undefined, (error: unknown) => error);
  t.ok(error instanceof ContainedError, String(error));
  t.match(error, { name: 'ContainedError', ...wanted });
  const { errno, code, step, message } = error as ContainedError;
  t.ok(errno < 0 && Number.isInteger(errno), `errno ${errno} is negative`);
  t.ok(message.includes(code) && message.includes(step), message);
  t.match(await run({ command: 'true' }), { reason: 'exit', code: 0 });
}

tidy('a missing rootfs', async t => {
  await fails(t, { command: 'true', rootfs: '/no/such/root' }, { code: 'ENOENT', syscall: 'open', path: '/no/such/root', hint: /does not exist/ });
});

tidy('a rootfs that is a file', async t => {
  const file = join(scratch(t), 'file');
  writeFileSync(file, '');
  await fails(t, { command: 'true', rootfs: file }, { code: 'ENOTDIR', hint: /a directory is wanted/ });
});

tidy('a missing command, by its path and by the PATH', async t => {
  await fails(t, { command: '/no/such/command' }, { code: 'ENOENT', syscall: 'exec', path: '/no/such/command', step: 'execute /no/such/command', hint: /no such file/ });
  await fails(t, { command: 'no-such-command' }, { code: 'ENOENT', syscall: 'exec', path: 'no-such-command' });
  await fails(t, { command: 'echo hello' }, { code: 'ENOENT', hint: /no command line/ });
  await fails(t, { command: 'true/', rootfs: busyboxRoot(t) }, { code: 'ENOENT', syscall: 'exec' });
});

tidy('an empty rootfs', async t => {
  await fails(t, { command: 'true', rootfs: scratch(t) }, { code: 'ENOENT', syscall: 'exec' });
});

tidy('a command that is not executable', async t => {
  const root = busyboxRoot(t);
  writeFileSync(join(root, 'bin/data'), '#!/bin/sh\n', { mode: 0o644 });
  await fails(t, { command: '/bin/data', rootfs: root }, { code: 'EACCES', syscall: 'exec', hint: /not executable/ });
  await fails(t, { command: 'data', rootfs: root }, { code: 'EACCES', syscall: 'exec' });
});

tidy('a directory as command', async t => {
  await fails(t, { command: '/usr' }, { code: 'EACCES', syscall: 'exec' });
});

tidy('what is neither a program nor a script', async t => {
  const root = busyboxRoot(t);
  writeFileSync(join(root, 'bin/text'), 'echo hello\n', { mode: 0o755 });
  writeFileSync(join(root, 'bin/empty'), '', { mode: 0o755 });
  await fails(t, { command: '/bin/text', rootfs: root }, { code: 'ENOEXEC', syscall: 'exec', hint: /script with #!/ });
  await fails(t, { command: 'empty', rootfs: root }, { code: 'ENOEXEC', syscall: 'exec' });
});

tidy('a script whose interpreter is missing', async t => {
  const root = busyboxRoot(t);
  writeFileSync(join(root, 'bin/script'), '#!/no/such/interpreter\n', { mode: 0o755 });
  await fails(t, { command: '/bin/script', rootfs: root }, { code: 'ENOENT', syscall: 'exec', hint: /interpreter/ });
});

tidy('a symlink to itself, a name that is too long, too many arguments', async t => {
  const root = busyboxRoot(t);
  symlinkSync('loop', join(root, 'bin/loop'));
  await fails(t, { command: '/bin/loop', rootfs: root }, { code: 'ELOOP', syscall: 'exec' });
  await fails(t, { command: `/${'x'.repeat(300)}` }, { code: 'ENAMETOOLONG', syscall: 'exec' });
  await fails(t, { command: ['true', 'x'.repeat(200_000)] }, { code: 'E2BIG', syscall: 'exec' });
});

tidy('many arguments that are not too many arrive, though they fit into no packet', async t => {
  const words = Array.from({ length: 5000 }, (_, i) => `${i}`.padEnd(100, '.'));
  t.equal((await run({ command: ['printf', '%s', ...words] })).stdout, words.join(''));
});

tidy('a directory on the way that the user may not enter', async t => {
  const root = busyboxRoot(t);
  mkdirSync(join(root, 'closed'));
  writeFileSync(join(root, 'closed/command'), '#!/bin/sh\n', { mode: 0o755 });
  chmodSync(root, 0o755);
  chmodSync(join(root, 'closed'), 0o000);
  await fails(t, { command: '/closed/command', rootfs: root, user: 1000, capabilities: [] }, { code: 'EACCES', syscall: 'exec' });
  chmodSync(join(root, 'closed'), 0o755);
});

tidy('an unknown user, and an unknown group', async t => {
  await fails(t, { command: 'true', user: 'nobody-of-this-name' }, { code: 'ENOENT', syscall: 'user', step: /nobody-of-this-name/, hint: /number/ });
  await fails(t, { command: 'true', user: 'root:no-such-group' }, { code: 'ENOENT', syscall: 'user', step: /no-such-group/ });
}, { skip: needsRoot });

tidy('a missing cwd, and one that is a file', async t => {
  await fails(t, { command: 'true', cwd: '/no/such/cwd' }, { code: 'ENOENT', syscall: 'chdir', path: '/no/such/cwd', hint: /another cwd/ });
  await fails(t, { command: 'true', cwd: '/etc/passwd' }, { code: 'ENOTDIR', syscall: 'chdir' });
});

tidy('a missing source of a mount', async t => {
  const mounts = [{ type: 'tmpfs', target: '/tmp' }, { type: 'bind', source: '/no/such/source', target: '/tmp/x' }] as const;
  await fails(t, { command: 'true', mounts }, { code: 'ENOENT', syscall: 'openTree', path: '/no/such/source', hint: /does not exist/ });
});

tidy('a mount point that cannot be made', async t => {
  await fails(t, { command: 'true', mounts: [{ type: 'tmpfs', target: '/proc/no/such' }] }, { code: 'ENOENT', step: /\/proc\/no\/such/ });
});

tidy('a missing layer of an overlay', async t => {
  await fails(t, { command: 'true', rootfs: { lower: ['/usr', '/no/such/layer'] } }, { code: 'ENOENT', path: '/no/such/layer' });
});

tidy('a namespace that is not there', async t => {
  await fails(t, { command: 'true', ns: { net: '/proc/4194303/ns/net' }, rootfs: undefined } as never, { code: 'ENOENT', syscall: 'open', path: '/proc/4194303/ns/net' });
  await fails(t, { command: 'true', ns: { net: '/etc/passwd' } }, { code: 'EINVAL', syscall: 'setns' });
}, { skip: needsRoot });

tidy('of many starts that fail at once each tells its own reason', async t => {
  const wanted = ['chdir ENOENT', 'exec ENOENT', 'open ENOENT'];
  const options = [{ cwd: '/no/such/cwd' }, {}, { rootfs: '/no/such/root' }];
  const results = await Promise.all(Array.from({ length: 300 }, (_, i) =>
    spawnContained({ ...options[i % 3], command: '/no/such/command', stdio: 'ignore' }).exited.then(
      ({ reason, code }) => `${i % 3} ${reason} ${code}`, (error: ContainedError) => `${i % 3} ${error.syscall} ${error.code}`)));
  t.same([...new Set(results)].sort(), wanted.map((text, i) => `${i} ${text}`));
});

tidy('more processes than RLIMIT_NPROC allows', async t => {
  // The limit counts all processes of the user in the user namespace that the caller is in.
  const { code, stdout, stderr } = await runFixture('one.mjs', ['nproc']);
  t.same([code, stderr], [0, '']);
  t.match(JSON.parse(stdout), { name: 'ContainedError', code: 'EAGAIN', errno: -11, step: /\w/, hint: /RLIMIT_NPROC/ });
}, { skip: needsUser });

tidy('more processes than the pids.max of an outer cgroup allows', async t => {
  const { v1, unified } = hierarchies;
  const mount = v1.get('pids')?.mount ?? unified!.mount;
  if (!v1.has('pids')) writeFileSync(`${mount}/cgroup.subtree_control`, '+pids');
  const group = `${mount}/contained-test.${process.pid}`;
  mkdirSync(group);
  t.teardown(() => existsSync(group) && rmdirSync(group));
  // Enough for Node and its launcher and no more: what Node has is told by the kernel.
  const before = ['sh', '-c', `echo $$ > ${group}/cgroup.procs; exec "$@"`, 'sh'];
  const { code, stdout, stderr } = await runFixture('one.mjs', [group], { before });
  t.same([code, stderr], [0, '']);
  t.match(JSON.parse(stdout), { name: 'ContainedError', code: 'EAGAIN', errno: -11, syscall: 'clone', step: 'clone the process', hint: /pids\.max/ });
  // The launcher is in it too, and ends a moment after its Node.
  t.ok(await until(() => {
    try {
      rmdirSync(group);
      return true;
    } catch {
      return false;
    }
  }));
}, { skip: needsRoot });

tidy('a limit of memory that is too small to start with', async t => {
  for (const max of [4096, '16K'] as const) {
    await fails(t, { command: 'true', cgroup: { memory: { max } } }, { code: /ECHILD|ENOMEM|EBUSY|EINVAL/, hint: /memory\.max/ });
  }
}, { skip: needsRoot });

tidy('a cgroup parent that is not there', async t => {
  await fails(t, { command: 'true', cgroup: { parent: '/no/such/group' } }, { code: 'ENOENT', syscall: 'mkdir', path: /\/no\/such\/group/ });
}, { skip: needsRoot });

tidy('the launcher cannot be started: no descriptors are left', async t => {
  const { code, stdout, stderr } = await runFixture('full.mjs');
  t.same([code, stderr], [0, '']);
  t.match(JSON.parse(stdout), { first: { name: 'ContainedError', code: 'EMFILE' }, next: 'exit' });
});

tidy('a lower hard limit of descriptors is no reason to fail', async t => {
  const { code, stdout, stderr } = await runFixture('one.mjs', [], { before: ['prlimit', '--nofile=512:512'] });
  t.same([code, stderr, stdout], [0, '', '"exit"\n']);
});

tidy('a command may have fewer descriptors than its setup needs', async t => {
  t.equal((await run({ command: ['sh', '-c', 'ulimit -n'], rlimits: { nofile: 8 } })).stdout, '8\n');
});

tidy('a file that is open for writing is not executed', async t => {
  const directory = busyboxRoot(t);
  const file = join(directory, 'bin/busy');
  writeFileSync(file, readFileSync(join(directory, 'bin/busybox')), { mode: 0o755 });
  const fd = openSync(file, 'r+');
  await fails(t, { command: '/bin/busy', rootfs: directory }, { code: 'ETXTBSY', syscall: 'exec' });
  closeSync(fd);
});
