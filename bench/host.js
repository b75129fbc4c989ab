// What the figures were measured on.
import { readdirSync, readFileSync, existsSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

function cgroupMode() {
  const types = readFileSync('/proc/self/mounts', 'utf8').split('\n').map(line => line.split(' ')[2]);
  const v1 = types.includes('cgroup');
  if (!types.includes('cgroup2')) return v1 ? 'v1' : 'none';
  return v1 ? 'hybrid' : 'v2';
}

function machineName() {
  const file = '/sys/class/dmi/id/product_name';
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : process.arch;
}

export const describeHost = () => ({
  machine: machineName(),
  processor: cpus()[0]?.model ?? process.arch,
  cores: cpus().length,
  memoryGB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  cgroups: cgroupMode(),
  node: process.version,
  load: loadavg()[1].toFixed(1),
  date: new Date().toISOString(),
});

const read = path => readFileSync(path, 'utf8');

const childrenOf = pid => readdirSync(`/proc/${pid}/task`).flatMap(tid => read(`/proc/${pid}/task/${tid}/children`).split(' ').filter(Boolean));

/** Kilobytes that the launcher of this process holds. */
export function launcherRss() {
  const launcher = childrenOf(process.pid).find(pid => read(`/proc/${pid}/cmdline`).startsWith('spawn-contained'));
  if (launcher === undefined) return undefined;
  const line = /^Rss:\s+(\d+)/m.exec(read(`/proc/${launcher}/smaps_rollup`));
  return Number(line[1]);
}
