// The flags of `contained run`: what each does, and how mistakes are refused.
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { probe, spawnContained } from 'spawn-contained';
import { contained, nothingIsLeft, sh, type Result } from './contained.js';
import { busyboxRoot, root, scratch, surroundings } from './env.js';

const uid = process.getuid!();
const gid = process.getgid!();

const abilities = new Map((await probe()).abilities.map(ability => [ability.name, ability.available]));
// After the first container, for which the launcher was started.
const before = surroundings();

/** Flags, a script, and what it must print. */
const effects: [title: string, flags: string[], script: string, expected: RegExp][] = [
  ['-h is docker’s for it', ['-h', 'box'], 'hostname', /^box\n$/],
  ['--workdir is docker’s for --cwd', ['--workdir', '/usr/bin'], 'pwd', /^\/usr\/bin\n$/],
  ['--cap-drop ALL leaves what --cap-add adds', ['--cap-drop', 'ALL', '--cap-add', 'NET_RAW'], 'grep CapEff /proc/self/status', /:\s0000000000002000\n$/],
  ['--rm changes nothing in the foreground', ['--rm'], 'echo here', /^here\n$/],
  ['--hostname sets the host name', ['--hostname', 'box'], 'hostname', /^box\n$/],
  ['--domainname sets the domain name', ['--domainname', 'example.org'], 'cat /proc/sys/kernel/domainname', /^example\.org\n$/],
  ['-w sets the working directory', ['-w', '/usr/bin'], 'pwd', /^\/usr\/bin\n$/],
  ['--cwd=DIR is the same', ['--cwd=/usr/bin'], 'pwd', /^\/usr\/bin\n$/],
  ['the environment is only PATH', [], 'env | grep -vE "^(PWD|SHLVL|_|OLDPWD)="', /^PATH=[^\n]*\n$/],
  ['-e sets variables, with = in the value', ['-e', 'A=1=2', '--env', 'B=', '-e', 'UNSET_ANYWHERE'], 'echo "$A,${B-unset},${UNSET_ANYWHERE-unset}"', /^1=2,,unset\n$/],
  ['-e with a name only hands on that variable', ['-e', 'CONTAINED_TEST'], 'echo $CONTAINED_TEST', /^from outside\n$/],
  ['--env-inherit hands on all, and -e overrides', ['-e', 'HOME=/x', '--env-inherit'], 'echo $HOME $CONTAINED_TEST', /^\/x from outside\n$/],
  ['-u 0 is root inside', ['-u', '0'], 'id -u', /^0\n$/],
  ['-u takes a group', ['-u', root ? '1234:4321' : `${uid}:${gid}`], 'id -u; id -g', root ? /^1234\n4321\n$/ : new RegExp(`^${uid}\n${gid}\n$`)],
  ['--umask is octal', ['--umask', '077'], 'umask', /^0?077\n$/],
  ['--ulimit sets soft and hard', ['--ulimit', 'nofile=64:128', '--ulimit', 'fsize=1048576'], 'ulimit -Sn; ulimit -Hn; grep "Max file size" /proc/self/limits', /^64\n128\nMax file size\s+1048576\s+1048576/],
  ['--oom-score-adj is written', ['--oom-score-adj', '500'], 'cat /proc/self/oom_score_adj', /^500\n$/],
  ['--nice sets the priority', ['--nice', '7'], 'nice', /^7\n$/],
  ['--cpu-affinity pins it', ['--cpu-affinity', '0'], 'grep Cpus_allowed_list /proc/self/status', /:\s0\n$/],
  ['--cap-add keeps a capability, and only that', ['--cap-add', 'NET_RAW'], 'grep CapEff /proc/self/status', /:\s0000000000002000\n$/],
  ['--allow-new-privileges leaves no_new_privs off', ['--allow-new-privileges'], 'grep NoNewPrivs /proc/self/status', /:\s0\n$/],
  ['--no-new-privileges=false too', ['--no-new-privileges=false'], 'grep NoNewPrivs /proc/self/status', /:\s0\n$/],
  ['--init puts a reaper at pid 1', ['--init'], 'echo $$; cat /proc/1/comm', /^(?!1\n)\d+\n(?!sh\n)/],
  ['--tmpfs makes a writable place of the given size', ['--tmpfs', '/mnt:size=1M,mode=1777'], 'touch /mnt/x && grep " /mnt " /proc/mounts', /tmpfs .*size=1024k/],
  ['--tmpfs with ro cannot be written to', ['--tmpfs', '/mnt:ro'], 'touch /mnt/x 2>&1', /Read-only/],
  ['--mount makes a tmpfs', ['--mount', 'type=tmpfs,target=/mnt,tmpfs-size=2M'], 'grep " /mnt " /proc/mounts', /size=2048k/],
  ['--masked-path hides a file', ['--masked-path', '/etc/passwd'], 'wc -c < /etc/passwd', /^0\n$/],
  ['--readonly-path forbids writing', ['--readonly-path', '/tmp'], 'touch /tmp/x 2>&1', /Read-only/],
  ['--network none has the loopback device only', ['--network', 'none'], 'ls /sys/class/net', /^lo\n$/],
  ['--network host keeps that of the caller', ['--network', 'host'], 'readlink /proc/self/ns/net', new RegExp(`^${readlinkSync('/proc/self/ns/net').replace(/[[\]]/g, '\\$&')}\n$`)],
  ['--ns leaves out what is not listed', ['--ns', 'pid,mnt,uts'], 'readlink /proc/self/ns/ipc; hostname', new RegExp(`^${readlinkSync('/proc/self/ns/ipc').replace(/[[\]]/g, '\\$&')}\ncontained\n$`)],
  ['--uid-map and --gid-map make the ids of a user namespace', ['--ns', 'user,mnt,pid', '--uid-map', `7:${root ? 100_000 : uid}:1`, '--gid-map', `8:${root ? 100_000 : gid}:1`, '--user', '7:8'], 'id -u; id -g; cat /proc/self/uid_map', new RegExp(`^7\n8\n\\s+7\\s+${root ? 100_000 : uid}\\s+1\n$`)],
  ['-i hands standard input on, as without it', ['-i'], 'readlink /proc/self/fd/0', /^pipe:|^socket:/],
  ['-t makes a terminal, for which the caller need have none', ['-t'], 'tty; stty size; test -t 2 && echo terminal; tty=$(ps -o tty= -p $$); echo $tty', /^\/dev\/pts\/0\r\n24 80\r\nterminal\r\npts\/0\r\n$/],
  ['--tty=false does not', ['--tty=false'], 'test -t 1 || echo none', /^none\n$/],
  ['-- ends the flags', [], 'echo "$0"', /^sh\n$/],
];

