// `contained run -it` at a real terminal: one of tmux, in which people's shells and editors run.
import { readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { program } from './contained.js';
import { mark, ofProcess, processesWith, until } from './env.js';
import { onScreen, Screen } from './screen.js';

const CONTAINED = program.join(' ');

/** The `contained` whose command line has this word. */
const nodeOf = (word: string): number => processesWith(word).find(pid => /node$/.test(readlinkSync(`/proc/${pid}/exe`)))!;

t.test('a shell: its size, a new size, ^C, and an exit code', async t => onScreen(t as never, async screen => {
  screen.type(`clear; ${CONTAINED} run -it -e PS1='inside> ' -- bash --norc`);
  t.ok(await screen.shows(/^inside>/m));
  screen.type('stty size; echo term $TERM');
  t.ok(await screen.shows(/^30 100\nterm (tmux|screen)/m), 'it has the size of the window, and its name');
  screen.resize(72, 21);
  t.ok(await until(async () => {
    screen.type('clear; stty size');
    await sleep(200);
    return /^21 72$/m.test(screen.text());
  }), 'and the new one after a resize');
  const word = mark();
  screen.type(`clear; sleep ${word}`);
  t.ok(await until(() => processesWith(`sleep\0${word}`).length > 0));
  screen.press('C-c');
  screen.type('echo code $?');
  t.ok(await screen.shows(/^code 130$/m), '^C has ended what was run inside, and that only');
  screen.type('clear; cat');
  t.ok(await until(() => screen.text() === ''));
  screen.type('some words');
  t.ok(await screen.shows(/^some words\nsome words$/m), 'an echo and a copy');
  screen.press('C-d');
  screen.type('exit 42');
  await screen.shows(/\n\$ ?$/);  // what is typed before is for whoever has ended
  screen.type('echo code $?');
  t.ok(await screen.shows(/^code 42$/m));
}));

t.test('^C ends a command that knows nothing of it', async t => onScreen(t as never, async screen => {
  const word = mark();
  screen.type(`clear; ${CONTAINED} run -it -- sleep ${word}`);
  await until(() => processesWith(`sleep\0${word}`).length > 0);
  await sleep(100);
  screen.press('C-c');
  await screen.shows(/\n\$ ?$/);
  screen.type('echo code $?');
  t.ok(await screen.shows(/^code 130$/m));
}));

t.test('vi draws, edits and quits; the screen is drawn anew at another size', async t => onScreen(t as never, async screen => {
  screen.type(`clear; ${CONTAINED} run -it -- vi -u NONE /tmp/file`);
  t.ok(await screen.shows(/^~\n(~\n){20}/m), 'empty lines');
  screen.press('i');
  screen.type('first');
  screen.type('second');
  screen.press('Escape');
  await sleep(200);
  screen.type(':1');
  screen.press('x');
  t.ok(await screen.shows(/^irst\nsecond\n/), 'it is where the cursor was put');
  screen.resize(60, 12);
  t.ok(await until(() => screen.text().split('\n').filter(line => line === '~').length === 8), screen.text());
  screen.type(':q!');
  t.ok(await screen.shows(/^\$|\n\$/), 'and back in the shell');
}));

t.test('top draws, and again, and quits', async t => onScreen(t as never, async screen => {
  screen.type(`clear; ${CONTAINED} run -it -- top -d 0.5`);
  t.ok(await screen.shows(/^top - \d[^]*Tasks: +\d[^]*PID +USER[^]*top$/m));
  screen.press('q');
  t.ok(await screen.shows(/\n\$ ?$/));
}));

t.test('the terminal is given back after errors and signals too', async t => onScreen(t as never, async screen => {
  t.match(await screen.run(`${CONTAINED} run -it -- /no/such/command; echo code $?`), /ENOENT[^]*code 127$/);
  t.match(await screen.run(`${CONTAINED} run -it --timeout 300ms -- sleep 1000; echo code $?`), /timed out after[^]*code 143$/);
  t.match(await screen.run(`${CONTAINED} run -it --trace --stats -- true; echo code $?`), /\n[ \d.]+ µs {2}child {4}execute true\n[ \d.]+ µs {2}all {6}\d+ steps\ncontained: exit, exit code 0;[^]*code 0$/, 'with reports that do not run down the screen as stairs');
  for (const [signal, code] of [['SIGTERM', 143], ['SIGHUP', 129]] as const) {
    const word = mark();
    const said = screen.run(`${CONTAINED} run -it -- sleep ${word}; echo code $?`);
    t.ok(await until(() => processesWith(`sleep\0${word}`).length > 0));
    await sleep(100);
    process.kill(nodeOf(word), signal);
    t.match(await said, new RegExp(`code ${code}$`), signal);
  }
}));

t.test('^Z from outside and back', async t => onScreen(t as never, async screen => {
  const word = mark();
  screen.type(`clear; ${CONTAINED} run -it -- sh -c 'stty raw -echo; echo here; head -c 1 | od -An -c; : ${word}'`);
  t.ok(await screen.shows(/^here/m));
  process.kill(nodeOf(word), 'SIGSTOP');
  t.ok(await screen.shows(/Stopped/));
  const node = nodeOf(word);
  screen.type('fg');
  t.ok(await until(() => !ofProcess(node, 'stat').includes(') T ')));
  await sleep(500);
  screen.press('C-c');
  t.ok(await screen.shows(/003/), '^C is a key for the container again');
}));

t.test('the window is closed: nothing of it is left', async t => {
  const word = mark();
  const screen = new Screen(80, 24);
  screen.type(`${CONTAINED} run -it -- sleep ${word}`);
  t.ok(await until(() => processesWith(`sleep\0${word}`).length > 0));
  screen.close();
  t.ok(await until(() => processesWith(word).length === 0));
});

t.test('-t without -i shows a terminal and takes no input', async t => onScreen(t as never, async screen => {
  const said = await screen.run(`${CONTAINED} run -t -- sh -c 'test -t 0 && test -t 1 && stty size'`);
  t.match(said, /^30 100$/m);
}));
