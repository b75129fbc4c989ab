// A group that is given away: to a container in a user namespace, or to somebody of the host.
import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createCgroup, run } from 'spawn-contained';
import type { CgroupOptions, SpawnOptions } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { errorOf, group, grouping, nameFor, root, unified, v2Controllers, version, directoriesNamed } from './groups.js';

const inUserNamespace: SpawnOptions = {
  ns: ['user', 'mnt', 'pid', 'cgroup'], user: 0,
  uidMap: [{ inside: 0, outside: 200_000, count: 65_536 }], gidMap: [{ inside: 0, outside: 200_000, count: 65_536 }],
};
const limits: CgroupOptions = version('pids') === 2 ? { pids: { max: 20 } } : {};

async function inside(script: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await run({ command: ['sh', '-c', script], ...inUserNamespace, cgroup: { delegate: true, ...limits }, reject: false });
}

grouping('inside, there is a tree of its own that can be written to', async t => {
  if (unified === undefined) {
    return void t.match(await errorOf(() => run({ command: 'true', ...inUserNamespace, cgroup: { delegate: true } })), { name: 'ContainedError', code: 'ENOTSUP', step: /delegate/ });
  }
  const { stdout, stderr, code } = await inside(`
    set -e
    grep ' /sys/fs/cgroup .* - cgroup2 ' /proc/self/mountinfo | tail -1 | cut -d' ' -f4
    sed -n 's/^0:://p' /proc/self/cgroup
    grep -qx $$ /sys/fs/cgroup/cgroup.procs && echo here
    mkdir /sys/fs/cgroup/sub /sys/fs/cgroup/sub/deep
    echo $$ > /sys/fs/cgroup/sub/cgroup.procs
    sed -n 's/^0:://p' /proc/self/cgroup
    cat /sys/fs/cgroup/cgroup.controllers
    for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done
    ls /sys/fs/cgroup/sub | grep -c '^pids.max$' || true
    rmdir /sys/fs/cgroup/sub/deep
    ls -d /sys/fs/cgroup/spawn-contained* 2>/dev/null || echo alone`);
  t.equal(stderr, '');
  t.equal(code, 0);
  const lines = stdout.split('\n');
  t.same([lines[0], lines[1], lines[2], lines[3]], ['/', '/', 'here', '/sub'], 'the uppermost mount shows its own tree');
  for (const controller of Object.keys(limits)) t.ok(lines[4]!.split(' ').includes(controller), controller);
  t.same(lines.slice(5), [version('pids') === 2 ? '1' : '0', 'alone', '']);
}, root);

grouping('inside, its own limits cannot be raised, and nothing above it is reached', async t => {
  if (unified === undefined) return;
  const files = [...version('pids') === 2 ? ['pids.max'] : [], 'cgroup.max.depth', 'cgroup.max.descendants', 'cgroup.freeze'];
  for (const file of files) {
    const { stderr, code } = await inside(`echo max > /sys/fs/cgroup/${file}`);
    t.not(code, 0, file);
    t.match(stderr, /permission denied|cannot create|not permitted/i, file);
  }
  const { stdout } = await inside('cat /sys/fs/cgroup/pids.max 2>/dev/null; ls /sys/fs/cgroup | grep -E "^(unified|release_agent|contained-test.*)$"; echo end');
  t.equal(stdout, `${version('pids') === 2 ? '20\n' : ''}end\n`);
}, root);

grouping('what is left in it goes with the container', async t => {
  if (unified === undefined) return;
  const { code, stdout } = await inside('mkdir /sys/fs/cgroup/a /sys/fs/cgroup/a/b /sys/fs/cgroup/c; (setsid sleep 1000 & echo $! > /sys/fs/cgroup/a/b/cgroup.procs) ; echo made');
  t.same([code, stdout], [0, 'made\n']);
}, root);

grouping('without delegation a container cannot write to its group', async t => {
  const { stdout } = await run({ command: ['sh', '-c', 'mkdir /sys/fs/cgroup/sub 2>/dev/null || mkdir /sys/fs/cgroup/unified/sub 2>/dev/null || echo refused'], ...inUserNamespace, cgroup: limits });
  t.equal(stdout, 'refused\n');
}, root);