for (const [title, flags, script, expected] of effects) {
  t.test(title, async t => {
    const { stdout, stderr } = sh(flags, script);
    t.match(stdout, expected);
    t.equal(stderr, '');
  });
}

t.test('flags after the command are the command’s', async t => {
  t.equal(contained('run', 'echo', '--hostname', '-m', '--').stdout, '--hostname -m --\n');
  t.equal(contained('run', '--', 'echo', '--', '-h').stdout, '-- -h\n');
});

t.test('-v and --mount show directories of the host, and only :ro and readonly make them read-only', async t => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'file'), 'content\n');
  const user = root ? ['-u', '0'] : [];
  t.same(sh([...user, '-v', `${directory}:/mnt`], 'cat /mnt/file; echo new > /mnt/made'), { code: 0, stdout: 'content\n', stderr: '' });
  t.equal(readFileSync(join(directory, 'made'), 'utf8'), 'new\n');
  t.match(sh([...user, '-v', `${directory}:/mnt:ro`], 'cat /mnt/file; touch /mnt/x').stderr, /Read-only/);
  const mounted = sh([...user, '--mount', `type=bind,src=${directory},dst=/mnt,readonly`], 'cat /mnt/file; touch /mnt/x');
  t.equal(mounted.stdout, 'content\n');
  t.match(mounted.stderr, /Read-only/);
  const two = sh([...user, '-v', `${directory}:/mnt:ro`, '-v', `${directory}:/media:ro`], 'cat /mnt/file /media/file');
  t.equal(two.stdout, 'content\ncontent\n', 'each of several counts');
});

