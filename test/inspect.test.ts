// What a container tells of itself, beside what ps(1), lsns(8), nsenter(1) and the kernel's own files tell.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { cgroupOf, spawnContained } from 'spawn-contained';
import type { Contained, NamespaceKind, SpawnOptions } from 'spawn-contained';
import { mark, needsLimits, needsRoot, processesWith, root, tidy, until } from './env.js';
import { group, grouping, member, settles } from './groups.js';

async function started(command: readonly [string, ...string[]], options: SpawnOptions = {}): Promise<Contained & { pid: number }> {
  return await spawnContained({ command, stdio: ['pipe', 'pipe', 'inherit'], ...options }).ready as Contained & { pid: number };
}

const ps = (pid: number, ...columns: string[]): string[] => {
  const line = execFileSync('ps', ['-o', columns.map(column => `${column}=`).join(','), '-p', String(pid)], { encoding: 'utf8' });
  return line.trim().split(/\s+/);
};
const status = (pid: number, key: string): string => new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;

/** All ways a container's processes are found by: a group, a pid namespace, parentage. */
const WAYS: [string, SpawnOptions][] = [
  ...needsLimits ? [] : [['a group', { cgroup: {} }] as [string, SpawnOptions]],
  ['a pid namespace', {}],
  ['neither', { ns: ['mnt', 'net'] }],
];

for (const [name, options] of WAYS) {
  for (const init of [false, true]) {
    tidy(`its processes, found by ${name}${init ? ', with init' : ''}`, async t => {
      const word = mark();
      const container = await started(['sh', '-c', `sleep ${word} & sh -c "sleep ${word} & wait" & wait`], { ...options, init });
      const stranger = await started(['sh', '-c', `sleep ${mark()}; :`], options);
      t.ok(await until(() => processesWith(`sleep\0${word}`).length === 2));
      t.ok(await until(async () => (await container.processes()).every(({ state }) => state === 'sleeping')));
      const list = await container.processes();
      const expected = processesWith(word).filter(pid => pid !== process.pid);
      t.same(list.map(({ pid }) => pid), [...new Set([container.pid, ...expected])].sort((a, b) => a - b));
      const byPid = new Map(list.map(info => [info.pid, info]));
      for (const info of list) {
        const [ppid, comm, uid, gid, threads, rss] = ps(info.pid, 'ppid', 'comm', 'euid', 'egid', 'nlwp', 'rss');
        const inner = status(info.pid, 'NSpid').split(/\s+/).map(Number).at(-1)!;
        t.match(info, { innerPid: inner, name: comm, hostUid: Number(uid), hostGid: Number(gid), threads: Number(threads), state: 'sleeping' }, comm!);
        t.equal(info.innerParent, byPid.get(Number(ppid))?.innerPid ?? 0);
        t.ok(Math.abs(info.rss - Number(rss) * 1024) < 2 ** 20, `${info.rss} ${rss}`);
        t.same(info.command, readFileSync(`/proc/${info.pid}/cmdline`, 'utf8').split('\0').slice(0, -1));
        t.ok(Date.now() - info.started.getTime() < 30_000 && Date.now() - info.started.getTime() > -100, String(info.started));
        t.ok(info.userMs >= 0 && info.systemMs >= 0);
      }
      t.same(JSON.parse(JSON.stringify(list)), list.map(info => ({ ...info, started: info.started.toJSON() })), 'plain data');
      t.notOk((await stranger.processes()).some(({ pid }) => byPid.has(pid)), 'another container has others');
      await Promise.all([container.killAll(), stranger.killAll()]);
    });
  }
}

tidy('ids are told as the container numbers them and as the host does', async t => {
  const container = await started(['sleep', '1000'], { ns: ['pid', 'mnt', 'user', 'net'] });
  const [info] = await container.processes();
  const [uid, gid] = ps(container.pid, 'euid', 'egid').map(Number);
  const inside = (map: string, id: number): number => {
    const [first, outside] = readFileSync(`/proc/${container.pid}/${map}`, 'utf8').trim().split(/\s+/).map(Number);
    return id - outside! + first!;
  };
  t.match(info, { hostUid: uid, hostGid: gid, uid: inside('uid_map', uid!), gid: inside('gid_map', gid!) });
  const { privileges } = await container.inspect();
  t.match(privileges, { hostUid: uid, uid: info!.uid, gid: info!.gid });
  t.equal(privileges!.uidMap.map(({ inside, outside, count }) => `${inside} ${outside} ${count}`).join(), readFileSync(`/proc/${container.pid}/uid_map`, 'utf8').trim().split(/\s+/).join(' '));
  await container.killAll();
});

