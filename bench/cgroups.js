// Cgroups: what this library does in one hop off the event loop, beside the same files written and read from JavaScript.
//
//   node bench/cgroups.js [--quick] [--markdown]      (root)
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createCgroup } from '../dist/lib/index.js';
import { describeHost } from './host.js';
import { quantile } from './measure.js';

const { values: args } = parseArgs({ options: { quick: { type: 'boolean' }, markdown: { type: 'boolean' } } });
const PROCESSES = 1000;
const GROUPS = 1000;
const ROUNDS = args.quick ? 3 : 7;
const IDLE_MS = 100;

const limits = { memory: { max: '64M' }, cpu: { max: 1 }, pids: { max: 32 } };

/** Milliseconds, and the longest that the event loop stood still meanwhile. */
async function timed(act) {
  let worst = 0, last = performance.now();
  const timer = setInterval(() => {
    worst = Math.max(worst, performance.now() - last - 1);
    last = performance.now();
  }, 1);
  const start = performance.now();
  const result = await act();
  const ms = performance.now() - start;
  clearInterval(timer);
  return { ms, block: Math.max(worst, performance.now() - last - 1), result };
}

/** The directories and the files with limits of one of our groups, for whoever does the same by hand. */
async function filesOf(group) {
  const directories = [...new Set(Object.values(group.paths))];
  const known = ['memory.max', 'memory.swap.max', 'memory.oom.group', 'cpu.max', 'pids.max', 'memory.limit_in_bytes', 'memory.memsw.limit_in_bytes', 'cpu.cfs_period_us', 'cpu.cfs_quota_us'];
  const files = [];
  for (const directory of directories) {
    for (const file of known) {
      const text = await readFile(join(directory, file), 'utf8').catch(() => undefined);
      if (text !== undefined) files.push({ directory, file, text: text.trim() });
    }
  }
  return { directories, files };
}

async function makeByHand({ directories, files }, i) {
  const renamed = directory => directory.replace(/[^/]+$/, `bench-cgroups.${process.pid}.${i}`);
  for (const directory of directories) await mkdir(renamed(directory));
  for (const { directory, file, text } of files) await writeFile(join(renamed(directory), file), text);
  for (const directory of directories) await rmdir(renamed(directory));
}

async function makeOurs() {
  const group = await createCgroup(limits);
  await group.remove();
}

async function lifeOfAGroup() {
  const model = await createCgroup(limits);
  const hand = await filesOf(model);
  const ours = [], byHand = [];
  for (let i = 0; i < 100 * ROUNDS; ++i) {
    ours.push((await timed(makeOurs)).ms);
    byHand.push((await timed(() => makeByHand(hand, i))).ms);
  }
  await model.remove();
  return [
    { what: 'make, limit and remove a group', who: 'createCgroup, remove', ms: quantile(ours, 0.5) },
    { what: '', who: 'mkdir, writeFile, rmdir of fs/promises', ms: quantile(byHand, 0.5) },
  ];
}

async function crowd() {
  const shell = spawn('sh', ['-c', `i=0; while [ $i -lt ${PROCESSES} ]; do sleep 1000 & echo $!; i=$((i+1)); done; echo done; read x; kill $(jobs -p)`], { stdio: ['pipe', 'pipe', 'ignore'] });
  let text = '';
  shell.stdout.setEncoding('utf8').on('data', part => { text += part; });
  while (!text.endsWith('done\n')) await once(shell.stdout, 'data');
  const pids = text.split('\n').map(Number).filter(pid => pid > 0);
  return { pids, stop: async () => {
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    shell.stdin.end('\n');
    await once(shell, 'exit');
  } };
}

/** After idle each first write waits for an RCU grace period; one by one from JavaScript many do. */
async function moving() {
  const { pids, stop } = await crowd();
  const [a, b] = [await createCgroup(), await createCgroup()];
  const directories = [...new Set(Object.values(b.paths))];
  const ours = [], byHand = [];
  const oneByOne = async group => {
    for (const directory of new Set(Object.values(group.paths))) for (const pid of pids) await writeFile(join(directory, 'cgroup.procs'), String(pid));
  };
  for (let i = 0; i < ROUNDS; ++i) {
    await sleep(IDLE_MS);
    ours.push(await timed(() => a.move(pids)));
    await sleep(IDLE_MS);
    byHand.push(await timed(() => oneByOne(b)));
  }
  await stop();
  for (const group of [a, b]) {
    await group.kill();
    await group.remove();
  }
  const row = (who, list) => ({ what: '', who, ms: quantile(list.map(({ ms }) => ms), 0.5), block: quantile(list.map(({ block }) => block), 0.5) });
  return [
    { ...row('move', ours), what: `move ${PROCESSES} processes on ${directories.length} hierarchies, after ${IDLE_MS} ms of nothing` },
    row('one fs.writeFile for each', byHand),
  ];
}

/** The files that ours reads, as they are opened in one of the groups. */
async function statFiles(group) {
  const wanted = /^(cpu\.stat|cpu\.pressure|memory\.(current|peak|stat|swap\.current|events|pressure|usage_in_bytes|max_usage_in_bytes|failcnt|oom_control)|cpuacct\.usage(_user|_sys)?|pids\.(current|peak|events)|io\.(stat|pressure)|blkio\.throttle\.io_service(d|_bytes)_recursive|hugetlb\.\w+\.(current|usage_in_bytes))$/;
  const found = [];
  for (const directory of new Set(Object.values(group.paths))) for (const file of await readdir(directory)) if (wanted.test(file)) found.push([directory, file]);
  return found;
}

/** All at once would be more open files than a process may have. */
async function inTens(list, act) {
  for (let i = 0; i < list.length; i += 10) await Promise.all(list.slice(i, i + 10).map(act));
}

async function reading() {
  const groups = [];
  for (let i = 0; i < GROUPS; ++i) groups.push(await createCgroup());
  const files = await statFiles(groups[0]);
  const byHandOf = group => Promise.all(files.map(([directory, file]) => readFile(join(directory.replace(/[^/]+$/, group.name), file), 'utf8')));
  const ours = [], byHand = [], single = [];
  await Promise.all(groups.map(group => group.stats()));
  for (let i = 0; i < ROUNDS; ++i) {
    ours.push(await timed(() => Promise.all(groups.map(group => group.stats()))));
    byHand.push(await timed(() => inTens(groups, byHandOf)));
    for (let k = 0; k < 100; ++k) single.push((await timed(() => groups[k].stats())).ms);
  }
  for (const group of groups) await group.remove();
  const row = (who, list) => ({ what: '', who, ms: quantile(list.map(({ ms }) => ms), 0.5), block: quantile(list.map(({ block }) => block), 0.5) });
  return [
    { what: 'stats of one group', who: `stats, ${files.length} files`, ms: quantile(single, 0.5) },
    { ...row('stats', ours), what: `stats of ${GROUPS} groups` },
    row(`fs/promises readFile of the same ${files.length} files`, byHand),
  ];
}

const rows = [...await lifeOfAGroup(), ...await moving(), ...await reading()];
const number = value => value === undefined ? '' : value.toFixed(value < 10 ? 2 : 0);
console.log(JSON.stringify(describeHost()));
if (args.markdown) console.log('|  |  | ms | event loop stands still, ms |\n| --- | --- | --: | --: |');
for (const { what, who, ms, block } of rows) {
  console.log(args.markdown ? `| ${what} | ${who} | ${number(ms)} | ${number(block)} |` : `${what.padEnd(66)} ${who.padEnd(48)} ${number(ms).padStart(9)} ms ${block === undefined ? '' : `, event loop ${number(block)} ms`}`);
}
