// Why it ended and what it used: processor time, system call filters, counters.
import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ContainedError, explain, OptionError, run, spawnContained } from 'spawn-contained';
import type { Cgroup, Outcome, RunOptions, SpawnOptions } from 'spawn-contained';
import { mark, needsLimits, needsNoLimits, needsRoot, processesWith, scratch, tidy } from './env.js';
import { group, grouping, loopDevice } from './groups.js';

const sh = (script: string): readonly [string, ...string[]] => ['sh', '-c', script];
const BUSY = 'while :; do :; done';
const FOREVER = { timeout: 60_000 };

const limited = (script: string, cpuTimeout: number, more: Partial<RunOptions> = {}): Promise<Outcome> =>
  run({ ...FOREVER, command: sh(script), cpuTimeout, reject: false, ...more });

const timeOf = ({ usage }: Outcome): number => usage.userMs + usage.systemMs;

/** How each way to count is had; in the last there is no group of its own. */
const ways: [string, () => Promise<SpawnOptions>, string | false][] = [
  ['by the group that is made for it, or else by its processes', async () => await Promise.resolve({}), false],
  ['without a pid namespace', async () => await Promise.resolve({ ns: ['mnt', 'ipc'] }), needsLimits],
  ['in a group with other limits', async () => await Promise.resolve({ cgroup: { pids: { max: 50 } } }), needsLimits],
  ['by its processes, in a group of others', async () => ({ cgroup: await shared() }), needsLimits],
];

const shared = (): Promise<Cgroup> => group({ pids: { max: 100 } });

for (const [title, options, skip] of ways) {
  grouping(`cpuTimeout ends it ${title}`, async t => {
    const with_ = await options();
    const one = await limited(BUSY, 300, with_);
    t.match(one, { reason: 'cpu-timeout', code: null, signal: 'SIGTERM' });
    t.ok(timeOf(one) >= 290 && timeOf(one) < 3000, `one process: ${timeOf(one)} ms`);

    const word = mark();
    const four = await limited(`for i in 1 2 3 4; do ${BUSY} & done; sleep ${word}`, 300, with_);
    t.match(four, { reason: 'cpu-timeout' });
    t.ok(timeOf(four) >= 290 && timeOf(four) < 3000, `four processes: ${timeOf(four)} ms`);
    t.same(processesWith(word), [], 'none is left');

    const many = await limited('while :; do /bin/true; done', 300, with_);
    t.match(many, { reason: 'cpu-timeout' });
    t.ok(timeOf(many) >= 280 && timeOf(many) < 3000, `many short processes: ${timeOf(many)} ms`);

    t.match(await limited('sleep 1', 500, with_), { reason: 'exit', code: 0 }, 'who sleeps uses nothing');
    t.match(await limited('exit 3', 500, with_), { reason: 'exit', code: 3 });
  }, { skip });
}

grouping('cpuTimeout: children that nobody waits for are counted', async t => {
  // Without a group of its own, so that its processes are counted.
  const options = needsLimits === false ? { cgroup: await shared() } : {};
  // With SIGCHLD ignored the kernel adds the time of a dead child nowhere: getrusage(2).
  const outcome = await limited(`exec /usr/bin/python3 -c '
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for i in range(12):
    if os.fork() == 0:
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
        os._exit(0)
    time.sleep(0.4)
'`, 1000, options);
  t.match(outcome, { reason: 'cpu-timeout' });
});

tidy('cpuTimeout asks first, and kills after killGrace, as timeout does', async t => {
  t.match(await limited(`trap "exit 7" TERM; ${BUSY}`, 500), { reason: 'cpu-timeout', code: 7, signal: null });
  const stubborn = await limited(`trap "" TERM; ${BUSY}`, 500, { killGrace: 200 });
  t.match(stubborn, { reason: 'cpu-timeout', signal: 'SIGKILL' });
  t.ok(timeOf(stubborn) < 3000, `${timeOf(stubborn)} ms`);
  t.match(await limited(BUSY, 10_000, { timeout: 200 }), { reason: 'timeout' }, 'what comes first is the reason');
  t.match(await limited(BUSY, 100, { init: true }), { reason: 'cpu-timeout', signal: 'SIGTERM' }, 'below an init too');
});

tidy('cpuTimeout holds while Node is busy: then the kernel ends the process that goes on', async t => {
  const child = spawnContained({ command: sh(BUSY), cpuTimeout: 200, stdio: 'ignore' });
  await child.ready;
  // An emulated processor (test/vm) loses most of the ticks that the kernel counts this by.
  for (let i = 0; i < 1200 && existsSync(`/proc/${child.pid}`); ++i) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  const outcome = await child.exited;
  t.match(outcome, { reason: 'cpu-timeout', signal: 'SIGKILL' });
  t.ok(timeOf(outcome) > 1000, `${timeOf(outcome)} ms`);
});