tidy('names and arguments that are made to deceive stand where they belong', async t => {
  const names = [') R 1 1 1', 'a\nUid:\t0\t0\t0', '((((', '\u001b[2J', 'NSpid:\t1'];
  const script = `
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
for name in ${JSON.stringify(names)}:
    if os.fork() == 0:
        libc.prctl(15, name.encode(), 0, 0, 0)
        time.sleep(1000)
if os.fork() == 0: os.execv("/bin/sh", [" ", "-c", "sleep 1000; :", "x\\n\\ny", "", "é" * 3000, "never"])
if os.fork() == 0: os.execv("/bin/sh", ["sh", "-c", "sleep 1000; :"] + ["z" * 100000] * 10)
if os.fork() == 0: os._exit(0)
print("ready", flush=True)
time.sleep(1000)`;
  const container = await started(['python3', '-c', script]);
  await once(container.stdout!, 'data');
  let list = await container.processes();
  t.ok(await until(async () => {
    list = await container.processes();
    const called = list.map(({ name }) => name);
    // Each has become what it is to be, and stands still.
    return names.every(name => called.includes(name.slice(0, 15))) && called.filter(name => name === 'sleep').length === 2
      && list.filter(({ state }) => state === 'zombie').length === 1 && list.every(({ state }) => state === 'zombie' || state === 'sleeping');
  }));
  t.equal(list.length, 11);
  for (const name of names) {
    const found = list.filter(info => info.name === name.slice(0, 15));
    t.match(found, [{ innerParent: 1, state: 'sleeping', hostUid: Number(status(container.pid, 'Uid').split('\t')[1]) }], JSON.stringify(name));
  }
  const long = list.filter(({ command }) => command!.join(' ').length > 2000);
  t.equal(long.length, 2);
  t.ok(long.every(({ command }) => Buffer.byteLength(command!.join('\0')) <= 4200));
  t.match(long.find(({ command }) => command![0] === ' '), { command: [' ', '-c', 'sleep 1000; :', 'x\n\ny', '', /^é+.?$/] });
  t.match(list.filter(({ state }) => state === 'zombie'), [{ command: [], rss: 0, threads: 1, innerParent: 1 }]);
  t.ok((await container.stats()).memory.current! > 0, 'a zombie does not disturb the sum');
  await container.killAll();
});

tidy('listed while it forks, every process is whole', async t => {
  const fork = 'while :; do (:) & (:) & wait; done';
  const container = await started(['sh', '-c', `for i in 1 2 3 4; do (${fork}) & done; wait`], needsLimits ? {} : { cgroup: { pids: { max: 50 } } });
  for (let i = 0; i < 30; ++i) {
    const list = await container.processes();
    t.ok(list.length >= 1 && list.every(info => info.innerPid! > 0 && info.name !== '' && info.started.getTime() > 0), JSON.stringify(list));
    if (i % 10 === 0) t.ok((await container.stats()).timeMs > 0);
  }
  const lists = Promise.allSettled(Array.from({ length: 5 }, () => container.processes()));
  await container.killAll();
  for (const result of await lists) if (result.status === 'rejected') t.match(result.reason, { code: 'ESRCH' }, 'or it has ended meanwhile');
});

const KINDS: NamespaceKind[] = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'];

tidy('its namespaces, as lsns tells them', async t => {
  for (const init of [false, true]) {
    const container = await started(['sleep', '1000'], { init });
    t.ok(await until(async () => (await container.processes()).some(({ name }) => name === 'sleep')));
    const command = (await container.processes()).find(({ name }) => name === 'sleep')!.pid;
    const { namespaces } = await container.inspect();
    t.same(Object.keys(namespaces!).sort(), [...KINDS].sort());
    for (const kind of KINDS) {
      const { inode, own, sharedWith } = namespaces![kind]!;
      t.equal(`${kind}:[${inode}]`, readlinkSync(`/proc/${command}/ns/${kind}`));
      t.equal(own, readlinkSync(`/proc/self/ns/${kind}`) !== `${kind}:[${inode}]`, kind);
      if (own) {
        t.same(sharedWith, [], `${kind} is its own`);
        t.equal(Number(execFileSync('lsns', ['-n', '-t', kind, '-o', 'NPROCS', String(inode)], { encoding: 'utf8' }).trim().split('\n').length), init && root ? 2 : 1);
      } else t.ok(sharedWith.length > 0 && sharedWith.length <= 16 && sharedWith.every(pid => pid !== command), kind);
    }
    await container.killAll();
  }
});

tidy('who shares a namespace is named', async t => {
  const one = await started(['sleep', '1000']);
  const two = await started(['sleep', '1000'], { ns: root ? { pid: 'new', mnt: 'new', net: one } : { user: one, pid: 'new', mnt: 'new', net: one } });
  const { namespaces } = await one.inspect();
  t.same(namespaces!.net!.sharedWith, [two.pid]);
  t.same(namespaces!.pid!.sharedWith, []);
  t.same((await two.inspect()).namespaces!.net, { inode: namespaces!.net!.inode, own: true, sharedWith: [one.pid] });
  t.same((await one.stats()).net, (await two.stats()).net, 'and so are the counters of the network');
  await Promise.all([one.killAll(), two.killAll()]);
});

