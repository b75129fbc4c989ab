// Worker threads: each has containers of its own, all have one launcher.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { run, spawnContained } from 'spawn-contained';
import { fixture, mark, processesWith, root, tidy, until } from './env.js';

const KINDS = [{}, { init: true }, ...root ? [{ ns: [] }, { cgroup: { pids: { max: 10 } } }] : []];

async function start(word: string, kinds: object[] = KINDS): Promise<{ worker: Worker; groups: string[] }> {
  const worker = new Worker(fixture('worker.mjs'), { workerData: { word, kinds } });
  const [groups] = await once(worker, 'message') as [string[]];
  return { worker, groups };
}

tidy('a worker spawns, waits and ends', async t => {
  const { worker } = await start(mark());
  const exit = once(worker, 'exit');
  worker.postMessage('finish');
  t.same(await once(worker, 'message'), [KINDS.map(() => 6)]);
  t.same(await exit, [0]);
});

for (const how of ['terminate', 'process.exit'] as const) {
  tidy(`${how} of a worker ends its containers, and no others`, async t => {
    const [word, mine] = [mark(), mark()];
    const child = await spawnContained('sh', ['-c', `sleep ${mine} & read x; exit 3`]).ready;
    const { worker, groups } = await start(word);
    t.ok(await until(() => processesWith(word).length >= KINDS.length));
    t.ok(groups.every(existsSync));
    const exit = once(worker, 'exit');
    if (how === 'terminate') await worker.terminate();
    else worker.postMessage('exit');
    t.same(await exit, [how === 'terminate' ? 1 : 4]);
    t.ok(await until(() => processesWith(word).length === 0), 'its processes are gone');
    t.ok(await until(() => !groups.some(existsSync)), 'its groups are gone');
    t.ok(processesWith(mine).length >= 1, "the main thread's container runs on");
    child.stdin!.end('x\n');
    t.same((await child.exited).code, 3);
  });
}

tidy('two workers and the main thread at once; one is terminated, the others notice nothing', async t => {
  const [one, two] = [mark(), mark()];
  const own = await spawnContained('sh', ['-c', 'read x; exit 2']).ready;
  const [first, second] = await Promise.all([start(one), start(two)]);
  await first.worker.terminate();
  t.ok(await until(() => processesWith(one).length === 0));
  const exit = once(second.worker, 'exit');
  second.worker.postMessage('finish');
  t.same(await once(second.worker, 'message'), [KINDS.map(() => 6)]);
  await exit;
  own.stdin!.end('x\n');
  t.equal((await own.exited).code, 2);
});

tidy('a worker that is terminated in the middle of its starts', async t => {
  for (let i = 0; i < 10; ++i) {
    const word = mark();
    const worker = new Worker(fixture('worker.mjs'), { workerData: { word, kinds: Array.from({ length: 30 }, () => ({})) } });
    await once(worker, 'online');
    await until(() => processesWith(word).length > i);
    await worker.terminate();
    if (!await until(() => processesWith(word).length === 0)) t.same(processesWith(word), [], `run ${i}`);
  }
});

tidy('a worker that is terminated within a call', async t => {
  for (const call of ['files', 'reads', 'moves', 'performs', 'sys', 'spawn', 'pipes']) {
    for (let i = 0; i < 20; ++i) {
      const worker = new Worker(fixture('callers.mjs'), { workerData: call, execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } });
      await once(worker, 'message');
      await sleep(Math.random() * 10);
      if (await worker.terminate() !== 1) t.fail(call);
    }
    t.equal((await run({ command: 'true' })).code, 0, call);
  }
});
