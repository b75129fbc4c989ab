import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { explain, run, spawnContained, type Mount, type SpawnOptions } from 'spawn-contained';
import { busyboxRoot, needsRoot, root, sameAs, scratch, surroundings } from './env.js';

const sh = async (script: string, options: SpawnOptions = {}): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
/** Without root uid 0 inside is the caller outside, so both passes write as 0. */
const asRoot: SpawnOptions = { user: 0 };

type Test = { teardown(f: () => void): void };
/** A directory with these files: path → text. */
function tree(t: Test, files: Record<string, string>): string {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(directory, path, '..'), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  return directory;
}
const layersOf = (t: Test, ...layers: Record<string, string>[]): string[] => layers.map(files => tree(t, files));
interface Found { target: string; fstype: string; options: string; source: string }
const findmnt = async (options: SpawnOptions = {}): Promise<Found[]> =>
  (JSON.parse(await sh('findmnt --json --list -o TARGET,FSTYPE,OPTIONS,SOURCE', options)) as { filesystems: Found[] }).filesystems;
/** What is on top at a place. */
const topAt = (mounts: Found[], target: string): Found => mounts.filter(mount => mount.target === target).at(-1)!;

t.test('by default the root is the one of the host, read-only down to its last mount', async t => {
  t.equal((await sh('ls /')).trim(), readdirSync('/').filter(name => !name.startsWith('.')).sort().join('\n'));
  t.match(await sh(`touch /made`, asRoot), /Read-only file system/);
  t.match(await sh(`touch /etc/made`, asRoot), /Read-only file system/);
  const mounts = await findmnt(asRoot);
  t.ok(mounts.length > 10);
  for (const target of new Set(mounts.map(mount => mount.target))) {
    const { options } = topAt(mounts, target);
    const own = /^\/(proc|dev|tmp|run)(\/|$)/.test(target);
    t.ok(own || /^ro,/.test(options), `${target} ${options}`);
    t.ok(/nosuid/.test(options) || target.startsWith('/proc/') || target.startsWith('/dev/'), `${target} ${options}`);
  }
});

t.test('by default /tmp, /run, /dev and /proc are private and empty of what the host has there', async t => {
  const secret = join(scratch(t), 'secret');
  writeFileSync(secret, 'x');
  t.equal(await sh(`ls -A /tmp /run; echo new > /tmp/mine; cat /tmp/mine; stat -c %a /tmp /run`), '/run:\n\n/tmp:\nnew\n1777\n755\n');
  t.notOk(existsSync('/tmp/mine'));
  t.match(await sh(`cat ${secret}`), /No such file/);
  t.equal(await sh('echo /proc/[0-9]*'), '/proc/1\n');
  t.equal(await sh('ls -A /dev'), 'fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n');
});

t.test('the devices of /dev work, and no other can be made to', async t => {
  t.equal(await sh('head -c 3 /dev/zero | od -An -tx1; echo x > /dev/null; cat /dev/null; head -c 9 /dev/urandom | wc -c; head -c 9 /dev/random | wc -c'), ' 00 00 00\n9\n9\n');
  t.match(await sh('head -c 1 /dev/zero > /dev/full'), /No space left/);
  t.equal(await sh('stat -c "%t:%T %a" /dev/null /dev/zero /dev/full /dev/tty'), '1:3 666\n1:5 666\n1:7 666\n5:0 666\n');
  t.match(await sh('mknod /tmp/disk b 254 0 && cat /tmp/disk', { ...asRoot, capabilities: ['MKNOD'] }), root ? /Permission denied/ : /not permitted/);
  t.match(await sh('touch /dev/mine', { user: root ? 65534 : 0 }), root ? /Permission denied/ : '');
  t.match(topAt(await findmnt(), '/dev/pts'), { fstype: 'devpts', options: /ptmxmode=666/ });
});

t.test('a directory as root: there is nothing else, and it can be written to unless it is readonly', async t => {
  const rootfs = busyboxRoot(t);
  t.equal(await sh('ls /; id -u', { rootfs, ...asRoot }), 'bin\ndev\netc\nproc\nsys\ntmp\n0\n');
  t.equal(await sh('echo hello > /etc/made', { rootfs, ...asRoot }), '');
  t.equal(readFileSync(join(rootfs, 'etc/made'), 'utf8'), 'hello\n');
  t.match(await sh('echo hello > /etc/more', { rootfs, ...asRoot, readonly: true }), /Read-only/);
  t.notOk(existsSync(join(rootfs, 'etc/more')));
});

