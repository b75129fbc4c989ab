// What the kernel makes of the rules for devices, on v1 and v2.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../dist/lib/native.js';
import { resolveDevices } from '../dist/lib/options/devices.js';
import type { DeviceSetting } from '../dist/lib/options/settings.js';
import { attachDevices, deviceWords, writeDevices } from '../dist/lib/program/devices.js';
import { encodeSection } from '../dist/lib/program/encode.js';
import type { Op } from '../types/program.js';
import type { DeviceRule } from '../types/devices.js';
import { needsHost, needsUser, scratch, tidy, until } from './env.js';

const resolve = (...rules: DeviceRule[]): DeviceSetting => resolveDevices('devices', rules);
const NOTHING: DeviceRule[] = [{ allow: false, type: 'c' }, { allow: false, type: 'b' }];

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

const perform = (op: Op, fds: number[] = []): number => native().apply(encodeSection([op]), new Int32Array(fds));

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
