import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, copyFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { explain, run, spawnContained, type SpawnOptions } from 'spawn-contained';
import { busyboxRoot, needsRoot, needsUser, root, sameAs, scratch, surroundings } from './env.js';

const sh = async (script: string, options: SpawnOptions = {}): Promise<string> => {
  const { stdout, stderr, code } = await run({ ...options, command: ['sh', '-c', script], reject: false });
  return stdout + (code === 0 && stderr === '' ? '' : `[${code}] ${stderr}`);
};
const index = fileURLToPath(new URL('../dist/lib/index.js', import.meta.url));
/** Runs this in a Node of its own, started by a shell line that has "$@" where Node goes. */
const inNode = async (line: string, script: string): Promise<string> => {
  const text = `import { run, spawnContained } from ${JSON.stringify(index)};
    const sh = async (script, options) => (await run({ command: ['sh', '-c', script], ...options })).stdout;
    ${script}`;
  return (await promisify(execFile)('bash', ['-c', line, 'bash', process.execPath, '--input-type=module', '-e', text], { encoding: 'utf8' })).stdout;
};
const CAPS = 'grep ^Cap /proc/self/status | cut -f2 | tr "\\n" " "';
const NO_CAPS = '0000000000000000 '.repeat(5);
const asUser = { ns: ['user', 'mnt', 'pid'] } as const;

t.test('the environment is exactly what was given, and a PATH', async t => {
  process.env['CONTAINED_TEST'] = 'of the host';
  const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const env = async (options: SpawnOptions): Promise<string[]> => (await run({ command: ['cat', '/proc/self/environ'], ...options })).stdout.split('\0').slice(0, -1);
  t.same(await env({}), [PATH]);
  t.same(await env({ env: { A: '1', B: '', C: undefined, D: 'x=y\nz' } }), ['A=1', 'B=', 'D=x=y\nz', PATH]);
  t.same(await env({ env: { PATH: '/bin:/usr/bin' } }), ['PATH=/bin:/usr/bin']);
  const inherited = await env({ env: 'inherit' });
  t.same(inherited.sort(), Object.entries(process.env).map(([name, value]) => `${name}=${value}`).sort());
});

t.test('a file without a slash is looked for in the PATH of the container', async t => {
  const rootfs = busyboxRoot(t);
  copyFileSync(join(rootfs, 'bin/busybox'), join(rootfs, 'tmp/sh'));
  const where = async (PATH: string): Promise<string> => (await run({ command: ['sh', '-c', 'readlink /proc/$$/exe'], rootfs, env: { PATH } })).stdout;
  t.equal(await where('/none:/tmp:/bin'), '/tmp/sh\n');
  t.equal(await where('/bin:/tmp'), '/bin/busybox\n');
  await t.rejects(where('/none'), { name: 'ContainedError', code: 'ENOENT', syscall: 'exec', path: 'sh', step: 'execute sh' });
  await t.rejects(run({ command: '/etc/passwd' }), { name: 'ContainedError', code: 'EACCES', hint: /executable/ });
});

t.test('the working directory and argv[0] are those that were given', async t => {
  t.equal(await sh('pwd'), '/\n');
  t.equal(await sh('pwd', { cwd: '/usr/share/' }), '/usr/share\n');
  t.equal((await run({ command: ['sh', '-c', 'tr "\\0" " " < /proc/$$/cmdline'], argv0: '-login' })).stdout.split(' ')[0], '-login');
  await t.rejects(run({ command: 'true', cwd: '/no/such' }), { name: 'ContainedError', code: 'ENOENT', syscall: 'chdir', path: '/no/such', hint: /make it/ });
});

