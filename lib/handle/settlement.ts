// A promise for a handle.

/** A promise that is made when somebody asks for it, and then kept or broken; mostly one of two is never asked for. */
export class Settlement<T> {
  #promise: Promise<T> | undefined;
  #settle: { resolve: (value: T) => void; reject: (error: unknown) => void } | undefined;
  #done: { value: T } | { error: unknown } | undefined;

  get asked(): boolean {
    return this.#promise !== undefined;
  }

  get promise(): Promise<T> {
    if (!this.#promise) {
      this.#promise = new Promise((resolve, reject) => {
        this.#settle = { resolve, reject };
      });
      // Who listens to `error` need not handle it here too.
      this.#promise.catch(() => {});
      if (this.#done) this.#apply(this.#done);
    }
    return this.#promise;
  }

  resolve(value: T): void {
    this.#finish({ value });
  }

  reject(error: unknown): void {
    this.#finish({ error });
  }

  #finish(done: { value: T } | { error: unknown }): void {
    this.#done ??= done;
    if (this.#settle) this.#apply(this.#done);
  }

  #apply(done: { value: T } | { error: unknown }): void {
    if ('value' in done) this.#settle!.resolve(done.value);
    else this.#settle!.reject(done.error);
  }
}
