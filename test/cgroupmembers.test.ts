// Who is in a group, and how they come there: processes, threads, and groups in groups.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCgroup } from 'spawn-contained';
import type { Cgroup } from 'spawn-contained';
import { mark, processesWith, until } from './env.js';
import { directoriesNamed, directoriesOf, ended, errorOf, group, grouping, member, nameFor, reopened, root, textOf, unified } from './groups.js';

const lines = (path: string): number[] => readFileSync(path, 'utf8').split('\n').filter(line => line !== '').map(Number).sort((a, b) => a - b);
const threadsOf = (pid: number): number[] => readdirSync(`/proc/${pid}/task`).map(Number).sort((a, b) => a - b);
const all = async (groups: AsyncIterable<Cgroup>): Promise<Cgroup[]> => {
  const found: Cgroup[] = [];
  for await (const each of groups) found.push(each);
  return found;
};

grouping('a process is moved on every hierarchy at once', async t => {
  const [from, to] = [await group(), await group()];
  const child = await member(from);
  t.same(await from.processes(), [child.pid]);
  t.same(await to.move([child.pid]), { moved: 1, errors: [] });
  for (const directory of directoriesOf(to)) t.same(lines(join(directory, 'cgroup.procs')), [child.pid], directory);
  for (const directory of directoriesOf(from)) t.same(lines(join(directory, 'cgroup.procs')), [], directory);
  t.same([await from.processes(), await to.processes()], [[], [child.pid]]);
  t.same(await to.threads(), threadsOf(child.pid));
  t.same(await to.move([]), { moved: 0, errors: [] });
}, root);

grouping('a thousand processes, a dead one among them: an error for that one', async t => {
  const made = await group();
  const word = mark();
  const dead = spawn('true', { stdio: 'ignore' });
  await ended(dead);
  const shell = await member(undefined, `i=0; while [ $i -lt 1000 ]; do sleep ${word} & i=$((i+1)); done; wait`);
  t.ok(await until(() => processesWith(`sleep\0${word}`).length === 1000));
  const pids = processesWith(`sleep\0${word}`);
  const { moved, errors } = await made.move([...pids.slice(0, 500), dead.pid!, ...pids.slice(500)]);
  t.equal(moved, 1000);
  t.same(errors, [{ pid: dead.pid!, code: 'ESRCH', errno: -3 }]);
  for (const directory of directoriesOf(made)) t.same(lines(join(directory, 'cgroup.procs')), [...pids].sort((a, b) => a - b), directory);
  t.equal((await made.processes()).length, 1000);
  t.equal((await made.stats()).pids.current, 1000);
  await made.kill();
  t.same(processesWith(`sleep\0${word}`), []);
  await ended(shell);
}, root);

grouping('a pid that is given twice is one process', async t => {
  const made = await group();
  const child = await member(undefined);
  const dead = spawn('true', { stdio: 'ignore' });
  await ended(dead);
  t.same(await made.move([child.pid, child.pid, dead.pid!, dead.pid!]), { moved: 1, errors: [{ pid: dead.pid!, code: 'ESRCH', errno: -3 }] });
  t.same(await made.processes(), [child.pid]);
}, root);

grouping('what is no pid is refused before anybody is moved', async t => {
  const made = await group();
  const child = await member(undefined);
  for (const [pids, path] of [[[child.pid, 0], 'pids[1]'], [[-1], 'pids[0]'], [[1.5], 'pids[0]'], [['1'], 'pids[0]'], [5, 'pids'], [[2 ** 31], 'pids[0]']] as const) {
    t.match(await errorOf(() => made.move(pids as never)), { name: 'OptionError', path }, JSON.stringify(pids));
  }
  t.match(await errorOf(() => made.moveThreads([0])), { name: 'OptionError', path: 'tids[0]' });
  t.same(await made.processes(), []);
}, root);

grouping('groups in groups: children, walk, and who is below', async t => {
  const top = await group();
  const [b, a] = [await group({ name: 'b', parent: top }), await group({ name: 'a', parent: top })];
  const deep = await group({ name: 'deep', parent: a });
  t.same((await top.children()).map(({ name }) => name), ['a', 'b']);
  t.same((await top.children()).map(({ paths }) => paths), [a.paths, b.paths], 'on all hierarchies');
  t.same((await all(top.walk())).map(({ name }) => name), [top.name, 'a', 'deep', 'b']);
  t.same(await deep.children(), []);
  t.same((await all(deep.walk())).map(({ name }) => name), ['deep']);
  const [inDeep, inB] = [await member(deep), await member(b)];
  t.same(await top.processes(), []);
  t.same(await top.processes({ recursive: true }), [inDeep.pid, inB.pid].sort((x, y) => x - y));
  t.same(await a.processes({ recursive: true }), [inDeep.pid]);
  t.same(await (await a.children())[0]!.processes(), [inDeep.pid]);
  const [first] = await (await reopened(top)).children();
  await first!.kill();
  await ended(inDeep);
  t.ok(processesWith('sleep').includes(inB.pid), 'the sibling lives');
}, root);