t.test('after the change of root no mount of the host is left, and no way up', async t => {
  const rootfs = busyboxRoot(t);
  const info = await sh('cat /proc/self/mountinfo', { rootfs });
  const targets = info.trim().split('\n').map(line => line.split(' ')[4]!);
  t.same(targets.filter(target => !/^\/$|^\/(proc|dev|sys)(\/|$)/.test(target)), []);
  t.equal(targets.filter(target => target === '/').length, 1);
  t.notMatch(info, /shared:|master:/, 'nothing of it is tied to the host');
  t.equal(await sh('cd /; cd ../../..; pwd; ls; ls /proc/1/root/..', { rootfs }), '/\nbin\ndev\netc\nproc\nsys\ntmp\nbin\ndev\netc\nproc\nsys\ntmp\n');
  t.match(await sh('mkdir /tmp/j; chroot /tmp/j /bin/sh', { rootfs, ...asRoot }), /not permitted/);
});

t.test('an overlay: the first layer is on top, and the writes go away with the container', async t => {
  const base = busyboxRoot(t);
  const [top, middle] = layersOf(t, { 'etc/who': 'top', 'etc/top': '' }, { 'etc/who': 'middle', 'etc/what': 'middle' });
  writeFileSync(join(base, 'etc/what'), 'base');
  const options: SpawnOptions = { rootfs: { lower: [top!, middle!, base] }, ...asRoot };
  t.equal(await sh('cat /etc/who /etc/what; ls /etc', options), 'topmiddletop\nwhat\nwho\n');
  t.equal(await sh('echo new > /etc/who; rm /etc/what; cat /etc/who; ls /etc', options), 'new\ntop\nwho\n');
  t.equal(await sh('cat /etc/who /etc/what', options), 'topmiddle');
  t.same([top, middle].map(layer => readdirSync(join(layer!, 'etc')).sort()), [['top', 'who'], ['what', 'who']]);
  t.match(await sh('touch /etc/x', { ...options, readonly: true }), /Read-only/);
});

t.test('an overlay with upper and work keeps the writes there', async t => {
  const base = busyboxRoot(t);
  const [upper, work] = [scratch(t), scratch(t)];
  const options: SpawnOptions = { rootfs: { lower: base, upper, work }, ...asRoot };
  t.equal(await sh('echo kept > /etc/kept; rm /bin/ls', options), '');
  t.equal(readFileSync(join(upper, 'etc/kept'), 'utf8'), 'kept\n');
  t.ok(existsSync(join(base, 'bin/ls')));
  t.equal(await sh('cat /etc/kept; test -e /bin/ls || echo gone', options), 'kept\ngone\n');
});

t.test('an overlay of 40 layers, whose names have colons and commas, has them all', async t => {
  const directory = scratch(t);
  const lower = Array.from({ length: 40 }, (_, i) => join(directory, `layer:${i},${'x'.repeat(60)}`));
  lower.forEach((layer, i) => {
    mkdirSync(join(layer, 'etc'), { recursive: true });
    writeFileSync(join(layer, `etc/file${i}`), String(i));
    writeFileSync(join(layer, 'etc/who'), String(i));
  });
  const rootfs = { lower: [...lower, busyboxRoot(t)] };
  t.equal(await sh('ls /etc | wc -l; cat /etc/who /etc/file0 /etc/file39', { rootfs }), '41\n0039');
  t.match(await sh('ls /tmp/a/etc | wc -l', { mounts: [{ type: 'overlay', target: '/tmp/a', lower }] }), '41');
});

