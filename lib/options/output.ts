// The option `maxOutput`.
import { OptionError } from '../errors.js';
import * as check from './check.js';
import type { OutputSetting } from './settings.js';

const KEYS = ['bytes', 'lines', 'rate', 'action'];
const ACTIONS = ['truncate', 'kill', 'pause'] as const;

/** As `check.size`, but that nothing at all is a limit too. */
export const bytesOf = (path: string, value: unknown): number => value === 0 ? 0 : check.size(path, value);

export function resolveOutput(value: unknown): OutputSetting {
  const options = typeof value === 'object' ? check.object('maxOutput', value, 'a size, or { bytes, lines, rate, action }') : { bytes: value };
  const at = (key: string): string => typeof value === 'object' ? `maxOutput.${key}` : 'maxOutput';
  check.knownKeys('maxOutput', options, KEYS);
  const bytes = check.optional(options['bytes'], v => bytesOf(at('bytes'), v), Infinity);
  const lines = check.optional(options['lines'], v => check.integer(at('lines'), v, 0, Number.MAX_SAFE_INTEGER), Infinity);
  const rate = check.optional(options['rate'], v => check.size(at('rate'), v), Infinity);
  const capped = bytes !== Infinity || lines !== Infinity;
  if (!capped && rate === Infinity) throw new OptionError('maxOutput', value, 'at least one of bytes, lines, rate');
  const action = check.optional(options['action'], v => check.oneOf(at('action'), v, ACTIONS), capped ? 'truncate' : 'pause');
  // What waits for ever at a cap would neither go on nor end.
  if ((action === 'pause') === capped) throw new OptionError(at('action'), action, capped ? "'truncate' or 'kill' beside bytes or lines: 'pause' is what a rate does" : "'pause' beside a rate alone, which loses nothing");
  return { bytes, lines, rate, kill: action === 'kill' };
}