grouping('the threads of a process', async t => {
  const made = await group();
  const node = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } });
  try {
    t.ok(await until(() => threadsOf(node.pid!).length > 4));
    await made.move([node.pid!]);
    t.ok(await until(async () => JSON.stringify(await made.threads()) === JSON.stringify(threadsOf(node.pid!))), 'all that /proc lists');
    t.same(await made.processes(), [node.pid!]);
  } finally {
    node.kill('SIGKILL');
    await ended(node);
  }
}, root);

grouping('a threaded group takes single threads', async t => {
  const top = await group();
  const name = nameFor();
  if (unified === undefined) {
    t.match(await errorOf(() => createCgroup({ name, parent: top, threaded: true })), { name: 'ContainedError', code: 'ENOTSUP', step: /threaded/ });
    return t.same(directoriesNamed(name), []) as never;
  }
  const threaded = await group({ name, parent: top, threaded: true });
  t.equal(textOf(threaded, 'cgroup.type'), 'threaded');
  t.equal(textOf(top, 'cgroup.type'), 'domain threaded');
  const node = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } });
  try {
    t.ok(await until(() => threadsOf(node.pid!).length > 4));
    await top.move([node.pid!]);
    const tids = threadsOf(node.pid!).slice(1, 3);
    t.same(await threaded.moveThreads(tids), { moved: 2, errors: [] });
    t.same(await threaded.threads(), tids);
    for (const tid of tids) t.match(readFileSync(`/proc/${node.pid!}/task/${tid}/cgroup`, 'utf8'), new RegExp(`^0::.*/${name}$`, 'm'));
    t.notMatch(readFileSync(`/proc/${node.pid!}/task/${node.pid!}/cgroup`, 'utf8'), new RegExp(`^0::.*/${name}$`, 'm'));
    t.same(await top.processes(), [node.pid!]);
    t.same(await top.processes({ recursive: true }), [node.pid!], 'a threaded group below has no processes of its own');
    t.match(await errorOf(() => threaded.processes()), { name: 'ContainedError', code: /EOPNOTSUPP|ENOTSUP/, hint: /threads and no processes/ });
    const apart = await group();
    const { moved, errors } = await apart.moveThreads(tids);
    t.equal(moved, 0, 'a thread does not leave its threaded tree');
    t.same(errors.map(({ pid }) => pid), tids);
    t.ok(errors.every(({ code, errno }) => /^E/.test(code) && errno < 0));
    t.equal((await threaded.stats()).cpu.usageMs! >= 0, true);
    t.match(await errorOf(() => top.remove({ recursive: true })), { name: 'ContainedError', code: 'EBUSY' });
    t.ok(existsSync(threaded.paths['unified']!), 'with threads in it, it stays');
  } finally {
    node.kill('SIGKILL');
    await ended(node);
  }
  await threaded.remove();
  t.same(directoriesNamed(name), []);
}, root);

grouping('a threaded group goes with the group above it', async t => {
  if (unified === undefined) return void t.match(await errorOf(() => group({ threaded: true })), { code: 'ENOTSUP' });
  const top = await group();
  const child = await member(top);
  const threaded = await group({ name: 'inside', parent: top, threaded: true });
  t.same(await threaded.moveThreads([child.pid]), { moved: 1, errors: [] });
  await top.kill();
  await ended(child);
  await top.remove({ recursive: true });
  t.same(directoriesNamed(top.name), []);
}, root);

grouping('on v1 a thread goes wherever it is told', async t => {
  if (unified !== undefined) return void t.match(await (await group()).moveThreads([process.pid]), { moved: 0, errors: [{ pid: process.pid }] }, 'and on v2 not');
  const made = await group();
  const child = await member(undefined);
  t.same(await made.moveThreads([child.pid]), { moved: 1, errors: [] });
  for (const directory of directoriesOf(made)) t.same(lines(join(directory, 'tasks')), [child.pid]);
}, root);

grouping('what other tools do is seen', async t => {
  const made = await group();
  const child = await member(undefined);
  for (const directory of directoriesOf(made)) {
    execFileSync('sh', ['-c', `echo ${child.pid} > ${directory}/cgroup.procs; mkdir ${directory}/theirs`]);
  }
  t.same(await made.processes(), [child.pid]);
  t.same((await made.children()).map(({ name }) => name), ['theirs']);
}, root);
