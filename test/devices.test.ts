// Which devices a group may use: the rules, and what becomes of them on v1 and v2.
import { execFileSync } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ContainedError, explain, OptionError } from 'spawn-contained';
import { resolveDevices } from '../dist/lib/options/devices.js';
import type { DeviceSetting } from '../dist/lib/options/settings.js';
import { attachDevices, deviceLines, deviceProgram, deviceWords } from '../dist/lib/program/devices.js';
import { print, stepError } from '../dist/lib/program/words.js';
import type { Op } from '../types/program.js';
import type { DeviceAccess, DeviceRule } from '../types/devices.js';
import { scratch } from './env.js';

const resolve = (...rules: DeviceRule[]): DeviceSetting => resolveDevices('devices', rules);
const NOTHING: DeviceRule[] = [{ allow: false, type: 'c' }, { allow: false, type: 'b' }];
const DEFAULTS = 'allow c *:* m, allow b *:* m, allow c 1:3 rwm, allow c 1:5 rwm, allow c 1:7 rwm, allow c 1:8 rwm, allow c 1:9 rwm, '
  + 'allow c 5:0 rwm, allow c 5:2 rwm, allow c 136:* rwm';

t.test('what is always needed is allowed, and nothing else', async t => {
  t.equal(deviceWords(resolve()), `deny a, ${DEFAULTS}`);
  t.equal(deviceWords(resolve({ allow: false })), `deny a, ${DEFAULTS}`, 'as OCI files begin');
  t.equal(deviceWords(resolve({ allow: false, type: 'a', major: '*', minor: '*', access: 'rwm' })), `deny a, ${DEFAULTS}`);
});

t.test('later rules win over earlier ones and over what is allowed anyway', async t => {
  t.equal(deviceWords(resolve(...NOTHING)), 'deny a');
  t.equal(deviceWords(resolve({ allow: true })), 'allow a');
  t.equal(deviceWords(resolve({ allow: true }, { allow: false })), 'deny a');
  t.equal(deviceWords(resolve(...NOTHING, { allow: true, type: 'b', major: 7, access: 'r' })), 'deny a, allow b 7:* r');
  t.equal(deviceWords(resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3 }, { allow: false, type: 'c', major: 1, access: 'w' })), 'deny a, allow c 1:3 rm');
  t.equal(deviceWords(resolve({ allow: true }, { allow: false, type: 'c', major: 10 }, { allow: true, type: 'c', access: 'r' })), 'allow a, deny c 10:* wm');
  t.equal(deviceWords(resolve({ allow: false, type: 'c', access: 'm' }, { allow: false, type: 'b', access: 'm' })), `deny a, ${DEFAULTS.replace(/allow . \*:\* m, /g, '').replaceAll('rwm', 'rw')}`);
});

t.test('one exception holds all that several rules allow', async t => {
  const rules: DeviceRule[] = [...NOTHING, { allow: true, type: 'c', major: 4, access: 'r' }, { allow: true, type: 'c', minor: 7, access: 'w' }];
  t.equal(deviceWords(resolve(...rules)), 'deny a, allow c 4:* r, allow c *:7 w, allow c 4:7 rw');
});

t.test('to open a single device is taken back where nodes of any may be made', async t => {
  t.equal(deviceWords(resolve({ allow: true, type: 'c', major: 10, minor: 229 }, { allow: false, type: 'c', major: 10, minor: 229 })), `deny a, ${DEFAULTS}`);
  t.equal(deviceWords(resolve({ allow: false, type: 'c', major: 10, minor: 229 })), `deny a, ${DEFAULTS}`, "Docker's rule for fuse");
});

t.test('a device of the host is found by its path, through symlinks too', async t => {
  const link = join(scratch(t), 'link');
  symlinkSync('/dev/full', link);
  for (const path of ['/dev/full', link]) t.equal(deviceWords(resolve(...NOTHING, { allow: true, path, access: 'r' })), 'deny a, allow c 1:7 r');
});

