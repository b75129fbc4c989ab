// What detached containers write, and is kept.
import { attach, spawnContained } from 'spawn-contained';
import { tidy } from './env.js';
import { entriesOf, logSizeOf, name, textOf } from './kept.js';

tidy('the log: order, streams, times, since, and following to the end', async t => {
  const id = name();
  const before = Date.now();
  const child = await spawnContained('sh', ['-c', 'for i in 1 2 3; do echo out$i; sleep 0.3; echo err$i >&2; sleep 0.3; done; read x < /dev/null; sleep 0.3; echo last'], { id, detached: true }).ready;
  const found = await attach(id);
  const followed = await entriesOf(found, { follow: true });
  t.same(followed.map(({ stream, data }) => `${stream} ${data}`), ['stdout out1\n', 'stderr err1\n', 'stdout out2\n', 'stderr err2\n', 'stdout out3\n', 'stderr err3\n', 'stdout last\n']);
  const times = followed.map(({ time }) => time.getTime());
  t.same(times, [...times].sort((a, b) => a - b));
  t.ok(times[0]! >= before && times.at(-1)! <= Date.now() && times.at(-1)! - times[0]! > 500);
  t.same(await entriesOf(child), followed);
  t.same(await entriesOf(found, { since: followed[5]!.time }), followed.filter(({ time }) => time >= followed[5]!.time));
  await child.exited;
  await found.remove();
});

tidy('following ends with its signal, and reading alone does not keep Node running', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'echo a; sleep 60'], { id, detached: true }).ready;
  const stop = new AbortController();
  const seen: string[] = [];
  for await (const { data } of child.logs({ follow: true, signal: stop.signal })) {
    seen.push(String(data));
    stop.abort();
  }
  t.same(seen, ['a\n']);
  t.equal(textOf(await entriesOf(child)), 'a\n');
  await child.remove({ force: true });
});

/** 100 MB of lines of nine digits. */
const FLOOD = 'seq -f %09.0f 1 10000000';

tidy('100 MB of output: what is kept is bounded, the newest, and whole', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', FLOOD], { id, detached: true, logSize: '1M' }).ready;
  let most = 0;
  const timer = setInterval(() => { most = Math.max(most, logSizeOf(id)); }, 5);
  const found = await attach(id);
  let lines = 0, last = 0, rest = '', lost = 0;
  for await (const { data } of found.logs({ follow: true })) {
    const all = (rest + data.toString('latin1')).split('\n');
    rest = all.pop()!;
    for (const line of all) {
      const number = Number(line);
      // What was dropped before it could be read begins and ends in the middle of a line.
      if (number !== last + 1) ++lost;
      last = number;
      ++lines;
    }
  }
  clearInterval(timer);
  await child.exited;
  t.equal(last, 10_000_000, 'the end has come');
  t.comment(`followed ${lines} lines, ${lost} breaks, at most ${most} bytes`);
  t.ok(most <= 2 ** 20, `${most}`);
  const kept = textOf(await entriesOf(child)).split('\n').slice(1, -1).map(Number);
  t.ok(kept.length > 40_000, `${kept.length}`);
  t.equal(kept.at(-1), 10_000_000);
  t.ok(kept.every((number, i) => i === 0 || number === kept[i - 1]! + 1), 'no record is torn, and none is missing');
  await child.remove();
});

tidy('a slow writer is followed over every turn of the files without a gap', async t => {
  const id = name();
  const child = await spawnContained('sh', ['-c', 'for i in $(seq 1 40); do seq -f %09.0f $((i*5000-4999)) $((i*5000)); sleep 0.15; done'], { id, detached: true, logSize: '1M' }).ready;
  const numbers = textOf(await entriesOf(await attach(id), { follow: true })).trim().split('\n').map(Number);
  t.equal(numbers.length, 200_000);
  t.ok(numbers.every((number, i) => number === i + 1));
  await child.exited;
  await child.remove();
});
