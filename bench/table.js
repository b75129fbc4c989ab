// Results as text: fixed-width for a terminal, or Markdown for the README.
import { FLIGHT } from './cases.js';

const ms = value => value.toFixed(2);
const times = (value, base) => base ? `${(value / base).toFixed(2)}×` : '';

const HEAD = ['', 'hot p10', 'p50', 'p99', 'idle p50', 'p99', '× floor', '× child_process', `runs/s, ${FLIGHT} in flight`, 'note'];

function rowOf({ name, note, missing, hot, idle, perSecond }, rows) {
  if (missing) return [name, ...Array(8).fill('–'), missing];
  const base = wanted => rows.find(row => row.name === wanted)?.hot.p50;
  return [name, ms(hot.p10), ms(hot.p50), ms(hot.p99), ms(idle.p50), ms(idle.p99), times(hot.p50, base('floor')),
    times(hot.p50, base('child_process.spawn')), perSecond.toFixed(0), note];
}

function plain(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => row[column].length)));
  const lines = rows.map(row => row.map((cell, i) => i === 0 || i === row.length - 1 && i > 4 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join('  ').trimEnd());
  return lines.join('\n');
}

function markdown([head, ...rows]) {
  const line = cells => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => i === 0 || i === head.length - 1 && i > 4 ? '---' : '--:');
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

/** The runs of several contenders. */
export const runsTable = (rows, asMarkdown) => (asMarkdown ? markdown : plain)([HEAD, ...rows.map(row => rowOf(row, rows))]);

/** The whole report as text. */
export function report({ host, cases, block, launcherKB, targets, remarks }, asMarkdown) {
  const table = asMarkdown ? markdown : plain;
  const title = asMarkdown ? text => `**${text}**\n` : text => text;
  const { machine, processor, cores, memoryGB, kernel, cgroups, node, load, date } = host;
  const about = `${machine}, ${processor}, ${cores} cores, ${memoryGB} GB, Linux ${kernel}, cgroups ${cgroups}, Node ${node}, load average ${load}, ${date}`;
  const caseTables = cases.map(({ name, rows }) => `${title(`${name}: spawn → exit, in ms`)}\n${table([HEAD, ...rows.map(row => rowOf(row, rows))])}`);
  const blockHead = ['', 'p10', 'p50', 'p99', 'with 1 GB of Buffers: p10', 'p50', 'p99'];
  const blockRows = block.small.map((small, i) => [small.name, ...[small, block.large[i]].flatMap(({ p10, p50, p99 }) => [p10, p50, p99]).map(us => us.toFixed(0))]);
  const targetRows = targets.map(({ name, value, met }) => [name, value, met ? 'met' : 'NOT MET']);
  return [
    about,
    ...caseTables,
    `${title('Event loop: how long the call takes, three pipes, in µs')}\n${table([blockHead, ...blockRows])}`,
    `Launcher: ${launcherKB === undefined ? 'not found' : `${launcherKB} KB resident`}`,
    `${title('Targets')}\n${table([['', 'measured', ''], ...targetRows])}`,
    ...remarks,
  ].join('\n\n');
}
