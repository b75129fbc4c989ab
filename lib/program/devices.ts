// The device filter of a group, for both worlds: lines for cgroup v1, a BPF program for v2. They mean the same.
import { endianness } from 'node:os';
import type { Devices, DeviceSetting } from '../options/settings.js';
import { ALL_ACCESS, DEVICE_ACCESS } from './constants.js';
import { CWD, type OpOf } from './ops.js';

export const sameNumbers = (a: Devices, b: Devices): boolean => a.type === b.type && a.major === b.major && a.minor === b.minor;

/** As v1 writes them: `c 1:3 rwm`. */
export const devicesText = ({ type, major, minor, access }: Devices): string =>
  `${type} ${major}:${minor} ${Object.entries(DEVICE_ACCESS).map(([letter, bit]) => access & bit ? letter : '').join('')}`;

/** In one line, for `explain`: `deny a, allow c 1:3 rwm, …`. */
export const deviceWords = ({ allow, exceptions }: DeviceSetting): string =>
  [`${allow ? 'allow' : 'deny'} a`, ...exceptions.map(devices => `${allow ? 'deny' : 'allow'} ${devicesText(devices)}`)].join(', ');

/** v2. `fd`: slot of the group's directory. A filter of ours that is there is replaced. */
export const attachDevices = (setting: DeviceSetting, fd: number): OpOf<'attachDevices'> =>
  ({ op: 'attachDevices', program: deviceProgram(setting).toString('hex'), rules: deviceWords(setting), fd });

/** v1: `directory` is the group's in the hierarchy of `devices`. */
export const writeDevices = (setting: DeviceSetting, directory: string, from?: DeviceSetting): OpOf<'write'>[] =>
  deviceLines(setting, from).map(({ file, text }) => ({ op: 'write', path: `${directory}/${file}`, text, at: CWD }));

export interface DeviceLine {
  file: 'devices.allow' | 'devices.deny';
  text: string;
}

/**
 * v1: kernel document cgroup-v1/devices. Each line is one write. `from`: what the group has now, if that is known; then no
 * device that both allow is denied meanwhile, and none that both deny is allowed.
 */
export function deviceLines(to: DeviceSetting, from?: DeviceSetting): DeviceLine[] {
  const [same, other] = to.allow ? ['devices.allow', 'devices.deny'] as const : ['devices.deny', 'devices.allow'] as const;
  if (from?.allow !== to.allow) return [{ file: same, text: 'a' }, ...to.exceptions.map(devices => ({ file: other, text: devicesText(devices) }))];
  const beyond = (a: DeviceSetting, b: DeviceSetting): string[] => a.exceptions.flatMap(devices => {
    const access = devices.access & ~(b.exceptions.find(known => sameNumbers(known, devices))?.access ?? 0);
    return access === 0 ? [] : [devicesText({ ...devices, access })];
  });
  return [...beyond(to, from).map(text => ({ file: other, text })), ...beyond(from, to).map(text => ({ file: same, text }))];
}

/** Opcodes: kernel document bpf/standardization/instruction-set. */
type Instruction = readonly [opcode: number, to: number, from: number, offset: number, immediate: number];
const LOAD = 0x61, MOVE = 0xbf, SET = 0xb7, AND = 0x57, SHIFT_RIGHT = 0x77, JUMP = 0x05, JUMP_IF_NOT = 0x55, JUMP_IF_ANY = 0x45, EXIT = 0x95;
/** Registers; the first two are the kernel's choice. */
const [ANSWER, CONTEXT, TYPE, WANTED, MAJOR, MINOR] = [0, 1, 2, 3, 4, 5];
/** Offset of a jump to what follows the block; none goes back. */
const BEHIND = -1;
/** BPF_DEVCG_DEV_*, linux/bpf.h. */
const BPF_TYPE = { b: 1, c: 2 } as const;

const answer = (allow: boolean): Instruction[] => [[SET, ANSWER, 0, 0, allow ? 1 : 0], [EXIT, 0, 0, 0, 0]];

/** Answers, or goes on behind itself when the device is another. What is denied is so if any of the access is, as on v1. */
function block({ type, major, minor, access }: Devices, allow: boolean): Instruction[] {
  const tests: Instruction[] = [
    [JUMP_IF_NOT, TYPE, 0, BEHIND, BPF_TYPE[type]],
    ...major === '*' ? [] : [[JUMP_IF_NOT, MAJOR, 0, BEHIND, major] as const],
    ...minor === '*' ? [] : [[JUMP_IF_NOT, MINOR, 0, BEHIND, minor] as const],
    ...access === ALL_ACCESS ? [] : allow ? [[JUMP_IF_ANY, WANTED, 0, BEHIND, ALL_ACCESS & ~access] as const]
      : [[JUMP_IF_ANY, WANTED, 0, 1, access] as const, [JUMP, 0, 0, BEHIND, 0] as const],
  ];
  const all = [...tests, ...answer(allow)];
  return all.map(([opcode, to, from, offset, immediate], i) => [opcode, to, from, offset === BEHIND ? all.length - i - 1 : offset, immediate]);
}

/** v2: a BPF_PROG_TYPE_CGROUP_DEVICE program, struct bpf_insn by struct bpf_insn. Its context is struct bpf_cgroup_dev_ctx. */
export function deviceProgram({ allow, exceptions }: DeviceSetting): Buffer {
  const program: Instruction[] = [
    [LOAD, TYPE, CONTEXT, 0, 0], [MOVE, WANTED, TYPE, 0, 0], [AND, TYPE, 0, 0, 0xffff], [SHIFT_RIGHT, WANTED, 0, 0, 16],
    [LOAD, MAJOR, CONTEXT, 4, 0], [LOAD, MINOR, CONTEXT, 8, 0],
    ...exceptions.flatMap(devices => block(devices, !allow)),
    ...answer(allow),
  ];
  const little = endianness() === 'LE';
  const bytes = Buffer.alloc(program.length * 8);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  program.forEach(([opcode, to, from, offset, immediate], i) => {
    view.setUint8(8 * i, opcode);
    view.setUint8(8 * i + 1, little ? to | from << 4 : to << 4 | from);
    view.setInt16(8 * i + 2, offset, little);
    view.setInt32(8 * i + 4, immediate, little);
  });
  return bytes;
}