void t.test('cpuTimeout: the limit of the kernel is the lower of two, and of the program', async t => {
  const limits = (options: SpawnOptions): unknown[] => explain({ command: 'true', ...options }).child.filter(op => op.op === 'setrlimit' && op.resource === 0).map(op => ({ ...op, op: undefined }));
  t.match(limits({ cpuTimeout: 1500 }), [{ soft: 3, hard: 3 }]);
  t.match(limits({ cpuTimeout: 1500, rlimits: { cpu: 2 } }), [{ soft: 2, hard: 2 }]);
  t.match(limits({ cpuTimeout: 1500, rlimits: { cpu: { soft: 1, hard: 'unlimited' } } }), [{ soft: 1, hard: 3 }]);
  t.same(limits({}), []);
  for (const cpuTimeout of [0, -1, NaN, 2 ** 31, '5', null]) t.throws(() => spawnContained({ command: 'true', cpuTimeout: cpuTimeout as number }), { name: 'OptionError', path: 'cpuTimeout' });
  await Promise.resolve();
});

void t.test('cpuTimeout: a group is made to count in, and read before it goes', { skip: needsLimits }, async t => {
  const program = explain({ command: 'true', cpuTimeout: 1500 });
  t.match(program.host.map(({ op }) => op), ['mkdir']);
  t.match(program.undo.map(({ op }) => op).join(), /read.*rmdir/);
  t.same(explain({ command: 'true' }).host, [], 'and none without it');
  await Promise.resolve();
});

tidy('cpuTimeout: what cannot be enforced is refused', async t => {
  const error = await run({ command: 'true', cpuTimeout: 100, ns: ['mnt', 'user'] }).catch((error: unknown) => error);
  t.ok(error instanceof ContainedError);
  t.match(error, { code: 'ENOTSUP', hint: /pid namespace/ });
}, { skip: needsNoLimits });

tidy('what a group told is in the usage, and what nobody tells is undefined', async t => {
  const { usage } = await run({ command: sh('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05') });
  for (const key of ['voluntarySwitches', 'involuntarySwitches', 'minorFaults', 'majorFaults'] as const) t.type(usage[key], 'number', key);
  t.ok(usage.voluntarySwitches! > 0 && usage.minorFaults! > 10);
  for (const key of ['ioReadBytes', 'ioWriteBytes', 'throttledMs', 'pidsPeak', 'oomKills'] as const) t.equal(usage[key], undefined, key);
});

tidy('the time that cpu.max held it back is told', async t => {
  const outcome = await run({ command: sh(BUSY), cgroup: { cpu: { max: 0.2 } }, timeout: 1500, reject: false });
  t.equal(outcome.reason, 'timeout');
  t.ok(outcome.usage.throttledMs! > 50 && outcome.usage.throttledMs! <= outcome.usage.wallMs + 100, `${outcome.usage.throttledMs} ms`);
}, { skip: needsLimits });

tidy('what was read from a disk is told', async t => {
  const { path, numbers } = loopDevice(t, 8);
  const disk = openSync(path, 'r');
  try {
    const { usage } = await run({
      command: sh('dd bs=1M iflag=direct of=/dev/null 2>/dev/null; echo 5000000 | cat'), cgroup: { io: { max: [{ device: numbers, rbps: '1G' }] } }, stdio: [disk, 'pipe', 'pipe'],
    });
    t.ok(usage.ioReadBytes! >= 8 * 2 ** 20, `${usage.ioReadBytes} bytes`);
  } finally {
    closeSync(disk);
  }
}, { skip: needsRoot });

/** Forbids getppid(2), and calls it. */
const FILTER = `
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char** words) {
  struct sock_filter steps[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, words[1][0] == 'p' ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_TRAP),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) return 9;
  syscall(SYS_getppid);
  return 8;
}`;

tidy('who is ended by a system call filter is told apart from who is ended by a signal', async t => {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, 'forbid.c'), FILTER);
  execFileSync('cc', ['-static', '-o', join(directory, 'forbid'), join(directory, 'forbid.c')]);
  const mounts = [{ type: 'bind', source: directory, target: '/tmp/f', readonly: true }] as const;
  const wanted = { reason: 'seccomp', code: null, signal: 'SIGSYS' };
  for (const init of [false, true]) {
    t.match(await run({ command: ['/tmp/f/forbid', 'process'], mounts, init, reject: false }), wanted, `init ${init}`);
  }
  t.match(await run({ command: ['/tmp/f/forbid', 'trap'], mounts, init: true, reject: false }), wanted, 'a trap that nobody handles');
  t.match(await run({ command: sh('/tmp/f/forbid process; exit 4'), mounts, reject: false }), { reason: 'exit', code: 4 }, 'a child of the command is its own affair');
  const sent = spawnContained({ command: ['sleep', '100'], init: true });
  await sent.ready;
  sent.kill('SIGSYS');
  t.match(await sent.exited, { reason: 'killed', signal: 'SIGSYS' }, 'a signal of ours is no filter');
});

void t.test('an OptionError for what is no limit of time', async t => {
  t.throws(() => spawnContained({ command: 'true', cpuTimout: 5 } as never), OptionError);
  await Promise.resolve();
});
