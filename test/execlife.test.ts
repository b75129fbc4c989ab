// How commands in a container end, their groups, and what is left when they, the container, Node or the launcher end.
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Contained, type ContainedError, createCgroup, type ExecOptions, spawnContained, type SpawnOptions, sweep } from 'spawn-contained';
import type { ContainedProcess } from '../dist/lib/handle/contained.js';
import { hierarchies, mark, needsLimits, needsNoLimits, needsRoot, ofProcess, processesWith, root, runFixture, sameAs, surroundings, tidy, until } from './env.js';
import { errorOf } from './groups.js';

const limitable = !needsLimits;

/** Who escapes from its parent and its session: what only a group finds. */
const daemons = (word: string): string => `for i in 1 2 3; do setsid sh -c "setsid sleep ${word} & exit" & done; wait; sleep ${word}`;

async function started(options: SpawnOptions = {}): Promise<Contained> {
  return spawnContained({ command: ['sleep', '1000'], stdio: 'ignore', ...options }).ready;
}

const within = async (options: SpawnOptions, body: (host: Contained) => Promise<void>): Promise<void> => {
  const host = await started(options);
  try {
    await body(host);
  } finally {
    await host.killAll();
  }
};

const goesOn = (t: typeof import('tap').t, { exitCode, signalCode }: Contained): void => t.equal(exitCode ?? signalCode, null, 'the container goes on') as never;

async function running(host: Contained, options: ExecOptions = {}): Promise<{ child: Contained; word: string }> {
  const word = mark();
  const child = host.exec(['sh', '-c', daemons(word)], { stdio: 'ignore', ...options });
  child.exited.catch(() => {});
  await child.ready;
  await until(() => processesWith(`sleep\0${word}`).length === 4 || child.exitCode !== null || child.signalCode !== null);
  return { child, word };
}

const kinds: [string, SpawnOptions][] = [
  ['with defaults', {}], ['without a pid namespace', { ns: root ? ['mnt'] : ['user', 'mnt'] }], ['without namespaces', { ns: [] }], ['with an init', { init: true }],
  ...limitable ? [['with a group', { cgroup: {} }]] as [string, SpawnOptions][] : [],
];

for (const [name, options] of kinds) {
  tidy(`${name}: the whole tree is gone, however it ends, and the container goes on`, async t => {
    await within(options, async host => {
      const endings: [string, (child: Contained) => unknown, ExecOptions, object][] = [
        ['kill', child => child.kill('SIGKILL'), {}, { reason: 'killed', signal: 'SIGKILL', code: null }],
        ['SIGTERM', child => child.kill(), {}, { reason: 'killed', signal: 'SIGTERM' }],
        ['killAll', child => child.killAll(), {}, { reason: 'killed' }],
        ['timeout', () => {}, { timeout: 2000 }, { reason: 'timeout' }],
      ];
      for (const [way, end, more, outcome] of endings) {
        const { child, word } = await running(host, more);
        end(child);
        t.match(await child.exited, outcome, way);
        t.same(processesWith(`sleep\0${word}`), [], `${way}: nobody is left`);
        goesOn(t, host);
      }
      const abort = new AbortController();
      const { child, word } = await running(host, { signal: abort.signal });
      abort.abort();
      t.match(await child.exited, { reason: 'aborted' });
      t.same(processesWith(`sleep\0${word}`), []);
      t.match(await host.exec(['sh', '-c', 'kill -9 $$'], { stdio: 'ignore' }).exited, { reason: 'signal', signal: 'SIGKILL', code: null });
      const last = mark();
      t.match(await host.exec(['sh', '-c', `setsid sleep ${last} & exit 4`], { stdio: 'ignore' }).exited, { reason: 'exit', code: 4 });
      t.same(processesWith(`sleep\0${last}`), [], 'nor of one that has ended by itself');
      goesOn(t, host);
    });
  }, { skip: needsLimits });

  tidy(`${name}: when the container ends so does all that was run in it, in any order`, async t => {
    for (const delay of [0, 0, 2, 5, 20]) {
      const host = await started(options);
      const word = mark();
      const ends: Promise<unknown>[] = [];
      for (let i = 0; i < 20; ++i) {
        const child = host.exec(['sh', '-c', `setsid sleep ${word} & sleep ${word}`], { stdio: 'ignore' });
        child.on('error', () => {});
        ends.push(child.exited.then(({ reason, signal, code }) => `${reason} ${signal ?? code}`, (error: ContainedError) => error.code));
      }
      if (delay > 0) await sleep(delay);
      host.kill('SIGKILL');
      t.match(await host.exited, { reason: 'killed', signal: 'SIGKILL' });
      // 2 is the shell's when it cannot fork: nobody can in a pid namespace whose first process ends, and a moment later they are killed.
      for (const end of await Promise.all(ends)) t.match(end, /^(signal SIGKILL|exit 2|ESRCH|ECHILD|EAGAIN|ENOMEM)$/);
      t.same(processesWith(`sleep\0${word}`), [], 'nobody is left');
    }
  }, { skip: needsLimits });
}

