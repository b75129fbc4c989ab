// The examples do what they promise, here, on this host.
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { probe } from 'spawn-contained';
import { scratch, surroundings } from './env.js';

const example = fileURLToPath(new URL('../examples/code-runner', import.meta.url));

interface Run { pid: number; code: number | null; rows: Map<string, string[]>; text: string }

function codeRunner(...files: string[]): Run {
  // By way of env(1), or tap would load its own modules into it.
  const { pid, status, stdout, stderr } = spawnSync('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, join(example, 'run.js'), ...files], { encoding: 'utf8', timeout: 90_000 });
  const lines = stdout.split('\n').filter(line => /^\S+\.(sh|py|mjs|txt) {2,}/.test(line)).map(line => line.split(/ {2,}/));
  return { pid, code: status, rows: new Map(lines.map(cells => [cells[0]!, cells])), text: stdout + stderr };
}

t.test('the code runner contains every script it comes with, and each ends as it announces', async t => {
  const before = surroundings();
  const { pid, code, rows, text } = codeRunner();
  t.equal(code, 0, text);
  t.same([...rows.keys()].sort(), readdirSync(join(example, 'scripts')).sort());
  for (const [script, cells] of rows) {
    if (cells[1] !== 'skipped') t.equal(cells.at(-1), 'contained', script);
  }
  t.same(rows.get('hello.sh')?.slice(1, 3), ['exit', '0']);
  t.same(rows.get('endless.sh')?.slice(1, 3), ['timeout', 'SIGTERM']);
  t.same(rows.get('stubborn.mjs')?.slice(1, 3), ['timeout', 'SIGKILL']);
  t.same(rows.get('disk.sh')?.slice(1, 3), ['exit', '1']);
  const memory = (await probe()).abilities.find(({ name }) => name === 'cgroup memory')!;
  t.equal(rows.get('memory.py')?.[1], memory.available ? 'oom' : 'exit');
  t.equal(/This host gives no cgroup for.*memory/.test(text), !memory.available, 'it says when there is no cgroup for memory');
  const after = surroundings();
  t.same(after.groups.filter(path => path.includes(`/spawn-contained.${pid}.`)), [], 'no cgroup is left');
  t.equal(after.mounts, before.mounts, 'no mount is left');
});

t.test('the code runner fails when a script does not end as it announces', async t => {
  const script = join(scratch(t), 'liar.sh');
  writeFileSync(script, '# expect: timeout\necho done\n');
  const { code, rows, text } = codeRunner(script);
  t.equal(code, 1);
  t.same([rows.get('liar.sh')?.[1], rows.get('liar.sh')?.at(-1)], ['exit', 'unexpected']);
  t.match(text, /liar\.sh: unexpected: exit 0 instead of timeout/);
});

t.test('the code runner says which interpreter it has none of', async t => {
  const script = join(scratch(t), 'notes.txt');
  writeFileSync(script, 'no program\n');
  t.match(codeRunner(script).text, /notes\.txt: skipped: no interpreter for \.txt/);
});

interface WitnessLike { port: number; mark: string; stop(): void; problems(output: { stdout: string; stderr: string }): { kind: string; text: string }[] }

t.test('what the code runner calls an escape is one: its witness sees files, processes, connections and passwords', async t => {
  const { Witness } = await import(join(example, 'witness.js')) as { Witness: { start(): Promise<WitnessLike> } };
  const witness = await Witness.start();
  t.teardown(() => witness.stop());
  const quiet = { stdout: '', stderr: '' };
  t.same(witness.problems(quiet), []);

  writeFileSync('/var/tmp/code-runner-escaped', '');
  t.same(witness.problems(quiet), [{ kind: 'escaped', text: 'made /var/tmp/code-runner-escaped' }]);
  t.same(witness.problems(quiet), [], 'and takes it away');

  const { stdout } = spawnSync('sh', ['-c', 'setsid sleep 20 >/dev/null 2>&1 & echo $!'], { encoding: 'utf8', env: { ...process.env, [witness.mark]: '1' } });
  const pid = Number(stdout);
  // Between fork and execve a process has no environment to be known by.
  let found = witness.problems(quiet);
  for (let i = 0; i < 100 && found.length === 0; ++i) {
    await sleep(20);
    found = witness.problems(quiet);
  }
  t.same(found, [{ kind: 'escaped', text: `left process ${pid}` }]);
  process.kill(pid, 'SIGKILL');

  t.ok(witness.problems({ stdout: 'root:*:19773:0:99999:7:::\n', stderr: '' }).some(({ text }) => text === 'read /etc/shadow'));

  const socket = connect(witness.port, '127.0.0.1');
  await once(socket, 'close');
  t.match(witness.problems(quiet).find(({ text }) => text.startsWith('connected')), { text: `connected to port ${witness.port} of the host` });
});
