// The handle of a container: a ChildProcess to those who expect one.
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { CgroupLimits } from '../../types/cgroup.js';
import type { Contained, Outcome, Reason, TraceEntry } from '../../types/contained.js';
import type { ContainedEvent, ContainedEventsOptions, ContainedProcessInfo, Inspection, Stats, StatsStep } from '../../types/live.js';
import type { Program } from '../../types/program.js';
import { ContainedError } from '../errors.js';
import { launch, listen, setRef, type LaunchListener } from '../launch.js';
import { Live } from '../live/live.js';
import type { Subject } from '../live/subject.js';
import { native, type NativeExit } from '../native.js';
import { signalNumber } from '../options/limits.js';
import { containerId } from '../options/namespaces.js';
import type { Life } from '../options/settings.js';
import type { Command, Fault } from '../program/encode.js';
import type { Template } from '../program/template.js';
import { stepError, stepOf } from '../program/words.js';
import { Deadline } from './deadline.js';
import { Settlement } from './settlement.js';
import { closeStdio, endedStream, openStdio, streamOf, type Entry, type PipeEnd } from './stdio.js';
import { usageOf } from './usage.js';

const SIGKILL = 9;

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]));

export class ContainedProcess extends EventEmitter implements Contained, LaunchListener {
  pid: number | undefined = undefined;
  exitCode: number | null = null;
  signalCode: NodeJS.Signals | null = null;
  killed = false;
  trace: readonly TraceEntry[] | undefined = undefined;
  readonly #template: Template;
  readonly #command: Command;
  readonly #life: Life;
  readonly #run: number;
  readonly #started = performance.now();
  readonly #ready = new Settlement<this>();
  readonly #exited = new Settlement<Outcome>();
  readonly #deadline: Deadline;
  #id: number | undefined;
  #ended = false;
  #asked: Live | undefined;
  #reason: Reason | undefined;
  #pipes: Map<number, PipeEnd> = new Map();
  #streams: (Readable | Writable | null)[];

