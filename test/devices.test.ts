// Which devices a group may use: the rules, what becomes of them on v1 and v2, and what the kernel makes of that.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ContainedError, explain, OptionError } from 'spawn-contained';
import { native } from '../dist/lib/native.js';
import { resolveDevices } from '../dist/lib/options/devices.js';
import type { DeviceSetting } from '../dist/lib/options/settings.js';
import { attachDevices, deviceLines, deviceProgram, deviceWords, writeDevices } from '../dist/lib/program/devices.js';
import { encodeSection } from '../dist/lib/program/encode.js';
import { print, stepError } from '../dist/lib/program/words.js';
import type { Op } from '../types/program.js';
import type { DeviceAccess, DeviceRule } from '../types/devices.js';
import { needsHost, needsUser, scratch, tidy, until } from './env.js';

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

const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map(line => line.split(' '));
const mountOf = (test: (type: string, options: string) => boolean): string | undefined => {
  const fields = mounts.find(fields => test(fields[fields.indexOf('-') + 1]!, fields.at(-1)!));
  return fields?.[4];
};
const unified = mountOf(type => type === 'cgroup2');
const legacyMount = mountOf((type, options) => type === 'cgroup' && options.split(',').includes('devices'));

interface Group { directory: string; inside(script: string): string }

/** A group that is there for `body`, and what a script says when it runs in it. */
async function withGroup(mount: string, body: (group: Group) => void | Promise<void>): Promise<void> {
  const directory = join(mount, `contained-test.${process.pid}.devices`);
  mkdirSync(directory);
  try {
    const inside = (script: string): string => execFileSync('sh', ['-c', `echo $$ > ${directory}/cgroup.procs; ${script}`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    await body({ directory, inside });
  } finally {
    if (existsSync(directory)) rmdirSync(directory);
  }
}

/** Letters for what can be done with a device in the group. */
const tries = (path: string, node: string): string =>
  `[ "$(stat -c %F ${path})" ] || exit 1; (: < ${path}) && printf r; (: > ${path}) && printf w; mknod ${node} $(stat -c '%F %Hr %Lr' ${path} | sed 's/^\\(.\\)[a-z]* special file/\\1/') && { printf m; rm ${node}; }; echo`;

const perform = (op: Op, fds: number[] = []): number => native().apply(encodeSection([op]), fds);

function attach(directory: string, setting: DeviceSetting): number {
  const fd = openSync(directory, 'r');
  const errno = perform(attachDevices(setting, 0), [fd]);
  closeSync(fd);
  return errno;
}

const worlds: [name: string, mount: string | undefined, apply: (directory: string, to: DeviceSetting, from?: DeviceSetting) => number][] = [
  ['v2', unified, (directory, to) => attach(directory, to)],
  ['v1', legacyMount, (directory, to, from) => writeDevices(to, directory, from).reduce((errno, op) => errno || perform(op), 0)],
];

for (const [name, mount, apply] of worlds) {
  const skip = needsHost(mount !== undefined, name);
  tidy(`${name}: the kernel allows what the rules allow, at open and at mknod`, async t => {
    await withGroup(mount!, ({ directory, inside }) => {
      const node = join(scratch(t), 'node');
      const check = (path: string, wanted: string): void => { t.equal(inside(tries(path, node)), wanted, path); };
      check('/dev/kmsg', 'rwm');
      const settings: [DeviceSetting, Record<string, string>][] = [
        [resolve(), { '/dev/null': 'rwm', '/dev/zero': 'rwm', '/dev/kmsg': 'm' }],
        [resolve({ allow: true, path: '/dev/kmsg', access: 'r' }), { '/dev/null': 'rwm', '/dev/kmsg': 'rm' }],
        [resolve({ allow: false, type: 'c', access: 'm' }, { allow: false, type: 'b', access: 'm' }), { '/dev/null': 'rw', '/dev/kmsg': '' }],
        [resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }), { '/dev/null': 'rw', '/dev/zero': '' }],
        [resolve(...NOTHING, { allow: true, type: 'c', major: 1, minor: 3 }, { allow: true, type: 'c', major: 1, minor: 5, access: 'm' }), { '/dev/null': 'rwm', '/dev/zero': 'm' }],
        [resolve({ allow: true }, { allow: false, path: '/dev/kmsg', access: 'w' }), { '/dev/null': 'rwm', '/dev/kmsg': 'rm' }],
        [resolve({ allow: true }), { '/dev/kmsg': 'rwm' }],
      ];
      let before: DeviceSetting | undefined;
      for (const [setting, wanted] of settings) {
        t.equal(apply(directory, setting, before), 0, deviceWords(setting));
        for (const [path, letters] of Object.entries(wanted)) check(path, letters);
        before = setting;
      }
    });
  }, { skip });

  tidy(`${name}: where writing is denied, opening for both is denied`, async t => {
    await withGroup(mount!, ({ directory, inside }) => {
      t.equal(apply(directory, resolve({ allow: true }, { allow: false, path: '/dev/zero', access: 'w' })), 0);
      t.equal(inside('(: < /dev/zero) && echo r; (: <> /dev/zero) && echo rw; (: > /dev/zero) && echo w; true'), 'r');
    });
  }, { skip });
}

