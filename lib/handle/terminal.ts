// A container's terminal as two streams. They are there from the start; the master of the pty comes when the command runs.
import { readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { Readable, Writable } from 'node:stream';
import { ReadStream } from 'node:tty';
import type { TerminalSize } from '../../types/options.js';
import { ContainedError } from '../errors.js';
import { native } from '../native.js';

/** VEOF of a new terminal: termios(3). */
const EOF = 0x04;
const NEWLINE = 0x0a;

/** Milliseconds until a terminal that takes no more is tried again: first, and at most. */
const FIRST_RETRY = 1;
const LAST_RETRY = 32;

/** Milliseconds until it is looked at again whether somebody has opened a terminal that all had closed: first, and at most. */
const FIRST_LOOK = 20;
const LAST_LOOK = 640;

/** What n_tty of the kernel gives to one read is at most 4095 bytes. */
const DRAIN = 4096;

export class Terminal {
  readonly input: Writable;
  readonly output: Readable;
  #master: number | undefined;
  /** Undefined while nobody has the terminal open. */
  #source: ReadStream | undefined;
  #size: TerminalSize | undefined;
  #wanted = false;
  #ref = true;
  #exited = false;
  /** Nothing comes from it or goes to it any more. */
  #over = false;
  #waiting: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  #last = NEWLINE;

  constructor() {
    this.output = Object.assign(new Readable({
      read: () => {
        this.#wanted = true;
        this.#source?.resume();
      },
      destroy: (error, done) => {
        this.#close();
        done(error);
      },
    }), this.#refs());
    this.input = Object.assign(new Writable({
      write: (chunk: Buffer, _encoding, done) => this.#write(chunk, done),
      final: done => this.#write(this.#eof(), done),
      destroy: (error, done) => {
        // That its end has been written is no reason to hang up, nor that the command is no more: it may have said more.
        if (!this.input.writableFinished && !this.#exited) this.#close();
        this.#forgetWaiting();
        done(error);
      },
    }), this.#refs());
  }

  /** The fd is ours from now on. Undefined: it was lost on its way, for want of descriptors. */
  open(fd: number | undefined): void {
    if (fd === undefined) return this.#fail();
    if (this.#over) return native().close(fd);
    this.#master = fd;
    if (this.#size) this.resize(this.#size);
    this.#read();
    this.#goOn();
  }

  /**
   * A stream closes its descriptor when all have closed the terminal, as cat(1) does before it ends. To close the last one would
   * be to hang up on it: it would end by SIGHUP. So a stream has a copy.
   */
  #read(): void {
    const fd = native().duplicate(this.#master!);
    if (fd < 0) return this.#fail();
    const source = this.#source = new ReadStream(fd);
    native().claim(fd);
    if (!this.#ref) source.unref();
    source.pause();
    source.on('data', chunk => void (this.output.push(chunk) || source.pause()));
    source.on('end', () => this.#pause());
    // EIO is how a master says that nobody has the terminal open any more.
    source.on('error', error => (error as NodeJS.ErrnoException).code === 'EIO' ? this.#pause() : this.output.destroy(error));
    if (this.#wanted) source.resume();
  }

  /** Nobody has it open; but whoever is in the session may open it again, as /dev/tty: tty(4). */
  #pause(wait = FIRST_LOOK): void {
    this.#source?.destroy();
    this.#source = undefined;
    clearTimeout(this.#look);
    if (this.#over) return;
    if (this.#drain()) this.#read();
    else if (this.#exited) this.#close();
    else this.#look = setTimeout(() => this.#pause(Math.min(2 * wait, LAST_LOOK)), wait).unref();
  }

  /** The container is no more: what it has said is still to be read, and if it never ran there is nothing. */
  exited(): void {
    this.#exited = true;
    if (this.#master === undefined) this.#close();
    else if (!this.#source) this.#pause();
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    if (this.#master !== undefined) native().setWindowSize(this.#master, size.columns, size.rows);
  }

  /**
   * Reads what is there. At a hang-up libuv tells the end of file when one read was shorter than what it had asked for, which on a
   * terminal each is (4095 bytes), while there may be more: src/unix/stream.c, uv__stream_io. Returns whether somebody has it open.
   */
  #drain(): boolean {
    const bytes = Buffer.allocUnsafe(DRAIN);
    try {
      for (let n; (n = readSync(this.#master!, bytes)) > 0;) this.output.push(Buffer.from(bytes.subarray(0, n)));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN') return true;
      if (code !== 'EIO') this.output.destroy(error as Error);
    }
    return false;
  }

  #shut(): void {
    this.#over = true;
    clearTimeout(this.#look);
    this.#source?.destroy();
    this.#source = undefined;
    if (this.#master !== undefined) native().close(this.#master);
    this.#master = undefined;
  }

  /** Closing the master hangs up: SIGHUP to the session, if there still is one. */
  #close(): void {
    if (this.#over) return;
    this.#shut();
    if (!this.output.destroyed) this.output.push(null);
    this.#goOn();
  }

  #fail(): void {
    this.#shut();
    this.output.destroy(new ContainedError({
      code: 'EMFILE', errno: -constants.errno.EMFILE, syscall: 'recvmsg', path: undefined, dest: undefined, step: 'take over the terminal',
      hint: 'too many open files: raise RLIMIT_NOFILE, or start fewer at once',
    }));
    this.#goOn();
  }

  /**
   * Never waits in the kernel: a command that does not read would stop the event loop, as a TTY stream of libuv's does, which
   * writes to a master until it has taken all.
   */
  #write(bytes: Buffer, done: (error?: Error | null) => void, delay = FIRST_RETRY): void {
    // What is typed when nobody is there to read it is lost, as it is when nobody reads it in time.
    if (this.#over || bytes.length === 0) return done();
    const master = this.#master;
    let written = 0;
    if (master !== undefined) {
      try {
        written = writeSync(master, bytes);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EIO') return done();
        if (code !== 'EAGAIN') return done(error as Error);
      }
    }
    if (written > 0) this.#last = bytes[written - 1]!;
    if (written === bytes.length) return done();
    this.#waiting = () => this.#write(bytes.subarray(written), done, written > 0 ? FIRST_RETRY : Math.min(2 * delay, LAST_RETRY));
    if (master !== undefined) this.#timer = setTimeout(() => this.#goOn(), delay);
  }

  /** Behind an unfinished line ^D only ends the line; the second is the end of file: termios(3), VEOF. */
  #eof(): Buffer {
    return Buffer.from(this.#last === NEWLINE ? [EOF] : [EOF, EOF]);
  }

  #goOn(): void {
    const waiting = this.#waiting;
    this.#forgetWaiting();
    waiting?.();
  }

  #forgetWaiting(): void {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
  }

  /** As the streams of child_process have them. */
  #refs(): { ref(): void; unref(): void } {
    const set = (ref: boolean): void => {
      this.#ref = ref;
      if (ref) this.#source?.ref();
      else this.#source?.unref();
    };
    return { ref: () => set(true), unref: () => set(false) };
  }
}
