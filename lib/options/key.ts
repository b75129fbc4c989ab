// What was made of options, for the same options later: so that they need not be checked and compiled again.
import { isPlaced, placement } from './place.js';

/** These are looked at anew for every run. */
const OF_THE_RUN = new Set(['command', 'argv0', 'env', 'stdio', 'timeout', 'maxOutput', 'signal', 'killSignal', 'killGrace', 'trace']);

const OBJECT = Symbol('object'), LIST = Symbol('list'), END = Symbol('end');

/**
 * The values of options, one after the other, with their names and where what begins and ends. To compare two of these takes
 * a fifth of the time of making one text of all and finding that in a Map.
 */
export type Key = readonly unknown[];

/** Undefined where the values cannot stand for what they are of. */
class Walk {
  readonly key: unknown[];

  constructor(...first: unknown[]) {
    this.key = first;
  }

  value(value: unknown): boolean {
    switch (typeof value) {
      case 'string': case 'number': case 'boolean': this.key.push(value); return true;
      case 'object': return value !== null && this.#object(value);
      default: return false;
    }
  }

  fields(value: Record<string, unknown>, top: boolean): boolean {
    this.key.push(OBJECT);
    for (const name in value) {
      const field = value[name];
      if (field === undefined || (top && OF_THE_RUN.has(name))) continue;
      this.key.push(name);
      // One that was made anew in the same place has to be given its controllers again.
      if (name === 'parent' && isPlaced(field)) this.key.push(field[placement]);
      else if (!this.value(field)) return false;
    }
    this.key.push(END);
    return true;
  }

  #object(value: object): boolean {
    if (Array.isArray(value)) return this.#list(value);
    if (isPlaced(value)) return this.#list([...value[placement].v1.values(), value[placement].unified?.directory ?? '']);
    const prototype: unknown = Object.getPrototypeOf(value);
    return (prototype === Object.prototype || prototype === null) && this.fields(value as Record<string, unknown>, false);
  }

  #list(list: readonly unknown[]): boolean {
    this.key.push(LIST);
    for (let i = 0; i < list.length; ++i) if (!this.value(list[i])) return false;
    this.key.push(END);
    return true;
  }
}

/** `shape`: of the streams. Relative paths count from the current directory. */
export function keyOf(options: object, shape: string): Key | undefined {
  const walk = new Walk(process.cwd(), shape);
  return walk.fields(options as Record<string, unknown>, true) ? walk.key : undefined;
}

function same(a: Key, b: Key): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; ++i) if (a[i] !== b[i]) return false;
  return true;
}

const MOST = 64;

/** The last ones, the latest first. */
export class Known<T> {
  readonly #entries: { key: Key; value: T }[] = [];

  find(key: Key | undefined): T | undefined {
    if (!key) return undefined;
    for (let i = 0; i < this.#entries.length; ++i) {
      const entry = this.#entries[i]!;
      if (!same(entry.key, key)) continue;
      if (i > 0) {
        this.#entries.splice(i, 1);
        this.#entries.unshift(entry);
      }
      return entry.value;
    }
    return undefined;
  }

  keep(key: Key | undefined, value: T): void {
    if (key && this.#entries.unshift({ key, value }) > MOST) this.#entries.pop();
  }
}