t.test('--rootfs is the whole world of the command', async t => {
  const rootfs = busyboxRoot(t);
  const { stdout } = sh(['--rootfs', rootfs], 'ls /; echo kept > /made');
  t.same(stdout.split('\n').filter(Boolean).sort(), ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp']);
  t.equal(readFileSync(join(rootfs, 'made'), 'utf8'), 'kept\n');
  t.match(sh(['--rootfs', rootfs, '--read-only'], 'echo x > /made').stderr, /Read-only/);
});

t.test('--overlay throws writes away, unless --upper keeps them', async t => {
  const lower = busyboxRoot(t);
  const directory = scratch(t);
  const [extra, upper, work] = ['extra', 'upper', 'work'].map(name => join(directory, name)) as [string, string, string];
  for (const path of [extra, upper, work]) mkdirSync(path);
  writeFileSync(join(extra, 'layer'), 'upper layer\n');
  const { stdout } = sh(['--overlay', extra, '--overlay', lower], 'cat /layer; echo x > /made; cat /made');
  t.equal(stdout, 'upper layer\nx\n');
  t.same(readdirSync(extra), ['layer']);
  t.notOk(readdirSync(lower).includes('made'));
  t.equal(sh(['--overlay', lower, '--upper', upper, '--work', work], 'echo kept > /made').code, 0);
  t.equal(readFileSync(join(upper, 'made'), 'utf8'), 'kept\n');
});

t.test('--ns KIND=PID enters the namespace of a process', async t => {
  await using other = spawnContained('sleep', ['20'], { hostname: 'neighbour' });
  const pid = (await other.ready).pid;
  const user = root ? '' : `user=${pid},`;
  const { stdout, stderr } = sh(['--ns', `${user}mnt,pid,uts=${pid},ipc=/proc/${pid}/ns/ipc`], 'hostname; readlink /proc/self/ns/ipc');
  t.equal(stdout, `neighbour\n${readlinkSync(`/proc/${pid}/ns/ipc`)}\n`, stderr);
});

/** Where the host gives this user no such cgroup, the same flags must say so. */
function limited(t: Test, controller: string, result: Result, check: () => void): void {
  if (abilities.get(`cgroup ${controller}`)) return check();
  t.equal(result.code, 125);
  t.match(result.stderr, new RegExp(`^contained: find a cgroup for cgroup\\.${controller}\\.max: ENOTSUP \\(.*run as root`));
}

t.test('-m ends what takes more memory, and says that this was why', async t => {
  const result = sh(['-m', '24M', '--stats'], 'x=a; while :; do x=$x$x; done');
  limited(t, 'memory', result, () => {
    t.equal(result.code, 137);
    t.match(result.stderr, /contained: out of memory: the kernel killed a process in the container \(SIGKILL\)\ncontained: oom, SIGKILL; wall .*memory peak 2[0-4]\.\d MiB/);
  });
});

t.test('--pids-limit ends a flood of processes', async t => {
  const result = sh(['--pids-limit', '5'], 'for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo unlimited');
  limited(t, 'pids', result, () => {
    t.match(result.stderr, /[Cc]annot fork|Resource temporarily unavailable/);
    t.notMatch(result.stdout, /unlimited/);
  });
});

t.test('--set reaches any other limit by the name that it has in the library', async t => {
  const result = sh(['--set', 'pids.max=5'], 'for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo unlimited');
  limited(t, 'pids', result, () => {
    t.match(result.stderr, /[Cc]annot fork|Resource temporarily unavailable/);
    t.notMatch(result.stdout, /unlimited/);
  });
});

t.test('--cpus bounds processor time', async t => {
  const result = sh(['--cpus', '0.2', '--stats', '--timeout', '1s', '--kill-signal', 'KILL'], 'while :; do :; done');
  limited(t, 'cpu', result, () => {
    const user = Number(/user ([\d.]+) ms/.exec(result.stderr)?.[1]);
    t.ok(user > 0 && user < 500, `${user} ms of processor time in 1 s`);
  });
});

t.test('--cgroup-name and --cgroup-parent say where its cgroup is', async t => {
  const result = sh(['--ns', 'mnt,pid', '--pids-limit', '20', '--cgroup-parent', '/', '--cgroup-name', 'contained-test-cli'], 'cat /proc/self/cgroup');
  if (root) return void t.match(result.stdout, /:\/contained-test-cli\n/);
  t.equal(result.code, 125);
  t.match(result.stderr, /contained-test-cli|cgroup/);
});

const mistakes: [args: string[], message: RegExp][] = [
  [['run', '--memroy', '1M', '--', 'true'], /^contained: no flag --memroy \(did you mean --memory\?\)\n$/],
  [['run', '--xyzzyx', '--', 'true'], /^contained: no flag --xyzzyx; see `contained help run`\n$/],
  [['run', '-it', '--', 'sh'], /^contained: the input device is not a terminal; for a terminal without input leave -i out\n$/],
  [['run', '--memory', 'lots', '--', 'true'], /^contained: --memory: expected a number of bytes, .* got "lots"\n$/],
  [['run', '--memory'], /^contained: --memory: needs a value, SIZE\n$/],
  [['run', '--hostname', '--', 'true'], /^contained: --hostname: needs a value, NAME\n$/],
  [['run', '--init=maybe', '--', 'true'], /^contained: --init: takes no value but true or false, got "maybe"\n$/],
  [['run', '--cpus', 'two', '--', 'true'], /^contained: --cpus: expected a number, got "two"\n$/],
  [['run', '--cpus', '-1', '--', 'true'], /^contained: --cpus: expected a number from 0\.01 to .*, got -1\n$/],
  [['run', '--memory-swap', '1G', '--', 'true'], /^contained: --memory-swap: needs --memory beside it/],
  [['run', '--set', 'memory.hihg=1G', '--', 'true'], /^contained: --set memory\.hihg: nothing is called "hihg" \(did you mean high\?\)\n$/],
  [['run', '--set', 'memroy.high=1G', '--', 'true'], /^contained: --set memroy\.high: nothing is called "memroy" \(did you mean memory\?\)\n$/],
  [['run', '--unified', 'memory.high', '--', 'true'], /^contained: --unified: expected FILE=VALUE, got "memory\.high"\n$/],
  [['run', '--cpu-quota', '50000', '--', 'true'], /^contained: no flag --cpu-quota: it is --cpus here, in processors\n$/],
  [['run', '--cgroup', 'contained-no-such', '--', 'true'], /^contained: find the cgroup contained-no-such: ENOENT/],
  [['run', '--timeout', 'soon', '--', 'true'], /^contained: --timeout: expected milliseconds, or a time as 5s or 2m, got "soon"\n$/],
  [['run', '--kill-signal', 'TREM', '--', 'true'], /^contained: --kill-signal: expected a signal/],
  [['run', '-v', '/srv', '--', 'true'], /^contained: -v: expected SRC:DST or SRC:DST:ro, got "\/srv"\n$/],
  [['run', '-v', '/srv:relative', '--', 'true'], /^contained: --volume: expected an absolute path, got "relative"\n$/],
  [['run', '--mount', 'type=bind,sorce=/a,target=/b', '--', 'true'], /^contained: --mount: no such key "sorce" \(did you mean source\?\)\n$/],
  [['run', '--mount', 'type=bnid,source=/a,target=/b', '--', 'true'], /^contained: --mount: expected one of .* \(did you mean bind\?\), got "bnid"\n$/],
  [['run', '--tmpfs', '/mnt:sise=1M', '--', 'true'], /^contained: --tmpfs: no such key "sise" \(did you mean size\?\)\n$/],
  [['run', '--ulimit', 'nofle=3', '--', 'true'], /^contained: --ulimit: nothing is called "nofle" \(did you mean nofile\?\)\n$/],
  [['run', '--ulimit', 'nofile', '--', 'true'], /^contained: --ulimit: expected NAME=SOFT\[:HARD\], got "nofile"\n$/],
  [['run', '--ns', 'pid,nmt', '--', 'true'], /^contained: --ns: expected one of .*, got "nmt"\n$/],
  [['run', '--network', 'bridge', '--', 'true'], /^contained: --network: expected one of none, host, got "bridge"\n$/],
  [['run', '--cap-add', 'NET_RAWW', '--', 'true'], /^contained: --cap-add: .*\(did you mean NET_RAW\?\)/],
  [['run', '--cpu-affinity', '3-1', '--', 'true'], /^contained: --cpu-affinity: expected processors as 0,2-3, got "3-1"\n$/],
  [['run', '--uid-map', '0:0', '--', 'true'], /^contained: --uid-map: expected INSIDE:OUTSIDE:COUNT, or auto, got "0:0"\n$/],
  [['run', '--umask', '9', '--', 'true'], /^contained: --umask: expected an octal number/],
  [['run', '--rootfs', '/', '--overlay', '/', '--', 'true'], /^contained: --rootfs and --overlay: one of them, not both\n$/],
  [['run', '--upper', '/x', '--', 'true'], /^contained: --upper: needs --overlay\n$/],
  [['run', '--hostname', 'box'], /^contained: no command given, as in `contained run -- sh`\n$/],
  [['rum', '--', 'true'], /^contained: no command "rum" \(did you mean run\?\)\n$/],
  [['help', 'probbe'], /^contained: no command "probbe" \(did you mean probe\?\)\n$/],
  [['probe', '--jsn'], /^contained: no flag --jsn \(did you mean --json\?\)\n$/],
  [['probe', 'json'], /^contained: probe takes no json\n$/],
  [['run', '--cap-drop', 'NET_RWA', '--', 'true'], /^contained: --cap-drop: no such capability "NET_RWA" \(did you mean NET_RAW\?\)\n$/],
  [['run', '--name', 'a b', '--', 'true'], /^contained: --name: expected a name of up to 100 letters.*, got "a b"\n$/],
  [['run', '-d', '-t', '--', 'sh'], /^contained: --tty: expected nothing with detached/],
  [['run', '-d', '--timeout', '5s', '--', 'true'], /^contained: --timeout: expected nothing with detached/],
  [['run', '--log-size', '1M', '--', 'true'], /^contained: --log-size: expected detached: true beside it/],
  [['run', '--rm=false', '--', 'true'], /^contained: --rm=false: needs --detach/],
  [['run', '--restart', 'always', '--', 'true'], /^contained: no flag --restart: nothing watches over it/],
  [['run', '-p', '80:80', '--', 'true'], /^contained: no flag -p: there is no network but/],
  [['run', '-h', '--', 'true'], /^contained: -h: needs a value, NAME\n$/],
  [['run', '--network', 'container:contained-no-such', '--', 'true'], /^contained: find the container contained-no-such: ENOENT/],
  [['unpase', 'x'], /^contained: no command "unpase" \(did you mean unpause\?\)\n$/],
  [['help', 'cgroup', 'crate'], /^contained: no command "cgroup crate" \(did you mean create\?\)\n$/],
  [['completion', 'fsh'], /^contained: expected one of bash, zsh, got "fsh" \(did you mean zsh\?\)\n$/],
  [[], /^contained: no command given; see `contained help`\n$/],
];

for (const [args, message] of mistakes) {
  t.test(`\`contained ${args.join(' ')}\` is refused in one line`, async t => {
    const { code, stdout, stderr } = contained(...args);
    t.match(stderr, message);
    t.equal(stdout, '');
    t.equal(code, 125);
  });
}

void t.test('explain as JSON is the program as explain() gives it', async t => {
  const { code, stdout } = contained('explain', '--json', '--hostname', 'box', '--', 'true');
  const { child } = JSON.parse(stdout) as { child: { op: string; name?: string; file?: string }[] };
  t.match([code, child.find(({ op }) => op === 'sethostname')!.name, child.at(-1)!.file], [0, 'box', 'true']);
});

t.test('help is to be had everywhere, and names every flag', async t => {
  const run = contained('help', 'run');
  t.same(contained('run', '--help'), run);
  t.same(contained('run', '-h'), run);
  for (const flag of ['--ns', '--memory SIZE', '-v, --volume SRC:DST[:ro]', '--cap-add', '--stats']) t.ok(run.stdout.includes(flag), flag);
  t.match(contained('--help').stdout, /^Usage: contained COMMAND\n/);
  t.same(contained('help'), contained('-h'));
  for (const name of ['explain', 'cgroup', 'probe', 'sweep']) t.match(contained('help', name).stdout, new RegExp(`^Usage: contained ${name} `));
  const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
  t.equal(contained('--version').stdout, `${version}\n`);
});

nothingIsLeft(before);
