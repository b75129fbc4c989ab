// What is measured, once for all contenders: the same root, the same command, the same limits.
export const FLIGHT = 16;

const cgroup = { memory: { max: '64M' }, cpu: { max: 1 }, pids: { max: 32 } };
const WITHOUT_NET = ['pid', 'mnt', 'ipc', 'uts', 'cgroup'];

/** `number` is the case's in floor.c; `file` is the command as this case sees it. */
export const casesFor = rootfs => [
  { number: 0, name: 'bare', ns: [], file: `${rootfs}/true`, options: { ns: [] } },
  { number: 1, name: 'pid+mnt', ns: ['pid', 'mnt'], file: '/true', options: { ns: ['pid', 'mnt'], rootfs } },
  { number: 2, name: 'full without net', ns: WITHOUT_NET, file: '/true', options: { ns: WITHOUT_NET, rootfs, cgroup } },
  { number: 3, name: 'full with net', ns: [...WITHOUT_NET, 'net'], file: '/true', options: { ns: [...WITHOUT_NET, 'net'], rootfs, cgroup } },
];

/** The cgroup ops of a program as arguments of floor.c. */
export function floorOps(program) {
  const own = path => path.replace(/spawn-contained\.[^/]+/, `bench-floor.${process.pid}.@`);
  const host = [...program.host, ...program.release.filter(({ op }) => op !== 'go')].map(op => {
    if (op.op === 'open') return [op.to === program.cgroupSlot ? 'directory' : 'tasks', own(op.path), ''];
    return [op.op, own(op.path), op.text ?? ''];
  });
  const undo = program.undo.filter(op => op.path !== undefined && !op.whenBusy).map(op => {
    if (op.op !== 'killCgroup') return [op.op, own(op.path), ''];
    return op.unified ? ['kill', `${own(op.path)}/cgroup.kill`, ''] : ['read', `${own(op.path)}/cgroup.procs`, ''];
  });
  return [...host, ...undo].flat();
}

export function unshareCommand({ ns, file }, rootfs) {
  const flags = ns.map(kind => `--${kind === 'mnt' ? 'mount' : kind}`);
  return ['unshare', '--fork', '--mount-proc', `--root=${rootfs}`, ...flags, file];
}

export function bwrapCommand({ ns, file }, rootfs) {
  const flags = ns.filter(kind => kind !== 'mnt').map(kind => `--unshare-${kind}`);
  const hostname = ns.includes('uts') ? ['--hostname', 'contained'] : [];
  return ['bwrap', '--bind', rootfs, '/', '--proc', '/proc', '--dev', '/dev', '--cap-drop', 'ALL', '--as-pid-1', ...flags, ...hostname, '--', file];
}

const MASKED = [
  '/proc/acpi', '/proc/asound', '/proc/interrupts', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/sched_debug',
  '/proc/scsi', '/proc/timer_list', '/proc/timer_stats', '/sys/devices/virtual/powercap', '/sys/firmware',
];
const READONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];
const OCI_NAMES = { mnt: 'mount', net: 'network' };

const mount = (type, destination, ...options) => ({ type, source: type, destination, options: ['nosuid', ...options] });

/** The config.json of runc and crun. */
export function ociConfig({ ns, file, options }, rootfs) {
  const full = ns.includes('ipc');
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false, user: { uid: 0, gid: 0 }, args: [file], env: ['PATH=/usr/bin:/bin'], cwd: '/', noNewPrivileges: true,
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }, { type: 'RLIMIT_CORE', hard: 0, soft: 0 }],
    },
    root: { path: rootfs, readonly: false },
    ...full ? { hostname: 'contained' } : {},
    mounts: [
      mount('proc', '/proc', 'noexec', 'nodev'),
      mount('tmpfs', '/dev', 'noexec', 'mode=755', 'size=65536k'),
      mount('devpts', '/dev/pts', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
      mount('tmpfs', '/dev/shm', 'nodev', 'mode=1777', 'size=67108864'),
      ...full ? [mount('mqueue', '/dev/mqueue', 'noexec', 'nodev')] : [],
      ...ns.includes('net') ? [mount('sysfs', '/sys', 'noexec', 'nodev', 'ro')] : [],
    ],
    linux: {
      namespaces: ns.map(kind => ({ type: OCI_NAMES[kind] ?? kind })),
      ...options.cgroup ? { resources: { memory: { limit: 64 << 20 }, cpu: { quota: 100000, period: 100000 }, pids: { limit: 32 } } } : {},
      maskedPaths: MASKED,
      readonlyPaths: READONLY,
    },
  };
}