t.test('binds: files and directories, read-write and read-only, with what is mounted below', async t => {
  const source = tree(t, { 'file': 'file', 'sub/inner': 'inner' });
  chmodSync(source, 0o777);
  const bind = (target: string, more: object = {}): Mount => ({ type: 'bind', source, target, ...more });
  t.equal(await sh('cat /tmp/a/file /tmp/a/sub/inner; echo made > /tmp/a/made', { ...asRoot, mounts: [bind('/tmp/a')] }), 'fileinner');
  t.equal(readFileSync(join(source, 'made'), 'utf8'), 'made\n');
  t.match(await sh('echo made > /tmp/a/more', { ...asRoot, mounts: [bind('/tmp/a', { readonly: true })] }), /Read-only/);
  t.equal(await sh('cat /tmp/x/y/f; ls /tmp/x', { mounts: [{ type: 'bind', source: join(source, 'file'), target: '/tmp/x/y/f' }] }), 'filey\n');
  const options = await sh('findmnt -n -o OPTIONS /tmp/a', { mounts: [bind('/tmp/a')] });
  t.match(options, /nosuid,nodev/);
});

t.test('a read-only bind is read-only below too, and can be had without what is below', { skip: needsRoot }, async t => {
  const source = tree(t, { 'sub/below': '' });
  execFileSync('mount', ['-t', 'tmpfs', 'none', join(source, 'sub')]);
  t.teardown(() => execFileSync('umount', [join(source, 'sub')]));
  writeFileSync(join(source, 'sub/above'), '');
  chmodSync(join(source, 'sub'), 0o777);
  const bind = (more: object): SpawnOptions => ({ ...asRoot, mounts: [{ type: 'bind', source, target: '/tmp/a', ...more }] });
  t.equal(await sh('ls /tmp/a/sub; touch /tmp/a/sub/new', bind({})), 'above\n');
  t.match(await sh('touch /tmp/a/sub/more', bind({ readonly: true })), /Read-only/);
  t.equal(await sh('ls /tmp/a/sub', bind({ recursive: false })), 'below\n');
  t.match(await sh('mount -o remount,bind,rw /tmp/a/sub', bind({ readonly: true })), /\[(1|32)\]/);
});

t.test('a tmpfs has the size and the mode that were given, and takes no more', async t => {
  const options: SpawnOptions = { ...asRoot, tmpfs: { '/tmp/a': '1M', '/tmp/b': { size: 8192, mode: 0o700 }, '/tmp/c': { readonly: true } }, mounts: [{ type: 'tmpfs', target: '/tmp/d', size: '2M', mode: 0o711 }] };
  t.equal(await sh('stat -c %a /tmp/a /tmp/b /tmp/d', options), '1777\n700\n711\n');
  t.match(await sh('head -c 2000000 /dev/zero > /tmp/a/big; stat -c %s /tmp/a/big', options), /^1048576\n\[0\] .*No space/);
  t.match(await sh('head -c 9000 /dev/zero > /tmp/b/big', options), /No space/);
  t.match(await sh('touch /tmp/c/x', options), /Read-only/);
  t.match(await sh('df -k --output=size /tmp/d /dev/shm /tmp /run | tail -4', options), /^ *2048\n *65536\n *65536\n *16384\n$/);
});

t.test('proc, sysfs, devpts and mqueue can be mounted where they are wanted', async t => {
  const mounts: Mount[] = (['proc', 'sysfs', 'devpts', 'mqueue'] as const).map(type => ({ type, target: `/tmp/${type}`, readonly: type === 'sysfs' }));
  const found = await findmnt({ mounts });
  for (const type of ['proc', 'sysfs', 'devpts', 'mqueue']) t.match(topAt(found, `/tmp/${type}`), { fstype: type, options: /nosuid/ });
  t.equal(await sh('ls /tmp/proc/1/cmdline /tmp/sysfs/class/net; ls /tmp/devpts', { mounts }), '/tmp/proc/1/cmdline\n\n/tmp/sysfs/class/net:\nlo\nptmx\n');
});

t.test('masked paths read as empty, files and directories, as uid 0 too', async t => {
  t.ok(readFileSync('/proc/interrupts', 'utf8').length > 0 && readdirSync('/sys/firmware').length > 0);
  t.equal(await sh('cat /proc/keys /proc/timer_list /proc/interrupts; for d in /proc/acpi /proc/scsi /sys/firmware; do if test -d $d; then ls -A $d; fi; done', asRoot), '');
  const rootfs = busyboxRoot(t);
  writeFileSync(join(rootfs, 'etc/secret'), 'x');
  t.equal(await sh('cat /etc/secret; ls -A /bin/.. | wc -l; ls -A /tmp', { rootfs, ...asRoot, maskedPaths: ['/etc/secret', '/tmp', '/not/there'] }), '6\n');
  t.match(await sh('echo x > /tmp/x', { rootfs, ...asRoot, maskedPaths: ['/tmp'] }), /Read-only/);
});

