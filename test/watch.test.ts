// Watching cgroups: the kernel tells, nobody polls.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import { watchEventfd, watchFile, watchPressure, type Watch, type WatchListener } from '../dist/lib/cgroup/watch.js';
import { fixture, needsHost, runFixture, scratch, tidy, until } from './env.js';

const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map(line => line.split(' '));
const unified = mounts.find(words => words.includes('cgroup2'))?.[4];
const memory = mounts.find(words => words.at(-3) === 'cgroup' && words.at(-1)!.split(',').includes('memory'))?.[4];
const controllers = unified === undefined ? [] : readFileSync(join(unified, 'cgroup.controllers'), 'utf8').trim().split(' ');
const needsUnified = needsHost(unified !== undefined, 'cgroup v2');
const needsV1 = needsHost(memory !== undefined, 'the memory controller on v1');
const needs = (controller: string): string | false => needsHost(controllers.includes(controller), `${controller} on v2`);
const needsPressure = needsHost(unified !== undefined && existsSync('/proc/pressure/cpu'), 'a kernel that measures pressure');

const made: string[] = [];
let groups = 0;

function group(parent = unified!): string {
  const path = join(parent, `contained-test.${process.pid}.watch${++groups}`);
  mkdirSync(path);
  made.push(path);
  return path;
}

/** A test whose groups go before it is looked at what is left. */
function watching(title: string, body: Parameters<typeof tidy>[1], extra: Parameters<typeof tidy>[2] = {}): void {
  tidy(title, async t => {
    try {
      await body(t);
    } finally {
      for (const path of made.splice(0)) if (existsSync(path)) rmdirSync(path);
    }
  }, extra);
}

/** A shell that is in `path` before it runs `script`. */
const member = (path: string, script: string): ChildProcess =>
  spawn('sh', ['-c', `echo $$ > ${path}/cgroup.procs; ${script}`], { stdio: 'ignore' });

async function end(child: ChildProcess): Promise<void> {
  const exit = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
  child.kill('SIGKILL');
  await exit;
}

/** What a watch told, and a promise of what it will. */
function heard(): { texts: (string | null)[]; listener: WatchListener; next(wanted: (text: string | null) => boolean): Promise<boolean> } {
  const texts: (string | null)[] = [];
  let notify = (): void => {};
  return {
    texts,
    listener: text => { texts.push(text); notify(); },
    next: async wanted => {
      let late = false;
      const timer = setTimeout(() => { late = true; notify(); }, 10_000);
      while (!texts.some(wanted) && !late) await new Promise<void>(resolve => { notify = resolve; });
      clearTimeout(timer);
      return texts.some(wanted);
    },
  };
}

/** Descriptors of the watches; Node has eventfds of its own. */
const held = (pattern = /contained-test/): string[] => readdirSync('/proc/self/fd').flatMap(fd => {
  try {
    const target = readlinkSync(`/proc/self/fd/${fd}`);
    return pattern.test(target) ? [target] : [];
  } catch {
    return [];
  }
});

watching('a group is told to be populated, frozen, thawed and empty, once for each', async t => {
  const path = group();
  const { texts, listener, next } = heard();
  const watch = watchFile(join(path, 'cgroup.events'), listener);
  await watch.opened;
  t.same(texts, ['populated 0\nfrozen 0\n'], 'the first text comes with the opening');
  const child = member(path, 'exec sleep 1000');
  t.ok(await next(text => text === 'populated 1\nfrozen 0\n'));
  writeFileSync(join(path, 'cgroup.freeze'), '1');
  t.ok(await next(text => text === 'populated 1\nfrozen 1\n'));
  texts.length = 0;
  writeFileSync(join(path, 'cgroup.freeze'), '0');
  t.ok(await next(text => text === 'populated 1\nfrozen 0\n'));
  await end(child);
  t.ok(await next(text => text === 'populated 0\nfrozen 0\n'));
  t.same(texts.length, 2);
  watch.close();
}, { skip: needsUnified });

watching('the removal of a group ends its watch, however the path leads there', async t => {
  const path = group();
  const link = join(scratch(t), 'link');
  symlinkSync(path, link);
  const [direct, linked, other] = [heard(), heard(), heard()];
  const sibling = group();
  const watches = [watchFile(join(path, 'cgroup.events'), direct.listener), watchFile(join(link, 'cgroup.events'), linked.listener)];
  const stays = watchFile(join(sibling, 'cgroup.events'), other.listener);
  await Promise.all([...watches, stays].map(({ opened }) => opened));
  rmdirSync(path);
  t.ok(await direct.next(text => text === null));
  t.ok(await linked.next(text => text === null));
  t.same(other.texts, ['populated 0\nfrozen 0\n']);
  t.equal(direct.texts.at(-1), null);
  t.ok(await until(() => held().length === 1), 'their files are closed, but for the sibling\'s');
  stays.close();
  t.ok(await until(() => held().length === 0));
}, { skip: needsUnified });

