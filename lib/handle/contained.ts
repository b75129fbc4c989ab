// The handle of a container: its process, and all that can be asked of it, and done in it, while it runs.
import { constants } from 'node:os';
import { join } from 'node:path';
import type { CgroupLimits } from '../../types/cgroup.js';
import type { Contained } from '../../types/contained.js';
import type { ExecOptions } from '../../types/exec.js';
import type { ContainedEvent, ContainedEventsOptions, ContainedProcessInfo, Inspection, Stats, StatsStep } from '../../types/live.js';
import type { NamespaceKind, RunOptions, TerminalSize } from '../../types/options.js';
import type { LogEntry, LogOptions } from '../../types/registry.js';
import { ContainedError, notSupported } from '../errors.js';
import { Live } from '../live/live.js';
import type { Subject } from '../live/subject.js';
import { resolveExecCommand, type Target } from '../options/exec.js';
import { readLog } from '../registry/log.js';
import { persist } from '../namespaces/bind.js';
import { containedKinds, containerId } from '../options/namespaces.js';
import { resolveLife } from '../options/resolve.js';
import type { Inheritance } from '../options/settings.js';
import { resolveSize } from '../options/tty.js';
import type { Fault } from '../program/encode.js';
import { Execs, notRunning } from './exec.js';
import { LaunchedProcess } from './launched.js';
import { checkOutput, resolveStdio } from './stdio.js';

export class ContainedProcess extends LaunchedProcess implements Contained {
  readonly #execs = new Execs();

  get [containerId](): number | undefined {
    return this.inner.number;
  }

  get [containedKinds](): readonly NamespaceKind[] {
    return this.inner.origin.inheritance(this.inner.command)?.namespaces ?? [];
  }

  persist(kind: NamespaceKind, path: string): Promise<void> {
    return persist(kind, path, async () => (await this.ready, this.inner.ended ? undefined : this.pid));
  }

  /** `fault` is for this library's tests: the step that is to fail. */
  exec(command: RunOptions['command'], options: ExecOptions = {}, fault?: Fault): Contained {
    const inheritance = this.#inheritance();
    const words = resolveExecCommand(options, command, inheritance);
    const entries = resolveStdio(options);
    checkOutput(options.maxOutput, entries);
    return new ContainedProcess(this.#execs.templateFor(options, entries, inheritance, this.#target()), words, resolveLife(options), entries, fault);
  }

  logs(options: LogOptions = {}): AsyncIterable<LogEntry> {
    const { directory, logged } = this.inner.origin;
    if (directory === undefined || !logged) throw notLogged();
    // To read what is there nobody has to be kept running.
    return readLog(join(directory, 'log'), options.follow ? this.exited : this.inner.exited(), options);
  }

  async remove({ force = false }: { force?: boolean } = {}): Promise<void> {
    if (force) await this.killAll();
    if (!this.inner.ended && !await this.inner.origin.isOver?.()) throw stillRunning(this.id);
    await this.exited.catch(() => {});
    await this.inner.origin.takeAway();
  }

  #inheritance(): Inheritance {
    const { origin, command } = this.inner;
    const inheritance = origin.inheritance(command);
    if (!inheritance) throw new TypeError('exec: not in what sys.clone has made');
    return inheritance;
  }

  #target(): Target | ContainedError {
    const { running, ended, number, origin, run } = this.inner;
    if (!running || ended) return notRunning(ended);
    const { where, alone } = origin.about(run);
    return { container: number!, pid: this.pid!, group: where, alone };
  }

  /** Made when something is asked for the first time. */
  get #live(): Live {
    return this.ask(() => new Live({ subject: () => this.#subject(), ready: () => this.ready, exited: () => this.exited }, this.inner.ended));
  }

  #subject(): Subject | undefined {
    if (this.pid === undefined) return undefined;
    const { origin, run, command: { file, argv, env } } = this.inner;
    return { ...origin.about(run), pid: this.pid, command: [file, ...argv.slice(1)], env };
  }

  get paused(): boolean {
    return this.inner.asked?.paused ?? false;
  }

  pause(): Promise<void> {
    return this.#live.pause();
  }

  resume(): Promise<void> {
    return this.#live.resume();
  }

  update(limits: CgroupLimits): Promise<void> {
    return this.#live.update(limits);
  }

  stats(): Promise<Stats>;
  stats(options: { interval: number; signal?: AbortSignal }): AsyncIterable<StatsStep>;
  stats(options?: { interval: number; signal?: AbortSignal }): Promise<Stats> | AsyncIterable<StatsStep> {
    return options === undefined ? this.#live.stats() : this.#live.stats(options);
  }

  events(options?: ContainedEventsOptions): AsyncIterable<ContainedEvent> {
    return this.#live.events(options);
  }

  processes(): Promise<readonly ContainedProcessInfo[]> {
    return this.#live.processes();
  }

  inspect(): Promise<Inspection> {
    return this.#live.inspect();
  }

  resize(size: TerminalSize): void;
  resize(columns: number, rows: number): void;
  resize(first: TerminalSize | number, rows?: number): void {
    const size = resolveSize(first, rows);
    const { terminal } = this.inner;
    if (!terminal) throw noTerminal();
    terminal.resize(size);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.killAll();
  }
}

const notLogged = (): ContainedError => notSupported('read the log', 'only what a detached container writes is kept, unless its `stdio` says where it goes');

const stillRunning = (id: string | undefined): ContainedError => new ContainedError({
  code: 'EBUSY', errno: -16, syscall: undefined, path: undefined, dest: undefined, step: `remove the container ${id ?? ''}`.trimEnd(), hint: 'it has not ended: kill it first, or say { force: true }',
});

const noTerminal = (): ContainedError => new ContainedError({
  code: 'ENOTTY', errno: -constants.errno.ENOTTY, syscall: 'ioctl', path: undefined, dest: undefined,
  step: 'resize the terminal', hint: 'it has none: give the option tty',
});
