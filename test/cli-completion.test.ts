// What `contained completion` makes, in the shells that it is for.
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { attach } from 'spawn-contained';
import { contained, nothingIsLeft, program } from './contained.js';
import { mark, scratch, surroundings } from './env.js';
import { Screen } from './screen.js';

await attach('contained-no-such').catch(() => {});
const before = surroundings();

const directory = scratch(t);
const bin = join(directory, 'contained');
writeFileSync(bin, `#!/bin/sh\nexec ${program.map(word => `'${word}'`).join(' ')} "$@"\n`);
chmodSync(bin, 0o755);
chmodSync(directory, 0o755);

const name = `cli-completion-${process.pid}`;
t.equal(contained('run', '-d', '--name', name, '--', 'sleep', mark()).code, 0);
t.teardown(() => void contained('rm', '-f', name));

/** As readline calls it: the words, the last being where the cursor is. */
function inBash(...words: string[]): string[] {
  const script = join(directory, 'complete.bash');
  writeFileSync(script, `source <('${bin}' completion bash)
compopt() { :; }
complete -p contained >&2
COMP_WORDS=('${bin}' "$@"); COMP_CWORD=$#; COMPREPLY=()
_contained
printf '%s\\n' "\${COMPREPLY[@]}"`);
  return execFileSync('bash', ['--norc', script, ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, NODE_OPTIONS: '' } }).split('\n').filter(Boolean);
}

const cases: [words: string[], expected: string[]][] = [
  [['ru'], ['run']],
  [['unpau'], []],
  [['cgroup', 'cr'], ['create']],
  [['ns', ''], ['create', 'ls', 'rm', '--help']],
  [['help', 'expl'], ['explain']],
  [['completion', ''], ['bash', 'zsh']],
  [['run', '--memory'], ['--memory', '--memory-swap', '--memory-reservation']],
  [['run', '--memory', '1G', '--kill-signal', 'TE'], ['TERM']],
  [['run', '--kill-signal', '=', 'TE'], ['TERM']],
  [['run', '--network', ''], ['none', 'host', 'container:']],
  [['run', '--network', 'container', ':', name.slice(0, -1)], [name]],
  [['run', '--ns', 'pid,mn'], ['pid,mnt']],
  [['run', '-v', '/etc/host'], ['/etc/hosts', '/etc/host.conf', '/etc/hostname']],
  [['run', '-it', 'bas'], ['bash', 'base32', 'base64', 'basename', 'basenc']],
  [['run', '--', '--mem'], []],
  [['exec', '-it', name.slice(0, -1)], [name]],
  [['exec', name, 'basena'], ['basename']],
  [['exec', name, 'ls', '--mem'], []],
  [['stop', '-t', '5', name.slice(0, -1)], [name]],
  [['logs', '--fo'], ['--follow']],
  [['ps', '--filter', 'st'], ['status=']],
];

for (const [words, expected] of cases) {
  t.test(`bash: contained ${words.join(' ')}<Tab>`, async t => {
    const found = inBash(...words);
    // Which files and commands there are is the host's affair.
    if (words.includes('-v') || words.includes('bas')) t.ok(found.length > 0 && found.every(word => word.startsWith(words.at(-1)!)), found.join(' '));
    else t.same(found, expected);
    await Promise.resolve();
  });
}

/** A line, typed into a shell and completed: what the screen shows then. */
async function completed(screen: Screen, line: string, expected: RegExp): Promise<void> {
  screen.press('C-u');
  screen.type('clear');
  await sleep(100);
  screen.press('C-u');
  screen.typeKeys(line);
  screen.press('Tab');
  t.ok(await screen.shows(expected), line);
}

async function atShell(shell: string, prepare: string, body: (screen: Screen) => Promise<void>): Promise<void> {
  const screen = new Screen(100, 30, shell);
  try {
    await sleep(500);
    screen.type(`export PATH=${directory}:$PATH NODE_OPTIONS=; PS1='> '; ${prepare}; clear; echo prepared`);
    t.ok(await screen.shows(/^prepared/m));
    await body(screen);
  } finally {
    screen.close();
  }
}

t.test('bash, at the keyboard', async () => atShell('bash --norc', 'source <(contained completion bash)', async screen => {
  await completed(screen, 'contained expl', /^> contained explain$/m);
  await completed(screen, 'contained cgroup cre', /^> contained cgroup create$/m);
  await completed(screen, 'contained run --kill-sig', /^> contained run --kill-signal$/m);
  await completed(screen, 'contained run --kill-signal=TER', /^> contained run --kill-signal=TERM$/m);
  await completed(screen, `contained stop ${name.slice(0, -1)}`, new RegExp(`^> contained stop ${name}$`, 'm'));
  await completed(screen, `contained run --network container:${name.slice(0, -1)}`, new RegExp(`container:${name}$`, 'm'));
}));

t.test('zsh, at the keyboard', async () => atShell('zsh -f', 'autoload -Uz compinit; compinit -u -D; source <(contained completion zsh)', async screen => {
  await completed(screen, 'contained expl', /^> contained explain$/m);
  await completed(screen, 'contained ns ', /^create +-- make namespaces that stay[^]*^ls +-- list them/m);
  await completed(screen, 'contained run --kill-sig', /^> contained run --kill-signal$/m);
  await completed(screen, 'contained run --kill-signal TER', /^> contained run --kill-signal TERM$/m);
  await completed(screen, 'contained run --kill-signal=TER', /^> contained run --kill-signal=TERM$/m);
  await completed(screen, 'contained run --ns pid,ut', /^> contained run --ns pid,uts,?$/m);
  await completed(screen, `contained stop ${name.slice(0, -1)}`, new RegExp(`^> contained stop ${name}$`, 'm'));
  await completed(screen, `contained run --network container:${name.slice(0, -1)}`, new RegExp(`container:${name}$`, 'm'));
  await completed(screen, 'contained run -v /etc/hostn', /^> contained run -v \/etc\/hostname$/m);
  await completed(screen, 'contained logs --fol', /^> contained logs --follow$/m);
}));

nothingIsLeft(before);