t.test('read-only paths refuse writes, even of uid 0', async t => {
  const rootfs = busyboxRoot(t);
  t.match(await sh('touch /tmp/ok; touch /etc/x', { rootfs, ...asRoot, readonlyPaths: ['/etc'] }), /Read-only/);
  t.ok(existsSync(join(rootfs, 'tmp/ok')) && !existsSync(join(rootfs, 'etc/x')));
  for (const path of ['/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger', '/proc/irq/default_smp_affinity']) {
    if (existsSync(path)) t.match(await sh(`printf '' > ${path}`, asRoot), /Read-only|Permission denied/, path);
  }
});

t.test('no /proc of a container lets uid 0 write to the settings of the host, wherever it is mounted', async t => {
  const write = (proc: string): string => `cat ${proc}/sys/kernel/core_pattern > /tmp/was; cat /tmp/was > ${proc}/sys/kernel/core_pattern && echo written`;
  for (const mount of [{ type: 'proc', target: '/proc' }, { type: 'proc', target: '/tmp/p' }, { type: 'bind', source: '/proc', target: '/tmp/p' }, { type: 'bind', source: '/proc/sys', target: '/tmp/p/sys' }] as Mount[]) {
    const out = await sh(write(mount.target.replace(/\/sys$/, '')), { ...asRoot, mounts: [mount] });
    t.notMatch(out, 'written', JSON.stringify(mount));
  }
  t.notMatch(await sh(write('/proc'), { ...asRoot, ns: ['mnt'] }), 'written', 'without a pid namespace');
});

t.test('/sys is read-only where uid 0 is the one of the host', async t => {
  t.match(await sh('printf "" > /sys/kernel/uevent_helper || echo no; printf "" > /sys/power/state || echo no; touch /sys/fs/cgroup/x', asRoot), /Read-only|Permission|No such/);
  t.match((await findmnt(asRoot)).filter(mount => mount.target === '/sys').at(-1), { options: /^ro,/ });
});

t.test('a root whose directories are links out of it makes nothing on the host', async t => {
  // Not below /tmp, which is one of the links.
  const outside = mkdtempSync('/var/tmp/contained-test-');
  t.teardown(() => rmSync(outside, { recursive: true }));
  const up = '../'.repeat(12);
  const cases: [string, string, SpawnOptions][] = [
    ['dev', outside, {}], ['dev', `${up}${outside.slice(1)}`, {}], ['proc', outside, {}], ['sys', outside, {}], ['tmp', outside, { tmpfs: ['/tmp'] }],
    ['tmp', outside, { tmpfs: ['/tmp/a/b'] }], ['tmp', outside, { mounts: [{ type: 'bind', source: '/etc/passwd', target: '/tmp/file' }] }],
    ['etc', `${up}${outside.slice(1)}`, { mounts: [{ type: 'bind', source: '/usr', target: '/etc/a/b' }] }], ['etc', '/proc/self/root', { tmpfs: ['/etc/x'] }],
    ['etc', '/proc/1/root', { tmpfs: ['/etc/x'] }], ['etc', '/proc/self/fd/3', { tmpfs: ['/etc/x'] }], ['tmp', outside, { maskedPaths: ['/tmp'], readonlyPaths: ['/tmp'] }],
    ['tmp', outside, { mounts: [{ type: 'overlay', lower: '/usr', target: '/tmp/o' }] }],
  ];
  const rootfs = busyboxRoot(t);
  const ends = new Set<string>();
  for (const [name, link, options] of cases) {
    for (const whole of [false, true]) {
      renameSync(join(rootfs, name), join(rootfs, 'aside'));
      symlinkSync(link, join(rootfs, name));
      // The same place inside the root: a mount may go there, and nowhere else.
      if (whole) mkdirSync(join(rootfs, outside), { recursive: true });
      const end = await run({ command: 'true', ...asRoot, ...options, rootfs }).then(() => 'ran', (error: Error & { code: string }) => error.code);
      ends.add(end);
      t.same(readdirSync(outside), [], `${name} -> ${link} ${JSON.stringify(options)}`);
      rmSync(join(rootfs, name), { recursive: true });
      rmSync(join(rootfs, 'var'), { recursive: true, force: true });
      renameSync(join(rootfs, 'aside'), join(rootfs, name));
    }
  }
  t.ok(ends.has('ran') && ends.size > 1, 'some were started, inside their root, and some refused');
  t.notOk(existsSync('/x'));
});

