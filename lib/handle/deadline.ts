// What ends a container from outside: the options `timeout` and `signal`, what others find to be too much, and the grace between asking and killing.
import type { Reason } from '../../types/contained.js';
import type { Life } from '../options/settings.js';

const SIGKILL = 9;

/** Its timers do not keep Node running: that is for the container to do, unless it is unref'ed. */
export class Deadline {
  readonly #life: Life;
  readonly #stop: (reason: Reason, signal: number) => void;
  #timer: NodeJS.Timeout | undefined;
  #ending = false;
  readonly #onAbort = (): void => this.end('aborted');

  constructor(life: Life, stop: (reason: Reason, signal: number) => void) {
    this.#life = life;
    this.#stop = stop;
  }

  start(): void {
    const { timeout, signal } = this.#life;
    if (timeout !== undefined) this.#timer = setTimeout(() => this.end('timeout'), timeout).unref();
    if (signal?.aborted) this.end('aborted');
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#life.signal?.removeEventListener('abort', this.#onAbort);
  }

  /** For the first reason there is. */
  end(reason: Reason): void {
    if (this.#ending) return;
    this.#ending = true;
    this.stop();
    this.#stop(reason, this.#life.killSignal);
    if (this.#life.killSignal !== SIGKILL) this.#timer = setTimeout(() => this.#stop(reason, SIGKILL), this.#life.killGrace).unref();
  }
}