t.test('numbers of a device are those of stat(1)', async t => {
  for (const path of ['/dev/null', '/dev/ptmx', ...['/dev/loop7', '/dev/vda', '/dev/kvm'].filter(existsSync)]) {
    const [kind, major, minor] = execFileSync('stat', ['-c', '%F %Hr %Lr', path], { encoding: 'utf8' }).trim().replace(/ special file/, '').split(' ');
    t.equal(deviceWords(resolve(...NOTHING, { allow: true, path })), `deny a, allow ${kind![0]} ${major}:${minor} rwm`);
  }
});

t.test('a path that leads to no device of the host is told with cause and remedy', async t => {
  const find = (path: string): unknown => {
    try {
      return resolve({ allow: true, path });
    } catch (error) {
      return error;
    }
  };
  for (const [path, code, hint] of [['/dev/no-such', 'ENOENT', /no such device/], ['/etc/passwd', 'ENODEV', /no device/], ['/etc/passwd/x', 'ENOTDIR', /host/]] as const) {
    const error = find(path);
    t.ok(error instanceof ContainedError);
    t.match(error, { code, path, step: `find the device ${path}`, hint });
    t.ok((error as ContainedError).errno < 0);
  }
});

t.test('a wrong rule is refused with its place', async t => {
  const wrong: [unknown, string][] = [
    [{}, 'devices'], ['c 1:3 rwm', 'devices'], [[null], 'devices[0]'], [['c'], 'devices[0]'], [[{ allow: true }, {}], 'devices[1].allow'], [[{ allow: 1 }], 'devices[0].allow'],
    [[{ allow: true, type: 'u' }], 'devices[0].type'], [[{ allow: true, type: 1 }], 'devices[0].type'], [[{ allow: true, mayor: 1 }], 'devices[0].mayor'],
    [[{ allow: true, type: 'c', major: -1 }], 'devices[0].major'], [[{ allow: true, type: 'c', major: 4096 }], 'devices[0].major'], [[{ allow: true, type: 'c', major: '1' }], 'devices[0].major'],
    [[{ allow: true, type: 'c', minor: 1.5 }], 'devices[0].minor'], [[{ allow: true, type: 'c', minor: 2 ** 20 }], 'devices[0].minor'], [[{ allow: true, type: 'c', minor: null }], 'devices[0].minor'],
    [[{ allow: true, type: 'c', access: '' }], 'devices[0].access'], [[{ allow: true, type: 'c', access: 'rx' }], 'devices[0].access'],
    [[{ allow: true, type: 'c', access: 'rr' }], 'devices[0].access'], [[{ allow: true, type: 'c', access: 7 }], 'devices[0].access'],
    [[{ allow: true, major: 1 }], 'devices[0].major'], [[{ allow: true, type: 'a', minor: 0 }], 'devices[0].minor'], [[{ allow: false, access: 'm' }], 'devices[0].access'],
    [[{ allow: true, path: '' }], 'devices[0].path'], [[{ allow: true, path: 'dev/null' }], 'devices[0].path'], [[{ allow: true, path: '/dev/null\0' }], 'devices[0].path'],
    [[{ allow: true, path: '/dev/null', type: 'c' }], 'devices[0].type'], [[{ allow: true, path: '/dev/null', minor: 3 }], 'devices[0].minor'],
    [[{ allow: true, type: 'c', major: 10 }, { allow: false, type: 'c', major: 10, minor: 229 }], 'devices[1]'],
    [[{ allow: true, type: 'c', major: 10 }, { allow: false, type: 'c', minor: 229, access: 'r' }], 'devices[1]'],
    [[{ allow: false, type: 'c', major: 10, minor: 229, access: 'm' }], 'devices[0]'],
    [[{ allow: true }, { allow: false, type: 'b' }, { allow: true, type: 'b', major: 7, minor: 0 }], 'devices[2]'],
    [Array.from({ length: 600 }, (_, minor) => ({ allow: true, type: 'b', major: 7, minor })), 'devices'],
  ];
  for (const [value, path] of wrong) {
    let found: unknown;
    try {
      resolveDevices('devices', value);
    } catch (error) {
      found = error;
    }
    t.ok(found instanceof OptionError, `${JSON.stringify(value).slice(0, 200)}: ${String(found)}`);
    t.equal((found as OptionError | undefined)?.path, path, JSON.stringify(value).slice(0, 200));
  }
});

