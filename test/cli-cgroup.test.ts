// `contained cgroup`, run as its users run it, on the kernel.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createCgroup, openCgroup, type CreateCgroupOptions } from 'spawn-contained';
import { contained, type Result } from './contained.js';
import { needsRoot, needsUser, ofProcess, until } from './env.js';
import { cgroup, done, fresh, made, onHost, sleeper } from './cligroups.js';

const gone = (which: string): Promise<void> => openCgroup(which).then(group => group.remove({ recursive: true }), () => {});

onHost('a group is made, limited, shown and removed', async (t, scope) => {
  const name = fresh();
  t.same(cgroup('create', name, '--pids-limit', '7'), done(`${name}\n`));
  scope.teardown(() => gone(name));
  const tree = (): { name: string; processes: number; limits: Record<string, string>; paths: Record<string, string> } => JSON.parse(cgroup('tree', name, '--json').stdout);
  t.match(tree(), { name, processes: 0, limits: { 'pids.max': '7' }, children: [] });
  for (const path of Object.values(tree().paths)) t.ok(existsSync(path), path);
  const again = cgroup('create', name);
  t.same([again.code, again.stdout], [125, '']);
  t.match(again.stderr, /^contained: .*EEXIST.*\n$/);
  t.same(cgroup('set', name, '--pids-limit', '9'), done());
  t.equal(tree().limits['pids.max'], '9');
  t.same(cgroup('set', name, '--pids-limit', 'max'), done());
  t.notOk('pids.max' in tree().limits, 'what is not limited is left out');
  t.same(cgroup('tree', name), done(`${name} (0)\n`));
  const { paths } = tree();
  t.same(cgroup('rm', name), done());
  for (const path of Object.values(paths)) t.notOk(existsSync(path), path);
});

onHost('without a name one is made up, and it outlives the command and sweep', async (t, scope) => {
  const { name, paths } = JSON.parse(cgroup('create', '--json').stdout) as { name: string; paths: Record<string, string> };
  scope.teardown(() => gone(name));
  t.match(name, /^contained-[0-9a-f]{8}$/);
  contained('sweep');
  for (const path of Object.values(paths)) t.ok(existsSync(path), path);
});

onHost('a group in another is named behind it, which is what create prints', async (t, scope) => {
  const { name } = await made(scope);
  t.same(cgroup('create', `${name}/a`), done(`${name}/a\n`));
  t.same(cgroup('create', 'b', '--parent', name), done(`${name}/b\n`));
  t.same(cgroup('create', `${name}/b/c`), done(`${name}/b/c\n`));
  t.same(cgroup('tree', name), done(`${name} (0, 0 in all)\n├─ a (0)\n└─ b (0, 0 in all)\n   └─ c (0)\n`));
  t.same(cgroup('tree', `${name}/b`), done(`${name}/b (0, 0 in all)\n└─ c (0)\n`));
  const refused = cgroup('rm', name);
  t.equal(refused.code, 125);
  t.match(refused.stderr, /^contained: .*EBUSY \(.*--recursive.*\)\n$/);
  t.same(cgroup('rm', name, '--recursive'), done());
  t.match(cgroup('create', `${name}/c`), { code: 125, stderr: `contained: find the cgroup ${name}: ENOENT` });
  t.match(cgroup('create', `${name}/c`, '--parent', '/').stderr, /NAME: with --parent a name, not a path/);
});

onHost('a path is one from the root of the hierarchies, for create too', async (t, scope) => {
  const path = `/${fresh()}`;
  t.same(cgroup('create', path), done(`${path}\n`));
  scope.teardown(() => gone(path));
  t.same(cgroup('create', `${path}/b`), done(`${path}/b\n`));
  t.same(cgroup('tree', path), done(`${path} (0, 0 in all)\n└─ b (0)\n`));
});

const disk = existsSync('/sys/dev/block') ? readdirSync('/sys/dev/block').find(numbers => !existsSync(`/sys/dev/block/${numbers}/partition`)) : undefined;

