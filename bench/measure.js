// Interleaved measuring and the few statistics it needs.
import { setTimeout as sleep } from 'node:timers/promises';
import { FLIGHT } from './cases.js';

const IDLE_MS = 100;

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

export const summary = values => ({ p10: quantile(values, 0.1), p50: quantile(values, 0.5), p99: quantile(values, 0.99), count: values.length });

/** Another order each round: whoever follows runc would else always pay for what the kernel still does after it. */
function shuffled(list) {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; --i) {
    const j = Math.floor(Math.random() * (i + 1));
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

async function inRounds(contenders, rounds, measureOne) {
  const values = new Map(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; ++round) {
    for (const contender of shuffled(contenders)) values.get(contender.name).push(await measureOne(contender));
  }
  return values;
}

/** Hot means straight after an unmeasured run of the same contender: else all would have the caches that runc left. */
async function hotRun({ time }) {
  await time(1, 1);
  return await time(1, 1) / 1e6;
}

async function idleRun({ time }) {
  await sleep(IDLE_MS);
  return await time(1, 1) / 1e6;
}

/** Results by name: milliseconds, and runs per second with FLIGHT at a time. */
export async function measure(contenders, { hot, idle, bursts, burst }) {
  const able = contenders.filter(({ missing }) => !missing);
  await inRounds(able, 3, ({ time }) => time(1, 1));
  const hotTimes = await inRounds(able, hot, hotRun);
  const idleTimes = await inRounds(able, idle, idleRun);
  const rates = await inRounds(able, bursts, async ({ time }) => burst * 1e9 / await time(burst, FLIGHT));
  return contenders.map(({ name, note, missing }) => missing ? { name, note, missing } : {
    name, note, hot: summary(hotTimes.get(name)), idle: summary(idleTimes.get(name)), perSecond: quantile(rates.get(name), 0.5),
  });
}
