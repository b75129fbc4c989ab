import t from 'tap';
import { run, spawnContained } from 'spawn-contained';
import { sameAs, surroundings } from './env.js';

t.test('a command runs in a container and says what it has to say', async t => {
  await run({ command: 'true' });
  const before = surroundings();
  const { stdout, reason } = await run({ command: ['sh', '-c', 'echo $$'] });
  t.equal(stdout, '1\n');
  t.equal(reason, 'exit');
  t.same(await sameAs(before), before);
});

t.test('a handle looks like a ChildProcess', async t => {
  const child = spawnContained('sh', ['-c', 'exit 3']);
  const code = await new Promise(resolve => child.on('exit', resolve));
  t.equal(code, 3);
});
