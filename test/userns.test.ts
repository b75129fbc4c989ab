import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { userInfo } from 'node:os';
import t from 'tap';
import { explain, run, spawnContained, type IdRange, type Mount, type SpawnOptions } from 'spawn-contained';
import { needsRoot, needsUser, root, sameAs, scratch, surroundings } from './env.js';

const uid = process.getuid!();
const gid = process.getgid!();
const USER = ['user', 'mnt', 'pid'] as const;

const sh = async (script: string, options: SpawnOptions = {}): Promise<string> => {
  const { stdout, stderr, code } = await run({ ns: USER, ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
/** A map file without its padding. */
const rows = (text: string): string => text.trim().split('\n').map(line => line.trim().split(/\s+/).join(' ')).join('\n');
const maps = async (options: SpawnOptions): Promise<string> => rows(await sh('cat /proc/self/uid_map; echo -; cat /proc/self/gid_map; echo -; cat /proc/self/setgroups', options));
const GO = { op: 'go', from: 0, count: 0 };
const released = (options: SpawnOptions): unknown[] => explain({ command: 'true', ns: USER, ...options }).release.map(op => ({ ...op }));
const row = (inside: number, outside: number, count: number): IdRange => ({ inside, outside, count });

/** The ranges granted to this user. */
function granted(kind: 'uid' | 'gid'): { first: number; count: number } | undefined {
  const line = readFileSync(`/etc/sub${kind}`, 'utf8').split('\n').map(text => text.split(':')).find(([name]) => name === userInfo().username || name === String(uid));
  return line && { first: Number(line[1]), count: Number(line[2]) };
}
const mine = { uid: granted('uid'), gid: granted('gid') };

/** A directory that everybody may write to, bound into the container at /tmp/out. */
function outside(t: { teardown(f: () => void): void }): { directory: string; mounts: readonly Mount[] } {
  const directory = join(scratch(t), 'out');
  mkdirSync(directory);
  chmodSync(join(directory, '..'), 0o755);
  chmodSync(directory, 0o1777);
  return { directory, mounts: [{ type: 'bind', source: directory, target: '/tmp/out' }] };
}
const owner = (path: string): string => `${statSync(path).uid}:${statSync(path).gid}`;

t.test('as root any map can be given: a single id', { skip: needsRoot }, async t => {
  const options = { uidMap: [row(0, 70_000, 1)], gidMap: [row(0, 80_000, 1)] };
  t.same(released(options), [{ op: 'writeProc', file: 'uid_map', text: '0 70000 1' }, { op: 'writeProc', file: 'gid_map', text: '0 80000 1' }, GO]);
  t.equal(await maps(options), '0 70000 1\n-\n0 80000 1\n-\nallow');
  t.equal(await sh('id -u; id -g; id -G', options), '0\n0\n0\n');
  const { directory, mounts } = outside(t);
  t.equal(await sh('touch /tmp/out/made; stat -c %u:%g /tmp/out/made', { ...options, mounts }), '0:0\n');
  t.equal(owner(join(directory, 'made')), '70000:80000');
});

t.test('as root several ranges can be given, and the user and groups be one of each', { skip: needsRoot }, async t => {
  const options: SpawnOptions = {
    uidMap: [row(0, 100_000, 1000), row(1000, uid, 1), row(1001, 200_000, 5000)], gidMap: [row(0, 300_000, 2000)],
    user: { uid: 1500, gid: 7, groups: [8, 9] },
  };
  t.equal(await maps(options), '0 100000 1000\n1000 0 1\n1001 200000 5000\n-\n0 300000 2000\n-\nallow');
  t.equal(await sh('id -u; id -g; id -G', options), '1500\n7\n7 8 9\n');
  const { directory, mounts } = outside(t);
  t.equal(await sh('touch /tmp/out/made', { ...options, mounts }), '');
  t.equal(owner(join(directory, 'made')), '200499:300007');
});

t.test('a map that begins elsewhere than at 0 has no root inside', { skip: needsRoot }, async t => {
  const options = { uidMap: [row(500, 70_500, 10)], gidMap: [row(600, 70_600, 10)] };
  t.equal(await sh('id -u; id -g', options), '500\n600\n');
  t.equal(await sh('id -u; id -g', { ...options, user: { uid: 509, gid: 601 } }), '509\n601\n');
});

t.test("as root 'auto', and no map, is a range of 65536 ids that nobody has", { skip: needsRoot }, async t => {
  for (const options of [{}, { uidMap: 'auto' as const }]) {
    const [, outer, count] = (await maps(options)).split('\n')[0]!.split(' ').map(Number);
    t.ok(outer! >= 65_536 && count === 65_536, `${outer} ${count}`);
    const taken = readFileSync('/etc/passwd', 'utf8').trim().split('\n').map(line => Number(line.split(':')[2]));
    t.notOk(taken.some(id => id >= outer! && id < outer! + count!));
    t.equal(await sh('id -u', options), '0\n');
  }
});

t.test('without root the own id is itself inside, and setgroups is denied', { skip: needsUser }, async t => {
  t.same(released({}), [
    { op: 'writeProc', file: 'setgroups', text: 'deny' }, { op: 'writeProc', file: 'uid_map', text: `${uid} ${uid} 1` },
    { op: 'writeProc', file: 'gid_map', text: `${gid} ${gid} 1` }, GO,
  ]);
  t.equal(await maps({}), `${uid} ${uid} 1\n-\n${gid} ${gid} 1\n-\ndeny`);
  t.equal(await sh('id -u; id -g', {}), `${uid}\n${gid}\n`);
});

t.test('without root the own id can be 0 inside, or any other', { skip: needsUser }, async t => {
  for (const inside of [0, 4242]) {
    const { directory, mounts } = outside(t);
    t.equal(await maps({ user: inside }), `${inside} ${uid} 1\n-\n${inside} ${gid} 1\n-\ndeny`);
    t.equal(await sh('id -u; touch /tmp/out/made; stat -c %u /tmp/out/made', { user: inside, mounts }), `${inside}\n${inside}\n`);
    t.equal(owner(join(directory, 'made')), `${uid}:${gid}`);
  }
  t.equal(await maps({ uidMap: [row(7, uid, 1)], gidMap: [row(8, gid, 1)] }), `7 ${uid} 1\n-\n8 ${gid} 1\n-\ndeny`);
});

t.test("without root 'auto' maps the own id and what /etc/subuid grants, by newuidmap", { skip: needsUser }, async t => {
  if (!mine.uid || !mine.gid) return t.fail(`grant ${userInfo().username} a range: usermod --add-subuids 165536-231071 --add-subgids 165536-231071`);
  const options: SpawnOptions = { uidMap: 'auto' };
  t.match(released(options), [{ op: 'newidmap', tool: '/usr/bin/newuidmap' }, { op: 'newidmap', tool: '/usr/bin/newgidmap' }, GO]);
  t.equal(await maps(options), `0 ${uid} 1\n1 ${mine.uid.first} ${mine.uid.count}\n-\n0 ${gid} 1\n1 ${mine.gid.first} ${mine.gid.count}\n-\nallow`);
  const { directory, mounts } = outside(t);
  t.equal(await sh('id -u; id -G; touch /tmp/out/own; chmod 666 /tmp/out/own', { ...options, mounts }), '0\n0\n');
  t.equal(await sh('id -u; id -G; touch /tmp/out/other', { ...options, mounts, user: { uid: 33, gid: 34, groups: [35, 36] } }), '33\n34 35 36\n');
  t.equal(owner(join(directory, 'own')), `${uid}:${gid}`);
  t.equal(owner(join(directory, 'other')), `${mine.uid.first + 32}:${mine.gid.first + 33}`);
  t.equal(await sh('id -un', { ...options, user: 'daemon' }), 'daemon\n');
  t.equal(await sh('rm /tmp/out/other', { ...options, mounts, capabilities: ['DAC_OVERRIDE', 'FOWNER'] }), '', 'so that it can be removed');
});

t.test('without root a part of the granted range can be mapped', { skip: needsUser }, async t => {
  const options: SpawnOptions = { uidMap: [row(0, mine.uid!.first + 10, 5)], gidMap: [row(0, mine.gid!.first + 20, 5)] };
  t.equal(await maps(options), `0 ${mine.uid!.first + 10} 5\n-\n0 ${mine.gid!.first + 20} 5\n-\nallow`);
});

t.test('without root a range that is not granted is refused, with what would grant it', { skip: needsUser }, async t => {
  const before = surroundings();
  for (const outer of [0, 1, mine.uid!.first + mine.uid!.count]) {
    await t.rejects(run({ command: 'true', ns: USER, uidMap: [row(0, outer, 1)] }), {
      name: 'ContainedError', code: 'EPERM', syscall: 'newidmap', step: /newuidmap/, hint: /\/etc\/subuid/,
    }, `${outer}`);
  }
  await t.rejects(run({ command: 'true', ns: USER, gidMap: [row(0, 0, 1)] }), { name: 'ContainedError', code: 'EPERM', step: /newgidmap/ });
  t.same((await sameAs(before)).children, before.children);
});

t.test('maps that the kernel refuses are told with the step', { skip: needsRoot }, async t => {
  const overlap = [row(0, 1000, 10), row(5, 2000, 10)];
  await t.rejects(run({ command: 'true', ns: USER, uidMap: overlap }), { name: 'ContainedError', code: 'EINVAL', step: 'write uid_map' });
  await t.rejects(run({ command: 'true', ns: USER, gidMap: overlap }), { name: 'ContainedError', code: 'EINVAL', step: 'write gid_map' });
});

t.test('uid 0 inside is nobody outside: it reads and writes what others may, and no more', async t => {
  const { directory, mounts } = outside(t);
  writeFileSync(join(directory, 'secret'), 'x', { mode: 0o600 });
  if (!root) return t.equal(await sh('id -u; cat /tmp/out/secret', { user: 0, mounts }), '0\nx', 'without root it is the caller');
  t.match(await sh('id -u; cat /tmp/out/secret', { mounts, capabilities: ['DAC_OVERRIDE', 'DAC_READ_SEARCH', 'SYS_ADMIN'] }), /^0\n\[1\] .*Permission denied/);
  t.match(await sh('chown 0 /tmp/out/secret', { mounts, capabilities: ['CHOWN'] }), /not permitted/);
  t.match(await sh('mknod /tmp/out/disk b 254 0', { mounts, capabilities: ['MKNOD'] }), /not permitted/);
});

t.test('capabilities kept are those over the own namespaces', async t => {
  const options: SpawnOptions = { ns: ['user', 'uts', 'mnt', 'pid'], user: 0, capabilities: ['SYS_ADMIN', 'SYS_TIME', 'SYS_MODULE'] };
  t.equal(await sh('hostname changed; uname -n', options), 'changed\n');
  t.match(await sh('date -s @0', options), /not permitted/);
  const before = readFileSync('/proc/self/mountinfo', 'utf8');
  t.equal(await sh('mount -t tmpfs none /tmp/ && touch /tmp/here && ls /tmp', options), 'here\n');
  t.equal(readFileSync('/proc/self/mountinfo', 'utf8'), before);
});

t.test('a namespace of ids that is entered makes one root in it, where it has one', async t => {
  const auto: SpawnOptions = root || mine.uid ? { uidMap: 'auto' } : { user: 0 };
  const first = spawnContained({ command: ['sleep', '1000'], ns: USER, ...auto });
  t.teardown(() => first.killAll());
  await first.ready;
  const ns = { user: first, mnt: first, pid: first };
  t.equal(await sh('id -u; id -g; grep Cap /proc/self/status | sort -u | cut -f2 | uniq', { ns }), '0\n0\n0000000000000000\n');
  t.equal(await sh('id -u; id -g', { ns, user: { uid: 12, gid: 13 } }), '12\n13\n');
  t.equal(await sh('id -G', { ns, user: { uid: 12, gid: 13, groups: [14, 15] } }), '13 14 15\n', 'with the groups that were asked for');
  await t.rejects(run({ command: 'true', ns, user: 100_000 }), { name: 'ContainedError', code: 'EINVAL', step: /setres[ug]id|fchown/ });
});

t.test('a container of one id can be entered without saying which', async t => {
  const map: SpawnOptions = { uidMap: [row(700, root ? 70_000 : uid, 1)], gidMap: [row(800, root ? 70_000 : gid, 1)] };
  const first = spawnContained({ command: ['sleep', '1000'], ns: USER, ...map });
  t.teardown(() => first.killAll());
  await first.ready;
  t.equal(await sh('id -u; id -g', { ns: { user: first, mnt: first, pid: first }, user: { uid: 700, gid: 800 } }), '700\n800\n');
  t.equal(await sh('id -u; id -g', { ns: { user: first, mnt: first, pid: first } }), '700\n800\n');
});

t.test('supplementary groups of Node do not come along', { skip: needsRoot }, async t => {
  const index = fileURLToPath(new URL('../dist/lib/index.js', import.meta.url));
  const script = `import { run, spawnContained } from ${JSON.stringify(index)};
    const groups = async options => console.log((await run({ ...options, command: ['id', '-G'] })).stdout.trim());
    await groups({}); await groups({ ns: ['user', 'mnt'] }); await groups({ ns: [] }); await groups({ user: 0 }); await groups({ user: 'daemon' });`;
  const out = execFileSync('setpriv', ['--groups', '4,27', process.execPath, '--input-type=module', '-e', script], { encoding: 'utf8' });
  t.same(out.trim().split('\n'), ['65534', '0', '65534', '0', '1']);
});

t.test('supplementary groups of Node do not come along into entered namespaces', { skip: needsRoot }, async t => {
  const index = fileURLToPath(new URL('../dist/lib/index.js', import.meta.url));
  const script = `import { run, spawnContained } from ${JSON.stringify(index)};
    const groups = async options => console.log((await run({ ...options, command: ['id', '-G'] })).stdout.trim());
    const first = await spawnContained({ command: ['sleep', '1000'], ns: ['user', 'mnt', 'pid'] }).ready;
    await groups({ ns: { pid: first, mnt: first }, user: 0 }); await groups({ ns: { user: first, mnt: first, pid: first } });
    await first.killAll();`;
  const out = execFileSync('setpriv', ['--groups', '4,27', process.execPath, '--input-type=module', '-e', script], { encoding: 'utf8' });
  t.same(out.trim().split('\n'), ['0', '0']);
});