watching('a group that is made again after its removal is not mixed up with the first', async t => {
  const path = group();
  const first = heard();
  await watchFile(join(path, 'cgroup.events'), first.listener).opened;
  rmdirSync(path);
  mkdirSync(path);
  const second = heard();
  const watch = watchFile(join(path, 'cgroup.events'), second.listener);
  await watch.opened;
  t.ok(await first.next(text => text === null));
  rmdirSync(path);
  t.ok(await second.next(text => text === null));
}, { skip: needsUnified });

watching('the memory limit of v2 is told', async t => {
  writeFileSync(join(unified!, 'cgroup.subtree_control'), '+memory');
  const path = group();
  writeFileSync(join(path, 'memory.max'), '16M');
  const [all, local] = [heard(), heard()];
  const watches = [watchFile(join(path, 'memory.events'), all.listener), watchFile(join(path, 'memory.events.local'), local.listener)];
  await Promise.all(watches.map(({ opened }) => opened));
  await once(member(path, 'tail /dev/zero'), 'exit');
  t.ok(await all.next(text => /^oom_kill [1-9]/m.test(text!)));
  t.ok(await local.next(text => /^oom_kill [1-9]/m.test(text!)));
  watches.forEach(watch => watch.close());
}, { skip: needs('memory') });

watching('the process limit of v2 is told', async t => {
  writeFileSync(join(unified!, 'cgroup.subtree_control'), '+pids');
  const path = group();
  writeFileSync(join(path, 'pids.max'), '1');
  const { listener, next } = heard();
  const watch = watchFile(join(path, 'pids.events'), listener);
  await watch.opened;
  await once(member(path, 'sleep 0; true'), 'exit');
  t.ok(await next(text => /^max [1-9]/.test(text!)));
  watch.close();
}, { skip: needs('pids') });

watching('v1: out of memory is told by an eventfd, and the removal of the group is told apart', async t => {
  const path = group(memory);
  const eventfds = held(/eventfd/).length;
  writeFileSync(join(path, 'memory.limit_in_bytes'), '16M');
  const [oom, pressure, usage] = [heard(), heard(), heard()];
  const watches = [
    watchEventfd(path, 'memory.oom_control', '', oom.listener), watchEventfd(path, 'memory.pressure_level', 'low', pressure.listener),
    watchEventfd(path, 'memory.usage_in_bytes', `${8 << 20}`, usage.listener),
  ];
  await Promise.all(watches.map(({ opened }) => opened));
  t.same([oom.texts, pressure.texts, usage.texts], [[], [], []], 'nothing has happened yet');
  await once(member(path, `dd if=/dev/zero of=${scratch(t)}/big bs=1M count=64; tail /dev/zero`), 'exit');
  // The kernel signals first and kills then.
  t.ok(await oom.next(text => /^oom_kill \d/m.test(text!)));
  t.ok(await until(() => /^oom_kill [1-9]/m.test(readFileSync(join(path, 'memory.oom_control'), 'utf8'))));
  t.ok(await pressure.next(text => text === ''));
  t.ok(await usage.next(text => /^\d+\n$/.test(text!)));
  t.notOk([oom, pressure, usage].some(({ texts }) => texts.includes(null)));
  rmdirSync(path);
  for (const { next, texts } of [oom, pressure, usage]) {
    t.ok(await next(text => text === null));
    t.equal(texts.indexOf(null), texts.length - 1, 'it is the last that is told');
  }
  t.ok(await until(() => held().length === 0 && held(/eventfd/).length === eventfds));
}, { skip: needsV1 });

watching('a pressure trigger fires when loops share the processors of a group, and ends with it', async t => {
  const path = group();
  const { texts, listener, next } = heard();
  await watchPressure(join(path, 'cpu.pressure'), 'some 150000 2000000', listener).opened;
  const children = Array.from({ length: 2 * availableParallelism() }, () => member(path, 'while :; do :; done'));
  t.ok(await next(text => /^some avg10=/.test(text!)));
  await Promise.all(children.map(end));
  t.ok(await until(() => { try { rmdirSync(path); return true; } catch { return false; } }));
  t.ok(await next(text => text === null));
  t.equal(texts.at(-1), null);
}, { skip: needsPressure });

watching('what cannot be watched is a ContainedError that names the call', async t => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'plain'), '');
  const listener = (): void => { t.fail('nothing to hear'); };
  const fails = (watch: Watch, wanted: object): Promise<unknown> => t.rejects(watch.opened, { name: 'ContainedError', ...wanted });
  await fails(watchFile('/no/such/file', listener), { code: 'ENOENT', errno: -2, syscall: 'open', path: '/no/such/file', step: 'watch /no/such/file' });
  await fails(watchFile(join(directory, 'plain'), listener), { code: 'EPERM', syscall: 'epoll_ctl', hint: 'this file does not notify' });
  await fails(watchFile(directory, listener), { code: 'EISDIR', syscall: 'read' });
  await fails(watchEventfd(directory, 'plain', '', listener), { code: 'ENOENT', syscall: 'open' });
  await fails(watchPressure('/no/such.pressure', 'some 1 2', listener), { code: 'ENOENT', syscall: 'open' });
  t.ok(await until(() => held().length === 0));
});