/** Flags, and the options of the library that they stand for. */
const meanings: [flags: string[], options: CreateCgroupOptions][] = [
  [['--memory', '64M'], { memory: { max: '64M' } }],
  [['-m', '64M', '--memory-swap', '96M'], { memory: { max: '64M', swapMax: '32M' } }],
  [['-m', '64M', '--memory-swap', '64M'], { memory: { max: '64M', swapMax: 0 } }],
  [['-m', '64M', '--memory-swap', '-1'], { memory: { max: '64M', swapMax: 'max' } }],
  [['--memory-reservation', '32M'], { memory: { low: '32M' } }],
  [['--cpus', '0.25'], { cpu: { max: 0.25 } }],
  [['--cpu-shares', '512'], { cpu: { weight: 50 } }],
  [['--cpuset-cpus', '0', '--cpuset-mems', '0'], { cpuset: { cpus: '0', mems: '0' } }],
  [['--pids-limit', '0'], { pids: { max: 'max' } }],
  [['--blkio-weight', '200'], { io: { weight: 200 } }],
  [['--device-read-bps', `${disk}:10M`, '--device-write-bps', `${disk}:5M`], { io: { max: [{ device: disk!, rbps: '10M' }, { device: disk!, wbps: '5M' }] } }],
  [['--device-read-iops', `${disk}:100`, '--device-write-iops', `${disk}:50`], { io: { max: [{ device: disk!, riops: 100 }, { device: disk!, wiops: 50 }] } }],
  [['--set', 'memory.high=48M'], { memory: { high: '48M' } }],
  [['--set', 'cpu.idle=true'], { cpu: { idle: true } }],
  [['--set', 'cpuset.cpus=0', '--set', 'cpuset.mems=[0]'], { cpuset: { cpus: '0', mems: [0] } }],
  [['--set', 'memory={"max": 8388608}', '--set', 'pids.max=9'], { memory: { max: 8 * 2 ** 20 }, pids: { max: 9 } }],
  [['--set', `io.max=[{"device":"${disk}","rbps":1048576}]`], { io: { max: [{ device: disk!, rbps: 2 ** 20 }] } }],
  [['--set', 'rdma.mlx4_0.hcaHandle=2'], { rdma: { mlx4_0: { hcaHandle: 2 } } }],
  [['--set', 'netPrio.eth0.100=5'], { netPrio: { 'eth0.100': 5 } }],
  [['--set', 'unified.cgroup.max.depth=3'], { unified: { 'cgroup.max.depth': '3' } }],
  [['--unified', 'cgroup.max.descendants=4'], { unified: { 'cgroup.max.descendants': '4' } }],
];

for (const [flags, options] of meanings) {
  onHost(`${flags.join(' ')} is what the library has for it`, async (t, scope) => {
    const [byFlags, byOptions] = [fresh(), fresh()];
    const result = cgroup('create', byFlags, ...flags);
    scope.teardown(() => gone(byFlags));
    const limits = (name: string): Record<string, string> => JSON.parse(cgroup('tree', name, '--json').stdout).limits;
    const group = await createCgroup({ ...options, name: byOptions }).catch((error: Error) => error);
    // What this host does not have is refused in the same words.
    if (group instanceof Error) return void t.same(result, { code: 125, stdout: '', stderr: `contained: ${group.message}\n` });
    scope.teardown(() => group.remove());
    t.same(result, done(`${byFlags}\n`));
    t.same(limits(byFlags), limits(byOptions));
  }, needsRoot || (JSON.stringify(options).includes('device') && disk === undefined ? 'no disk here' : false));
}

onHost('--device-rule says which devices may be used', async t => {
  const script = 'head -c1 /dev/zero | wc -c; cat /dev/null && echo null';
  const run = (...flags: string[]): Result => contained('run', ...flags, '--', 'sh', '-c', script);
  t.same(run().stdout, '1\nnull\n');
  t.same(run('--device-rule', 'deny /dev/zero').stdout, '0\nnull\n');
  t.same(run('--device-rule', 'deny c 1:*', '--device-rule', 'allow c 1:3 rw').stdout, '0\nnull\n');
});

