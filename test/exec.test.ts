// Commands in a container that runs: what they have of it, what is their own, and what is never in there with them.
import { once } from 'node:events';
import { createReadStream, readFileSync, readlinkSync } from 'node:fs';
import { buffer, text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { ContainedError, OptionError, spawnContained, type Contained, type ExecOptions, type SpawnOptions } from 'spawn-contained';
import { resolveExec } from '../dist/lib/options/exec.js';
import { resolve, resolveCommand } from '../dist/lib/options/resolve.js';
import { compile } from '../dist/lib/program/compile.js';
import { inheritanceOf } from '../dist/lib/program/record.js';
import { root, tidy, until } from './env.js';
import { errorOf } from './groups.js';

type Test = { teardown(f: () => unknown): void };

async function started(t: Test, options: SpawnOptions = {}): Promise<Contained> {
  const host = spawnContained({ command: ['sleep', '1000'], stdio: 'ignore', ...options });
  t.teardown(() => host.killAll());
  return host.ready;
}

async function output(host: Contained, script: string, options: ExecOptions = {}): Promise<string> {
  const child = host.exec(['sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const [out, errors, { code }] = await Promise.all([text(child.stdout!), text(child.stderr!), child.exited]);
  return out + (code === 0 && errors === '' ? '' : `[${code}] ${errors}`);
}

/** A container with its child killed at the end of the body, so that what is left can be compared. */
const within = async (options: SpawnOptions, body: (host: Contained) => Promise<void>): Promise<void> => {
  const host = await spawnContained({ command: ['sleep', '1000'], stdio: 'ignore', ...options }).ready;
  try {
    await body(host);
  } finally {
    await host.killAll();
  }
};

function programOf(container: SpawnOptions, options: ExecOptions = {}, command: readonly string[] = ['true']) {
  const from = inheritanceOf(resolve(container), resolveCommand(container, ['sleep', '1']));
  const settings = resolveExec(options, from, { container: 7, pid: process.pid, group: undefined, alone: false });
  return compile(settings, { count: 3, pipes: [1] }, resolveCommand({}, [...command]));
}

t.test('the program, as text', async t => {
  const program = programOf({}, { ...root ? { user: { uid: 5, gid: 6 } } : {}, cwd: '/tmp' });
  const lists = [...program.host, ...program.join, ...program.child].map(({ op }) => op);
  t.equal(lists.filter(op => op === 'setns').length, 1, 'one setns');
  t.notOk(lists.some(op => /mount|^pivotRoot$|^overlay$|^mask$|^readonly$|^ensure$|^mknod$|^symlink$|^unshare$/i.test(op)), 'no mounts, no namespaces of its own');
  t.equal(program.host[0]!.op, 'pidfd', 'the container must be there before anything is made');

  const join = program.join.map(({ op }) => op), at = join.indexOf('setns');
  t.match(program.join.slice(0, at).findLast(({ op }) => op === 'prctl'), { op: 'prctl', option: 4, argument: 0 }, 'not dumpable before it enters');
  t.notOk(join.slice(at + 1).some(op => /^(write|writeFd|writeProc|mkdir|create|open)$/.test(op)), 'nothing is written or opened after it has entered');
  const kept = new Set(program.join.filter(({ op }) => op === 'close').map(op => (op as { fd: number }).fd));
  for (const op of program.host) if (op.op === 'open' || op.op === 'pidfd') t.ok(kept.has((op as { to: number }).to), `slot ${(op as { to: number }).to} of ${op.op} is closed`);
  t.ok(at < join.indexOf('close') && join.indexOf('close') < join.indexOf('capset'), 'at once');
  for (const op of ['boundingSet' as const, 'setresgid' as const, 'setresuid' as const, 'capset' as const]) if (root) t.ok(join.includes(op), `${op} by who goes ahead, whom nobody in there sees`);
  t.match(program.join.at(-1), { op: 'prctl', option: 4, argument: 0 }, 'not dumpable either, whatever fs.suid_dumpable says, after the ids');
  t.same(program.child.map(({ op }) => op), ['setsid', 'umask', 'prctl', 'chdir', 'umask', 'stdio', 'setrlimit', 'wait', 'unmaskSignals', 'exec'], 'its child does what takes no privilege');
});

t.test('the program for a container without a pid namespace, and for one without any', async t => {
  const one = programOf({ ns: root ? ['mnt', 'uts'] : ['user', 'mnt', 'uts'] });
  const steps = [...one.join, ...one.child].map(({ op }) => op);
  t.equal(steps.filter(op => op === 'setns').length, 1);
  t.ok(steps.indexOf('setns') < steps.indexOf('close'));
  const none = programOf({ ns: [] });
  t.equal(none.join.length, 0);
  t.notOk(none.child.some(({ op }) => op === 'setns'));
  t.match(none.host[0], { op: 'pidfd', container: 7, guest: 1 }, 'and still it must be there');
});

tidy('what is not given is as the container was started with', async t => {
  const options: SpawnOptions = {
    env: { A: '1', B: '2' }, cwd: '/tmp', umask: 0o027, rlimits: { nofile: 99, core: 0 }, noNewPrivileges: false,
    ...root ? { user: { uid: 1234, gid: 2345, groups: [7, 8] }, capabilities: ['NET_RAW', 'CHOWN'] } : {},
  };
  const show = 'pwd; umask; ulimit -n; id -u; id -g; id -G; echo $A$B; grep -E "^(Cap|NoNew)" /proc/self/status; for kind in mnt pid net ipc uts user cgroup; do readlink /proc/self/ns/$kind; done; echo $(ls /proc/self/fd)';
  const host = spawnContained({ ...options, command: ['sh', '-c', `${show}; exec sleep 1000`], stdio: ['ignore', 'pipe', 'inherit'] });
  await host.ready;
  let own = '';
  for await (const part of host.stdout!.setEncoding('utf8')) if ((own += String(part)).split('\n').length > 21) break;
  const seen = await output(host, show);
  t.equal(seen, own);
  t.match(seen, root ? /^\/tmp\n0027\n99\n1234\n2345\n2345 7 8\n12\n/ : /^\/tmp\n0027\n99\n\d+\n/);
  for (const kind of ['mnt', 'pid', 'net', 'ipc', 'uts']) t.match(seen, readlinkSync(`/proc/${host.pid}/ns/${kind}`));
  await host.killAll();
});

tidy('and can be another', async t => {
  await within({ env: { A: '1', B: '2' } }, async host => {
    t.equal(await output(host, 'echo $A$B$C', { env: { B: '3', C: '4' } }), '134\n');
    t.equal(await output(host, 'echo $A$B; umask; pwd; ulimit -n', { env: { A: undefined }, umask: 0o077, cwd: '/etc', rlimits: { nofile: 50 } }), '2\n0077\n/etc\n50\n', 'undefined takes a variable away');
    process.env['CONTAINED_EXEC'] = 'ours';
    t.equal(await output(host, 'echo $A$CONTAINED_EXEC', { env: 'inherit' }), 'ours\n');
    delete process.env['CONTAINED_EXEC'];
    t.equal(await output(host, 'cat /proc/self/oom_score_adj; nice; taskset -pc $$ | sed "s/.*: //"', { oomScoreAdj: 500, nice: 7, cpuAffinity: [0] }), '500\n7\n0\n');
    t.equal(await output(host, 'echo $0', { argv0: 'other' }), 'other\n');
    if (root) {
      t.equal(await output(host, 'id -u; id -g; id -G; grep CapEff /proc/self/status', { user: { uid: 12, gid: 34, groups: [56] }, capabilities: ['NET_RAW'] }), '12\n34\n34 56\nCapEff:\t0000000000002000\n');
      t.equal(await output(host, 'id -un; id -gn', { user: 'daemon' }), 'daemon\ndaemon\n');
      t.match(await output(host, 'grep -E "CapBnd|NoNew" /proc/self/status', { noNewPrivileges: false, user: 0 }), 'CapBnd:\t0000000000000000\nNoNewPrivs:\t0\n');
    }
  });
});

tidy('one process is enough for its limit, although another goes ahead of it', async t => {
  await within({ ...root ? { user: 54321 } : {} }, async host => {
    const { code } = await host.exec('true', { rlimits: { nproc: 1 } }).exited;
    t.equal(code, 0);
  });
});

tidy('streams of all kinds', async t => {
  await within({}, async host => {
    const cat = host.exec('cat');
    cat.stdin!.end('through pipes');
    t.equal(await text(cat.stdout!), 'through pipes');
    t.match(await cat.exited, { reason: 'exit', code: 0 });
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
    const whole = host.exec('cat', { stdio: [bytes, 'pipe', 'inherit'] });
    t.ok((await buffer(whole.stdout!)).equals(bytes), 'a Buffer');
    const file = createReadStream('/etc/passwd');
    await once(file, 'open');
    const streamed = host.exec('cat', { stdio: [file, 'pipe', 'inherit'] });
    t.equal(await text(streamed.stdout!), readFileSync('/etc/passwd', 'utf8'), 'a stream');
    await once(file.destroy(), 'close');
    const more = host.exec(['sh', '-c', 'cat <&3 >&4'], { stdio: ['ignore', 'ignore', 'inherit', Buffer.from('three'), 'pipe'] });
    t.equal(await text(more.stdio[4] as Readable), 'three');
    t.equal(await output(host, 'echo out; echo err >/dev/stderr; exit 3'), 'out\n[3] err\n', '/dev/stderr can be opened again');
    const loud = host.exec(['sh', '-c', 'yes'], { stdio: ['ignore', 'pipe', 'ignore'], maxOutput: { bytes: 1000, action: 'kill' } });
    loud.stdout!.resume();
    t.match(await loud.exited, { reason: 'output' });
  });
});

tidy('a terminal of its own: job control, its size, input', async t => {
  await within({}, async host => {
    const shell = host.exec(['sh', '-c', 'tty; stty size; read line; stty size; echo "got $line"; cat'], { tty: { columns: 70, rows: 20 } });
    let seen = '';
    shell.stdout!.setEncoding('utf8').on('data', (part: string) => { seen += part; });
    await shell.ready;
    const says = async (what: RegExp): Promise<void> => {
      t.ok(await until(() => what.test(seen)), `${String(what)} in ${JSON.stringify(seen)}`);
    };
    await says(/\/dev\/pts\/\d+\r\n20 70\r\n/);
    shell.resize({ columns: 99, rows: 33 });
    shell.stdin!.write('word\n');
    await says(/33 99\r\ngot word\r\n/);
    shell.stdin!.write('\x03');
    t.match(await shell.exited, { signal: 'SIGINT' }, '^C ends it, and not the container');
    t.equal(host.exitCode ?? host.signalCode, null);
    const jobs = host.exec(['sh', '-mc', 'sleep 100 & jobs; kill %1; wait; ps -o tty= -p $$ | tr -d " "'], { tty: true, env: { TERM: 'dumb' } });
    const said = await text(jobs.stdout!);
    t.match(said, /Running|sleep 100/, 'job control');
    t.match(said, /pts\/\d/);
    t.equal((await jobs.exited).reason, 'exit');
  });
});

const failing = (code: string, syscall: string) => (error: unknown, t: typeof import('tap').t, what: string): void => {
  t.ok(error instanceof ContainedError, what);
  t.match(error, { code, syscall }, what);
};

tidy('what cannot be executed, or is nobody, is told as the step that failed', async t => {
  await within({}, async host => {
    const error = (command: string | [string, ...string[]], options: ExecOptions = {}): Promise<unknown> => errorOf(() => host.exec(command, options).exited);
    failing('ENOENT', 'exec')(await error('/no/such'), t as never, 'a missing file');
    failing('ENOENT', 'exec')(await error('no-such-command'), t as never, 'one that is looked for');
    failing('EACCES', 'exec')(await error('/etc/passwd'), t as never, 'one that is not executable');
    failing('ENOENT', 'chdir')(await error('true', { cwd: '/no/such' }), t as never, 'a directory');
    if (root) failing('ENOENT', 'user')(await error('true', { user: 'nobody-of-that-name' }), t as never, 'a user');
    const child = host.exec('/no/such');
    const [event] = await once(child, 'error') as [ContainedError];
    t.match(event, { step: 'execute /no/such', hint: String }, 'as an event, too');
    t.equal(await output(host, 'echo on'), 'on\n', 'the container goes on');
  });
});

t.test('options that are of the container are refused, by name', async t => {
  const host = await started(t);
  for (const [name, value] of Object.entries({
    ns: ['pid'], rootfs: '/', readonly: true, mounts: [], tmpfs: ['/tmp'], maskedPaths: [], readonlyPaths: [], hostname: 'x', domainname: 'x', network: 'none',
    timeOffsets: {}, uidMap: [], gidMap: [], init: true, command: 'true', id: 'x', detached: true, labels: {}, autoRemove: true, logSize: 1,
  })) {
    const error = await errorOf(() => host.exec('true', { [name]: value } as never));
    t.ok(error instanceof OptionError, name);
    t.equal(error.path, name);
  }
  for (const [path, options] of Object.entries({
    cwdd: { cwdd: '/' }, cwd: { cwd: 'relative' }, 'env.A': { env: { A: 1 } }, umask: { umask: 0o1000 }, 'cgroup.parent': { cgroup: { parent: 'x' } },
    'cgroup.name': { cgroup: { name: 'x' } }, 'cgroup.delegate': { cgroup: { delegate: true } }, timeout: { timeout: 0 }, tty: { tty: 7 }, 'command[1]': undefined,
  })) {
    const error = await errorOf(() => host.exec(options ? 'true' : ['true', 1 as never], options as never ?? {}));
    t.ok(error instanceof OptionError, path);
    t.equal(error.path, path);
  }
  for (const value of [null, 3, 'x']) t.ok(await errorOf(() => host.exec('true', value as never)) instanceof OptionError, String(value));
});

tidy('before it runs and after its end there is nothing to enter', async t => {
  const host = spawnContained('sleep', ['1000'], { stdio: 'ignore' });
  const early = await errorOf(() => host.exec('true').exited);
  t.match(early, { code: 'ESRCH', step: 'enter the container', hint: /ready/ });
  await host.ready;
  t.match(await host.exec('true').exited, { code: 0 });
  host.kill('SIGKILL');
  const raced = host.exec('true');  // it may be dead already, but nobody has been told
  await raced.exited.then(outcome => t.ok(outcome), (error: ContainedError) => t.match(error, { code: /ESRCH|ECHILD|EAGAIN|ENOMEM/ }, error.step));
  await host.exited;
  const late = host.exec('true');
  t.match(await errorOf(() => late.exited), { code: 'ESRCH', hint: 'it has ended' });
  t.match(await errorOf(() => late.ready), { code: 'ESRCH' });
});

tidy('in a command of a container, too', async t => {
  await within({ env: { A: '1' } }, async host => {
    const first = await host.exec(['sleep', '1000'], { env: { B: '2' }, cwd: '/tmp', stdio: 'ignore' }).ready;
    t.equal(await output(first, 'echo $A$B; pwd'), '12\n/tmp\n');
    const second = await first.exec(['sleep', '1000'], { stdio: 'ignore' }).ready;
    t.equal(await output(second, 'readlink /proc/self/ns/pid'), `${readlinkSync(`/proc/${host.pid}/ns/pid`)}\n`);
    const ends = second.exited;
    await first.killAll();
    t.match(await ends, { signal: 'SIGKILL' }, 'it ends with the command that it is in');
    t.equal(await output(host, 'echo on'), 'on\n');
  });
});

tidy('two hundred at once', async t => {
  await within({}, async host => {
    const outcomes = await Promise.all(Array.from({ length: 200 }, (_, i) => host.exec(['sh', '-c', `exit ${i % 100}`], { stdio: 'ignore' }).exited));
    t.same(outcomes.map(({ code }) => code), outcomes.map((_, i) => i % 100));
  });
});

tidy('every kind of container', async t => {
  const idle = { command: ['sleep', '1000'], stdio: 'ignore' } as const;
  const kinds: [string, SpawnOptions][] = [
    ['defaults', {}], ['no pid namespace', { ns: root ? ['mnt', 'uts'] : ['user', 'mnt', 'uts'] }], ['no namespaces', { ns: [] }], ['all namespaces', { ns: ['mnt', 'pid', 'net', 'ipc', 'uts', 'user', 'cgroup', 'time'] }],
    ['init', { init: true }], ['a user namespace', { ns: ['user', 'pid', 'mnt'], user: 0 }],
    ...root ? [['a group', { cgroup: {} }], ['a range of ids', { ns: ['user', 'pid', 'mnt', 'net'], uidMap: 'auto', gidMap: 'auto', user: 0 }]] as [string, SpawnOptions][] : [],
    ['a time namespace', { ns: ['time', 'pid', 'mnt', ...root ? [] : ['user'] as const], timeOffsets: { monotonic: 1000 } }],
  ];
  for (const [name, options] of kinds) {
    const host = await spawnContained({ ...idle, ...options }).ready;
    // Without root nobody looks into an init, which is not dumpable.
    if (root || !options.init) t.equal(await output(host, 'echo $(id -u) $(readlink /proc/self/ns/pid /proc/self/ns/user /proc/self/ns/mnt)').then(line => line.replace(/^\d+ /, '')),
      `${['pid', 'user', 'mnt'].map(kind => readlinkSync(`/proc/${host.pid}/ns/${kind}`)).join(' ')}\n`, name);
    t.equal(await output(host, 'echo $(ls /proc/self/fd)'), '0 1 2 3\n', `${name}: no other descriptor`);
    const terminal = host.exec('tty', { tty: true });
    if (options.ns === undefined || (options.ns as readonly string[]).length > 3) t.match(await text(terminal.stdout!), '/dev/pts/', `${name}: a terminal`);
    else terminal.stdout!.resume();
    await terminal.exited;
    await host.killAll();
  }
});

tidy('members of a pod', async t => {
  const first = await spawnContained('sleep', ['1000'], { stdio: 'ignore', hostname: 'blue' }).ready;
  const second = await spawnContained('sleep', ['1000'], { stdio: 'ignore', ns: { all: first } as never }).ready;
  t.equal(await output(second, 'uname -n; tr "\\0" " " </proc/1/cmdline'), 'blue\nsleep 1000 ');
  const inSecond = second.exec(['sleep', '1000'], { stdio: 'ignore' });
  const inFirst = await first.exec(['sleep', '1000'], { stdio: 'ignore' }).ready;
  await inSecond.ready;
  await second.killAll();
  t.match(await inSecond.exited, { signal: 'SIGKILL' }, 'it ends with the member that it was run in');
  t.equal(inFirst.exitCode ?? inFirst.signalCode, null, 'and not those of others');
  await first.killAll();
  t.match(await inFirst.exited, { signal: 'SIGKILL' });
});

tidy('what it took, step by step, and from a worker', async t => {
  await within({}, async host => {
    const child = host.exec('true', { trace: true });
    await child.exited;
    t.ok(child.trace!.some(({ list, step }) => list === 'join' && step === 'enter the namespace'));
    t.ok(child.trace!.every(({ ns }) => ns >= 0));
  });
  const worker = new Worker(`
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('../dist/lib/index.js', import.meta.url).href)}).then(async ({ spawnContained }) => {
      const host = await spawnContained('sleep', ['1000'], { stdio: 'ignore' }).ready;
      const { code } = await host.exec(['sh', '-c', 'exit 5']).exited;
      await host.killAll();
      parentPort.postMessage(code);
    });`, { eval: true });
  t.same(await once(worker, 'message'), [5]);
  await worker.terminate();
});