  constructor(template: Template, command: Command, life: Life, entries: readonly Entry[], fault?: Fault) {
    super();
    this.#template = template;
    this.#command = command;
    this.#life = life;
    this.#run = template.nextRun();
    this.#streams = entries.map(() => null);
    this.#deadline = new Deadline(life, (reason, signal) => this.#stop(reason, signal));
    try {
      this.#launch(entries, fault);
    } catch (error) {
      if (!(error instanceof ContainedError)) throw error;
      process.nextTick(() => this.#fail(error));
    }
  }

  #launch(entries: readonly Entry[], fault?: Fault): void {
    if (this.#template.settings.impossible) throw this.#template.settings.impossible;
    listen();
    const streams = openStdio(entries);
    try {
      const { buffer, size } = this.#template.request(this.#run, this.#command, this.#life.trace, fault);
      this.#id = launch(buffer, size, streams.fds, this);
    } catch (error) {
      closeStdio(streams);
      throw error;
    }
    this.#pipes = streams.ours;
    // What comes with the options is written whether or not anybody asks for the stream.
    for (const [i, end] of this.#pipes) if (end.data !== undefined) this.#stream(i);
    this.#deadline.start();
  }

  get spawnfile(): string {
    return this.#command.file;
  }

  get spawnargs(): readonly string[] {
    return this.#command.argv;
  }

  get ready(): Promise<this> {
    return this.#ready.promise;
  }

  get exited(): Promise<Outcome> {
    return this.#exited.promise;
  }

  get cgroup(): Readonly<Record<string, string>> {
    return this.#template.directories(this.#run);
  }

  get [containerId](): number | undefined {
    return this.#id;
  }

  get stdin(): Writable | null {
    return this.#stream(0) as Writable | null;
  }

  get stdout(): Readable | null {
    return this.#stream(1) as Readable | null;
  }

  get stderr(): Readable | null {
    return this.#stream(2) as Readable | null;
  }

  get stdio(): readonly (Readable | Writable | null)[] {
    return this.#streams.map((_, i) => this.#stream(i));
  }

  /** A stream is made when it is first asked for: that is most of what a spawn costs the event loop. */
  #stream(index: number): Readable | Writable | null {
    const end = this.#pipes.get(index);
    if (end) {
      this.#pipes.delete(index);
      this.#streams[index] = streamOf(end);
    }
    return this.#streams[index] ?? null;
  }

  kill(signal: NodeJS.Signals | number = this.#life.killSignal): boolean {
    const number = signalNumber('signal', signal);
    if (this.#ended || this.#id === undefined) return false;
    if (number !== 0) this.killed = true;
    native().signal(this.#id, number);
    if (number === SIGKILL || number === this.#life.killSignal) this.#asked?.letEnd(number);
    return true;
  }

  async killAll(): Promise<void> {
    if (!this.#ended) this.#stop('killed', SIGKILL);
    await this.exited.then(() => {}, (error: unknown) => {
      // That it could not start, or has failed before, leaves nothing; that it could not be removed does.
      if (error instanceof ContainedError && error.syscall === 'rmdir') throw error;
    });
  }

  /** Made when something is asked for the first time. */
  get #live(): Live {
    return this.#asked ??= new Live({ subject: () => this.#subject(), ready: () => this.ready, exited: () => this.exited }, this.#ended);
  }

  #subject(): Subject | undefined {
    if (this.pid === undefined) return undefined;
    const { cgroup, namespaces, init = false, cwd, hostname } = this.#template.settings;
    const { file, argv, env } = this.#command;
    return {
      id: undefined, pid: this.pid, where: this.#template.placement(this.#run), alone: cgroup?.made ?? false, devices: cgroup?.devices?.setting,
      create: namespaces?.create, init, command: [file, ...argv.slice(1)], env, cwd, hostname,
    };
  }

  get paused(): boolean {
    return this.#asked?.paused ?? false;
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

  ref(): void {
    if (this.#id !== undefined) setRef(this.#id, true);
  }

  unref(): void {
    if (this.#id !== undefined) setRef(this.#id, false);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.killAll();
  }

  #program(): Program {
    return this.#template.program(this.#command, this.#run);
  }

  #stop(reason: Reason, signal: number): void {
    this.#reason ??= reason;
    if (this.#id !== undefined) native().signal(this.#id, signal);
    this.#asked?.letEnd(signal);
  }

  onReady(pid: number, trace: Buffer | undefined): void {
    this.pid = pid;
    if (trace) this.trace = traceOf(this.#program(), trace);
    this.#ready.resolve(this);
    this.emit('spawn');
  }

  onExit(pid: number, exit: NativeExit): void {
    this.#ended = true;
    this.#asked?.end();
    this.#deadline.stop();
    if (exit.lost) return this.#fail(lostLauncher());
    const error = exit.errno === 0 ? undefined : stepError(this.#program(), exit.list, exit.index, exit.errno);
    // What was ended before it ran has ended as was asked for; only `ready` cannot be had any more.
    if (error && exit.requestedSignal === 0) return this.#fail(error);
    if (error) this.#ready.reject(error);
    this.pid ??= pid;
    this.exitCode = exit.code;
    const signal = exit.signal === SIGKILL && exit.requestedSignal !== 0 ? exit.requestedSignal : exit.signal;
    this.signalCode = exit.signal === 0 ? null : SIGNAL_NAMES.get(signal) ?? null;
    const { counters = [], made = true } = this.#template.settings.cgroup ?? {};
    const usage = usageOf(counters.map(({ name }) => name), !made, exit, performance.now() - this.#started);
    // In a group of several it may have been another that was killed for its memory.
    const kills = made || exit.signal === SIGKILL ? usage.oomKills : undefined;
    const outcome: Outcome = { reason: this.#reasonOf(exit, kills), code: this.exitCode, signal: this.signalCode, usage };
    if (exit.undoErrno !== 0) this.#exited.reject(stepError(this.#program(), 4, exit.undoIndex, exit.undoErrno));
    else this.#exited.resolve(outcome);
    try {
      this.emit('exit', this.exitCode, this.signalCode);
    } finally {
      // Not at once: who awaits `exited` may then ask for what is still in a pipe.
      setImmediate(() => this.#closeWhenRead());
    }
  }

  /** Only the kernel's own counter makes it `oom`; a command that went on and succeeded was not ended by it. */
  #reasonOf(exit: NativeExit, oomKills: number | undefined): Reason {
    if (this.#reason === 'timeout' || this.#reason === 'aborted') return this.#reason;
    if (oomKills && exit.code !== 0 && this.#reason === undefined) return 'oom';
    if (exit.signal === 0) return 'exit';
    return this.#reason ?? (this.killed ? 'killed' : 'signal');
  }

  /** `close` comes after the last stream has ended; one that nobody reads is emptied, as child_process does. */
  #closeWhenRead(): void {
    for (const [i, end] of this.#pipes) this.#streams[i] = endedStream(end);
    this.#pipes.clear();
    const open = this.#streams.filter((stream): stream is Readable | Writable => stream !== null && !stream.closed);
    let left = open.length;
    const done = (): void => void this.emit('close', this.exitCode, this.signalCode);
    if (left === 0) return void process.nextTick(done);
    for (const stream of open) {
      stream.once('close', () => --left === 0 && done());
      if (stream === this.#streams[0]) stream.destroy();
      else if ((stream as Readable).readableFlowing === null && (stream as Readable).listenerCount('readable') === 0) (stream as Readable).resume();
    }
  }

  #fail(error: ContainedError): void {
    this.#ended = true;
    this.#asked?.end();
    this.#deadline.stop();
    this.#ready.reject(error);
    this.#exited.reject(error);
    this.#closeWhenRead();
    // As ever an `error` that nobody listens for is thrown, but those who await a promise are told by that.
    if (this.listenerCount('error') > 0 || !(this.#ready.asked || this.#exited.asked)) this.emit('error', error);
  }
}

const lostLauncher = (): ContainedError => new ContainedError({
  code: 'ECONNRESET', errno: -constants.errno.ECONNRESET, syscall: undefined, path: undefined, dest: undefined,
  step: 'start the container', hint: 'the launcher process was killed meanwhile; another one is there, try again',
});

function traceOf(program: Program, bytes: Buffer): TraceEntry[] {
  const lists = ['host', 'join', 'release', 'child'] as const;
  const steps = lists.flatMap(list => program[list].map(op => ({ list, step: stepOf(op) })));
  return steps.map((step, i) => ({ ...step, ns: bytes.readUInt32LE(i * 4) }));
}
