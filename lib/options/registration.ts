// The options `id`, `detached`, `labels`: what other processes can know of a container.
import { randomBytes } from 'node:crypto';
import type { SpawnOptions } from '../../types/options.js';
import { OptionError } from '../errors.js';
import { bootId, startTimeOf } from '../host/facts.js';
import { registryPath } from '../host/registry.js';
import * as check from './check.js';
import type { Registration } from './settings.js';

const MOST_LOG = 2 ** 34;

/** One part of a path, a word for a shell, and no flag. */
export function containerName(path: string, value: unknown): string {
  const text = check.nonEmpty(path, value, 'a name');
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/.test(text)) throw new OptionError(path, value, 'a name of up to 100 letters, digits and _ . - that begins with a letter or a digit');
  return text;
}

function labelsOf(value: unknown): Record<string, string> {
  const given = check.object('labels', value, 'an object of name → text');
  return Object.fromEntries(Object.entries(given).map(([name, text]) => [check.string('labels', name), check.string(`labels.${name}`, text)]));
}

/** What ends with Node does not hold for what goes on. */
const OF_NODE = ['tty', 'timeout', 'cpuTimeout', 'maxOutput', 'signal'] as const;

export function resolveRegistration(options: SpawnOptions): Registration | undefined {
  const detached = check.optional(options.detached, v => check.boolean('detached', v), false);
  if (!detached && options.id === undefined) {
    for (const key of ['labels', 'autoRemove', 'logSize'] as const) if (options[key] !== undefined) throw new OptionError(key, options[key], 'an id, or detached: true, beside it');
    return undefined;
  }
  for (const key of OF_NODE) if (detached && options[key] !== undefined) throw new OptionError(key, options[key], 'nothing with detached: it would end with Node, and the container goes on');
  if (!detached && options.logSize !== undefined) throw new OptionError('logSize', options.logSize, 'detached: true beside it; what others write goes to their streams');
  const id = check.optional(options.id, v => containerName('id', v), undefined) ?? randomBytes(6).toString('hex');
  return {
    id,
    directory: `${registryPath()}/${id}`,
    boot: bootId(),
    created: new Date().toISOString(),
    maker: { pid: process.pid, start: startTimeOf('self') ?? '0' },
    labels: check.optional(options.labels, labelsOf, {}),
    detached,
    keep: !check.optional(options.autoRemove, v => check.boolean('autoRemove', v), !detached),
    logSize: detached && options.stdio === undefined ? check.optional(options.logSize, v => checkedLogSize(v), 2 ** 24) : undefined,
  };
}

function checkedLogSize(value: unknown): number {
  const size = check.size('logSize', value);
  if (size < 2 ** 18 || size > MOST_LOG) throw new OptionError('logSize', value, "from '256K' to '16G'", 'ERR_OUT_OF_RANGE');
  return size;
}