tidy('a signal that comes while it is still entering is not lost', async t => {
  await within({}, async host => {
    for (let i = 0; i < 40; ++i) {
      const child = host.exec(['sleep', '5'], { stdio: 'ignore' });
      if (i % 4 > 0) await sleep(i % 4 - 1);
      t.ok(child.kill('SIGTERM'));
      t.match(await child.exited, { reason: 'killed', signal: 'SIGTERM' });
    }
    for (const timeout of [1, 2, 4, 1, 2, 4]) {
      t.match(await host.exec(['sleep', '5'], { stdio: 'ignore', timeout, killGrace: 20_000 }).exited, { reason: 'timeout', signal: 'SIGTERM' });
    }
    for (let i = 0; i < 20; ++i) {
      const stopped = host.exec(['sleep', '5'], { stdio: 'ignore' });
      stopped.kill('SIGSTOP');
      if (i % 2 === 0) stopped.kill('SIGCONT');
      const running = await Promise.race([stopped.ready.then(() => true), sleep(300).then(() => false)]);
      // It stands still before its command, or in it.
      if (i % 2 === 0) t.ok(running || await stopped.ready);
      else t.ok(!running || /\) T /.test(ofProcess(stopped.pid!, 'stat')), `${running}`);
      t.ok(stopped.kill('SIGKILL'));
      t.match(await stopped.exited, { reason: 'killed', signal: 'SIGKILL' });
    }
  });
});

tidy('without a group the first process ends, and what is of its process group', async t => {
  await within({ ns: ['user', 'pid', 'mnt'] }, async host => {
    const word = mark();
    const child = host.exec(['sh', '-c', `sleep ${word} & sleep ${word}`], { stdio: 'ignore' });
    await child.ready;
    await until(() => processesWith(`sleep\0${word}`).length === 2);
    await child.killAll();
    t.ok(await until(() => processesWith(`sleep\0${word}`).length === 0));
    t.match(await errorOf(() => host.exec('true', { cgroup: { pids: { max: 10 } } }).exited), { code: 'ENOTSUP' }, 'and there can be no limits');
  });
}, { skip: needsNoLimits });

