// A program as the bytes of csrc/ops/program.hpp. The one place in TypeScript that knows their layout.
import type { Program } from '../../types/program.js';
import { OPS, type Op, type OpName } from './ops.js';

const HEADER = 56;
const SECTION = 24;
const OP = 56;
const SPAWN = 1;
const FLAG_TRACE = 1;

interface Layout {
  code: number;
  strings: readonly string[];
  lists: readonly string[];
  /** A number's name, or `#` and the list whose length it is. */
  numbers: readonly { name: string; length: boolean }[];
}

const LAYOUTS = new Map<OpName, Layout>(Object.entries(OPS).map(([name, spec]) => [name as OpName, {
  code: spec.code,
  strings: spec.strings,
  lists: spec.lists,
  numbers: spec.numbers.map(n => n.startsWith('#') ? { name: n.slice(1), length: true } : { name: n, length: false }),
}]));

/** Where a fault is to happen: this op of this list fails with this errno instead of being done. */
export interface Fault {
  list: 'host' | 'join' | 'child' | 'release' | 'clone';
  index: number;
  errno: number;
}

export const LISTS = ['host', 'join', 'child', 'release', 'undo', 'execve', 'clone'] as const;

// One buffer for all requests of this thread: the addon has copied or sent it when `spawn` returns.
let buffer = new ArrayBuffer(64 * 1024);
let bytes = Buffer.from(buffer);
let words = new Uint32Array(buffer);
let end = 0;

function grow(needed: number): void {
  const larger = new ArrayBuffer(Math.max(needed, buffer.byteLength) * 2);
  const copy = Buffer.from(larger);
  bytes.copy(copy, 0, 0, end);
  buffer = larger;
  bytes = copy;
  words = new Uint32Array(buffer);
}

/** Appends the string with its NUL and returns its place. Most are short and ASCII, for which a loop beats a call into Node. */
function put(text: string): number {
  const start = end;
  if (end + text.length * 3 + 1 > buffer.byteLength) grow(end + text.length * 3 + 1);
  if (text.length < 48) {
    let i = 0;
    for (; i < text.length; ++i) {
      const c = text.charCodeAt(i);
      if (c > 127) break;
      bytes[end + i] = c;
    }
    if (i === text.length) {
      end += i;
      bytes[end++] = 0;
      return start;
    }
  }
  end += bytes.write(text, end, 'utf8');
  bytes[end++] = 0;
  return start;
}

function setNumber(at: number, value: number): void {
  words[at] = value >>> 0;
  words[at + 1] = Math.floor(value / 0x1_0000_0000);
}

function putOp(op: Op, at: number, base: number): void {
  const layout = LAYOUTS.get(op.op)!;
  const fields = op as unknown as Record<string, string | number | readonly string[] | null | undefined>;
  const word = at >>> 2;
  words[word] = layout.code | (op.forgive ?? 0) << 16;
  words[word + 1] = 0;
  let next = word + 2;
  for (const name of layout.strings) {
    const text = fields[name];
    const place = typeof text === 'string' ? put(text) - base : 0;
    words[next++] = place;  // after `put`, which may replace `words`
  }
  for (const name of layout.lists) {
    let first = end;
    for (const text of fields[name] as readonly string[]) put(text);
    if (first === end) first = base;
    words[next++] = first - base;
  }
  while (next < word + 6) words[next++] = 0;
  for (const { name, length } of layout.numbers) {
    setNumber(next, length ? (fields[name] as readonly string[]).length : fields[name] as number);
    next += 2;
  }
  while (next < word + 14) words[next++] = 0;
  if (op.after !== undefined) setNumber(word + 12, op.after + 1);
}

/** Appends a section: its header, its ops, then their strings. */
function putSection(lists: readonly (readonly Op[])[]): void {
  const base = end;
  const count = lists.reduce((sum, list) => sum + list.length, 0);
  if (base + SECTION + count * OP + 1 > buffer.byteLength) grow(base + SECTION + count * OP + 1);
  for (let i = 0; i < 5; ++i) words[(base >>> 2) + 1 + i] = lists[i]?.length ?? 0;
  let at = base + SECTION;
  end = at + count * OP;
  for (const list of lists) {
    for (const op of list) {
      putOp(op, at, base);
      at += OP;
    }
  }
  // Zeros up to the next multiple of eight, and at least one, so that no string runs past the section.
  const aligned = (end + 8) & ~7;
  if (aligned > buffer.byteLength) grow(aligned);
  bytes.fill(0, end, aligned);
  end = aligned;
  words[base >>> 2] = end - base;
}

/** The request that makes the launcher run this program; the addon fills in the container's id. */
export function encodeSpawn(program: Program, trace: boolean, fault?: Fault): { buffer: ArrayBuffer; size: number } {
  words.fill(0, 0, HEADER >>> 2);
  end = HEADER;
  putSection([program.host, program.join, program.child, program.release]);
  putSection([program.undo]);
  words[0] = SPAWN;
  setNumber(2, program.clone);
  setNumber(4, program.joinClone);
  words[6] = program.cgroupSlot >>> 0;
  words[7] = trace ? FLAG_TRACE : 0;
  if (fault) {
    words[8] = LISTS.indexOf(fault.list);
    words[9] = fault.index;
    words[10] = fault.errno;
  }
  return { buffer, size: end };
}

/** A lone section, for ops that the addon does on the calling thread. */
export function encodeSection(ops: readonly Op[]): ArrayBuffer {
  end = 0;
  putSection([ops]);
  return buffer.slice(0, end);
}
