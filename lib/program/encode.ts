// A program as the bytes of csrc/ops/program.hpp. The one place in TypeScript that knows their layout.
import type { Program } from '../../types/program.js';
import { OPS, type Op, type OpName } from './ops.js';

const HEADER = 64;
const SECTION = 24;
const OP = 56;
const SPAWN = 1;
const FLAG_TRACE = 1;
const FLAG_DETACHED = 16;

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
  list: 'host' | 'join' | 'release' | 'child' | 'clone';
  index: number;
  errno: number;
}

/** In the order of csrc/ops/program.hpp. */
export const LISTS = ['host', 'join', 'release', 'child', 'undo', 'execve', 'clone'] as const;

/** What differs between runs of one program: the last op's strings. */
export interface Command {
  file: string;
  /** Directories in which a file without / is looked for. */
  search: string;
  argv: readonly string[];
  env: readonly string[];
}

// One buffer for all requests of this thread: the addon has copied or sent it when `spawn` returns.
let buffer = new ArrayBuffer(64 * 1024);
let bytes = Buffer.from(buffer);
let words = new Uint32Array(buffer);
let end = 0;

function reserve(count: number): void {
  if (end + count <= buffer.byteLength) return;
  const larger = new ArrayBuffer(((end + count) * 2 + 7) & ~7);
  const copy = Buffer.from(larger);
  bytes.copy(copy, 0, 0, end);
  buffer = larger;
  bytes = copy;
  words = new Uint32Array(buffer);
}

/** Appends the string with its NUL and returns its place. Most are short and ASCII, for which a loop beats a call into Node. */
function put(text: string): number {
  const start = end;
  reserve(text.length * 3 + 1);
  if (text.length < 48) {
    let i = 0;
    for (; i < text.length; ++i) {
      const c = text.charCodeAt(i);
      if (c > 127) break;
      bytes[start + i] = c;
    }
    if (i === text.length) {
      bytes[start + i] = 0;
      end = start + i + 1;
      return start;
    }
  }
  end += bytes.write(text, end, 'utf8');
  bytes[end++] = 0;
  return start;
}

function putList(texts: readonly string[]): number {
  const start = end;
  for (const text of texts) put(text);
  return start;
}

/** Zeros up to the next multiple of eight, and at least one, so that no string runs past its section. */
function align(): void {
  const aligned = (end + 8) & ~7;
  reserve(8);
  bytes.fill(0, end, aligned);
  end = aligned;
}

function setNumber(word: number, value: number): void {
  words[word] = value >>> 0;
  words[word + 1] = Math.floor(value / 0x1_0000_0000);
}

/** Places are counted from `base`; `words` is looked at only after `put`, which may replace it. */
function putOp(op: Op, at: number, base: number): void {
  const layout = LAYOUTS.get(op.op)!;
  const fields = op as unknown as Record<string, string | number | readonly string[] | null | undefined>;
  const word = at >>> 2;
  words[word] = layout.code | (op.forgive ?? 0) << 16;
  let next = word + 2;
  for (const name of layout.strings) {
    const text = fields[name];
    const place = typeof text === 'string' ? put(text) - base : 0;
    words[next++] = place;
  }
  for (const name of layout.lists) {
    const place = putList(fields[name] as readonly string[]) - base;
    words[next++] = place;
  }
  next = word + 6;
  for (const { name, length } of layout.numbers) {
    setNumber(next, length ? (fields[name] as readonly string[]).length : fields[name] as number);
    next += 2;
  }
  if (op.after !== undefined) setNumber(word + 12, op.after + 1);
}

/** Appends a section: its header, its ops, then their strings. The last op, if it is `exec`, is left without its strings. */
function putSection(lists: readonly (readonly Op[])[]): { execAt: number } {
  const base = end;
  const ops = lists.flat();
  const size = SECTION + ops.length * OP;
  reserve(size);
  bytes.fill(0, base, base + size);
  lists.forEach((list, i) => {
    words[(base >>> 2) + 1 + i] = list.length;
  });
  end = base + size;
  let at = base + SECTION;
  for (const op of ops) {
    if (op.op === 'exec') words[at >>> 2] = OPS.exec.code;
    else putOp(op, at, base);
    at += OP;
  }
  return { execAt: at - OP };
}

function closeSection(base: number): void {
  align();
  words[base >>> 2] = end - base;
}

/** A program's bytes up to the command's strings, and from there on. */
export interface Image {
  head: Buffer;
  execAt: number;
  undo: Buffer;
}

export function encode(program: Program): Image {
  end = HEADER;
  const { execAt } = putSection([program.host, program.join, program.release, program.child]);
  words.fill(0, 0, HEADER >>> 2);
  words[0] = SPAWN;
  setNumber(2, program.clone);
  setNumber(4, program.joinClone);
  words[6] = program.cgroupSlot >>> 0;
  words[7] = program.detached ? FLAG_DETACHED : 0;
  const head = Buffer.from(bytes.subarray(0, end));
  end = 0;
  putSection([program.undo]);
  closeSection(0);
  return { head, execAt, undo: Buffer.from(bytes.subarray(0, end)) };
}

/** The request that makes the launcher run the command; the addon fills in the container's id. Valid until the next one. */
export function assemble(image: Image, command: Command, trace: boolean, fault?: Fault): { buffer: ArrayBuffer; size: number } {
  end = 0;
  reserve(image.head.length + image.undo.length);
  bytes.set(image.head, 0);
  end = image.head.length;
  const file = put(command.file);
  const search = put(command.search);
  const argv = putList(command.argv);
  const env = putList(command.env);
  const exec = image.execAt >>> 2;
  words[exec + 2] = file - HEADER;
  words[exec + 3] = search - HEADER;
  words[exec + 4] = argv - HEADER;
  words[exec + 5] = env - HEADER;
  words[exec + 6] = command.argv.length;
  words[exec + 8] = command.env.length;
  closeSection(HEADER);
  reserve(image.undo.length);
  bytes.set(image.undo, end);
  end += image.undo.length;
  if (trace) words[7] = words[7]! | FLAG_TRACE;
  if (fault) {
    words[8] = LISTS.indexOf(fault.list);
    words[9] = fault.index;
    words[10] = fault.errno;
  }
  return { buffer, size: end };
}

/** A lone section, for ops that the addon does itself; `undo` is done when one of them fails. */
export function encodeSection(ops: readonly Op[], undo: readonly Op[] = []): ArrayBuffer {
  end = 0;
  putSection([ops, undo]);
  closeSection(0);
  return buffer.slice(0, end);
}