/** Kernel ids of the device programs at this very group: BPF_PROG_QUERY, by way of bpftool. */
const bpftool = ['/usr/sbin/bpftool', '/usr/bin/bpftool'].find(existsSync) ?? 'bpftool';
const attached = (directory: string): { id: number; name: string; attach_flags: string }[] =>
  JSON.parse(execFileSync(bpftool, ['-j', 'cgroup', 'show', directory], { encoding: 'utf8' }) || '[]') as { id: number; name: string; attach_flags: string }[];
const onUnified = needsHost(unified !== undefined, 'cgroup v2');

tidy('v2: an update takes the place of the program; there is always exactly one, until the group is gone', async t => {
  await withGroup(unified!, async ({ directory }) => {
    t.equal(attach(directory, resolve()), 0);
    const [first, ...others] = attached(directory);
    t.match([first, others], [{ name: 'contained_dev', attach_flags: 'multi' }, []]);
    t.equal(attach(directory, resolve({ allow: true })), 0);
    const [second, ...more] = attached(directory);
    t.match([second, more], [{ name: 'contained_dev', attach_flags: 'multi' }, []]);
    t.not(first!.id, second!.id);
    rmdirSync(directory);
    const programs = (): number[] => (JSON.parse(execFileSync(bpftool, ['-j', 'prog', 'show'], { encoding: 'utf8' })) as { id: number }[]).map(({ id }) => id);
    t.ok(await until(() => !programs().some(id => id === first!.id || id === second!.id)), 'the kernel has dropped them');
  });
}, { skip: onUnified });

tidy('v2: while it is updated, no device is usable that neither rules allow and none unusable that both do', async t => {
  await withGroup(unified!, async ({ directory }) => {
    const out = join(scratch(t), 'out');
    const [one, two] = [resolve({ allow: true, type: 'c', major: 4, access: 'r' }), resolve({ allow: true, type: 'b', major: 7, access: 'r' })];
    t.equal(attach(directory, one), 0);
    const stop = `${out}.stop`;
    const script = `echo 0 > ${directory}/cgroup.procs; echo start > ${out}; while [ ! -e ${stop} ]; do
      true > /dev/null || echo lost >> ${out}; true < /dev/kmsg && echo leak >> ${out}; n=$((n+1)); done; [ $n -gt 10 ] && echo end >> ${out}`;
    const child = spawn('sh', ['-c', script], { stdio: 'ignore' });
    t.ok(await until(() => existsSync(out) && readFileSync(out, 'utf8') !== ''));
    for (let i = 0; i < 500; ++i) if (attach(directory, i % 2 ? one : two) !== 0) t.fail(`update ${i}`);
    writeFileSync(stop, '');
    await once(child, 'exit');
    t.equal(readFileSync(out, 'utf8'), 'start\nend\n');
  });
}, { skip: onUnified });

tidy('v2: a group below can forbid more, never less', async t => {
  await withGroup(unified!, ({ directory, inside }) => {
    const below = join(directory, 'contained-test.below');
    mkdirSync(below);
    t.equal(attach(directory, resolve(...NOTHING, { allow: true, path: '/dev/null' })), 0);
    t.equal(attach(below, resolve({ allow: true })), 0);
    t.equal(inside(`echo $$ > ${below}/cgroup.procs; (: > /dev/null) && echo null; (: < /dev/zero) && echo zero; true`), 'null');
    rmdirSync(below);
  });
}, { skip: onUnified });

tidy('v2: the largest filter loads, and what is none does not', async t => {
  await withGroup(unified!, ({ directory }) => {
    const many = resolve({ allow: true }, ...Array.from({ length: 500 }, (_, minor): DeviceRule => ({ allow: false, type: 'b', major: 7, minor: 500 + minor, access: 'rw' })));
    t.equal(attach(directory, many), 0);
    const fd = openSync(directory, 'r');
    for (const program of ['', 'b7', 'zz00000000000000', 'B700000000000000', '95'.repeat(8 * 4097), 'b700000001000000']) {
      t.equal(perform({ op: 'attachDevices', program, rules: '', fd: 0 }, [fd]), 22, program.slice(0, 20));
    }
    closeSync(fd);
    const file = openSync('/etc/passwd', 'r');
    t.equal(perform(attachDevices(resolve(), 0), [file]), 9, 'EBADF: no cgroup');
    closeSync(file);
  });
}, { skip: onUnified });

tidy('without root the kernel refuses', async t => {
  const fd = openSync('/', 'r');
  t.equal(perform(attachDevices(resolve(), 0), [fd]), 1);
  closeSync(fd);
  t.ok(statSync('/dev/null').isCharacterDevice());
}, { skip: needsUser });
