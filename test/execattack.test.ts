// A container that is hostile to whoever comes in: CVE-2016-9962, CVE-2019-5736, CVE-2024-21626, CVE-2019-14271.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { run, spawnContained, type Contained, type ContainedError, type ExecOptions, type SpawnOptions } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { busyboxRoot, fixture, mark, needsLimits, needsRoot, processesWith, root, tidy, until } from './env.js';
import { errorOf, settles } from './groups.js';

/** A root that belongs to whoever is in there, with the attacker in it. */
function hostileRoot(t: { teardown(f: () => void): void }): string {
  const directory = busyboxRoot(t);
  chmodSync(directory, 0o755);
  execFileSync('gcc', ['-O2', '-static', '-Wall', '-Wextra', '-Werror', '-o', join(directory, 'bin/lurker'), fixture('lurker.c')]);
  return directory;
}

interface Loot { said: string; lines: string[]; seen: number }

/** Commands one after the other while it lurks; before each another command has had a secret. */
async function lurked(rootfs: string, container: SpawnOptions, options: ExecOptions, times: number): Promise<Loot> {
  const secret = createHash('sha256').update(mark()).digest('hex');
  const host = spawnContained({ ...container, rootfs, command: ['lurker', 'look', secret], stdio: ['ignore', 'pipe', 'inherit'] });
  const said = text(host.stdout!);
  await host.ready;
  try {
    for (let i = 0; i < times; ++i) {
      if (i % 10 === 0) await run({ command: ['true'], env: { HIDDEN: `${'x'.repeat(3000)}${secret}`.repeat(3) } });
      await host.exec('true', { stdio: 'ignore', ...options }).exited;
    }
  } finally {
    host.kill('SIGTERM');
    await host.exited;
    await host.killAll();
  }
  const lines = (await said).split('\n');
  return { said: await said, lines, seen: Number(/seen (\d+)/.exec(await said)?.[1] ?? 0) };
}

const isGot = (line: string): boolean => /^(GOT|FD|SECRET)/.test(line);
const TIMES = 150;

const unprivileged: [string, SpawnOptions, ExecOptions][] = [
  ...root ? [
    ['as the same user', { user: 1000 }, {}],
    ['as root without capabilities', { user: 0 }, {}],
    ['as root, for another user', { user: 0 }, { user: 1234 }],
    ['as root of a user namespace, with all that is in it', { ns: ['user', 'pid', 'mnt'], uidMap: 'auto', gidMap: 'auto', user: 0, capabilities: ['SYS_PTRACE', 'SYS_ADMIN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH'] }, { capabilities: [] }],
  ] as [string, SpawnOptions, ExecOptions][] : [
    ['as the same user', {}, {}],
    ['as root of a user namespace, with all that is in it', { user: 0, capabilities: ['SYS_PTRACE', 'SYS_ADMIN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH'] }, { capabilities: [] }],
  ] as [string, SpawnOptions, ExecOptions][],
];

for (const [name, container, options] of unprivileged) {
  tidy(`who lurks ${name} gets nothing of who comes in`, async t => {
    const { lines, said, seen } = await lurked(hostileRoot(t as never), container, options, TIMES);
    t.same(lines.filter(isGot), []);
    t.ok(seen > 0, `it has seen ${seen} of ${TIMES} before they became the command: ${said.slice(-200)}`);
    for (const line of new Set(lines.filter(line => /^RIGHTS Cap/.test(line)))) t.match(line, /\t0{16}$/, line);
    t.notMatch(said, 'SECRET');
  });
}

tidy('who may trace every process of its host gets no more than the command has', async t => {
  const container: SpawnOptions = { user: 0, capabilities: ['SYS_PTRACE', 'DAC_READ_SEARCH', 'DAC_OVERRIDE'] };
  const { lines, seen } = await lurked(hostileRoot(t as never), container, { user: 1234, capabilities: ['NET_RAW'] }, TIMES);
  t.ok(seen > 0, `it has seen ${seen} of ${TIMES}`);
  t.same(lines.filter(line => /^(FD|SECRET)/.test(line)), [], 'no directory, no descriptor of a group or a process, nothing of other commands');
  const rights = new Set(lines.filter(line => line.startsWith('RIGHTS')));
  t.ok(rights.size > 0);
  for (const line of rights) t.match(line, /^RIGHTS (Cap\w+:\t0000000000002000|Uid:\t1234\t1234\t1234\t1234)$/, line);
}, { skip: needsRoot });