t.test('on v1 a new group begins with all or nothing', async t => {
  t.same(deviceLines(resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' })), [
    { file: 'devices.deny', text: 'a' }, { file: 'devices.allow', text: 'c 1:3 rw' },
  ]);
  t.same(deviceLines(resolve({ allow: true }, { allow: false, type: 'b', major: 7 })), [
    { file: 'devices.allow', text: 'a' }, { file: 'devices.deny', text: 'b 7:* rwm' },
  ]);
});

t.test('on v1 an update writes the difference, and first what keeps devices usable', async t => {
  const before = resolve(...NOTHING, { allow: true, type: 'c', major: 1, access: 'rw' }, { allow: true, type: 'b', major: 7, minor: 0 });
  const after = resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }, { allow: true, type: 'b', major: 7, minor: 0, access: 'r' });
  t.same(deviceLines(after, before), [
    { file: 'devices.allow', text: 'c 1:3 rw' }, { file: 'devices.deny', text: 'c 1:* rw' }, { file: 'devices.deny', text: 'b 7:0 wm' },
  ]);
  t.same(deviceLines(after, after), []);
  t.equal(deviceLines(resolve({ allow: true }), before)[0]!.text, 'a');
});

t.test('on v2 the instructions are those of the kernel', async t => {
  const little = endianness() === 'LE';
  const code = deviceProgram(resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3, access: 'rm' }));
  const words = Array.from({ length: code.length / 8 }, (_, i) => code.subarray(8 * i, 8 * i + 8).toString('hex'));
  t.equal(words.length, 14);
  if (little) t.same(words.slice(6), ['5502050002000000', '5504040001000000', '5505030003000000', '4503020004000000', 'b700000001000000', '9500000000000000', 'b700000000000000', '9500000000000000']);
  t.ok(deviceProgram(resolve(...NOTHING, ...Array.from({ length: 500 }, (_, minor): DeviceRule => ({ allow: true, type: 'b', major: 7, minor, access: 'rw' })))).length / 8 <= 4096);
});

t.test('explain shows the rules and not the instructions; an error tells who may filter', async t => {
  const program = explain('true');
  const host: Op[] = [attachDevices(resolve(...NOTHING, { allow: true, path: '/dev/null' }), 3)];
  t.equal(print({ ...program, host }).split('\n').find(line => /attachDevices/.test(line))?.trim().replace(/^\d+ +/, ''), 'attachDevices rules="deny a, allow c 1:3 rwm" fd=3');
  t.match(stepError({ ...program, host }, 0, 0, 1), { code: 'EPERM', step: 'attach the device filter', hint: /root/ });
});

/** What is asked for. `access`: bits of DEVICE_ACCESS. */
interface Request { type: 'b' | 'c'; major: number; minor: number; access: number }

/** A BPF machine as far as these programs need one. */
function execute(program: Buffer, { type, major, minor, access }: Request): boolean {
  const context = new Map([[0, access << 16 | (type === 'b' ? 1 : 2)], [4, major], [8, minor]]);
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  const little = endianness() === 'LE';
  const registers = new Array<number>(11).fill(NaN);
  for (let pc = 0; pc < program.length / 8; ++pc) {
    const both = view.getUint8(8 * pc + 1);
    const [to, from] = little ? [both & 15, both >> 4] : [both >> 4, both & 15];
    const [offset, value] = [view.getInt16(8 * pc + 2, little), view.getInt32(8 * pc + 4, little)];
    switch (view.getUint8(8 * pc)) {
      case 0x61: registers[to] = context.get(offset)!; break;
      case 0xbf: registers[to] = registers[from]!; break;
      case 0xb7: registers[to] = value; break;
      case 0x57: registers[to]! &= value; break;
      case 0x77: registers[to]! >>>= value; break;
      case 0x05: pc += offset; break;
      case 0x55: if (registers[to] !== value) pc += offset; break;
      case 0x45: if (registers[to]! & value) pc += offset; break;
      case 0x95: return registers[0] === 1;
      default: throw new Error(`opcode ${view.getUint8(8 * pc)}`);
    }
  }
  throw new Error('no end');
}

