// `contained run --max-output`: what comes out passes through here, so that it can be counted.
import { pipeline } from 'node:stream/promises';
import type { Contained } from '../../types/contained.js';
import type { OutputLimit, SpawnOptions, Stdio } from '../../types/options.js';
import { didYouMean } from '../options/check.js';
import { integer, pair, UsageError } from './values.js';

const KEYS: Record<string, (value: string) => OutputLimit> = {
  bytes: bytes => ({ bytes }),
  lines: lines => ({ lines: integer(lines) }),
  rate: rate => ({ rate }),
  action: action => ({ action: action as 'kill' }),
};

/** `1M`, or `bytes=1M,lines=1000,rate=64K,action=truncate`. What goes on for ever is better ended, so that is the default. */
export function readOutput(text: string): OutputLimit {
  const parts = text.split(',').map(part => part.includes('=') ? pair(part, 'KEY=VALUE') : ['bytes', part] as const);
  const given = parts.map(([key, value]) => {
    const read = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (!read) throw new UsageError(`no such key ${JSON.stringify(key)}${didYouMean(key, Object.keys(KEYS))}`);
    return read(value);
  });
  const limit: OutputLimit = Object.assign({}, ...given);
  return limit.action !== undefined || (limit.bytes === undefined && limit.lines === undefined) ? limit : { ...limit, action: 'kill' };
}

/** As they are, unless they are to be counted. */
export const stdioOf = ({ maxOutput }: Pick<SpawnOptions, 'maxOutput'>): Stdio => maxOutput === undefined ? 'inherit' : ['inherit', 'pipe', 'pipe'];

/** Hands on what comes through pipes. Where ours cannot be written to, the command's is closed, so that it gets SIGPIPE as it would without us. */
export async function passOn({ stdout, stderr }: Contained): Promise<void> {
  const streams = [[stdout, process.stdout], [stderr, process.stderr]] as const;
  await Promise.all(streams.map(([from, to]) => from && pipeline(from, to, { end: false }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  })));
}