watching('a trigger that the kernel does not understand is EINVAL', async t => {
  const path = group();
  for (const trigger of ['', 'bogus', 'some 1 20000000', 'some 3000000 2000000']) {
    const refusal = { name: 'ContainedError', code: 'EINVAL', errno: -22, syscall: 'write', path: join(path, 'cpu.pressure') };
    await t.rejects(watchPressure(join(path, 'cpu.pressure'), trigger, () => {}).opened, refusal);
  }
  t.ok(await until(() => held().length === 0));
}, { skip: needsPressure });

watching('a v1 argument that the kernel does not understand is EINVAL', async t => {
  const path = group(memory);
  await t.rejects(watchEventfd(path, 'memory.pressure_level', 'bogus', () => {}).opened, { code: 'EINVAL', syscall: 'write' });
  await t.rejects(watchEventfd(path, 'memory.stat', '', () => {}).opened, { code: 'EINVAL', syscall: 'write' });
  t.ok(await until(() => held().length === 0));
}, { skip: needsV1 });

watching('500 watches at once: each hears of its own group, and closing them leaves no file', async t => {
  const paths = Array.from({ length: 500 }, () => group());
  const ears = paths.map(heard);
  const watches = paths.map((path, i) => watchFile(join(path, 'cgroup.events'), ears[i]!.listener));
  await Promise.all(watches.map(({ opened }) => opened));
  t.equal(held().length, 500);
  paths.forEach(path => writeFileSync(join(path, 'cgroup.freeze'), '1'));
  const frozen = await Promise.all(ears.map(({ next }) => next(text => text === 'populated 0\nfrozen 1\n')));
  t.equal(frozen.filter(Boolean).length, 500);
  for (const path of paths.slice(0, 250)) rmdirSync(path);
  t.notOk((await Promise.all(ears.slice(0, 250).map(({ next }) => next(text => text === null)))).includes(false));
  t.notOk(ears.slice(250).some(({ texts }) => texts.includes(null)));
  watches.forEach(watch => watch.close());
  t.ok(await until(() => held().length === 0));
}, { skip: needsUnified });

watching('a closed watch is silent, also when it was never opened', async t => {
  const path = group();
  const { texts, listener } = heard();
  const early = watchFile(join(path, 'cgroup.events'), listener);
  early.close();
  early.close();
  await early.opened;
  const watch = watchFile(join(path, 'cgroup.events'), listener);
  await watch.opened;
  texts.length = 0;
  watch.close();
  watch.ref();
  writeFileSync(join(path, 'cgroup.freeze'), '1');
  t.ok(await until(() => held().length === 0));
  t.same(texts, []);
}, { skip: needsUnified });

for (const how of ['terminate', 'exit']) {
  watching(`${how} of a worker closes its watches, and no others`, async t => {
    const [path, mine] = [group(), group()];
    const own = heard();
    const watch = watchFile(join(mine, 'cgroup.events'), own.listener);
    await watch.opened;
    const workerData = {
      files: Array.from({ length: 20 }, () => join(path, 'cgroup.events')), pressures: existsSync('/proc/pressure') ? [join(path, 'cpu.pressure')] : [],
      eventfds: memory === undefined ? [] : [group(memory)], hold: how === 'terminate', ref: how === 'terminate',
    };
    const worker = new Worker(fixture('watch.mjs'), { workerData });
    const exit = once(worker, 'exit');
    await once(worker, 'message');
    if (how === 'terminate') {
      t.ok(held().length > 20);
      await worker.terminate();
    } else await exit;
    t.ok(await until(() => held().length === 1), held().join());
    writeFileSync(join(mine, 'cgroup.freeze'), '1');
    t.ok(await own.next(text => text === 'populated 0\nfrozen 1\n'));
    watch.close();
    t.ok(await until(() => held().length === 0));
  }, { skip: needsUnified });
}

watching('a worker that is terminated while its watches open leaves none', async t => {
  const path = group();
  for (let i = 0; i < 4; ++i) {
    const worker = new Worker(fixture('watch.mjs'), { workerData: { files: Array.from({ length: 300 }, () => join(path, 'cgroup.events')), hold: true } });
    await once(worker, 'online');
    await until(() => held().length > 20 * i);
    await worker.terminate();
    t.ok(await until(() => held().length === 0));
  }
}, { skip: needsUnified });

watching('a watch keeps Node running while it opens, and then only if it is asked to', async t => {
  const path = group();
  const alone = await runFixture('watch.mjs', [JSON.stringify({ files: [join(path, 'cgroup.events')] })]);
  t.match(alone, { code: 0, stdout: 'open\n', stderr: '' });
  const node = spawn(process.execPath, [fixture('watch.mjs'), JSON.stringify({ files: [join(path, 'cgroup.events')], ref: true })], { env: { ...process.env, NODE_OPTIONS: '' } });
  const output = text(node.stdout);
  const exit = once(node, 'exit');
  await once(node.stdout, 'data');
  await new Promise(resolve => setTimeout(resolve, 500));
  t.equal(node.exitCode, null);
  rmdirSync(path);
  t.same(await exit, [0, null]);
  t.equal(await output, 'open\ngone\n');
}, { skip: needsUnified });