/** security/device_cgroup.c: exceptions to one behaviour; of an allowed device one must match all, of a denied one any. */
function legacy(lines: readonly { file: string; text: string }[], request: Request): boolean {
  let allowAll = true;
  let exceptions = new Map<string, number>();
  const bits = (text: string): number => [...text].reduce((all, letter) => all | { r: 2, w: 4, m: 1 }[letter]!, 0);
  for (const { file, text } of lines) {
    const allow = file === 'devices.allow';
    if (text === 'a') [allowAll, exceptions] = [allow, new Map()];
    else {
      const [, numbers, letters] = /^(.*) (.*)$/.exec(text)!;
      const now = exceptions.get(numbers!) ?? 0;
      exceptions.set(numbers!, allow === allowAll ? now & ~bits(letters!) : now | bits(letters!));
    }
  }
  const matching = [request.major, '*'].flatMap(major => [request.minor, '*'].map(minor => exceptions.get(`${request.type} ${major}:${minor}`) ?? 0));
  return allowAll ? matching.every(access => !(access & request.access)) : matching.some(access => (access & request.access) === request.access);
}

/** What the documentation says: for each access the last rule that speaks of it. */
function documented(rules: readonly DeviceRule[], request: Request): boolean {
  return [2, 4, 1].filter(bit => request.access & bit).every(bit => rules.findLast(({ type = 'a', major = '*', minor = '*', access = 'rwm' }) =>
    (type === 'a' || type === request.type) && (major === '*' || major === request.major) && (minor === '*' || minor === request.minor)
    && access.includes({ 2: 'r', 4: 'w', 1: 'm' }[bit]!))?.allow);
}

t.test('v1, v2 and the documentation agree on any rules and any device, and updates end where creation does', async t => {
  let seed = 7;
  const random = (count: number): number => (seed = (seed * 48271) % 0x7fff_ffff) % count;
  const pick = <T>(from: readonly T[]): T => from[random(from.length)]!;
  const accesses: DeviceAccess[] = ['r', 'w', 'm', 'rw', 'rm', 'wm', 'rwm'];
  let accepted = 0;
  let before: DeviceSetting | undefined;
  let lines: { file: string; text: string }[] = [];
  for (let round = 0; round < 3000; ++round) {
    const rules: DeviceRule[] = [
      { allow: random(2) === 0 }, ...NOTHING.map(rule => ({ ...rule, allow: rule.allow })),
      ...Array.from({ length: 1 + random(6) }, (): DeviceRule => random(20) === 0 ? { allow: random(2) === 0 }
        : { allow: random(3) > 0, type: pick(['b', 'c']), major: pick([1, 2, '*']), minor: pick([3, 4, '*']), access: pick(accesses) }),
    ];
    let setting: DeviceSetting;
    try {
      setting = resolve(...rules);
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      continue;
    }
    // The one exception to "the later one wins": types/devices.ts.
    if (rules.some(({ access = 'rwm', allow, minor, major }) => !allow && access !== 'm' && access.includes('m') && (typeof major === 'number' || typeof minor === 'number'))) continue;
    ++accepted;
    lines = [...lines, ...deviceLines(setting, before)];
    if (lines.length > 50) lines = deviceLines(setting);
    before = setting;
    const program = deviceProgram(setting);
    for (const type of ['b', 'c'] as const) for (const major of [1, 2, 9]) for (const minor of [3, 4, 9]) for (let access = 1; access < 8; ++access) {
      const request = { type, major, minor, access };
      const [wanted, v2, v1, updated] = [documented(rules, request), execute(program, request), legacy(deviceLines(setting), request), legacy(lines, request)];
      if (v2 !== wanted || v1 !== wanted || updated !== wanted) t.same({ v2, v1, updated }, { v2: wanted, v1: wanted, updated: wanted }, JSON.stringify({ rules, request }));
    }
  }
  t.ok(accepted > 1000, `${accepted} lists`);
});