t.test('a user is a number, a name, with or without a group, in the words of the root', { skip: needsRoot }, async t => {
  const rootfs = busyboxRoot(t);
  chmodSync(rootfs, 0o755);
  appendFileSync(join(rootfs, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nblue:x:1234:2345::/:/bin/sh\n77:x:0:0::/:/bin/sh\n');
  appendFileSync(join(rootfs, 'etc/group'), 'navy:x:3456:blue,root\nteal:x:3457:other\nsky:x:3458:root,blue\n');
  const id = async (user: SpawnOptions['user']): Promise<string> => (await sh('echo $(id -u) $(id -g) $(id -G)', { rootfs, user: user! })).trim();
  t.equal(await id(1000), '1000 1000 1000');
  t.equal(await id('1000:7'), '1000 7 7');
  t.equal(await id('blue'), '1234 2345 2345 3456 3458');
  t.equal(await id('blue:teal'), '1234 3457 3457 3456 3458');
  t.equal(await id('77'), '77 77 77', 'a number is a number, whoever is called so (CVE-2016-3697)');
  t.equal(await id({ uid: 5 }), '5 5 5');
  t.equal(await id({ uid: 5, gid: 6, groups: [7, 8] }), '5 6 6 7 8');
  t.equal(await id({ uid: 5, gid: 6, groups: [] }), '5 6 6');
  await t.rejects(id('nobody'), { name: 'ContainedError', code: 'ENOENT', syscall: 'user', hint: /passwd/ });
  await t.rejects(id('blue:nogroup'), { name: 'ContainedError', code: 'ENOENT', step: /blue:nogroup/ });
});

t.test('the umask is the one that was given and not the one of Node', async t => {
  const old = process.umask(0o027);
  t.teardown(() => process.umask(old));
  t.equal(await sh('umask; touch /tmp/a; stat -c %a /tmp/a'), '0022\n644\n');
  t.equal(await sh('umask; touch /tmp/a; stat -c %a /tmp/a', { umask: 0o077 }), '0077\n600\n');
});

t.test('limits: 1024 files and no core whatever those of Node are, and what was given', async t => {
  t.ok(Number(/Max open files +(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))![1]) > 1024, 'Node has raised its own');
  const limits = async (options: SpawnOptions): Promise<Record<string, string>> => Object.fromEntries(
    (await sh('cat /proc/self/limits', options)).split('\n').slice(1, -1).map(line => [line.slice(4, 26).trim(), line.slice(26, 68).trim().replace(/ +/, ':')]));
  t.match(await limits({}), { 'open files': /^1024:/, 'core file size': '0:0' });
  t.match(await limits({ rlimits: { nofile: { soft: 64, hard: 128 }, cpu: 100, fsize: 1 << 20, nproc: 500, stack: { soft: 1 << 20, hard: 1 << 21 } } }), {
    'open files': '64:128', 'cpu time': '100:100', 'file size': '1048576:1048576', 'processes': '500:500', 'stack size': '1048576:2097152', 'core file size': '0:0',
  });
  t.match(await sh('head -c 9000 /dev/zero > /tmp/a', { rlimits: { fsize: 4096 } }), /File size limit exceeded|File too large|\[153\]/);
});

t.test('a limit of files that is small concerns the command, not its start', async t => {
  t.match(await run({ command: ['sh', '-c', 'ulimit -n'], rlimits: { nofile: 5 } }), { stdout: '5\n' });
});

t.test('the default works where the hard limit of Node is lower', async t => {
  t.equal(await inNode('ulimit -n 512; exec "$@"', "process.stdout.write(await sh('ulimit -n'))"), '512\n');
});

t.test('priority, OOM score and processors are set, and processors are not inherited', async t => {
  const options: SpawnOptions = { nice: 7, oomScoreAdj: 321, cpuAffinity: [0] };
  t.equal(await sh('nice; cat /proc/self/oom_score_adj; taskset -p $$ | sed "s/.*: //"', options), '7\n321\n1\n');
  const all = execFileSync('sh', ['-c', 'grep Cpus_allowed_list /proc/1/status | cut -f2'], { encoding: 'utf8' });
  t.equal(await inNode('exec taskset -c 0 "$@"', "process.stdout.write(await sh('grep Cpus_allowed_list /proc/self/status | cut -f2'))"), all);
  await t.rejects(run({ command: 'true', cpuAffinity: [1023] }), { name: 'ContainedError', code: 'EINVAL', syscall: 'setaffinity' });
});

t.test('without root a priority cannot be raised, and that is told', { skip: needsUser }, async t => {
  await t.rejects(run({ command: 'true', nice: -5 }), { name: 'ContainedError', code: /^E(ACCES|PERM)$/, syscall: 'setpriority', hint: /root/ });
});

t.test('no capability is left in any of the five sets, whoever the command is', async t => {
  for (const options of [{}, asUser, { user: 0 }, { ...asUser, user: 0 }, { ns: root ? ['mnt'] : [] }, { user: 0, noNewPrivileges: false }, { init: true }] as SpawnOptions[]) {
    const bounded = root || !(Array.isArray(options.ns) && options.ns.length === 0);
    t.equal(await sh(CAPS, options), bounded ? NO_CAPS : NO_CAPS.slice(0, 51) + await sh(CAPS, { ns: [] }).then(text => text.slice(51)), JSON.stringify(options));
  }
  if (root) for (const user of [1, 'daemon', { uid: 2, groups: [3] }]) t.equal(await sh(CAPS, { user }), NO_CAPS, JSON.stringify(user));
});

t.test('root by name gets capabilities as root by number does', { skip: needsRoot }, async t => {
  t.equal(await sh(CAPS, { user: 'root', capabilities: ['NET_RAW'] }), await sh(CAPS, { user: 0, capabilities: ['NET_RAW'] }));
});

t.test('a capability that is kept is effective, for uid 0 and for others, and no other one is there', async t => {
  const [net, none] = ['0000000000002000', '0000000000000000'];
  t.equal(await sh(CAPS, { ...asUser, user: 0, capabilities: ['NET_RAW'] }), `${[none, net, net, net, none].join(' ')} `);
  t.equal(await sh(CAPS, { ...asUser, uidMap: [{ inside: 5, outside: process.getuid!(), count: 1 }], capabilities: ['CAP_NET_RAW'] }), `${[net, net, net, net, net].join(' ')} `);
  const names = ['NET_RAW', 'CHECKPOINT_RESTORE', 'chown'];
  t.match(await sh(CAPS, { ...asUser, user: 0, capabilities: names }), /^0{16} 0000010000002001 0000010000002001 0000010000002001 0{16} $/);
  if (!root) return;
  t.equal(await sh(CAPS, { user: 1000, capabilities: ['NET_RAW'] }), `${Array(5).fill(net).join(' ')} `);
  t.equal(await sh(CAPS, { user: 'daemon', capabilities: ['NET_RAW'] }), `${Array(5).fill(net).join(' ')} `);
});

t.test('a setuid file gives nothing: by nosuid where there is a mount namespace, by no_new_privs everywhere', { skip: needsRoot }, async t => {
  const file = join(scratch(t), 'cat');
  chmodSync(join(file, '..'), 0o755);
  copyFileSync('/bin/cat', file);
  chmodSync(file, 0o4755);
  const uids = (options: SpawnOptions): Promise<string> => sh(`${file} /proc/self/status | grep ^Uid`, { user: 1000, ...options });
  const mounts = [{ type: 'bind', source: file, target: file }] as const;
  for (const noNewPrivileges of [true, false]) t.equal(await uids({ mounts, noNewPrivileges }), 'Uid:\t1000\t1000\t1000\t1000\n', 'nosuid');
  t.equal(await uids({ ns: ['pid'] }), 'Uid:\t1000\t1000\t1000\t1000\n', 'no_new_privs');
  t.equal(await uids({ ns: ['pid'], noNewPrivileges: false }), 'Uid:\t1000\t0\t0\t0\n', 'and this is what it does without either');
  t.match(await sh('grep NoNewPrivs /proc/self/status'), /\t1\n/);
  t.match(await sh('grep NoNewPrivs /proc/self/status', { noNewPrivileges: false }), /\t0\n/);
});

t.test('signals are as in a new process, although Node ignores SIGPIPE', async t => {
  t.match(await sh('grep -E "^Sig(Blk|Ign)" /proc/self/status'), /^SigBlk:\t0{16}\nSigIgn:\t0{16}\n$/);
  t.equal(await inNode('trap "" INT HUP USR1; exec "$@"', "process.stdout.write(await sh('grep SigIgn /proc/self/status', { init: true }))"), 'SigIgn:\t0000000000000000\n');
  t.same(await run({ command: ['bash', '-c', 'yes | head -1; echo ${PIPESTATUS[0]}'] }).then(({ stdout, stderr }) => [stdout, stderr]), ['y\n141\n', '']);
});

t.test('only the standard streams are inside, whatever else Node or an addon has open', async t => {
  const script = "process.stdout.write(await sh('ls /proc/self/fd', {}) + await sh('ls /proc/self/fd', { init: true }) + await sh('ls /proc/self/fd', { ns: ['mnt', 'pid'], stdio: ['ignore', 'pipe', 'pipe', 'ignore'] }))";
  t.equal(await inNode('ulimit -n 2000; exec 50</etc 60</dev/null; eval "exec 1000</etc/passwd"; exec "$@"', script), '0\n1\n2\n3\n0\n1\n2\n3\n0\n1\n2\n3\n4\n');
});

t.test('without root descriptors of Node cannot be found through its own processes either', async t => {
  t.notMatch(await inNode('exec 50</etc; exec "$@"', "process.stdout.write(await sh('ls -l /proc/[0-9]*/fd', {}))"), '/etc');
});

t.test('a process has its own session, and no terminal', async t => {
  t.equal(await sh('cut -d" " -f5,6,7 /proc/self/stat; (echo x > /dev/tty) 2>&1 | sed "s/.*: //"'), '1 1 0\nNo such device or address\n');
  const inside = "process.stdout.write(await sh('cut -d\" \" -f6,7 /proc/self/stat; (: < /dev/tty) 2>&1 | sed \"s/.*: //\"', { init: true }))";
  t.equal(await inNode('SHELL=/bin/bash script -qec "$(printf "%q " "$@")" /dev/null | tr -d "\\r"', inside), '2 0\nNo such device or address\n');
});

t.test('the command can open its streams anew by /dev/stdout, whoever it is', async t => {
  const script = 'echo one > /dev/stdout; echo two > /dev/stderr; cat /dev/stdin';
  for (const options of [{}, { init: true }, asUser, { ...asUser, user: 0 }, ...root ? [{ user: 1000 }, { user: 'daemon' }] : []] as SpawnOptions[]) {
    const { stdout, stderr } = await run({ command: ['sh', '-c', script], ...options, input: 'three', reject: false });
    t.same([stdout, stderr], ['one\nthree', 'two\n'], JSON.stringify(options));
  }
});

t.test('streams of the caller keep their owner', { skip: needsRoot }, async t => {
  const before = execFileSync('stat', ['-c', '%u:%g', '/dev/null'], { encoding: 'utf8' });
  const child = spawnContained({ command: 'true', user: 1000, stdio: 'ignore' });
  await child.exited;
  t.equal(execFileSync('stat', ['-c', '%u:%g', '/dev/null'], { encoding: 'utf8' }), before);
  t.notOk(explain({ command: 'true', user: 1000, rootfs: '/' }).child.some(op => op.op === 'fchown' && op.fd > 2));
});

t.test('init: the command is not pid 1, its end is the end, with its status', async t => {
  t.equal(await sh('echo $$; tr "\\0" " " < /proc/1/cmdline', { init: true }), '2\nspawn-contained ');
  t.match(await run({ command: ['sh', '-c', 'exit 42'], init: true, reject: false }), { reason: 'exit', code: 42, signal: null });
  t.match(await run({ command: ['sh', '-c', 'kill -SEGV $$'], init: true, reject: false }), { reason: 'signal', code: null, signal: 'SIGSEGV' });
  await t.rejects(run({ command: '/no/such', init: true }), { name: 'ContainedError', code: 'ENOENT', syscall: 'exec' });
});

t.test('init reaps the orphans', async t => {
  // Each orphan says when it ends by closing the pipe; soon after all have, none is left as a zombie.
  const script = 'for i in $(seq 200); do (sh -c "exec true" & ) ; done | cat; while [ $(ls -d /proc/[0-9]* | wc -l) -gt 5 ]; do :; done';
  const { reason } = await run({ command: ['sh', '-c', script], init: true, timeout: 60_000, reject: false });
  t.equal(reason, 'exit', 'nobody is left but init, two sh, ls and wc');
});

t.test('init forwards signals, and those that are not caught do what they do', async t => {
  for (const signal of ['SIGUSR1', 'SIGTERM', 'SIGHUP'] as const) {
    const child = spawnContained({ command: ['sh', '-c', `trap "echo caught; exit 7" ${signal.slice(3)}; echo ready; while :; do sleep 1; done`], init: true });
    let text = '';
    child.stdout!.on('data', chunk => text += chunk);
    await once(child.stdout!, 'data');
    t.equal(child.kill(signal), true);
    t.match(await child.exited, { code: 7 });
    t.match(text, /ready\ncaught\n/);
  }
  const plain = await spawnContained({ command: ['sleep', '1000'], init: true }).ready;
  plain.kill('SIGUSR2');
  t.match(await plain.exited, { code: null, signal: 'SIGUSR2' });
});

t.test('nobody inside can look into init, which is of another code than the command', async t => {
  t.match(await sh('cat /proc/1/environ; head -c 1 /proc/1/mem; ls -l /proc/1/exe /proc/1/fd 2>&1 | grep -c denied', { init: true }), /Permission denied/);
});

t.test('init tells that the command runs also where that may have few descriptors, and many are on their way', async t => {
  const children = Array.from({ length: 60 }, () => spawnContained('sleep', ['600'], { init: true, rlimits: { nofile: 10 } }));
  for (const child of children) t.equal(await child.ready, child);
  await Promise.all(children.map(child => child.killAll()));
});

t.test('nothing is left of a hundred of them', async t => {
  await sh('true');
  const before = surroundings();
  await Promise.all(Array.from({ length: 100 }, (_, i) => sh('(sleep 1000 &) ; true', { init: i % 2 === 0, rlimits: { core: 0 } })));
  t.same(await sameAs(before), before);
});

t.test('a command may have the name that the launcher has, and is seen to run all the same', async t => {
  const rootfs = busyboxRoot(t);
  writeFileSync(join(rootfs, 'bin/contained-setup'), '#!/bin/sh\nread x\n', { mode: 0o755 });
  const child = await spawnContained('contained-setup', { rootfs }).ready;
  t.equal(readFileSync(`/proc/${child.pid}/comm`, 'utf8'), 'contained-setup\n');
  await child.killAll();
});