onHost('processes are moved and listed; what cannot be moved is told, with exit code 1', async (t, scope) => {
  const { name, group } = await made(scope);
  const [a, b] = [await sleeper(scope), await sleeper(scope)];
  const gone = 2 ** 22 - 1;
  const partly = cgroup('move', name, String(a), String(gone));
  t.same(partly, { code: 1, stdout: '', stderr: `contained: move ${gone}: ESRCH (no such process)\n` });
  t.same(await group.processes(), [a]);
  const asJson = cgroup('move', name, String(b), String(gone), '--json');
  t.same([asJson.code, JSON.parse(asJson.stdout)], [1, { moved: 1, errors: [{ pid: gone, code: 'ESRCH', errno: -3 }] }]);
  const sorted = [a, b].sort((x, y) => x - y);
  t.same(cgroup('ps', name, '-q'), done(`${sorted.join('\n')}\n`));
  t.match(cgroup('ps', name).stdout, new RegExp(`^ {5}PID {2}COMMAND\n +${sorted[0]}  sleep 7[\\d.]+\n +${sorted[1]}  sleep 7[\\d.]+\n$`));
  t.match(JSON.parse(cgroup('ps', name, '--json').stdout), sorted.map(pid => ({ pid, command: /^sleep / })));
  await using child = await createCgroup({ name: 'child', parent: group });
  await child.move([b]);
  t.same(cgroup('ps', name, '-q'), done(`${a}\n`));
  t.same(cgroup('ps', name, '-q', '--recursive'), done(`${sorted.join('\n')}\n`));
  t.same(cgroup('tree', name), done(`${name} (1, 2 in all)\n└─ child (1)\n`));
  const ours = cgroup('rm', name);
  t.equal(ours.code, 125);
  t.match(ours.stderr, /EBUSY \(.*--kill/);
  t.same(cgroup('rm', name, '-r', '--kill'), done());
  t.ok(await until(() => /^(\d+ \(.*\) Z|$)/.test(ofProcess(Number(a), 'stat'))), 'it was killed');
});

onHost('freeze stops, thaw lets go on, kill ends, of one group and of several', async (t, scope) => {
  const { name, group } = await made(scope);
  const { name: other, group: neighbour } = await made(scope);
  const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const second = await sleeper(scope);
  await group.move([child.pid!]);
  await neighbour.move([second]);
  const ticks = (): number => Number(readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ')[13]);
  t.same(cgroup('freeze', name, other), done());
  const before = ticks();
  await sleep(200);
  t.equal(ticks(), before, 'it does not run');
  t.same(cgroup('thaw', name, other), done());
  t.ok(await until(() => ticks() > before), 'it runs again');
  t.same(cgroup('kill', name, other), done());
  t.same(await exit, [null, 'SIGKILL']);
  t.same([await group.processes(), await neighbour.processes()], [[], []]);
});

onHost('of several groups each is tried, though one is in use', async (t, scope) => {
  const { name, group } = await made(scope);
  const { name: other } = await made(scope);
  await group.move([await sleeper(scope)]);
  const { code, stderr } = cgroup('rm', name, other);
  t.equal(code, 125);
  t.match(stderr, /^contained: [^\n]*EBUSY[^\n]*\n$/);
  await t.rejects(openCgroup(other), { code: 'ENOENT' });
  t.equal((await openCgroup(name)).name, name);
});

onHost('run --cgroup runs in a group that is there, which stays', async (t, scope) => {
  const { name, group } = await made(scope, { pids: { max: 40 } });
  const { code, stdout } = contained('run', '--ns', 'mnt,pid', '--cgroup', name, '--', 'cat', '/proc/self/cgroup');
  t.equal(code, 0);
  t.match(stdout, `/${name}\n`);
  t.same(await group.processes(), []);
  t.match(contained('run', '--cgroup', name, '--pids-limit', '5', '--', 'true').stderr, /^contained: --cgroup: a group that is there has its limits/);
});

for (const args of [['set', '--pids-limit', '5'], ['stats'], ['events'], ['ps'], ['move', '1'], ['freeze'], ['thaw'], ['kill'], ['rm', '-r', '--kill'], ['tree']]) {
  t.test(`cgroup ${args[0]} of a group that is not there is one line and 125`, async t => {
    const [command, ...rest] = args;
    t.same(cgroup(command!, 'contained-no-such', ...rest),
      { code: 125, stdout: '', stderr: 'contained: find the cgroup contained-no-such: ENOENT (there is none of this name on any hierarchy)\n' });
  });
}

t.test('without root and without a delegated group none is made, and it is said what would help', { skip: needsUser }, async t => {
  const { code, stdout, stderr } = cgroup('create', fresh(), '--memory', '64M');
  t.same([code, stdout], [125, '']);
  t.match(stderr, /^contained: find a cgroup for cgroup\.memory\.max: ENOTSUP \(.*run as root.*Delegate=yes.*\)\n$/);
});

t.test('the tree of everything can be seen by everybody', async t => {
  const { code, stdout, stderr } = cgroup('tree');
  t.same([code, stderr], [0, '']);
  t.match(stdout, /^\/ \(\d+(, \d+ in all)?\)\n/);
});

const mistakes: [args: string[], message: RegExp][] = [
  [[], /^contained: no command given; see `contained help cgroup`\n$/],
  [['craete'], /^contained: no command "cgroup craete" \(did you mean create\?\)\n$/],
  [['toString'], /^contained: no command "cgroup toString"/],
  [['create', '/..'], /^contained: NAME: expected a name without \/.* got "\.\."\n$/],
  [['create', 'a', 'b'], /^contained: one group only, so not "b"\n$/],
  [['create', '--memroy', '1M'], /^contained: no flag --memroy \(did you mean --memory\?\)\n$/],
  [['create', '--cpu-quota', '5'], /^contained: no flag --cpu-quota: it is --cpus here, in processors\n$/],
  [['create', '--memory', 'lots'], /^contained: --memory: expected a number of bytes, .* got "lots"\n$/],
  [['create', '--memory-swap', '1G'], /^contained: --memory-swap: needs --memory beside it/],
  [['create', '-m', '2G', '--memory-swap', '1G'], /^contained: --memory-swap: memory and swap together, so not below --memory 2G\n$/],
  [['create', '-m', '2G', '--memory-swap', 'lots'], /^contained: --memory-swap: expected a number of bytes/],
  [['create', '--cpu-shares', '1'], /^contained: --cpu-shares: expected an integer from 2 to 102400, got 1\n$/],
  [['create', '--cpuset-cpus', '3-1'], /^contained: --cpuset-cpus: expected a list such as '0-3,5', got "3-1"\n$/],
  [['create', '--device-read-bps', '10M'], /^contained: --device-read-bps: expected DEVICE:RATE, as \/dev\/sda:10M, got "10M"\n$/],
  [['create', '--device-rule', 'c 1'], /^contained: --device-rule: expected \[deny\] b\|c MAJOR:MINOR/],
  [['create', '--device-rule', 'c 9999:1'], /^contained: --device-rule: expected an integer from 0 to 4095, got 9999\n$/],
  [['create', '--set', 'memory'], /^contained: --set: expected OPTION=VALUE, as memory\.high=512M, got "memory"\n$/],
  [['create', '--set', 'memory.hihg=5M'], /^contained: --set memory\.hihg: nothing is called "hihg" \(did you mean high\?\)\n$/],
  [['create', '--set', 'memroy.high=5M'], /^contained: --set memroy\.high: nothing is called "memroy" \(did you mean memory\?\)\n$/],
  [['create', '--set', 'pids.max=5', '--set', 'cpu.weight=0', '--pids-limit', '5'], /^contained: --set cpu\.weight: expected an integer from 1 to 10000, got 0\n$/],
  [['create', '--unified', 'nothing=5'], /^contained: --unified nothing: expected the name of a file of a controller/],
  [['create', '--parent', 'contained-no-such'], /^contained: find the cgroup contained-no-such: ENOENT/],
  [['set'], /^contained: no group given; see `contained cgroup tree`\n$/],
  [['stats'], /^contained: no group given/],
  [['stats', '/', '--interval', '0'], /^contained: --interval: expected a number from 1 to/],
  [['stats', '/', '--interval', 'often'], /^contained: --interval: expected milliseconds, or a time as 5s or 2m, got "often"\n$/],
  [['ps', '/', '/'], /^contained: one group only, so not "\/"\n$/],
  [['move', '/'], /^contained: no process given/],
  [['move', '/', 'init'], /^contained: PID: expected an integer, got "init"\n$/],
  [['move', '/', '0'], /^contained: PID: expected an integer from 1 to 4194304, got 0\n$/],
  [['rm', '/', '--force'], /^contained: no flag --force; see `contained help cgroup rm`\n$/],
  [['freeze', '/'], /^contained: freeze the cgroup: EPERM \(it is the root of the hierarchy, where everybody is\)\n$/],
  [['kill', '/'], /^contained: kill the processes of the cgroup: EPERM/],
];

for (const [args, message] of mistakes) {
  t.test(`\`contained cgroup ${args.join(' ')}\` is refused in one line`, async t => {
    const { code, stdout, stderr } = cgroup(...args);
    t.match(stderr, message);
    t.same([code, stdout], [125, '']);
  });
}

t.test('every command has its help, with all its flags', async t => {
  const overview = cgroup('--help');
  t.same(contained('help', 'cgroup'), overview);
  const commands = [...overview.stdout.matchAll(/^ {2}(\w+) .*?  /gm)].map(match => match[1]!);
  t.same(commands, ['create', 'set', 'stats', 'events', 'ps', 'move', 'freeze', 'thaw', 'kill', 'rm', 'tree']);
  for (const name of commands) {
    const help = cgroup(name, '--help');
    t.match(help, { code: 0, stderr: '', stdout: new RegExp(`^Usage: contained cgroup ${name} `) });
    t.same(contained('help', 'cgroup', name), help);
    for (const line of help.stdout.split('\n')) t.ok(line.length <= 100, line);
  }
  for (const flag of ['-m, --memory SIZE', '--set OPTION=VALUE', '--parent NAME', '--threaded', '--json']) t.ok(cgroup('create', '-h').stdout.includes(flag), flag);
});