tidy('its mounts, limits and privileges, as the kernel tells them', async t => {
  const options: SpawnOptions = {
    tmpfs: { '/tmp/data dir': '1M' }, rlimits: { nofile: { soft: 100, hard: 200 }, core: 'unlimited' }, hostname: 'inspected', cwd: '/tmp', env: { A: 'b=c', PATH: '/bin:/usr/bin' },
    ...root ? { capabilities: ['NET_BIND_SERVICE'], user: 0 } : {},
  };
  if (!root) delete (options.rlimits as { core?: unknown }).core;
  const given = JSON.stringify(options);
  const container = await started(['sleep', '1000'], options);
  const told = await container.inspect();
  t.equal(JSON.stringify(options), given, 'the options are as they were');
  t.match(told, { id: undefined, pid: container.pid, state: 'running', command: ['sleep', '1000'], env: { A: 'b=c', PATH: '/bin:/usr/bin' }, cwd: '/tmp', hostname: 'inspected', cgroup: container.cgroup });
  t.ok(Math.abs(Date.now() - told.started!.getTime()) < 30_000);
  const lines = readFileSync(`/proc/${container.pid}/mountinfo`, 'utf8').trim().split('\n');
  t.equal(told.mounts!.length, lines.length);
  t.ok(told.mounts!.every(({ target }, i) => lines[i]!.split(' ')[4] === target.replace(/ /g, '\\040')), 'in their order');
  t.match(told.mounts!.find(({ target }) => target === '/tmp/data dir'), { type: 'tmpfs', root: '/', propagation: 'private' });
  t.ok(told.mounts!.find(({ target }) => target === '/')!.options.includes('ro'));
  t.same(told.rlimits!.nofile, { soft: 100, hard: 200 });
  const prlimit = execFileSync('prlimit', ['-p', String(container.pid), '--noheadings', '--raw', '-o', 'RESOURCE,SOFT,HARD'], { encoding: 'utf8' }).trim().split('\n').map(line => line.split(' '));
  t.equal(prlimit.length, Object.keys(told.rlimits!).length);
  for (const [name, soft, hard] of prlimit) t.same(Object.values((told.rlimits as never)[name!.toLowerCase() as never]).map(String), [soft, hard], name!);
  const { capabilities, noNewPrivileges, seccomp } = told.privileges!;
  for (const [key, line] of [['effective', 'CapEff'], ['permitted', 'CapPrm'], ['inheritable', 'CapInh'], ['bounding', 'CapBnd'], ['ambient', 'CapAmb']] as const) {
    t.equal(capabilities[key].length, [...BigInt(`0x${status(container.pid, line)}`).toString(2)].filter(bit => bit === '1').length, key);
  }
  if (root) t.same(capabilities.effective, ['NET_BIND_SERVICE']);
  t.equal(noNewPrivileges, status(container.pid, 'NoNewPrivs') === '1');
  t.equal(['off', 'strict', 'filter'].indexOf(seccomp), Number(status(container.pid, 'Seccomp')));
  t.same(JSON.parse(JSON.stringify(told)).namespaces, told.namespaces, 'plain data');
  await container.killAll();
  t.match(await container.inspect(), { state: 'ended', namespaces: undefined, mounts: undefined, started: undefined });
});

tidy('paused is told whoever has done it', async t => {
  const container = await started(['sleep', '1000'], { cgroup: {} });
  t.equal((await container.inspect()).state, 'running');
  await container.pause();
  t.equal((await container.inspect()).state, 'paused');
  t.equal((await container.processes()).length, 1, 'who stands still is listed');
  await container.killAll();
}, { skip: needsLimits });

grouping('who was put into its group from outside has no pid in it', async t => {
  const container = await started(['sleep', '1000'], { cgroup: {} });
  const stranger = spawn('sleep', ['1000']);
  const made = await cgroupOf(container.pid);
  t.same((await made.move([stranger.pid!])).errors, []);
  t.match((await container.processes()).find(({ pid }) => pid === stranger.pid), { innerPid: undefined, innerParent: 0, name: 'sleep' });
  const gone = once(stranger, 'exit');
  await container.killAll();
  t.ok(await settles(gone, 5000));
}, { skip: needsRoot });

grouping('in a group of several, those of the others are not its own', async t => {
  const made = await group();
  const other = await member(made);
  const [one, two] = await Promise.all([started(['sleep', '1000'], { cgroup: made }), started(['sleep', '1000'], { cgroup: made })]);
  t.same((await one.processes()).map(({ pid }) => pid), [one.pid]);
  t.same((await two.processes()).map(({ pid }) => pid), [two.pid]);
  t.equal(other.exitCode, null);
  await Promise.all([one.killAll(), two.killAll()]);
}, { skip: needsRoot });

tidy('no descriptor is left of what was looked at', async t => {
  const before = readdirSync('/proc/self/fd').length;
  const container = await started(['sleep', '1000'], needsLimits ? {} : { cgroup: {} });
  for (let i = 0; i < 20; ++i) await Promise.all([container.processes(), container.inspect(), container.stats()]);
  await container.killAll();
  t.ok(await until(() => readdirSync('/proc/self/fd').length <= before + 1));
});