grouping('a group is given to a user of the host, but for its limits', async t => {
  const ids = { uid: 54_321, gid: 54_322 };
  if (unified === undefined) {
    const name = nameFor();
    t.match(await errorOf(() => createCgroup({ name, delegate: ids })), { name: 'ContainedError', code: 'ENOTSUP', step: /delegate/ });
    return void t.same(directoriesNamed(name), []);
  }
  const made = await group({ delegate: ids, ...limits });
  const directory = made.paths['unified']!;
  for (const file of ['', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control']) {
    const { uid, gid } = statSync(join(directory, file));
    t.same({ uid, gid }, ids, file);
  }
  for (const file of ['cgroup.freeze', 'cgroup.kill', 'cgroup.max.depth', 'pids.max', 'memory.max'].filter(file => existsSync(join(directory, file)))) t.equal(statSync(join(directory, file)).uid, 0, file);
  const as = (script: string): string => execFileSync('setpriv', ['--reuid=54321', '--regid=54322', '--clear-groups', 'sh', '-c', script], { encoding: 'utf8', cwd: '/' });
  t.equal(as(`mkdir ${directory}/sub && rmdir ${directory}/sub && echo made`), 'made\n');
  if (v2Controllers.length > 0) t.match(as(`echo max > ${directory}/cgroup.max.depth 2>&1 || echo refused`), /refused/);
}, root);

grouping('whatever it makes there, all of it goes, and the launcher lives', async t => {
  if (unified === undefined) return;
  await run({ command: 'true' });
  const launcher = native().launcherPid();
  const long = (length: number): string => `mkdir /sys/fs/cgroup/$(printf '%0${length}d' 0)`;
  const scripts = [
    ...[255, 256, 300, 3000, 4000].map(long), 'mkdir /sys/fs/cgroup/.hidden /sys/fs/cgroup/..two /sys/fs/cgroup/.hidden/...',
    'cd /sys/fs/cgroup; for i in $(seq 32); do mkdir d && cd d; done', 'cd /sys/fs/cgroup; for i in $(seq 990); do mkdir g$i; done',
    'cd /sys/fs/cgroup; for i in $(seq 30); do mkdir a$i; for k in $(seq 30); do mkdir a$i/b$k; done; done',
  ];
  for (const script of scripts) t.match(await inside(script), { code: 0, stderr: '' }, script.slice(0, 60));
  t.not((await inside('cd /sys/fs/cgroup; for i in $(seq 33); do mkdir d && cd d || exit 1; done')).code, 0, 'no deeper');
  t.not((await inside('cd /sys/fs/cgroup; for i in $(seq 1001); do mkdir g$i || exit 1; done')).code, 0, 'and no more');
  t.equal(native().launcherPid(), launcher, 'it is the same one');
}, root);

/** This library, used by a Node that is itself in a container; prints what `script` returns, or the error. */
const nested = async (script: string, options: SpawnOptions): Promise<string> => {
  const index = new URL('../dist/lib/index.js', import.meta.url).href;
  // It may stand below /tmp, which is another one inside.
  const tree = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
  const text = `import(${JSON.stringify(index)}).then(async ({ createCgroup, run }) => { ${script} }).then(console.log, error => console.log(error.code, error.hint))`;
  return (await run({ command: ['/usr/bin/env', '-u', 'NODE_OPTIONS', process.execPath, '-e', text], mounts: [{ type: 'bind', source: tree, target: tree, readonly: true }], ...options })).stdout;
};

grouping('inside a container with a cgroup namespace of its own, groups are made in its part of the tree', async t => {
  if (unified === undefined) return;
  const script = "const group = await createCgroup({ name: 'inner' }); const { reason } = await run({ command: 'true', cgroup: group, ns: [] }); await group.remove(); return [...Object.values(group.paths), reason].join(' ')";
  t.equal(await nested(script, { ...inUserNamespace, cgroup: { delegate: true } }), '/sys/fs/cgroup/inner exit\n');
}, root);

grouping('where the cgroups are mounted read-only, the refusal says so', async t => {
  const said = await nested('return await createCgroup()', { ns: ['mnt', 'pid', 'cgroup'], user: 0 });
  t.match(said, /^ENOTSUP .*read-only/);
}, root);