t.test('a working directory that leads out of the root by an open descriptor is refused', async t => {
  const rootfs = busyboxRoot(t);
  const layer = tree(t, { here: '' });
  for (let fd = 3; fd < 40; ++fd) {
    for (const root of [rootfs, { lower: [layer, rootfs] }]) {
      const result = await run({ command: ['sh', '-c', 'cd -P ../../../..; pwd -P; ls'], rootfs: root, cwd: `/proc/self/fd/${fd}` }).then(({ stdout }) => stdout, (error: Error) => error);
      if (typeof result === 'string') t.match(result, /^\/\nbin\n/, `descriptor ${fd}: ${JSON.stringify(result)}`);
    }
  }
  t.pass('no descriptor of the setup is a way out');
});

t.test('sixty mounts are sixty mounts', async t => {
  const source = tree(t, { it: '' });
  const mounts = Array.from({ length: 60 }, (_, i): Mount => i % 2 ? { type: 'tmpfs', target: `/tmp/m/${i}` } : { type: 'bind', source, target: `/tmp/m/${i}` });
  t.equal(await sh('grep -c " /tmp/m/" /proc/self/mountinfo; ls /tmp/m/0', { mounts }), '60\nit\n');
  t.equal(explain({ command: 'true', mounts }).child.filter(op => op.op === 'moveMount' && op.path?.startsWith('/tmp/m/')).length, 60);
});

t.test('what is missing or cannot be mounted is told with the step and the path', async t => {
  const gone = '/contained-test/no/such/directory';
  await t.rejects(run({ command: 'true', rootfs: gone }), { name: 'ContainedError', code: 'ENOENT', errno: -2, path: gone, step: `open ${gone}`, hint: /does not exist/ });
  await t.rejects(run({ command: 'true', mounts: [{ type: 'bind', source: gone, target: '/tmp/a' }] }), { name: 'ContainedError', code: 'ENOENT', path: gone });
  await t.rejects(run({ command: 'true', rootfs: { lower: ['/usr', gone] } }), { name: 'ContainedError', code: 'ENOENT', path: gone });
  await t.rejects(run({ command: 'true', mounts: [{ type: 'bind', source: '/usr', target: '/etc/passwd' }] }), { name: 'ContainedError', code: /^(ENOTDIR|EINVAL)$/, path: '/etc/passwd' });
  await t.rejects(run({ command: 'true', rootfs: '/etc/passwd' }), { name: 'ContainedError', code: 'ENOTDIR' });
});

t.test('a mount point that is missing is not made on the root of the host', { skip: needsRoot }, async t => {
  const target = `/contained-test-${process.pid}`;
  t.teardown(() => rmSync(target, { recursive: true, force: true }));
  const end = await run({ command: 'true', tmpfs: [target] }).then(() => 'ran', (error: Error) => error.name);
  t.match(end, /^(ran|ContainedError)$/);
  t.notOk(existsSync(target), 'the host is as it was');
});

t.test('the mounts of the host are the same after all of these', async t => {
  await sh('true');
  const before = surroundings();
  const rootfs = busyboxRoot(t);
  for (const options of [{}, { rootfs }, { rootfs: { lower: [rootfs] } }, { mounts: [{ type: 'bind', source: '/usr', target: '/tmp/a', propagation: 'shared' }] }] as SpawnOptions[]) await sh('true', options);
  const child = spawnContained({ command: ['sleep', '1000'], rootfs });
  await child.ready;
  t.equal(surroundings().mounts, before.mounts, 'while one runs');
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), basename(rootfs));
  await child.killAll();
  t.same(await sameAs(before), before);
});