tidy('who stops or kills whoever comes in does not hold up its host', async t => {
  const rootfs = hostileRoot(t as never);
  for (const mode of ['stop', 'kill']) {
    const host = spawnContained({ ...root ? { user: 1000 } : {}, rootfs, command: ['lurker', mode], stdio: ['ignore', 'pipe', 'inherit'] });
    const said = text(host.stdout!);
    await host.ready;
    const word = mark();
    const ends = await Promise.all(Array.from({ length: 20 }, () => host.exec(['sleep', word], { stdio: 'ignore', timeout: 1500, killGrace: 100 }).exited
      .then(({ reason }) => reason, (error: ContainedError) => error.code)));
    for (const end of ends) t.match(end, /^(timeout|signal|ECHILD)$/);
    t.match(await run({ command: 'true' }), { code: 0 }, 'others are started meanwhile');
    t.same(processesWith(`sleep\0${word}`), []);
    host.kill('SIGKILL');
    await host.exited;
    await said;
  }
});

const within = async (options: SpawnOptions & { command?: readonly [string, ...string[]] }, body: (host: Contained) => Promise<void>): Promise<void> => {
  const host = await spawnContained({ command: ['sleep', '1000'], stdio: 'ignore', ...options }).ready;
  try {
    await body(host);
  } finally {
    await host.killAll();
  }
};

/** Code and step of a command that must be refused in time. */
async function refused(host: Contained, options: ExecOptions, command = 'true'): Promise<{ code: string | undefined; syscall: string | undefined }> {
  const child = host.exec(command, options);
  child.stdout?.resume();
  if (!await settles(child.exited, 20_000)) {
    await child.killAll();
    return { code: 'late', syscall: undefined };
  }
  const { code, syscall } = await errorOf(() => child.exited);
  return { code, syscall };
}

tidy('names of users in hostile files', async t => {
  const rootfs = busyboxRoot(t as never), passwd = join(rootfs, 'etc/passwd');
  chmodSync(rootfs, 0o755);
  await within({ rootfs, user: 0 }, async host => {
    const nobody = { code: 'ENOENT', syscall: 'user' };
    const as = { user: 'someone', stdio: 'ignore' } as const;
    t.same(await refused(host, as), nobody, 'no such file');
    execFileSync('mkfifo', [passwd]);
    t.same(await refused(host, as), nobody, 'a fifo');
    rmSync(passwd);
    mkdirSync(passwd);
    t.same(await refused(host, as), nobody, 'a directory');
    rmSync(passwd, { recursive: true });
    for (const target of ['/proc/self/fd/0', '/dev/zero', '/etc/passwd', '/proc/1/root/etc/passwd']) {
      symlinkSync(target, passwd);
      t.same(await refused(host, as), nobody, `a link to ${target}`);
      rmSync(passwd);
    }
    writeFileSync(passwd, 'someone:x:77:78::/:/bin/sh\n');
    truncateSync(passwd, 2 ** 40);
    t.same(await refused(host, as), nobody, 'a tebibyte');
    writeFileSync(passwd, `${'x'.repeat(900_000)}\nsomeone:x:-1:78::/:/bin/sh\n`);
    t.same(await refused(host, as), nobody, 'a negative number');
    writeFileSync(passwd, 'someone:x:4294967295:78::/:/bin/sh\n');
    t.same(await refused(host, as), nobody, 'the number that means none: setresuid(2)');
    writeFileSync(passwd, 'someone:x:0077:78::/:/bin/sh\n');
    const { code } = await host.exec(['sh', '-c', 'test $(id -u) = 77'], as).exited;
    t.equal(code, 0, 'and one that is right');
  });
}, { skip: needsRoot });

