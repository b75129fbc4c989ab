// The process of a container, from the request to its last stream: a ChildProcess to those who expect one.
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { Outcome, Reason, TraceEntry, Usage } from '../../types/contained.js';
import type { Program } from '../../types/program.js';
import { ContainedError } from '../errors.js';
import { signalName, toldSignal } from '../host/signals.js';
import { listen, setRef, type LaunchListener } from '../launch.js';
import { Live } from '../live/live.js';
import { native, type NativeExit } from '../native.js';
import { signalNumber } from '../options/limits.js';
import type { Life } from '../options/settings.js';
import type { Command, Fault } from '../program/encode.js';
import { stepError, traceOf } from '../program/words.js';
import { GroupTime, TimeLimit } from './cputime.js';
import { Deadline } from './deadline.js';
import { Governor } from './governor.js';
import { ProcessTimes } from './processtimes.js';
import type { Origin } from './origin.js';
import { Settlement } from './settlement.js';
import { closePipes, closeStdio, emptyStream, endedStream, openStdio, streamOf, TERMINAL, type Entry, type PipeEnd } from './stdio.js';
import { Terminal } from './terminal.js';
import { usageOf } from './usage.js';

const SIGKILL = 9;
const { SIGSYS } = constants.signals;

const NO_PIPES = new Map<number, PipeEnd>();

export abstract class LaunchedProcess extends EventEmitter implements LaunchListener {
  pid: number | undefined = undefined;
  exitCode: number | null = null;
  signalCode: NodeJS.Signals | null = null;
  killed = false;
  trace: readonly TraceEntry[] | undefined = undefined;
  readonly #origin: Origin;
  readonly #command: Command;
  readonly #run: number;
  readonly #terminal: Terminal | undefined;
  /** The container's with the launcher. */
  #number: number | undefined;
  #running = false;
  #ended = false;
  #asked: Live | undefined;
  readonly #life: Life;
  readonly #started: number;
  readonly #ready = new Settlement<this>();
  readonly #exited = new Settlement<Outcome>();
  readonly #deadline: Deadline;
  readonly #governor: Governor | undefined;
  #timeLimit: TimeLimit | undefined;
  #reason: Reason | undefined;
  /** Signals that were asked for by `kill`. */
  readonly #sent = new Set<number>();
  /** Of which no stream has been made. */
  #pipes: Map<number, PipeEnd> = NO_PIPES;
  #pipesClosed = false;
  #streams: (Readable | Writable | null)[];

