// The results as a table.
const HEAD = ['script', 'outcome', 'code', 'wall ms', 'cpu ms', 'memory', 'verdict'];
const NUMBERS = new Set([3, 4, 5]);

const mebibytes = bytes => bytes === undefined ? '?' : `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function verdict(problems) {
  const escaped = problems.find(({ kind }) => kind === 'escaped');
  return (escaped ?? problems[0])?.kind ?? 'contained';
}

function cells({ script, skipped, result, problems }) {
  if (skipped) return [script, 'skipped', '', '', '', '', '-'];
  if (!result) return [script, 'not started', '', '', '', '', verdict(problems)];
  const { reason, code, signal, usage } = result;
  return [script, reason, signal ?? String(code), usage.wallMs.toFixed(0), (usage.userMs + usage.systemMs).toFixed(0), mebibytes(usage.memoryPeak), verdict(problems)];
}

export function table(rows) {
  const lines = [HEAD, ...rows.map(cells)];
  const widths = HEAD.map((_, i) => Math.max(...lines.map(line => line[i].length)));
  const format = line => line.map((cell, i) => NUMBERS.has(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])).join('  ').trimEnd();
  const remarks = rows.flatMap(({ script, skipped, problems = [] }) => [
    ...skipped ? [`${script}: skipped: ${skipped}`] : [],
    ...problems.map(({ kind, text }) => `${script}: ${kind}: ${text}`),
  ]);
  return [...lines.map(format), ...remarks.length > 0 ? ['', ...remarks] : []].join('\n');
}