tidy('working directories that lead out', async t => {
  const rootfs = busyboxRoot(t as never);
  chmodSync(rootfs, 0o755);
  const leaked = [openSync('/', 'r'), openSync('/sys/fs/cgroup', 'r')];
  for (const directory of Array.from({ length: 20 }, (_, i) => i)) symlinkSync(`/proc/self/fd/${directory}`, join(rootfs, `to${directory}`));
  symlinkSync('/proc/1/root', join(rootfs, 'first'));
  await within({ rootfs }, async host => {
    for (let i = 0; i < 20; ++i) {
      for (const cwd of [`/proc/self/fd/${i}`, `/to${i}`]) {
        const child = host.exec(['ls', '-a'], { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
        const [listed] = await Promise.all([text(child.stdout!), errorOf(() => child.exited)]);
        t.equal(listed, '', cwd);
      }
    }
    const child = host.exec(['sh', '-c', 'pwd -P; echo *'], { cwd: '/first', stdio: ['ignore', 'pipe', 'ignore'] });
    const [listed] = await Promise.all([text(child.stdout!), errorOf(() => child.exited)]);
    t.match(listed, listed === '' ? '' : /^\/\n.*\bto19\b/, 'the root of its own first process, if at all');
  });
  leaked.forEach(fd => closeSync(fd));
});

tidy('devices in the place of the multiplexer of terminals', async t => {
  const rootfs = busyboxRoot(t as never);
  chmodSync(rootfs, 0o755);
  const capabilities = ['MKNOD', 'SYS_ADMIN'] as const;
  await within({ rootfs, user: 0, capabilities }, async host => {
    t.match(await host.exec('tty', { tty: true }).exited, { code: 0 }, 'as it is');
    const ways: Record<string, string> = {
      'nothing': '', 'a file': '>/dev/ptmx', 'a directory': 'mkdir /dev/ptmx', 'a fifo': 'mkfifo /dev/ptmx', 'a link to itself': 'ln -s ptmx /dev/ptmx', 'a link to a descriptor': 'ln -s /proc/self/fd/0 /dev/ptmx',
      'a link to a descriptor of the first process': 'ln -s /proc/1/fd/0 /dev/ptmx', 'a link to another device': 'ln -s /dev/null /dev/ptmx', 'another multiplexer, of a file system that is no devpts': 'touch /tmp/pts; ln -s /tmp/pts /dev/ptmx',
      ...root ? { 'null': 'mknod /dev/ptmx c 1 3', 'a terminal': 'mknod /dev/ptmx c 5 0', 'a console': 'mknod /dev/ptmx c 5 1', 'a disk': 'mknod /dev/ptmx b 7 0', 'no file system of terminals': 'mknod /dev/ptmx c 5 2; umount -l /dev/pts' } : {},
    };
    for (const [name, how] of Object.entries(ways)) {
      t.match(await host.exec(['sh', '-c', `rm -rf /dev/ptmx; ${how}`], { stdio: 'inherit' }).exited, { code: 0 }, name);
      const { code, syscall } = await refused(host, { tty: true });
      t.match(code, /^(ENODEV|ENOENT|ELOOP|ENXIO|EISDIR|EACCES|EPERM|ENOTTY|EXDEV)$/, `${name}: ${code}`);
      t.equal(syscall, 'terminal', name);
    }
    t.equal(host.exitCode, null);
  });
});

tidy('commands that are the process itself', async t => {
  const rootfs = busyboxRoot(t as never);
  chmodSync(rootfs, 0o755);
  const image = (): string => createHash('sha256').update(readFileSync(`/proc/${native().launcherPid()}/exe`)).digest('hex');
  const before = root ? image() : '';
  symlinkSync('/proc/self/exe', join(rootfs, 'bin/self'));
  writeFileSync(join(rootfs, 'bin/script'), '#!/proc/self/exe\n', { mode: 0o755 });
  await within({ rootfs, user: 0 }, async host => {
    for (const file of ['/proc/self/exe', '/bin/self', '/bin/script']) {
      const child = host.exec(file, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });
      child.stdout!.resume();
      child.stderr!.resume();
      // It runs the sealed image of the launcher, which finds no socket and ends; nobody can write to it.
      t.match(await child.exited.then(({ reason, code }) => `${reason} ${code}`, (error: ContainedError) => error.code), /^(exit [1-9]\d*|ECHILD|ELOOP|ENOENT|EACCES)$/, file);
    }
    const script = 'for i in 1 2 3 4 5 6 7 8 9; do for f in /proc/[0-9]*/exe; do (echo x >$f) 2>/dev/null && echo "wrote $f"; done; done; true';
    const writer = host.exec(['sh', '-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    const written = text(writer.stdout!);
    await Promise.all(Array.from({ length: 10 }, () => host.exec('/proc/self/exe', { stdio: 'ignore', timeout: 20_000 }).exited.catch(() => {})));
    t.equal(await written, '');
    await writer.exited;
  });
  if (root) t.equal(image(), before, 'the image is as it was');
});

tidy('a bomb of forks, and a group that it stands still in', async t => {
  await within({ cgroup: { pids: { max: 20 } }, command: ['perl', '-e', 'for (;;) { my $pid = fork; sleep 1000 if defined $pid && $pid == 0; select undef, undef, undef, 0.001 }'] }, async host => {
    await until(async () => (await host.processes()).length >= 19);
    for (let i = 0; i < 10; ++i) {
      const child = host.exec('true', { stdio: 'ignore' });
      t.ok(await settles(child.exited, 20_000));
      const result = await child.exited.then(({ code }) => code, (error: ContainedError) => error.code);
      t.match(result, /^(0|EAGAIN)$/);
    }
  });
}, { skip: needsLimits });