  constructor(origin: Origin, command: Command, life: Life, entries: readonly Entry[], fault?: Fault) {
    super();
    this.#origin = origin;
    this.#started = performance.now() - (origin.created ? Date.now() - origin.created.getTime() : 0);
    this.#command = command;
    this.#life = life;
    this.#run = origin.nextRun();
    this.#streams = entries.map(() => null);
    this.#governor = life.output && new Governor(life.output, () => this.#deadline.end('output'));
    if (entries[0] === TERMINAL) {
      const { input, output } = this.#terminal = new Terminal();
      this.#streams.splice(0, 2, input, this.#governor?.watch('stdout', output) ?? output);
    }
    this.#deadline = new Deadline(life, (reason, signal) => this.#stop(reason, signal));
    try {
      this.#launch(entries, fault);
    } catch (error) {
      if (!(error instanceof ContainedError)) throw error;
      // They are there, whatever has become of the command: whoever reads must not have to look first.
      this.#streams = entries.map((entry, i) => this.#streams[i] ?? emptyStream(entry, i));
      process.nextTick(() => this.#fail(error));
    }
  }

  #launch(entries: readonly Entry[], fault?: Fault): void {
    if (this.#origin.settings.impossible) throw this.#origin.settings.impossible;
    listen();
    const streams = openStdio(entries);
    try {
      this.#number = this.#origin.begin(this.#run, this.#command, this.#life.trace, streams.fds, this, fault);
    } catch (error) {
      closeStdio(streams);
      throw error;
    }
    this.#pipes = streams.ours;
    // What comes with the options is written whether or not anybody asks for the stream.
    for (const [i, end] of this.#pipes) if (end.data !== undefined || (this.#governor && (i === 1 || i === 2))) this.#stream(i);
    this.#deadline.start();
    this.#limitTime();
  }

  #limitTime(): void {
    const limit = this.#life.cpuTimeout, path = this.#origin.settings.cgroup?.time;
    if (limit === undefined) return;
    const reader = path === undefined ? new ProcessTimes(() => this.pid) : new GroupTime(this.#origin.fileOf(this.#run, path));
    this.#timeLimit = new TimeLimit(limit, reader, () => this.#deadline.end('cpu-timeout'));
  }

  /** For those who ask about it. Not as fields: a handle that is printed does not tell its environment. */
  protected get inner() {
    return {
      origin: this.#origin, command: this.#command, run: this.#run, number: this.#number, running: this.#running, ended: this.#ended,
      terminal: this.#terminal, asked: this.#asked, exited: () => this.#exited.promise,
    };
  }

  protected ask(make: () => Live): Live {
    return this.#asked ??= make();
  }

  get id(): string | undefined {
    return this.#origin.id;
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
    if (this.#origin.detached && !this.#ended) this.ref();  // whoever asks means to wait
    return this.#exited.promise;
  }

  get cgroup(): Readonly<Record<string, string>> {
    return this.#origin.directories(this.#run);
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
      this.#streams[index] = this.#pipesClosed ? endedStream(end) : this.#govern(index, streamOf(end));
    }
    return this.#streams[index] ?? null;
  }

  #govern(index: number, stream: Readable | Writable): Readable | Writable {
    if (!this.#governor || (index !== 1 && index !== 2)) return stream;
    return this.#governor.watch(index === 1 ? 'stdout' : 'stderr', stream as Readable);
  }

  kill(signal: NodeJS.Signals | number = this.#life.killSignal): boolean {
    const number = signalNumber('signal', signal);
    if (this.#ended || this.#number === undefined) return false;
    if (number !== 0) {
      this.killed = true;
      this.#sent.add(number);
    }
    native().signal(this.#number, number);
    if (number === SIGKILL || number === this.#life.killSignal) this.#asked?.letEnd(number);
    return true;
  }

  async killAll(): Promise<void> {
    if (!this.#ended) this.#stop('killed', SIGKILL);
    await this.exited.then(() => {}, (error: unknown) => {
      // That it could not start, or has failed before, leaves nothing; that it could not be removed does.
      if (error instanceof ContainedError && (error.syscall === 'rmdir' || error.syscall === 'undo')) throw error;
    });
  }

  ref(): void {
    if (this.#number !== undefined) setRef(this.#number, true);
  }

  unref(): void {
    if (this.#number !== undefined) setRef(this.#number, false);
  }

  #program(): Program {
    return this.#origin.program(this.#command, this.#run);
  }

  #stop(reason: Reason, signal: number): void {
    this.#reason ??= reason;
    if (this.#number !== undefined) native().signal(this.#number, signal);
    this.#asked?.letEnd(signal);
  }

  onReady(pid: number, trace: Buffer | undefined, terminal: number | undefined): void {
    this.pid = pid;
    this.#running = true;
    if (this.#origin.detached && !this.#exited.asked) this.unref();
    if (trace) this.trace = traceOf(this.#program(), trace);
    this.#terminal?.open(terminal);
    this.#ready.resolve(this);
    this.emit('spawn');
  }

  onExit(pid: number, exit: NativeExit): void {
    this.#ended = true;
    this.#asked?.end();
    this.#deadline.stop();
    this.#timeLimit?.stop();
    this.#terminal?.exited();
    if (this.#governor) this.#governor.settle(() => this.#finish(pid, exit));
    else this.#finish(pid, exit);
  }

  #finish(pid: number, exit: NativeExit): void {
    if (exit.lost) return this.#fail(lostLauncher());
    if (this.#origin.finish) void this.#origin.finish(exit).then(whole => this.#end(pid, whole), (error: unknown) => this.#fail(error as ContainedError));
    else this.#end(pid, exit);
  }

  #end(pid: number, exit: NativeExit): void {
    const error = exit.errno === 0 ? undefined : stepError(this.#program(), exit.list, exit.index, exit.errno);
    // What was ended before it ran has ended as was asked for; only `ready` cannot be had any more.
    if (error && exit.requestedSignal === 0) return this.#fail(error);
    if (error) this.#ready.reject(error);
    this.pid ??= pid;
    this.exitCode = exit.code;
    const signal = toldSignal(exit);
    this.signalCode = exit.signal === 0 ? null : signalName(signal);
    const { counters = [], made = true } = this.#origin.settings.cgroup ?? {};
    const usage = usageOf(counters.map(({ name }) => name), !made, exit, this.#origin.lasted ?? performance.now() - this.#started, this.#timeLimit?.seen);
    // In a group of several it may have been another that was killed for its memory.
    const kills = made || exit.signal === SIGKILL ? usage.oomKills : undefined;
    const outcome: Outcome = { reason: this.#reasonOf(exit, usage, kills), code: this.exitCode, signal: this.signalCode, usage, ...this.#governor && { output: this.#governor.count } };
    if (exit.undoErrno !== 0) this.#exited.reject(stepError(this.#program(), 4, exit.undoIndex, exit.undoErrno));
    else this.#exited.resolve(outcome);
    try {
      this.emit('exit', this.exitCode, this.signalCode);
    } finally {
      // Not at once: who awaits `exited` may then ask for what is still in a pipe.
      setImmediate(() => this.#closeWhenRead(exit.undoErrno !== 0 && exit.undoIndex === NO_STEP));
    }
  }

  /** Only the kernel's own counter makes it `oom`; a command that went on and succeeded was not ended by it. */
  #reasonOf(exit: NativeExit, { userMs, systemMs }: Usage, oomKills: number | undefined): Reason {
    if (this.#reason !== undefined && this.#reason !== 'killed') return this.#reason;
    const killed = exit.signal !== 0 && (this.#reason === 'killed' || exit.requestedSignal !== 0 || this.#sent.has(exit.signal));
    if (oomKills && exit.code !== 0 && !killed) return 'oom';
    if (exit.signal === 0) return 'exit';
    if (killed) return 'killed';
    if (exit.signal === SIGSYS) return 'seccomp';
    // By RLIMIT_CPU, while Node was too busy to look.
    return exit.signal === SIGKILL && userMs + systemMs >= (this.#life.cpuTimeout ?? Infinity) ? 'cpu-timeout' : 'signal';
  }

  /** `close` comes after the last stream has ended; one that nobody reads is emptied, as child_process does. `held`: by processes that do not end. */
  #closeWhenRead(held = false): void {
    this.#terminal?.exited();
    if (!this.#pipesClosed) closePipes(this.#pipes);
    this.#pipesClosed = true;
    const open = this.#streams.filter((stream): stream is Readable | Writable => stream !== null && !stream.closed);
    let left = open.length;
    const done = (): void => void this.emit('close', this.exitCode, this.signalCode);
    if (left === 0) return void process.nextTick(done);
    for (const stream of open) {
      stream.once('close', () => --left === 0 && done());
      if (held || stream === this.#streams[0]) stream.destroy();
      else if ((stream as Readable).readableFlowing === null && (stream as Readable).listenerCount('readable') === 0) (stream as Readable).resume();
    }
  }

  #fail(error: ContainedError): void {
    this.#ended = true;
    this.#asked?.end();
    this.#deadline.stop();
    this.#timeLimit?.stop();
    this.#ready.reject(error);
    this.#exited.reject(error);
    this.#closeWhenRead();
    // As ever an `error` that nobody listens for is thrown, but those who await a promise are told by that.
    if (this.listenerCount('error') > 0 || !(this.#ready.asked || this.#exited.asked)) this.emit('error', error);
  }
}

/** kNoStep of csrc/ops/program.hpp: it is no step that could not be undone, but the processes that could not be ended. */
const NO_STEP = 0xffff_ffff;

const lostLauncher = (): ContainedError => new ContainedError({
  code: 'ECONNRESET', errno: -constants.errno.ECONNRESET, syscall: undefined, path: undefined, dest: undefined,
  step: 'start the container', hint: 'the launcher process was killed meanwhile; another one is there, try again',
});
