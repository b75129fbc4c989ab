/** Hands out the places of descriptors. The first ones are what the request brings along: the standard streams. */
export class Slots {
  #next: number;

  constructor(attached: number) {
    this.#next = attached;
  }

  take(count = 1): number {
    const first = this.#next;
    this.#next += count;
    return first;
  }
}
