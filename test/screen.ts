// A real terminal: one of tmux, in which people's shells and editors run.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { mark, until } from './env.js';

/** A terminal with a shell in it. */
export class Screen {
  readonly #directory = mkdtempSync(join(tmpdir(), 'contained-test-tmux-'));

  constructor(columns: number, rows: number, shell = "env PS1='$ ' bash --norc") {
    this.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', String(columns), '-y', String(rows), shell);
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-S', join(this.#directory, 'socket'), ...args], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', TMUX: '' } });
  }

  text(): string {
    return this.#tmux('capture-pane', '-p', '-J').replace(/ +$/gm, '').trimEnd();
  }

  /** Names of keys, as `C-c` and `Enter`. */
  press(...keys: string[]): void {
    this.#tmux('send-keys', ...keys);
  }

  typeKeys(text: string): void {
    this.#tmux('send-keys', '-l', text);
  }

  type(line: string): void {
    this.typeKeys(line);
    this.press('Enter');
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  async shows(expected: RegExp): Promise<boolean> {
    const seen = await until(() => expected.test(this.text()));
    if (!seen) t.comment(`no ${String(expected)} in\n${this.text()}`);
    return seen;
  }

  /** A command line of the shell to its end: what it says. */
  async run(line: string): Promise<string> {
    const name = mark();
    this.type(`clear; ${line}; echo end-$((0))-${name}`);
    await this.shows(new RegExp(`end-0-${name}`));
    return this.text().replace(new RegExp(`\\s*end-0-${name}[^]*$`), '').trimEnd();
  }

  close(): void {
    this.#tmux('kill-server');
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export async function onScreen(t: typeof import('tap').t, body: (screen: Screen) => Promise<void>): Promise<void> {
  const screen = new Screen(100, 30);
  try {
    await screen.shows(/\$ $|\$$/);
    const before = await screen.run('stty -a');
    t.match(before, /icanon/);
    await body(screen);
    screen.resize(100, 30);
    // tmux puts off what comes soon after another change.
    await until(async () => await screen.run('stty size') === '30 100');
    t.equal(await screen.run('stty -a'), before, 'the terminal is as it was');
  } finally {
    screen.close();
  }
}
