// What this library promises about its speed, and whether a result keeps it.
const GOALS = { floor: 1.4, bare: 1.3, runc: 10, blockUs: 80, launcherKB: 1024, throughput: 0.8 };

const atMost = (name, value, limit, text) => ({ name, value: text, met: value <= limit });
const atLeast = (name, value, limit, text) => ({ name, value: text, met: value >= limit });

/** `block.small` and `block.large` are without and with a gigabyte of Buffers. */
export function judge({ cases, block, launcherKB }) {
  const rows = cases.find(({ name }) => name === 'full without net').rows;
  const find = wanted => rows.find(({ name }) => name === wanted);
  const us = find('spawnContained');
  const slower = (peer, kind) => us[kind].p50 / find(peer)[kind].p50;
  const ratio = value => `${value.toFixed(2)}×`;

  const latency = ['hot', 'idle'].flatMap(kind => [
    atMost(`full without net ≤ ${GOALS.floor}× floor, ${kind}`, slower('floor', kind), GOALS.floor, ratio(slower('floor', kind))),
    atMost(`full without net ≤ ${GOALS.bare}× bare child_process.spawn, ${kind}`, slower('child_process.spawn', kind), GOALS.bare, ratio(slower('child_process.spawn', kind))),
    ...find('runc')?.missing ? [] : [atLeast(`full without net ≥ ${GOALS.runc}× faster than runc, ${kind}`, 1 / slower('runc', kind), GOALS.runc, ratio(1 / slower('runc', kind)))],
  ]);
  const blocks = [['', block.small], [', 1 GB of Buffers', block.large]].flatMap(([suffix, results]) =>
    results.filter(({ name }) => name.startsWith('spawnContained')).map(({ name, p50 }) =>
      atMost(`main thread ≤ ${GOALS.blockUs} µs: ${name}${suffix}`, p50, GOALS.blockUs, `${p50.toFixed(0)} µs`)));
  const throughput = cases.map(({ name, rows: all }) => {
    const share = all.find(row => row.name === 'spawnContained').perSecond / all.find(row => row.name === 'floor').perSecond;
    return atLeast(`throughput ≥ ${GOALS.throughput * 100} % of the floor's, ${name}`, share, GOALS.throughput, `${(share * 100).toFixed(0)} %`);
  });
  const memory = atMost(`launcher ≤ ${GOALS.launcherKB} KB`, launcherKB ?? Infinity, GOALS.launcherKB, `${launcherKB ?? '?'} KB`);
  return [...latency, ...throughput, ...blocks, memory];
}