tidy('each has a group below that of the container, and its limits within', async t => {
  await within({ cgroup: { pids: { max: 30 }, cpu: { max: 4 } } }, async host => {
    const child = await host.exec(['sleep', '1000'], { stdio: 'ignore', cgroup: { pids: { max: 5 }, memory: { max: '32M' } } }).ready;
    for (const [hierarchy, path] of Object.entries(child.cgroup)) if (host.cgroup[hierarchy]) t.ok(path.startsWith(`${host.cgroup[hierarchy]}/`), hierarchy);
    const pids = hierarchies.v1.has('pids') ? child.cgroup['pids']! : child.cgroup['unified']!;
    t.equal(readFileSync(`${pids}/pids.max`, 'utf8'), '5\n');
    t.match(readFileSync(`${pids}/cgroup.procs`, 'utf8').trim(), String(child.pid));
    t.ok((await host.processes()).some(({ pid }) => pid === child.pid), 'the container counts it among its own');
    t.same((await child.processes()).map(({ pid }) => pid), [child.pid]);
    await child.killAll();
    t.notOk(existsSync(pids));

    const bomb = await host.exec(['sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait'], { stdio: 'ignore', cgroup: { pids: { max: 4 } } }).exited;
    t.not(bomb.code, 0, 'forks fail');
    t.ok(bomb.usage.pidsPeak === undefined || bomb.usage.pidsPeak <= 4);

    const eater = host.exec(['sh', '-c', 'x=$(head -c 100000000 /dev/zero | tr "\\0" x)'], { stdio: 'ignore', cgroup: { memory: { max: '20M' } } });
    t.match(await eater.exited, { reason: 'oom', usage: { oomKills: Number } }, 'memory');
    goesOn(t, host);

    const burner = await host.exec(['sh', '-c', 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'], { stdio: 'ignore', cgroup: { cpu: { max: 0.02 } } }).exited;
    t.ok(burner.usage.throttledMs! > 0, 'processor');
    t.match(await host.exec(['sh', '-c', 'while :; do :; done'], { stdio: 'ignore', cpuTimeout: 200 }).exited, { reason: 'cpu-timeout' });
    t.ok(burner.usage.memoryPeak! > 0);
    const total = await host.stats();
    t.ok(total, 'the container still tells what it uses');
    t.match(await host.exec('true', { stdio: 'ignore' }).exited, { code: 0 }, 'one without limits');
  });
  await within({ cgroup: { pids: { max: 30 } } }, async host => {
    const outcome = await host.exec('true', { stdio: 'ignore', cgroup: { cpu: { max: 1 } } }).exited.then(({ code }) => code, (error: ContainedError) => `${error.code}: ${error.hint}`);
    t.match(outcome, hierarchies.v1.has('cpu') ? 0 : /^(0|ENOTSUP: the container's group has not that controller.*)$/, 'what the container has not itself');
  });
}, { skip: needsLimits });

tidy('a command that is asked about', async t => {
  await within({ cgroup: {} }, async host => {
    const child = await host.exec(['sh', '-c', 'sleep 1000 & wait'], { stdio: 'ignore' }).ready;
    await until(async () => (await child.processes()).length === 2);
    const { memory } = await child.stats();
    t.ok(memory);
    t.match(await child.inspect(), { pid: child.pid });
    await child.pause();
    t.ok(child.paused);
    t.match(await host.exec('true', { stdio: 'ignore' }).exited, { code: 0 }, 'it stands still, and the container does not');
    await child.resume();
    await child.update({ pids: { max: 7 } }).catch((error: ContainedError) => t.match(error, { code: /ENOTSUP/ }));
    await child.pause();
    await child.killAll();
    t.match(await child.exited, { reason: 'killed' }, 'also while it stands still');
  });
}, { skip: needsLimits });

tidy('a container that stands still is not entered', async t => {
  await within({ cgroup: {} }, async host => {
    const before = await host.exec(['sleep', '1000'], { stdio: 'ignore' }).ready;
    await host.pause();
    const start = performance.now();
    const error = await errorOf(() => host.exec('true', { stdio: 'ignore' }).exited);
    t.match(error, { code: 'EBUSY', hint: /paused/ });
    t.ok(performance.now() - start < 5000, 'at once');
    const limited = await errorOf(() => host.exec('true', { stdio: 'ignore', cgroup: { pids: { max: 9 } } }).exited);
    t.match(limited, { code: 'EBUSY' });
    await host.resume();
    t.match(await host.exec('true', { stdio: 'ignore' }).exited, { code: 0 });
    await before.killAll();
  });
}, { skip: needsLimits });

tidy('a container in a group that it shares', async t => {
  const cgroup = await createCgroup({});
  const [one, two] = [await started({ cgroup, ns: root ? ['mnt'] : ['user', 'mnt'] }), await started({ cgroup })];
  const { child, word } = await running(one);
  t.match(await two.exec('true', { stdio: 'ignore' }).exited, { code: 0 });
  await child.killAll();
  t.same(processesWith(`sleep\0${word}`), []);
  const guest = await running(one);
  await one.killAll();
  t.match(await guest.child.exited, { signal: 'SIGKILL' }, 'it ends with the container');
  t.same(processesWith(`sleep\0${guest.word}`), []);
  goesOn(t, two);
  const limits = await two.exec('true', { stdio: 'ignore', cgroup: { pids: { max: 9 } } }).exited.then(({ code }) => code, (error: ContainedError) => error.code);
  t.match(limits, hierarchies.v1.has('pids') ? 0 : /^(0|ENOTSUP)$/, 'limits where that moves nobody else');
  t.match(await spawnContained({ command: 'true', cgroup }).exited, { code: 0 }, 'others can still be started in it');
  await two.killAll();
  await cgroup.remove();
}, { skip: needsLimits });

tidy('a container that has groups of its own', async t => {
  const script = 'g=$(sed -n "s/^0:://p" /proc/self/cgroup); d=$(find /sys/fs/cgroup -maxdepth 6 -type d -path "*$g" | head -1); mkdir -p $d/own 2>/dev/null && echo $$ > $d/own/cgroup.procs; echo up; exec sleep 1000';
  const host = spawnContained({ command: ['sh', '-c', script], stdio: ['ignore', 'pipe', 'ignore'], ns: root ? ['pid', 'mnt'] : ['user', 'pid', 'mnt'], cgroup: { delegate: true } });
  await host.ready;
  for await (const part of host.stdout!) if (String(part).includes('up')) break;
  t.match(await host.exec('true', { stdio: 'ignore' }).exited, { code: 0 });
  const { child, word } = await running(host);
  await child.killAll();
  t.same(processesWith(`sleep\0${word}`), []);
  goesOn(t, host);
  await host.killAll();
}, { skip: needsRoot });

const LISTS = ['host', 'join', 'release', 'child'] as const;

for (const [name, options, more] of [
  ['with defaults', {}, {}],
  ...root ? [['as another user, with limits and a terminal', { cgroup: {} }, { user: 'daemon', tty: true, capabilities: ['NET_RAW'], cgroup: { pids: { max: 9 }, memory: { max: '30M' } }, nice: 3 }]] as const : [],
  ['without namespaces', { ns: [] }, {}],
] as [string, SpawnOptions, ExecOptions][]) {
  tidy(`every step fails: ${name}`, async t => {
    await within(options, async host => {
      const process = host as ContainedProcess;
      const stdio = more.tty ? {} : { stdio: 'ignore' } as const;
      const traced = async () => {
        const probe = process.exec('true', { ...stdio, ...more, trace: true });
        probe.stdout?.resume();
        await once(probe, 'close');
        return probe;
      };
      const first = await traced(), probe = await traced();
      // On v2 the first with limits divides the group of the container.
      const dividing = first.trace!.filter(({ list }) => list === 'join').length - probe.trace!.filter(({ list }) => list === 'join').length;
      for (let index = 0; index < dividing; ++index) {
        await within(options, async another => {
          const halved = (another as ContainedProcess).exec('true', { ...stdio, ...more }, { list: 'join', index, errno: 5 });
          halved.on('error', () => {});
          const closed = once(halved, 'close');
          t.match(await errorOf(() => halved.exited), { code: 'EIO' }, first.trace!.filter(({ list }) => list === 'join')[index]!.step);
          await closed;
          const next = another.exec('true', { ...stdio, ...more });
          next.stdout?.resume();
          t.same(await once(next, 'close'), [0, null], 'the next one works');
        });
      }
      const steps = probe.trace!.map(({ list, step }) => ({ list, step }));
      const word = mark();
      const before = surroundings();
      const all = [...LISTS.flatMap(list => steps.filter(step => step.list === list).map(({ step }, index) => ({ list, index, step }))), { list: 'clone' as const, index: 0, step: 'clone the process' }];
      t.ok(all.length > 8);
      for (const { list, index, step } of all) {
        const child = process.exec(['sleep', word], { ...stdio, ...more }, { list, index, errno: 5 });
        const error = await errorOf(() => child.exited);
        const plain = (words: string): string => words.replace(/spawn-contained\.[\d.]+/g, 'N').replace(/execute .*/, 'execute');
        t.match(error, { code: 'EIO' }, `${list}[${index}] ${step}`);
        t.equal(plain(error.step ?? ''), plain(step));
        const after = await sameAs(before);
        if (JSON.stringify(after) !== JSON.stringify(before)) t.same(after, before, `nothing is left after ${list}[${index}] ${step}`);
      }
      t.same(processesWith(`sleep\0${word}`), []);
      t.match(await host.exec('true', { stdio: 'ignore' }).exited, { code: 0 }, 'the next one works');
    });
  });
}

for (const victim of ['node', 'launcher', 'both'] as const) {
  t.test(`SIGKILL for ${victim} while commands run in a container and others are being started`, async t => {
    const before = surroundings();
    for (const delay of [0, 3, 10, 40]) {
      const word = mark();
      const result = await runFixture('execkill.mjs', [victim, word, String(delay)]);
      if (victim === 'launcher') t.match(result, { code: 0, stdout: /^all ended\n$/ }, result.stderr);
      else t.equal(result.signal, 'SIGKILL', result.stderr);
      t.ok(await until(() => processesWith(`sleep\0${word}`).length === 0), `after ${delay} ms: nobody is left`);
    }
    if (victim === 'both') await sweep();
    t.same(await sameAs(before), before, 'nothing is left behind');
  });
}

