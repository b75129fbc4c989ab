// Measures this library beside its floor and its peers; see the usage below.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { casesFor } from './cases.js';
import { contendersFor } from './contenders.js';
import { holdControllers } from './floor.js';
import { describeHost, launcherRss } from './host.js';
import { measure } from './measure.js';
import { prepare } from './prepare.js';
import { report } from './table.js';
import { judge } from './targets.js';

const USAGE = `node bench/spawn.js [options]
  --quick       fewer runs
  --runs N      hot runs of each contender (default 200)
  --case NAME   only this case (may be repeated)
  --hold        take the controllers of a hybrid host's v2 half away while it runs, without which crun refuses
  --markdown    tables for the README
  --json FILE   where the result goes (default bench/out/DATE.json)`;

const { values: args } = parseArgs({
  options: {
    quick: { type: 'boolean' }, runs: { type: 'string' }, case: { type: 'string', multiple: true }, hold: { type: 'boolean' },
    markdown: { type: 'boolean' }, json: { type: 'string' }, help: { type: 'boolean' },
  },
});

function countsOf({ quick, runs }) {
  const hot = Number(runs ?? (quick ? 20 : 200));
  return { hot, idle: Math.ceil(hot / 5), bursts: quick ? 2 : 7, burst: quick ? 64 : 160, block: quick ? 50 : 300 };
}

async function measureCase(sandbox, setting, counts) {
  process.stderr.write(`${sandbox.name} …\n`);
  const { contenders, stop } = contendersFor(sandbox, setting);
  try {
    return { name: sandbox.name, rows: await measure(contenders, counts) };
  } finally {
    await stop();
  }
}

async function measureBlock(sandbox, { rootfs }, runs, gigabytes) {
  process.stderr.write(`event loop, ${gigabytes} GB …\n`);
  const script = fileURLToPath(new URL('block.js', import.meta.url));
  const setting = JSON.stringify({ file: sandbox.file, options: sandbox.options, bare: `${rootfs}/true` });
  const block = async (...words) => JSON.parse((await promisify(execFile)(process.execPath, [script, ...words])).stdout);
  const results = [];
  for (const name of await block()) results.push(await block(name, String(runs), String(gigabytes), setting));
  return results;
}

/** On a hybrid host crun wants a v2 half without controllers. */
function v2Controllers() {
  const file = '/sys/fs/cgroup/unified/cgroup.controllers';
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ').filter(Boolean) : [];
}

async function measureAll(setting, counts) {
  const controllers = v2Controllers();
  const held = args.hold && controllers.length > 0 ? await holdControllers(setting.binary, controllers) : undefined;
  const sandboxes = casesFor(setting.rootfs);
  const cases = [];
  try {
    for (const sandbox of sandboxes) {
      if (!args.case || args.case.includes(sandbox.name)) cases.push(await measureCase(sandbox, setting, counts));
    }
  } finally {
    await held?.stop();
  }
  const launcherKB = launcherRss();
  const full = sandboxes.find(({ name }) => name === 'full without net');
  const block = { small: await measureBlock(full, setting, counts.block, 0), large: await measureBlock(full, setting, counts.block, 1) };
  const remarks = [
    'hot: straight after an unmeasured run of the same; idle: after 100 ms of nothing; × are of hot p50. On a machine that others use, p10 is what comes closest to being alone. Contenders take turns in random order. spawnContained emits `exit` and resolves `exited` at the same moment: when everything is removed.',
    'unshare, bwrap, crun and runc are started by a small C program, so that Node\'s fork is not charged to them; spawnContained and child_process.spawn run in Node.',
    ...held ? [`While it ran, ${controllers.join(', ')} was taken from the v2 half of this hybrid host, without which crun refuses.`] : [],
  ];
  return { host: describeHost(), counts, cases, block, launcherKB, remarks };
}

function save(result) {
  const file = args.json ?? fileURLToPath(new URL(`out/${result.host.date.replaceAll(':', '-')}.json`, import.meta.url));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
}

async function main() {
  if (args.help) return console.log(USAGE);
  const directory = mkdtempSync(`${tmpdir()}/spawn-contained-bench-`);
  process.once('exit', () => rmSync(directory, { recursive: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  const measured = await measureAll(prepare(directory), countsOf(args));
  const complete = measured.cases.some(({ name }) => name === 'full without net');
  const result = { ...measured, targets: complete ? judge(measured) : [] };
  console.log(report(result, args.markdown));
  save(result);
}

await main();
