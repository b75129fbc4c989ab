// What is promised about the C++ between clone3 and execve, checked on what was built.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const objects = 'build/Release/obj.target/launcher/csrc';
const inChild = ['ops/ops', 'ops/cgroups', 'ops/credentials', 'ops/devices', 'ops/mounts', 'ops/names', 'ops/network', 'ops/scheduling', 'launcher/child', 'launcher/init', 'launcher/pause'];

const undefinedSymbols = (object: string): string[] =>
  execFileSync('nm', ['-u', '-C', join(objects, `${object}.o`)], { encoding: 'utf8' })
    .split('\n').map(line => line.replace(/^\s*U /, '').trim()).filter(name => name !== '');

t.test('nothing that runs between clone3 and execve allocates, locks or looks names up', async t => {
  const symbols = new Map(inChild.map(object => [object, undefinedSymbols(object)]));
  t.ok(symbols.get('launcher/child')!.includes('execve'), 'the symbols are those of the code in question');
  for (const [object, names] of symbols) {
    const bad = names.filter(name => /^(malloc|calloc|realloc|free|operator (new|delete)|fopen|printf|pthread_|getpw|getgr|dlopen|__cxa_|std::)/.test(name));
    t.same(bad, [], object);
  }
});

t.test('the launcher is static, so nothing of a container is ever loaded into it', async t => {
  const headers = execFileSync('readelf', ['-l', 'build/Release/launcher'], { encoding: 'utf8' });
  t.match(headers, /LOAD/);
  t.notMatch(headers, /INTERP/);
  t.match(headers, /GNU_STACK[\s\S]{0,120}RW /, 'and its stack is not executable');
});

t.test('both builds have the same sources', async t => {
  const sources = readFileSync('csrc/sources.txt', 'utf8').trim().split('\n');
  const there = execFileSync('find', ['csrc', '-name', '*.cc'], { encoding: 'utf8' }).trim().split('\n').map(path => path.slice('csrc/'.length));
  t.same([...sources].sort(), there.sort());
});
