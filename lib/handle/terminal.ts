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

/** What n_tty of the kernel gives to one read is at most 4095 bytes. */
const DRAIN = 4096;

export class Terminal {
  readonly input: Writable;
  readonly output: Readable;
  #master: { fd: number; source: ReadStream } | undefined;
  #size: TerminalSize | undefined;
  #wanted = false;
  #ref = true;
  #exited = false;
  /** Nothing comes from it or goes to it any more. */
  #over = false;
  #waiting: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #last = NEWLINE;

  constructor() {
    this.output = Object.assign(new Readable({
      read: () => {
        this.#wanted = true;
        this.#live()?.source.resume();
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
    if (this.#size) native().setWindowSize(fd, this.#size.columns, this.#size.rows);
    const source = new ReadStream(fd);
    native().claim(fd);
    this.#master = { fd, source };
    if (!this.#ref) source.unref();
    source.pause();
    source.on('data', chunk => void (this.output.push(chunk) || source.pause()));
    source.on('end', () => this.#drain(fd));
    // EIO is how a master says that nobody has the terminal open any more.
    source.on('error', error => (error as NodeJS.ErrnoException).code === 'EIO' ? this.#close() : this.output.destroy(error));
    source.on('close', () => this.#close());
    if (this.#wanted) source.resume();
    this.#goOn();
  }

  /** The container is no more: what it has said is still to be read, and if it never ran there is nothing. */
  exited(): void {
    this.#exited = true;
    if (!this.#master) this.#close();
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    const live = this.#live();
    if (live) native().setWindowSize(live.fd, size.columns, size.rows);
  }

  /** A stream that has been destroyed has closed the descriptor, which may be somebody else's by now. */
  #live(): { fd: number; source: ReadStream } | undefined {
    return this.#master?.source.destroyed ? undefined : this.#master;
  }

  /**
   * At a hang-up libuv tells the end of file when one read was shorter than what it had asked for, which on a terminal each is
   * (4095 bytes), while there may be more: src/unix/stream.c, uv__stream_io. Nobody writes any more, so this is soon over.
   */
  #drain(fd: number): void {
    const bytes = Buffer.allocUnsafe(DRAIN);
    try {
      for (let n; (n = readSync(fd, bytes)) > 0;) this.output.push(Buffer.from(bytes.subarray(0, n)));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EIO' && code !== 'EAGAIN') this.output.destroy(error as Error);
    }
    this.#close();
  }

  /** Closing the master hangs up: SIGHUP to the session, if there still is one. */
  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#master?.source.destroy();
    if (!this.output.destroyed) this.output.push(null);
    this.#goOn();
  }

  #fail(): void {
    this.#over = true;
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
    const live = this.#live();
    let written = 0;
    if (live) {
      try {
        written = writeSync(live.fd, bytes);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EIO') return done();
        if (code !== 'EAGAIN') return done(error as Error);
      }
    }
    if (written > 0) this.#last = bytes[written - 1]!;
    if (written === bytes.length) return done();
    this.#waiting = () => this.#write(bytes.subarray(written), done, written > 0 ? FIRST_RETRY : Math.min(2 * delay, LAST_RETRY));
    if (live) this.#timer = setTimeout(() => this.#goOn(), delay);
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
      const source = this.#live()?.source;
      if (ref) source?.ref();
      else source?.unref();
    };
    return { ref: () => set(true), unref: () => set(false) };
  }
}
