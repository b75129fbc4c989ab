// A scope from systemd, where systemd runs; the VM harness has hosts of that kind (mode systemd). Elsewhere the refusal.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { basename, dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { cgroupOf, ContainedError, createCgroup, OptionError, run, spawnContained } from 'spawn-contained';
import { fixture, hierarchies, runFixture, tidy, until } from './env.js';

const booted = existsSync('/run/systemd/system') && hierarchies.unified?.controllers.includes('memory');
const bus = process.getuid!() === 0 ? '--system' : '--user';

// The scope, and who holds it, stay as long as this process.
if (booted) await (await createCgroup()).remove();

tidy("manager: 'systemd' with a parent is a contradiction", async t => {
  await t.rejects(createCgroup({ manager: 'systemd', parent: '/' }), { name: 'OptionError', path: 'cgroup.manager' });
  await t.rejects(createCgroup({ manager: 'docker' as 'systemd' }), OptionError);
});

void (booted ? onSystemd() : elsewhere());

async function elsewhere(): Promise<void> {
  await tidy('without systemd the refusal says so, and what to do', async t => {
    const error = await createCgroup({ manager: 'systemd' }).catch((error: unknown) => error);
    t.ok(error instanceof ContainedError);
    t.match(error, { code: 'ENOTSUP', step: 'ask systemd for a scope', hint: /systemd/ });
  });
}

async function onSystemd(): Promise<void> {
  await tidy('a group stands in a scope of its own, which systemd knows and has given away', async t => {
    const group = await createCgroup({ memory: { max: '64M' }, cpu: { weight: 50 }, pids: { max: 20 } });
    const scope = dirname(group.paths['unified']!);
    t.match(basename(scope), /^spawn-contained-.*\.scope$/);
    t.equal(execFileSync('systemctl', [bus, 'show', '-p', 'Delegate', '--value', basename(scope)], { encoding: 'utf8' }), 'yes\n');
    t.equal(readFileSync(`${group.paths['unified']}/memory.max`, 'utf8'), `${64 * 2 ** 20}\n`);
    const child = spawnContained({ command: ['sleep', '1000'], cgroup: group });
    await child.ready;
    t.same(await group.processes(), [child.pid]);
    t.same((await cgroupOf(child.pid!)).paths, group.paths);
    await group.kill();
    await child.exited;
    await group.remove();
  });

  await tidy('containers started from now on have their limits there', async t => {
    const { reason } = await run({ command: ['sh', '-c', 'head -c 100M /dev/zero | tail -c 90M | wc -c; exit 1'], cgroup: { memory: { max: '20M' } }, reject: false });
    t.equal(reason, 'oom');
  });

  // Not tidy: what a worker has started by child_process, Node does not reap after it.
  await t.test('a worker has a scope of its own, which ends with it', async t => {
    const worker = new Worker(fixture('scope.mjs'), { stdout: true });
    const path = String((await once(worker.stdout, 'data'))[0]).trim();
    t.match(path, /\.scope\//);
    t.ok(existsSync(path));
    await worker.terminate();
    t.ok(await until(() => !existsSync(dirname(path))), path);
  });

  await tidy('with Node the scope is gone', async t => {
    const { stdout, stderr } = await runFixture('scope.mjs');
    t.equal(stderr, '');
    const path = stdout.trim();
    t.match(path, /\.scope\//);
    t.ok(await until(() => !existsSync(dirname(path))), path);
  });
}
